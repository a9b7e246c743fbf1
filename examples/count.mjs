// Counts events with Tally from JavaScript: Node.js 20 and newer, or a browser.
// Every event gets its id before the first attempt, so a request may be sent again: it counts once.

const environment = globalThis.process?.env ?? {};
const URL_OF_TALLY = environment.TALLY_URL ?? "http://127.0.0.1:8080";
const KEY = environment.TALLY_KEY;
const TEMPORARY = new Set([408, 429, 500, 502, 503, 504]);

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** One request, again while the reason to fail is temporary. Gives the JSON of the answer. */
export async function ask(path, body, attempts = 6) {
  const headers = KEY ? { authorization: `Bearer ${KEY}` } : {};
  if (body !== undefined) headers["content-type"] = "application/json";
  for (let attempt = 1; ; attempt++) {
    let wait = 100 * 2 ** attempt;
    try {
      const answer = await fetch(URL_OF_TALLY + path, {
        method: body === undefined ? "GET" : "POST",
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        signal: AbortSignal.timeout(10_000),
      });
      if (answer.ok) return await answer.json();
      const problem = new Error(await answer.text());
      if (!TEMPORARY.has(answer.status) || attempt === attempts) throw Object.assign(problem, { final: true });
      wait = Math.max(wait, 1000 * Number(answer.headers.get("retry-after") ?? 0));
    } catch (error) {
      if (error.final || attempt === attempts) throw error;
    }
    await pause(wait);
  }
}

/** Counts events, each once. Gives how many were accepted. */
export async function count(events) {
  const named = events.map((event) => ({ id: crypto.randomUUID(), ...event }));
  const { accepted, rejected } = await ask("/v1/events", named);
  for (const refused of rejected) console.error("refused:", named[refused.index], refused.detail);
  return accepted;
}

const isMain = globalThis.process?.argv?.[1]?.endsWith("count.mjs");
if (isMain) {
  const accepted = await count([
    { item: "javascript-example", type: "play" },
    { item: "javascript-example", type: "play", value: 3.25 },
  ]);
  console.log(`${accepted} accepted`);
  await pause(1000); // counted within a second
  const item = encodeURIComponent("javascript-example");
  console.log(await ask(`/v1/items/${item}/count?type=play`));
}
