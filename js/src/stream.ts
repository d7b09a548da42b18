/**
 * Following a prediction: one iterator that goes on over any number of connections.
 *
 * It pulls: nothing is read from the network before somebody asks for the next event.
 */

import { Gap } from "./errors.js";
import { eventAt, Fold, isTerminal, order, type Place, place } from "./log.js";
import {
  askData,
  encodePath,
  Lost,
  limited,
  lostUnless,
  type Net,
  onHint,
  Patience,
  post,
  type Request,
  send,
} from "./net.js";
import { SseParser } from "./sse.js";
import type { Json, Outcome, Prediction, PredictionEvent } from "./types.js";

/** A prediction that is yet to be made. Repeating its POST is safe: the server knows it by its idempotency key. */
export interface Submission {
  url: URL;
  /** Gives the inputs and options as the body, once: what has to be uploaded first is uploaded only once. */
  body: () => Promise<Record<string, unknown>>;
  idempotencyKey: string;
}

const SSE = { Accept: "text/event-stream" };
const CLOSED = new Error("The stream was closed.");
/** How long a network that held streams back is remembered. */
const POLL_FOR_MS = 600_000;
const MIN_POLL_WAIT_MS = 1_000;
/** As slow as the server lets the body of a request come. */
const MIN_BYTES_PER_MS = 10;

/**
 * The events of a prediction, in order, each once, up to its `complete` or `error`; then the iteration ends.
 *
 * It begins when it is first iterated. Leaving the loop closes it, and the prediction goes on; `cancel` ends that, too.
 */
export class Stream<T = Json> implements AsyncIterableIterator<PredictionEvent<T>> {
  readonly #net: Net;
  readonly #patience: Patience;
  readonly #fold: Fold;
  readonly #life = new AbortController();
  readonly #signal: AbortSignal | undefined;
  #submission: Submission | undefined;
  /** Of the prediction's stream, when it is known. */
  #url: URL | undefined;
  #knownUrl = (): void => {};
  readonly #urlIsKnown = new Promise<void>((resolve) => {
    this.#knownUrl = resolve;
  });
  #connection: Connection | undefined;
  #polling: boolean;
  #pollWaitMs: number;
  /** Streams in a row that delivered nothing. */
  #barren = 0;
  #last: Place = [0, 0];
  #lastCursor: string;
  #gapAfter: string | undefined;
  #queue: PredictionEvent[] = [];
  #queueAt = 0;
  #step: Promise<void> | undefined;
  #failure: unknown;
  #forgetHints: (() => void) | undefined;
  #done = false;

  /** @internal Use `client.stream`, `client.follow` or `follow`. */
  constructor(net: Net, from: Submission | URL, after: string | null | undefined, signal: AbortSignal | undefined) {
    this.#net = net;
    this.#patience = new Patience(net);
    this.#polling = net.pollUntil > Date.now();
    this.#pollWaitMs = net.pollWaitMs;
    this.#fold = new Fold(after ?? null);
    this.#lastCursor = after ?? "";
    this.#last = place(this.#lastCursor) ?? this.#last;
    if (from instanceof URL) this.#setUrl(from);
    else this.#submission = from;
    this.#signal = signal;
  }

  // What is known so far, as of the last event that was given out

  /** The prediction's id, as soon as it is known. */
  get id(): string | undefined {
    return this.#url?.pathname.match(/\/predictions\/([^/]+)/)?.[1];
  }

  /** Of the last event; `follow(id, { after: cursor })` goes on behind it. */
  get cursor(): string | null {
    return this.#fold.cursor;
  }

  get attempt(): number {
    return this.#fold.attempt;
  }

  get percentage(): number {
    return this.#fold.percentage;
  }

  /** The text so far; of several outputs, the first. A new attempt empties it. */
  get text(): string {
    return this.#fold.text;
  }

  /** All outputs so far, by index; those of the prediction when it has completed. */
  get outputs(): T[] {
    return this.#fold.outputs as T[];
  }

  /** How the prediction ended, after its last event. */
  get prediction(): Outcome<T> | undefined {
    return this.#fold.outcome as Outcome<T> | undefined;
  }

  // For its user

  [Symbol.asyncIterator](): this {
    return this;
  }

  /**
   * The next event.
   *
   * @throws ApiError where the server refuses; `ConnectionFailed` where it stays away; `Gap`; the reason of an aborted signal.
   */
  async next(): Promise<IteratorResult<PredictionEvent<T>, undefined>> {
    this.#begin();
    while (this.#queueAt === this.#queue.length && !this.#done) {
      this.#step ??= this.#advance().finally(() => {
        this.#step = undefined;
      });
      await this.#step;
    }
    this.#signal?.throwIfAborted();
    const event = this.#queue[this.#queueAt++];
    if (event === undefined) {
      this.close();
      return { done: true, value: undefined };
    }
    this.#fold.add(event);
    return { done: false, value: event as PredictionEvent<T> };
  }

  /** Leaving a `for await` loop calls it. */
  async return(): Promise<IteratorResult<PredictionEvent<T>, undefined>> {
    this.close();
    return { done: true, value: undefined };
  }

  /** Stops following. The prediction goes on. */
  close(): void {
    this.#end(CLOSED);
  }

  /** Asks the server to cancel the prediction. Its last event still comes. */
  async cancel(): Promise<void> {
    if (this.#url === undefined && this.#forgetHints === undefined) return this.close(); // It was never begun.
    await this.#urlIsKnown;
    if (this.#url !== undefined) await askData<Prediction>(this.#net, this.#sibling("cancel"), { method: "POST" });
  }

  // Its life

  #begin(): void {
    this.#signal?.throwIfAborted();
    if (this.#forgetHints !== undefined || this.#done) return;
    this.#signal?.addEventListener("abort", this.#aborted);
    this.#forgetHints = onHint((online) => this.#connection?.hint(online, this.#net));
  }

  readonly #aborted = (): void => this.#end(this.#signal?.reason);

  #end(reason: unknown): void {
    this.#done = true;
    this.#queue = [];
    this.#queueAt = 0;
    this.#life.abort(reason);
    this.#connection?.abort(reason);
    this.#signal?.removeEventListener("abort", this.#aborted);
    this.#forgetHints?.();
    this.#knownUrl();
  }

  /** Brings events into the queue, or comes at least one step nearer to that. */
  async #advance(): Promise<void> {
    this.#queue = [];
    this.#queueAt = 0;
    if (this.#failure !== undefined) return this.#recover(this.#failure);
    try {
      await (this.#polling ? this.#poll() : this.#read());
    } catch (error) {
      this.#failure = error; // What came before it is given out first.
    }
  }

  async #recover(error: unknown): Promise<void> {
    this.#failure = undefined;
    const connection = this.#disconnect();
    try {
      this.#life.signal.throwIfAborted();
      if (error instanceof Gap) return this.#checkGap(error);
      if (connection?.barren && ++this.#barren >= this.#net.streamsBeforePolling) this.#polling = true;
      this.#patience.retryMs = connection?.parser.retryMs ?? this.#patience.retryMs;
      // What cuts streams may cut a long silence, too.
      if (!connection && error instanceof Lost) this.#pollWaitMs = Math.max(this.#pollWaitMs / 2, MIN_POLL_WAIT_MS);
      await this.#patience.wait(error, this.#life.signal);
    } catch (final) {
      if (this.#life.signal.reason === CLOSED) return;
      this.#end(final);
      throw final;
    }
  }

  /** The log has no holes, but what lies in between may make one: it is read again from there. Twice is no accident. */
  #checkGap(gap: Gap): void {
    if (this.#gapAfter === this.#lastCursor) throw gap;
    this.#gapAfter = this.#lastCursor;
  }

  #disconnect(): Connection | undefined {
    const connection = this.#connection;
    this.#connection = undefined;
    connection?.abort(CLOSED);
    return connection;
  }

  // By a stream

  async #read(): Promise<void> {
    if (this.#connection === undefined) {
      this.#connection = new Connection();
      if (!(await this.#open(this.#connection))) return this.#finish();
    }
    const frames = await this.#connection.read(this.#net);
    this.#patience.answered();
    for (const frame of frames) this.#take(frame.id, frame.data);
    this.#connection.fruitful ||= this.#queue.length > 0;
  }

  /** Returns whether there is anything to come. */
  async #open(connection: Connection): Promise<boolean> {
    const [url, request, waitMs] = this.#url ? this.#resume(this.#url) : await this.#submit(true);
    const head = (): Promise<Response> => send(this.#net, url, request, connection.signal);
    const response = await connection.within(waitMs, head);
    if (response.status === 204) return false;
    if (!response.headers.get("content-type")?.startsWith("text/event-stream") || !response.body) {
      throw new Lost(`${url.origin} answers with something that is not a stream`);
    }
    const id = response.headers.get("x-prediction-id");
    if (this.#url === undefined && id) this.#setUrl(this.#streamOf(id));
    connection.reader = response.body.getReader();
    return true;
  }

  #resume(url: URL): [URL, Request, number] {
    return [this.#after(url), { headers: SSE }, this.#net.firstEventTimeoutMs];
  }

  async #submit(stream: boolean): Promise<[URL, Request, number]> {
    const { url, body, idempotencyKey } = this.#submission as Submission;
    const text = JSON.stringify({ ...(await body()), stream });
    const request = post(text, { "Idempotency-Key": idempotencyKey, ...(stream ? SSE : {}) });
    return [url, request, this.#net.firstEventTimeoutMs + text.length / MIN_BYTES_PER_MS];
  }

  // By the long poll, for networks that hold streams back or cut them

  async #poll(): Promise<void> {
    const signal = this.#life.signal;
    if (this.#url === undefined) {
      const [url, request, waitMs] = await this.#submit(false);
      const { id } = await askData<Prediction>(this.#net, url, request, signal, waitMs + this.#net.timeoutMs);
      this.#setUrl(this.#streamOf(id));
    }
    const url = this.#after(this.#sibling("events", true));
    url.searchParams.set("wait", String(this.#pollWaitMs / 1000));
    const page = await limited(this.#pollWaitMs + this.#net.timeoutMs, signal, async (inner) => {
      const response = await send(this.#net, url, {}, inner);
      return parsed(await lostUnless(inner, response.text())) as Events | undefined;
    });
    if (!page?.events) throw new Lost(`${url.origin} answers with something that is not a log`);
    this.#patience.answered();
    for (const { cursor, event } of page.events) this.#take(cursor, event);
    if (this.#queue.length > 0) this.#net.pollUntil = Date.now() + POLL_FOR_MS;
    if (page.done) this.#finish();
  }

  // Both

  #take(cursor: string, data: string | object): void {
    const at = place(cursor);
    const fields = typeof data === "string" ? parsed(data) : data;
    const where = at && fields ? order(this.#last, at) : "gap";
    if (where === "seen" || this.#done) return;
    if (!at || where === "gap")
      throw new Gap(`After event ${this.#lastCursor || "0-0"} comes ${at ? cursor : "something unreadable"}.`);
    this.#last = at;
    this.#lastCursor = cursor;
    this.#barren = 0;
    this.#patience.news();
    const event = eventAt(fields as PredictionEvent, at, cursor);
    this.#queue.push(event);
    if (this.#url === undefined && event.type === "progress" && event.id) this.#setUrl(this.#streamOf(event.id));
    if (isTerminal(event)) this.#finish();
  }

  #finish(): void {
    this.#done = true;
    this.#disconnect();
  }

  #setUrl(url: URL): void {
    this.#url = url;
    this.#knownUrl();
  }

  #after(url: URL): URL {
    const next = new URL(url);
    if (this.#lastCursor) next.searchParams.set("after", this.#lastCursor);
    return next;
  }

  #streamOf(id: string): URL {
    const { url } = this.#submission as Submission;
    return new URL(url.href.replace(/\/api\/v3\/.*/, `/api/v3/predictions/${encodePath(id)}/stream`));
  }

  /** Of the same prediction; a token is good for its log and for nothing else. */
  #sibling(name: string, withToken = false): URL {
    const url = new URL(this.#url as URL);
    url.pathname = url.pathname.replace(/\/stream$/, `/${name}`);
    if (!withToken) url.search = "";
    return url;
  }
}

interface Events {
  events: { cursor: string; event: object }[];
  done: boolean;
}

function parsed(text: string): object | undefined {
  try {
    const value = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

/** One connection, with a watch over its silence. */
class Connection {
  readonly parser = new SseParser();
  /** It has brought an event that was new. */
  fruitful = false;
  reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  readonly #controller = new AbortController();
  #silent = true;
  #late = false;
  #heardAt = Date.now();

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** It came to be, as far as can be told, and brought nothing: something in between may hold streams back. */
  get barren(): boolean {
    return !this.fruitful && (this.#late || this.reader !== undefined);
  }

  abort(reason: unknown): void {
    this.#controller.abort(reason);
    // A `fetch` of somebody else's may not listen to its signal.
    this.reader?.cancel().catch(() => {});
  }

  /** The network was away, or the page was: a silence that is longer than a keep-alive is enough to doubt it. */
  hint(online: boolean, { stallTimeoutMs }: Net): void {
    if (online || Date.now() - this.#heardAt > stallTimeoutMs / 2) this.abort(new Lost("the network was away"));
  }

  async within<T>(ms: number, work: () => Promise<T>): Promise<T> {
    const late = (): void => {
      this.#late = true;
      this.abort(new Lost(`silence for ${ms / 1000} s`));
    };
    const timer = setTimeout(late, ms);
    try {
      return await work();
    } finally {
      clearTimeout(timer);
    }
  }

  /** What the next chunk completes. */
  async read({ firstEventTimeoutMs, stallTimeoutMs }: Net): Promise<ReturnType<SseParser["push"]>> {
    const limitMs = this.#silent ? Math.min(firstEventTimeoutMs, stallTimeoutMs) : stallTimeoutMs;
    const reader = this.reader as ReadableStreamDefaultReader<Uint8Array>;
    const { done, value } = await this.within(limitMs, () => lostUnless(this.signal, reader.read()));
    if (done) throw new Lost("the stream ended before the prediction did");
    this.#silent = false;
    this.#heardAt = Date.now();
    return this.parser.push(value);
  }
}
