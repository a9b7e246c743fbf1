// A real server on a scratch folder, and what tests send to it.

import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";

export interface SentEvent {
  item: string;
  type?: string;
  time?: string;
  value?: number;
}

/** How long a server may take to be ready. */
const PATIENCE_MS = 60_000;

/** The program under test. */
function program(): string {
  const path = process.env.TALLY;
  if (path === undefined) throw new Error("TALLY names the program; scripts/test-dashboard sets it");
  return path;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

export interface Key {
  id: string;
  secret: string;
}

export class Tally {
  /** What is sent with events and questions of tests: the key, where the server has keys. */
  headers: Record<string, string> = {};

  private constructor(
    private child: ChildProcess,
    readonly url: string,
    private readonly folder: string,
    private readonly flags: string[],
  ) {}

  /** Starts a server on a free port and waits until it is ready. */
  static async start(flags: string[] = []): Promise<Tally> {
    const folder = await mkdtemp(join(tmpdir(), "tally-dashboard-"));
    const all = ["--listen", `127.0.0.1:${await freePort()}`, "--data-dir", join(folder, "data"), ...flags];
    const [child, url] = await Tally.serve(all, folder);
    return new Tally(child, url, folder, all);
  }

  private static async serve(flags: string[], folder: string): Promise<[ChildProcess, string]> {
    const child = spawn(program(), ["serve", ...flags], { cwd: folder, stdio: ["ignore", "pipe", "ignore"] });
    try {
      for await (const line of createInterface({ input: child.stdout })) {
        const url = /listening on (http:\S+)/.exec(line)?.[1];
        if (url === undefined) continue;
        for (const until = Date.now() + PATIENCE_MS; !(await fetch(`${url}/readyz`)).ok; ) {
          if (Date.now() > until) throw new Error("the server is not ready in time");
        }
        return [child, url];
      }
      throw new Error("the server ended before it listened");
    } catch (error) {
      child.kill("SIGKILL");
      throw error;
    }
  }

  /** Ends the process; its folder and port stay. */
  async halt(): Promise<void> {
    const ended = once(this.child, "exit");
    this.child.kill("SIGKILL");
    await ended;
  }

  /** Starts it again where it was. */
  async again(): Promise<void> {
    [this.child] = await Tally.serve(this.flags, this.folder);
  }

  async stop(): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) await this.halt();
    await rm(this.folder, { recursive: true, force: true });
  }

  /** Sends events; all must be accepted. */
  async send(events: SentEvent[]): Promise<void> {
    for (let from = 0; from < events.length; from += 20_000) {
      const batch = events.slice(from, from + 20_000);
      const body = batch.map((event) => JSON.stringify(event)).join("\n");
      const answer = await fetch(`${this.url}/v1/events`, {
        method: "POST",
        headers: { "content-type": "application/x-ndjson", ...this.headers },
        body,
      });
      const { accepted } = (await answer.json()) as { accepted: number };
      if (accepted !== batch.length) throw new Error(`${accepted} of ${batch.length} accepted`);
    }
  }

  /** Makes a key, and waits until the server takes it: from the first one on it asks for keys. */
  async makeKey(scopes: string): Promise<Key> {
    const key = JSON.parse(await this.keys("create", "--scope", scopes, "--json")) as Key;
    await this.untilKey(key, true);
    return key;
  }

  /** Ends a key, and waits until the server no longer takes it. */
  async revoke(key: Key): Promise<void> {
    await this.keys("revoke", key.id);
    await this.untilKey(key, false);
  }

  private async keys(...args: string[]): Promise<string> {
    const all = ["keys", ...args, "--data-dir", join(this.folder, "data")];
    return (await promisify(execFile)(program(), all, { cwd: this.folder })).stdout;
  }

  /** Until the answer to a request with the key is that the key is known, or that it is not. */
  private async untilKey({ secret }: Key, isKnown: boolean): Promise<void> {
    const headers = { authorization: `Bearer ${secret}` };
    for (const until = Date.now() + PATIENCE_MS; Date.now() < until; ) {
      const [open, keyed] = await Promise.all([fetch(`${this.url}/metrics`), fetch(`${this.url}/metrics`, { headers })]);
      if (open.status === 401 && (keyed.status !== 401) === isKnown) return;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    throw new Error("the server did not take the change of its keys in time");
  }

  async describe(item: string, details: Record<string, unknown>): Promise<void> {
    const answer = await fetch(`${this.url}/v1/items/${encodeURIComponent(item)}`, {
      method: "PUT",
      headers: { "content-type": "application/json", ...this.headers },
      body: JSON.stringify(details),
    });
    if (!answer.ok) throw new Error(await answer.text());
  }

  async count(item: string, type = "view"): Promise<bigint> {
    const path = `/v1/items/${encodeURIComponent(item)}/count?type=${type}`;
    const text = await (await fetch(this.url + path, { headers: this.headers })).text();
    return BigInt(/"count":(\d+)/.exec(text)?.[1] ?? "-1");
  }

  /** Made-up traffic until the returned function is called, which waits for its end. */
  load(args: string[]): () => Promise<void> {
    const child = spawn(program(), ["load", "--url", this.url, ...args], { stdio: ["ignore", "ignore", "inherit"] });
    const ended = once(child, "exit");
    return async () => {
      child.kill("SIGTERM");
      await ended;
    };
  }
}
