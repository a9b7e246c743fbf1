// Says when the server does not answer, and when it does again: the one place that is read out.

import { useEffect, useState } from "preact/hooks";
import { awaySince } from "../data/server";
import { clock } from "../format";
import { useObservable } from "../use-observable";

const BACK_SHOWN_MS = 4_000;

export function Connection() {
  const since = useObservable(awaySince);
  const [wasAway, setWasAway] = useState(false);
  useEffect(() => {
    document.documentElement.classList.toggle("away", since !== null);
    if (since !== null) {
      setWasAway(true);
      return;
    }
    const timer = setTimeout(() => setWasAway(false), BACK_SHOWN_MS);
    return () => clearTimeout(timer);
  }, [since]);
  if (since !== null) {
    const when = clock(new Date(since).toISOString());
    return (
      <p class="banner bad">
        The server has not answered since {when}. What is shown is from before; asking again.
      </p>
    );
  }
  return wasAway ? <p class="banner good">The server answers again.</p> : null;
}
