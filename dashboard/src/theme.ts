// Light, dark, or as the system has it: chosen by the reader, kept in the browser.

import { Observable } from "./observable";

export type Theme = "system" | "light" | "dark";

const KEY = "tally-theme";
const NEXT: Record<Theme, Theme> = { system: "light", light: "dark", dark: "system" };
const systemIsDark = matchMedia("(prefers-color-scheme: dark)");

/** What the reader chose. */
export const theme = new Observable<Theme>(kept());

/** What is painted. */
export const isDark = new Observable<boolean>(resolved());

function kept(): Theme {
  try {
    const value = localStorage.getItem(KEY);
    return value === "light" || value === "dark" ? value : "system";
  } catch {
    return "system"; // Browsers may forbid to ask.
  }
}

function resolved(): boolean {
  return theme.value === "system" ? systemIsDark.matches : theme.value === "dark";
}

/** Puts the theme on the document, where the styles look for it. */
export function applyTheme(): void {
  isDark.set(resolved());
  document.documentElement.dataset.theme = isDark.value ? "dark" : "light";
}

export function chooseNextTheme(): void {
  const next = NEXT[theme.value];
  try {
    if (next === "system") localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, next);
  } catch {
    // Then the choice lasts as long as the page.
  }
  theme.set(next);
  applyTheme();
}

export function followSystemTheme(): void {
  systemIsDark.addEventListener("change", applyTheme);
}
