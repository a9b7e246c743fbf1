// Tables for operators: partitions, audits, dead letters.

import { grouped } from "../data/digits";
import type { Polled } from "../data/poll";
import type { Audit, DeadLetter, Partition } from "../data/wire";
import { clock, dateTime, seconds } from "../format";
import { to } from "../router";
import { Empty, Waiting } from "./frame";

export function PartitionsTable({ data, error }: Polled<{ partitions: Partition[] }>) {
  if (data === undefined) return <Waiting error={error} />;
  return (
    <div class="scroll" role="region" aria-label="Partitions" tabIndex={0}>
      <table>
        <thead>
          <tr>
            <th scope="col">Partition</th>
            <th scope="col">State</th>
            <th scope="col" class="number">Lag</th>
            <th scope="col" class="number">In the log</th>
            <th scope="col" class="number">Counted</th>
            <th scope="col" class="number">Repeats</th>
            <th scope="col" class="number">Dead letters</th>
            <th scope="col" class="number">Flushed</th>
            <th scope="col">Newest event came</th>
          </tr>
        </thead>
        <tbody>
          {data.partitions.map((row) => (
            <tr key={row.partition}>
              <th scope="row">{row.partition}</th>
              <td>{row.is_stopped ? <span class="mark bad">stopped</span> : <span class="mark good">counting</span>}</td>
              <td class="number">{grouped(row.lag_events)}</td>
              <td class="number">{grouped(row.durable_offset)}</td>
              <td class="number">{grouped(row.counted)}</td>
              <td class="number">{grouped(row.duplicates)}</td>
              <td class="number">{grouped(row.dead_letters)}</td>
              <td class="number">{seconds(Number(row.checkpoint_age_ms) / 1000)} ago</td>
              <td>{clock(row.append_time)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

const RESULT = { equal: "equal", different: "different", failed: "failed" };

export function AuditsTable({ data, error }: Polled<{ audits: Audit[] }>) {
  if (data === undefined) return <Waiting error={error} />;
  if (data.audits.length === 0) {
    return <Empty><p>No audit has run since the start. The live one runs every minute; <code>tally audit</code> runs one now.</p></Empty>;
  }
  return (
    <div class="scroll" role="region" aria-label="Audits" tabIndex={0}>
      <table>
        <thead>
          <tr>
            <th scope="col">Begun</th>
            <th scope="col">Kind</th>
            <th scope="col">Result</th>
            <th scope="col" class="number">Expected</th>
            <th scope="col" class="number">Found</th>
            <th scope="col" class="number">Drift</th>
            <th scope="col" class="number">Took</th>
            <th scope="col">What differs</th>
          </tr>
        </thead>
        <tbody>
          {data.audits.map((audit) => (
            <tr key={`${audit.kind} ${audit.time}`}>
              <th scope="row">{dateTime(audit.time)}</th>
              <td>{audit.kind}</td>
              <td><span class={`mark ${audit.result === "equal" ? "good" : "bad"}`}>{RESULT[audit.result]}</span></td>
              <td class="number">{grouped(audit.expected)}</td>
              <td class="number">{grouped(audit.found)}</td>
              <td class="number">{grouped(audit.drift)}</td>
              <td class="number">{seconds(Number(audit.duration_ms) / 1000)}</td>
              <td class="text">{audit.detail ?? "–"}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

export function DeadLettersTable({ data, error }: Polled<{ dead_letters: DeadLetter[] }>) {
  if (data === undefined) return <Waiting error={error} />;
  if (data.dead_letters.length === 0) {
    return <Empty><p>None: everything in the log could be counted.</p></Empty>;
  }
  return (
    <>
      <div class="scroll" role="region" aria-label="Dead letters" tabIndex={0}>
        <table>
          <thead>
            <tr>
              <th scope="col">Place</th>
              <th scope="col">Came</th>
              <th scope="col">State</th>
              <th scope="col">Item</th>
              <th scope="col">Type</th>
              <th scope="col">Reason</th>
            </tr>
          </thead>
          <tbody>
            {data.dead_letters.map((letter) => (
              <tr key={`${letter.partition}/${letter.offset}`}>
                <th scope="row">{letter.partition}/{letter.offset}</th>
                <td>{dateTime(letter.append_time)}</td>
                <td><span class={`mark ${letter.state === "open" ? "bad" : ""}`}>{letter.state}</span></td>
                <td>{letter.item === undefined ? "–" : <a href={to.item(letter.item)}>{letter.item}</a>}</td>
                <td>{letter.type ?? "–"}</td>
                <td class="text">{letter.reason}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <p class="note"><code>tally dead-letters</code> shows, replays and drops them.</p>
    </>
  );
}
