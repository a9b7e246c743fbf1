// The numbers of a chart as a table, for those who read rather than look; made when it is opened.

import { useState } from "preact/hooks";
import { type Step, moment } from "../format";
import type { Line } from "./chart";

interface Props {
  title: string;
  step: Step;
  times: number[];
  lines: Line[];
}

export function NumbersTable({ title, step, times, lines }: Props) {
  const [isOpen, setOpen] = useState(false);
  return (
    <details class="numbers" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>Show as a table</summary>
      {isOpen && (
        <div class="scroll" role="region" aria-label={title} tabIndex={0}>
          <table>
            <thead>
              <tr>
                <th scope="col">Time (UTC)</th>
                {lines.map((line, n) => <th key={n} scope="col" class="number">{line.label}</th>)}
              </tr>
            </thead>
            <tbody>
              {times.map((time, at) => (
                <tr key={time}>
                  <th scope="row">{moment(time, step)}</th>
                  {lines.map((line, n) => (
                    <td key={n} class="number">
                      {line.values[at] == null ? "–" : line.text(at)}
                    </td>
                  ))}
                </tr>
              )).reverse()}
            </tbody>
          </table>
        </div>
      )}
    </details>
  );
}
