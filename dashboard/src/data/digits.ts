// Numbers as the server wrote them. Counts may be above 2^53 and sums have exact decimals, which
// JavaScript's numbers lose; so every number of an answer is kept as its digits.

/** The digits of a JSON number. */
export type Digits = string;

// A text, which is passed over whole, or a number outside of one.
const TOKEN = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** Reads JSON; its numbers become texts with exactly their digits. */
export function parseExact(json: string): unknown {
  return JSON.parse(json.replace(TOKEN, (token) => (token[0] === '"' ? token : `"${token}"`)));
}

/** `1234567.25` as `1,234,567.25`. */
export function grouped(digits: Digits): string {
  const [whole = "", decimals] = digits.split(".");
  const groups = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  return decimals === undefined ? groups : `${groups}.${decimals}`;
}

/** A whole number that may be large. */
export function toBigInt(digits: Digits): bigint {
  return BigInt(digits.split(".")[0] ?? "0");
}

export function sumOf(all: Iterable<Digits>): Digits {
  let sum = 0n;
  for (const digits of all) sum += toBigInt(digits);
  return sum.toString();
}
