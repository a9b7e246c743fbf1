// Server-sent events from the text of an answer: the browser's EventSource sends no headers, and so
// no key. As https://html.spec.whatwg.org/multipage/server-sent-events.html has it, without what
// Tally does not send: ids and `retry`.

export interface ServerEvent {
  event: string;
  data: string;
}

/** Longest event, in UTF-16 units: what sends more without an end is not Tally. */
const EVENT_MAX = 65_536;

export class EventParser {
  /** The start of a line whose end has not come. */
  #line = "";
  #event = "";
  #data: string[] = [];
  /** Of the lines of `#data`. */
  #size = 0;
  #isFirst = true;
  /** The piece before ended with CR: an LF that follows belongs to it. */
  #wasReturn = false;

  /** The events that end within this piece of the text; throws where one is too long. */
  push(piece: string): ServerEvent[] {
    if (piece === "") return [];
    let text = this.#wasReturn && piece.startsWith("\n") ? piece.slice(1) : piece;
    this.#wasReturn = piece.endsWith("\r");
    if (this.#isFirst) text = text.replace(/^\ufeff/, "");
    this.#isFirst = false;
    const lines = (this.#line + text).split(/\r\n|\r|\n/);
    this.#line = lines.pop() ?? "";
    const events: ServerEvent[] = [];
    for (const line of lines) {
      if (line === "") events.push(...this.#end());
      else this.#take(line);
    }
    if (this.#line.length + this.#size > EVENT_MAX) throw new Error("an event without an end");
    return events;
  }

  #take(line: string): void {
    const colon = line.indexOf(":");
    const [name, value] = colon < 0 ? [line, ""] : [line.slice(0, colon), line.slice(colon + 1).replace(/^ /, "")];
    if (name === "event") this.#event = value;
    if (name !== "data") return;
    this.#data.push(value);
    this.#size += value.length + 1;
  }

  /** The event that an empty line ends; without data there is none. */
  #end(): ServerEvent[] {
    const ended = { event: this.#event === "" ? "message" : this.#event, data: this.#data.join("\n") };
    const isEvent = this.#data.length > 0;
    this.#event = "";
    this.#data = [];
    this.#size = 0;
    return isEvent ? [ended] : [];
  }
}
