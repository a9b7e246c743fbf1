// A table of totals: of event types, or of items side by side.

import type { ComponentChildren } from "preact";
import { shown } from "../data/series";
import type { Numbers } from "../data/wire";

export interface TotalRow extends Numbers {
  key: string;
  name: ComponentChildren;
}

export function Totals({ first, rows }: { first: string; rows: TotalRow[] }) {
  return (
    <div class="scroll" role="region" aria-label="Totals" tabIndex={0}>
      <table class="totals">
        <thead>
          <tr>
            <th scope="col">{first}</th>
            <th scope="col" class="number">Count</th>
            <th scope="col" class="number">Sum</th>
            <th scope="col" class="number">Average</th>
          </tr>
        </thead>
        <tbody>
          {rows.map(({ key, name, count, sum, average }) => (
            <tr key={key}>
              <th scope="row">{name}</th>
              <td class="number">{shown(count)}</td>
              <td class="number">{shown(sum)}</td>
              <td class="number">{shown(average)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
