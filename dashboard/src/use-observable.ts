// Observables in components.

import { useEffect, useState } from "preact/hooks";
import type { Observable } from "./observable";

/** The value now; the component is rendered again when it changes. */
export function useObservable<T>(observable: Observable<T>): T {
  const [, renderAgain] = useState(0);
  const rendered = observable.value;
  useEffect(() => {
    const changed = () => renderAgain((n) => n + 1);
    // It may have changed before anybody listened.
    if (!Object.is(observable.value, rendered)) changed();
    return observable.subscribe(changed);
  }, [observable]);
  return rendered;
}
