/**
 * Server-sent events from bytes, by the letter of the standard, without any I/O.
 *
 * Chunks may be cut anywhere: inside an event, between CR and LF, inside a character.
 */

/** One event as it stands on the wire. */
export interface Frame {
  /** Empty if it has none. */
  id: string;
  data: string;
}

/** Takes chunks, gives frames. What a connection leaves unfinished at its end is no event, and is dropped with the parser. */
export class SseParser {
  /** What the server says to wait before coming back, in milliseconds. */
  retryMs: number | undefined;

  readonly #decoder = new TextDecoder();
  #rest = "";
  #afterCr = false;
  #id = "";
  #data: string | undefined;

  /** The frames that this chunk completes. */
  push(chunk: Uint8Array): Frame[] {
    const frames: Frame[] = [];
    const text = this.#normalised(this.#decoder.decode(chunk, { stream: true }));
    let start = 0;
    let end = text.indexOf("\n");
    while (end >= 0) {
      this.#line(this.#rest + text.slice(start, end), frames);
      this.#rest = "";
      start = end + 1;
      end = text.indexOf("\n", start);
    }
    // A line that spans many chunks is only ever appended to: looking through it again would take quadratic time.
    this.#rest += text.slice(start);
    return frames;
  }

  #normalised(text: string): string {
    if (this.#afterCr && text !== "") {
      this.#afterCr = false;
      if (text[0] === "\n") text = text.slice(1);
    }
    if (!text.includes("\r")) return text;
    this.#afterCr = text.endsWith("\r");
    return text.replace(/\r\n?/g, "\n");
  }

  #line(line: string, frames: Frame[]): void {
    if (line.startsWith("data:")) {
      const value = valueFrom(line, 5);
      this.#data = this.#data === undefined ? value : `${this.#data}\n${value}`;
    } else if (line.startsWith("id:")) {
      this.#id = valueFrom(line, 3);
    } else if (line === "") {
      if (this.#data !== undefined) frames.push({ id: this.#id, data: this.#data });
      this.#data = undefined;
      this.#id = "";
    } else if (/^retry: ?\d+$/.test(line)) {
      this.retryMs = Number(valueFrom(line, 6));
    }
  }
}

const valueFrom = (line: string, at: number): string => line.slice(line[at] === " " ? at + 1 : at);
