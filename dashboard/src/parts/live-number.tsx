// A total as it moves. It is not read out at every change; how it comes is written beside it.

import { grouped } from "../data/digits";
import { useEffect, useState } from "preact/hooks";
import type { Liveness, LiveTotal } from "../data/live";

const HOW: Record<Liveness, string> = {
  waiting: "connecting",
  live: "live",
  polling: "asked every second",
  away: "not up to date",
};

export function LiveNumber({ total, label }: { total: LiveTotal; label: string }) {
  const [last, setLast] = useState<string>();
  useEffect(() => {
    if (total.count !== undefined) setLast(total.count);
    else if (total.liveness === "waiting") setLast(undefined);
  }, [total]);
  const count = total.count ?? last;
  return (
    <div class="live">
      <p class="live-count" data-testid="live-count">{count === undefined ? "–" : grouped(count)}</p>
      <p class="note">{label} <span class={`how ${total.liveness}`}>{HOW[total.liveness]}</span></p>
    </div>
  );
}
