// What needs no browser: digits, metrics, formats, streams of events, keys.

import { expect, test } from "@playwright/test";
import { grouped, parseExact, sumOf } from "../src/data/digits";
import { EventParser } from "../src/data/event-stream";
import { isPossibleKey } from "../src/data/key";
import { Metrics, between, bucketsOf, quantile } from "../src/data/metrics";
import { bytes, clock, moment, rate, seconds, tick } from "../src/format";

test("numbers keep their digits, texts keep their quotes", () => {
  const read = parseExact(
    String.raw`{"a":18446744073709551615,"b":-0.300001,"c":null,"d":"1 \"2\" 3","e":[1,2.50],"f":true,"7":1e5,"g\\":"9"}`,
  );
  expect(read).toEqual({
    a: "18446744073709551615", b: "-0.300001", c: null, d: '1 "2" 3', e: ["1", "2.50"], f: true, "7": "1e5", "g\\": "9",
  });
  expect(() => parseExact("{")).toThrow();
});

test("digits are grouped as text", () => {
  expect(grouped("18446744073709551615")).toBe("18,446,744,073,709,551,615");
  expect(grouped("-1234.567890")).toBe("-1,234.567890");
  expect(grouped("999")).toBe("999");
  expect(sumOf(["9007199254740993", "1"])).toBe("9007199254740994");
});

test("metrics are read with their labels", () => {
  const metrics = new Metrics(
    [
      "# HELP x y",
      'tally_events_rejected_total{code="bad \\"one\\""} 3',
      'tally_events_rejected_total{code="other"} 18446744073709551615',
      "tally_disk_free_bytes 1.5e9",
      'd_bucket{le="0.001",method="GET",route="/v1/items/{item}/count"} 90',
      'd_bucket{le="0.01",method="GET",route="/v1/items/{item}/count"} 99',
      'd_bucket{le="+Inf",method="GET",route="/v1/items/{item}/count"} 100',
      'd_bucket{le="+Inf",method="POST",route="/v1/events"} 7',
      "# EOF",
    ].join("\n"),
  );
  expect(metrics.all("tally_events_rejected_total")[0]?.labels).toEqual({ code: 'bad "one"' });
  expect(metrics.total("tally_events_rejected_total")).toBe("18446744073709551618");
  expect(metrics.sum("tally_disk_free_bytes")).toBe(1.5e9);
  expect(metrics.sum("nothing")).toBeUndefined();
  const buckets = bucketsOf(metrics, "d", (labels) => labels.route === "/v1/items/{item}/count");
  expect(quantile(buckets, 0.45)).toBeCloseTo(0.0005);
  expect(quantile(buckets, 0.945)).toBeCloseTo(0.0055);
  expect(quantile(buckets, 0.999)).toBe(0.01);
  expect(quantile(between(buckets, buckets), 0.5)).toBeNull();
});

test("times are UTC and sizes short", () => {
  const at = Date.UTC(2026, 10, 21, 23, 4, 5) / 1000;
  expect(moment(at, "day")).toBe("21 Nov 2026");
  expect(moment(at, "minute")).toBe("21 Nov, 23:04");
  expect(moment(at, "second")).toBe("23:04:05");
  expect(tick(Date.UTC(2026, 10, 21) / 1000, "hour")).toBe("21 Nov");
  expect(clock("2026-11-21T23:04:05.123Z")).toBe("23:04:05 UTC");
  expect(clock("soon")).toBe("soon");
  expect([0, 0.00042, 0.0123, 0.25, 12, 600, 90_000].map(seconds)).toEqual(
    ["0 ms", "0.42 ms", "12.3 ms", "250 ms", "12.0 s", "10 min", "25 h"],
  );
  expect([999, 1500, 55e9].map(bytes)).toEqual(["999 B", "1.5 KB", "55 GB"]);
  expect([0, 3.21, 12_345.6, null].map(rate)).toEqual(["0", "3.2", "12,346", "–"]);
});

/** What a stream tells in pieces of so many characters. */
function eventsOf(stream: string, size: number): string[] {
  const parser = new EventParser();
  const told: string[] = [];
  for (let at = 0; at < stream.length; at += size) {
    told.push(...parser.push(stream.slice(at, at + size)).map(({ event, data }) => `${event}=${data}`));
  }
  return told;
}

test("a stream of events is the same however it is cut into pieces", () => {
  const lines = [
    ": alive", "", "event: count", 'data: {"count":1}', "", "data:two", "data:  lines", "data", "id: 7", "retry: 5", "nothing",
    "", "event: no data", "", ":", "event:count", "data: a:b: c", "", "data: never ended",
  ];
  const expected = ['count={"count":1}', "message=two\n lines\n", "count=a:b: c"];
  for (const end of ["\n", "\r\n", "\r"]) {
    const stream = `\ufeff${lines.join(end)}`;
    for (const size of [1, 2, 3, 7, stream.length]) {
      expect(eventsOf(stream, size), `${JSON.stringify(end)} in pieces of ${size}`).toEqual(expected);
    }
  }
});

test("an event is told when its last line ends, and what never ends is refused", () => {
  const parser = new EventParser();
  expect(parser.push("data: 1\r\n\r")).toEqual([{ event: "message", data: "1" }]);
  expect(parser.push("\ndata: 2\n")).toEqual([]);
  expect(parser.push("")).toEqual([]);
  expect(parser.push("\n")).toEqual([{ event: "message", data: "2" }]);
  expect(() => eventsOf("x".repeat(70_000), 1_000)).toThrow("without an end");
  expect(() => eventsOf("data: x\n".repeat(70_000), 1_000)).toThrow("without an end");
  expect(eventsOf(`data: ${"x".repeat(50_000)}\n\n`.repeat(3), 1_000)).toHaveLength(3);
});

test("what no header takes is no key", () => {
  expect(["tk_1_2", "a!~"].map(isPossibleKey)).toEqual([true, true]);
  expect(["", "tk 1", "tk_…", "é", "a\nb", "a\u007f"].map(isPossibleKey)).toEqual([false, false, false, false, false, false]);
});
