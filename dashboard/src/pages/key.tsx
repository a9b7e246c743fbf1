// In place of every page while the server asks for a key: a field for it.

import { useEffect, useRef, useState } from "preact/hooks";
import { type Door, enter, isPossibleKey } from "../data/key";
import { Problem, askText } from "../data/server";
import { Card, PageTitle } from "../parts/frame";

const REFUSED = "That key does not open this server: it is wrong, revoked or expired.";

export function KeyPage({ door }: { door: Door }) {
  const field = useRef<HTMLInputElement>(null);
  const [fault, setFault] = useState(
    door === "refuses" ? "The server no longer takes the key that was used here." : "",
  );
  const [isAsking, setAsking] = useState(false);
  useEffect(() => field.current?.focus(), []);
  const submit = async (event: Event) => {
    event.preventDefault();
    const typed = field.current?.value.trim() ?? "";
    if (typed === "" || isAsking) return;
    setAsking(true);
    // The same words again are read out only where they were gone.
    setFault("");
    const found = await faultOf(typed);
    if (found === "") {
      enter(typed);
      // The page that stood behind the form is read from its start.
      requestAnimationFrame(() => document.querySelector<HTMLElement>("h1")?.focus());
      return;
    }
    setFault(found);
    setAsking(false);
    field.current?.select();
  };
  return (
    <>
      <PageTitle title="This server asks for a key" />
      <Card title="Enter a key" class="enter-key">
        <form onSubmit={(event) => void submit(event)}>
          {/* Without a name it can get into no address, whatever becomes of the form. */}
          <label for="key">Key</label>
          <input ref={field} id="key" type="password" autocomplete="off" autocapitalize="none"
            spellcheck={false} required placeholder="tk_…" aria-invalid={fault !== ""}
            aria-describedby="key-fault key-note" />
          <button type="submit" aria-disabled={isAsking}>{isAsking ? "Asking" : "Open"}</button>
        </form>
        <p id="key-fault" class="fault" role="alert">{fault}</p>
        <p id="key-note" class="note">
          One with the scope <code>read</code> shows the numbers; with <code>admin</code> too, also partitions, audits
          and dead letters. This tab keeps it until it is closed, or told to forget it.
        </p>
      </Card>
    </>
  );
}

/** Why a key does not do; empty where it does. Asks what every page asks. */
async function faultOf(typed: string): Promise<string> {
  if (!isPossibleKey(typed)) return REFUSED;
  try {
    await askText("/v1/top", { limit: "1" }, undefined, typed);
  } catch (error) {
    if (!(error instanceof Problem)) return `${(error as Error).message} Try again.`;
    if (error.code === "unauthorized") return REFUSED;
    if (error.code === "forbidden") return `That key lacks the scope read: ${error.message}.`;
    if (error.status === 429) return `Try again: ${error.message}.`;
    // The door has let it in; what else is wrong the pages say.
  }
  return "";
}
