// What pages are made of: headings, cards, tiles, choices, and what to say when there is nothing.

import type { ComponentChildren } from "preact";
import { useEffect, useId } from "preact/hooks";
import { Problem, isForbidden } from "../data/server";

type Children = { children?: ComponentChildren };

/** The heading of a page, which is its title too, and takes the focus when the page is opened. */
export function PageTitle({ title, children }: { title: string } & Children) {
  useEffect(() => {
    document.title = title === "Overview" ? "Tally" : `${title} · Tally`;
  }, [title]);
  return (
    <div class="page-title">
      <h1 tabIndex={-1}>{title}</h1>
      {children}
    </div>
  );
}

interface CardProps extends Children {
  title: string;
  note?: ComponentChildren;
  /** Stands at the right of the title. */
  tools?: ComponentChildren;
  class?: string;
}

export function Card({ title, note, tools, children, class: name = "" }: CardProps) {
  const id = useId();
  return (
    <section class={`card ${name}`} aria-labelledby={id}>
      <div class="card-head">
        <h2 id={id}>{title}</h2>
        {note !== undefined && <p class="note">{note}</p>}
        {tools}
      </div>
      {children}
    </section>
  );
}

interface TileProps {
  label: string;
  value: string;
  note?: ComponentChildren;
  tone?: "good" | "bad" | undefined;
}

/** One number with its name. */
export function Tile({ label, value, note, tone }: TileProps) {
  return (
    <div class={`tile ${tone ?? ""}`}>
      <dt>{label}</dt>
      <dd>
        <b>{value}</b>
        {note !== undefined && <span class="note">{note}</span>}
      </dd>
    </div>
  );
}

interface ChoiceProps {
  label: string;
  options: readonly (readonly [value: string, name: string])[];
  chosen: string;
  choose: (value: string) => void;
}

/** One of a few, side by side: radio buttons to the keyboard and to screen readers. */
export function Choice({ label, options, chosen, choose }: ChoiceProps) {
  const name = useId();
  return (
    <fieldset class="choice">
      <legend>{label}</legend>
      {options.map(([value, text]) => (
        <label key={value}>
          <input type="radio" name={name} value={value} checked={value === chosen}
            onChange={() => choose(value)} />
          <span>{text}</span>
        </label>
      ))}
    </fieldset>
  );
}

/** One of many. */
export function Select({ label, options, chosen, choose }: ChoiceProps) {
  return (
    <label class="select">
      <span>{label}</span>
      <select value={chosen} onChange={(event) => choose(event.currentTarget.value)}>
        {options.map(([value, text]) => (
          <option key={value} value={value} selected={value === chosen}>{text}</option>
        ))}
      </select>
    </label>
  );
}

/** Nothing is there yet, and what to do about it. */
export function Empty({ children }: Children) {
  return <div class="empty">{children}</div>;
}

/** A command to copy. */
export function Command({ text }: { text: string }) {
  return <pre tabIndex={0} aria-label="Command"><code>{text}</code></pre>;
}

/** Why there is no answer; nothing while the first one is awaited. */
export function Waiting({ error }: { error: Error | undefined }) {
  if (error === undefined) return <div class="waiting" aria-hidden="true" />;
  if (error instanceof Problem && error.code === "not_ready") {
    return <Empty><p>Tally is starting: {error.message}</p></Empty>;
  }
  if (isForbidden(error)) {
    return <Empty><p><strong>The key lacks a scope:</strong> {error.message}.</p></Empty>;
  }
  return <Empty><p>{error.message}</p><p class="note">Asking again every few seconds.</p></Empty>;
}
