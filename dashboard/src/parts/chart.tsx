// A chart over time, painted by uPlot: times are UTC, the bucket that still grows is dashed, and
// the same numbers are there as a table.

import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import { type Step, compact, moment, tick } from "../format";
import { useObservable } from "../use-observable";
import { isDark } from "../theme";
import { NumbersTable } from "./numbers-table";

export interface Line {
  label: string;
  values: (number | null)[];
  /** A value in all its digits. */
  text: (index: number) => string;
}

interface Props {
  title: string;
  step: Step;
  /** Starts of the buckets, in Unix seconds. */
  times: number[];
  /** One line, or two to compare. */
  lines: Line[];
  /** Whether the last bucket is not over yet. */
  grows?: boolean;
  height?: number;
  /** How many seconds the time axis spans, up to the newest; what the points span by default. */
  span?: number;
  /** Labels of the value axis. */
  axis?: (value: number) => string;
  /** Only whole numbers occur. */
  whole?: boolean;
  /** Whether to offer the numbers as a table. */
  table?: boolean;
}

const WHOLE_STEPS = Array.from({ length: 16 }, (_, n) => [1, 2, 5].map((m) => m * 10 ** n)).flat();

export function Chart(props: Props) {
  const { title, step, times, lines, grows = false, height = 240, table = true } = props;
  const canvas = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const newest = useRef(props);
  newest.current = props;
  const [cursor, setCursor] = useState<{ index: number; left: number } | null>(null);
  const dark = useObservable(isDark);

  useEffect(() => {
    const host = canvas.current;
    if (host === null) return;
    const made = new uPlot(options(host, newest, setCursor), dataOf(newest.current), host);
    plot.current = made;
    const resized = new ResizeObserver(() => {
      if (host.clientWidth > 0) made.setSize({ width: host.clientWidth, height });
    });
    resized.observe(host);
    return () => {
      resized.disconnect();
      made.destroy();
      plot.current = null;
      setCursor(null);
    };
  }, [lines.length, step, grows, height, dark]);

  useEffect(() => plot.current?.setData(dataOf(newest.current)), [times, lines]);

  return (
    <figure class="chart">
      {lines.length > 1 && (
        <ul class="legend">
          {lines.map((line, n) => (
            <li key={n} class={`line-${n + 1}`}>{line.label}</li>
          ))}
        </ul>
      )}
      <div class="plot" role="img" aria-label={summary(title, step, times, lines)}>
        <div ref={canvas} style={{ height: `${height}px` }} />
        {cursor !== null && times[cursor.index] !== undefined && (
          <div class={`tip${cursor.left > (canvas.current?.clientWidth ?? 0) / 2 ? " left" : ""}`}
            style={{ left: `${cursor.left}px` }}>
            <span>{moment(times[cursor.index] as number, step)} UTC</span>
            {lines.map((line, n) => (
              <span key={n} class={`line-${n + 1}`}>
                {lines.length > 1 && <i>{line.label}</i>}
                <b>{line.values[cursor.index] == null ? "–" : line.text(cursor.index)}</b>
              </span>
            ))}
          </div>
        )}
      </div>
      {(table || grows) && (
        <figcaption class="chart-foot">
          {table && <NumbersTable title={title} step={step} times={times} lines={lines} />}
          {grows && <span class="note">dashed: the newest {step}, still counting</span>}
        </figcaption>
      )}
    </figure>
  );
}

/** What a reader who does not see the picture is told of it. */
function summary(title: string, step: Step, times: number[], lines: Line[]): string {
  const parts = lines.map((line) => {
    let top = -1;
    line.values.forEach((value, n) => {
      if (value !== null && (top < 0 || value > (line.values[top] ?? -Infinity))) top = n;
    });
    if (top < 0) return `${line.label}: nothing`;
    const when = `${moment(times[top] ?? 0, step)} UTC`;
    return `${line.label}: most ${line.text(top)} at ${when}`;
  });
  return `${title}, ${times.length} points. ${parts.join("; ")}.`;
}

/** Each line, and, where the last bucket grows, its last stretch as a line of its own. */
function dataOf({ times, lines, grows = false }: Props): uPlot.AlignedData {
  const series = lines.flatMap(({ values }) => {
    if (!grows || values.length < 3) return [values, values.map(() => null)];
    const settled = values.map((value, n) => (n < values.length - 1 ? value : null));
    const growing = values.map((value, n) => (n >= values.length - 2 ? value : null));
    return [settled, growing];
  });
  return [times, ...series];
}

function options(
  host: HTMLElement,
  newest: { current: Props },
  setCursor: (cursor: { index: number; left: number } | null) => void,
): uPlot.Options {
  const { step, lines, span, whole = false, height = 240, axis = compact } = newest.current;
  const style = getComputedStyle(host);
  const colour = (name: string) => style.getPropertyValue(name).trim();
  const font = `11px ${style.fontFamily}`;
  const ticks = { show: false };
  return {
    width: Math.max(host.clientWidth, 100),
    height,
    tzDate: (ts) => uPlot.tzDate(new Date(ts * 1000), "Etc/UTC"),
    legend: { show: false },
    padding: [12, 18, 0, 0],
    cursor: { y: false, drag: { setScale: false, x: false }, points: { size: 7 } },
    scales: {
      x: { range: (_, first, last) => (span === undefined ? [first, last] : [last - span, last]) },
      y: { range: (_, least, most) => yRange(least, most) },
    },
    axes: [
      {
        stroke: colour("--muted"),
        font,
        ticks,
        grid: { show: false },
        space: 64,
        size: 28,
        values: (_, splits) => splits.map((at) => tick(at, step === "second" ? "minute" : step)),
      },
      {
        stroke: colour("--muted"),
        font,
        ticks,
        grid: { stroke: colour("--line"), width: 1 },
        space: 44,
        ...(whole ? { incrs: WHOLE_STEPS } : {}),
        values: (_, splits) => splits.map((value) => axis(value)),
        size: (_, values) => 14 + 6.5 * Math.max(3, ...(values ?? []).map((text) => text.length)),
      },
    ],
    series: [
      {},
      ...lines.flatMap((_, n) => {
        const stroke = colour(`--line-${n + 1}`);
        const fill = (plot: uPlot) => fade(plot, stroke, n === 0 ? "30" : "18");
        const points: uPlot.Series.Points = { show: true, size: 5, filter: (plot, at) => alone(plot.data[at]) };
        return [
          { stroke, width: 2, fill, points },
          { stroke, width: 2, dash: [4, 4], points },
        ];
      }),
    ],
    hooks: {
      setCursor: [
        (plot) => {
          const { idx, left } = plot.cursor;
          if (idx == null || left == null || left < 0) return setCursor(null);
          const within = plot.valToPos(plot.data[0][idx] ?? 0, "x");
          setCursor({ index: idx, left: within + plot.bbox.left / devicePixelRatio });
        },
      ],
    },
  };
}

/** Values between gaps, which no line shows. */
function alone(values: uPlot.AlignedData[number] | undefined): number[] {
  const found: number[] = [];
  values?.forEach((value, n) => {
    if (value != null && values[n - 1] == null && values[n + 1] == null) found.push(n);
  });
  return found;
}

/** From zero, whatever comes; values may be below it. */
function yRange(least: number | null, most: number | null): [number, number] {
  const bottom = Math.min(0, least ?? 0);
  const top = Math.max(0, most ?? 0);
  return top === bottom ? [0, 4] : [bottom * 1.08, top * 1.08];
}

/** A colour that fades towards the axis. */
function fade(plot: uPlot, colour: string, alpha: string): CanvasGradient {
  const { top, height } = plot.bbox;
  const gradient = plot.ctx.createLinearGradient(0, top, 0, top + height);
  gradient.addColorStop(0, `${colour}${alpha}`);
  gradient.addColorStop(1, `${colour}00`);
  return gradient;
}
