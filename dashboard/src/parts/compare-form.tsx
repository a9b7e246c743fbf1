// Puts a second item beside the one that is shown, or takes it away.

import { useRef } from "preact/hooks";
import { setParams } from "../router";

interface Props {
  item: string;
  other: string | null;
  otherTitle: string;
}

export function CompareForm({ item, other, otherTitle }: Props) {
  const field = useRef<HTMLInputElement>(null);
  if (other !== null) {
    return (
      <p class="compared">
        with <span class="line-2">{otherTitle}</span>
        <button type="button" aria-label={`Stop comparing with ${otherTitle}`}
          onClick={() => setParams({ with: null })}>×</button>
      </p>
    );
  }
  return (
    <form class="compare" onSubmit={(event) => {
      event.preventDefault();
      const typed = field.current?.value.trim() ?? "";
      if (typed !== "" && typed !== item) setParams({ with: typed });
    }}>
      <input ref={field} type="text" aria-label="Compare with item" placeholder="Compare with item"
        list="offered" autocomplete="off" spellcheck={false} />
      <button type="submit">Compare</button>
    </form>
  );
}
