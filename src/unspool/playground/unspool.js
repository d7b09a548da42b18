// Made from js/src by `npm run playground` in js/. Change it there.

// src/errors.ts
var UnspoolError = class extends Error {
  /** Said in words, since a minifier shortens the names of classes. */
  name = "UnspoolError";
};
var ConnectionFailed = class extends UnspoolError {
  name = "ConnectionFailed";
};
var BadAnswer = class extends UnspoolError {
  name = "BadAnswer";
};
var Gap = class extends BadAnswer {
  name = "Gap";
};
var InvalidSignature = class extends UnspoolError {
  name = "InvalidSignature";
};
var StillRunning = class extends UnspoolError {
  name = "StillRunning";
  /** Of the prediction, if it was known already: `client.wait(id)` waits again. */
  id;
  constructor(timeoutMs, id) {
    super(`The prediction has not ended within ${timeoutMs / 1e3} s. It goes on.`);
    this.id = id;
  }
};
var ApiError = class extends UnspoolError {
  name;
  /** Of HTTP. */
  status;
  /** As in "invalid_input"; empty if something else than the server answered, as a proxy. */
  error_code;
  /** For `invalid_input`: every wrong field. */
  errors;
  /** Seconds after which the same request may succeed. */
  retry_after_s;
  /** The server's log has more about it under this id. */
  request_id;
  constructor(status, answer) {
    super(answer.message);
    this.status = status;
    this.error_code = answer.error_code;
    this.errors = answer.errors ?? [];
    this.retry_after_s = answer.retry_after_s;
    this.request_id = answer.request_id;
    this.name = CLASSES[answer.error_code] ? camel(answer.error_code) : "ApiError";
  }
};
var BadJson = class extends ApiError {
};
var InvalidInput = class extends ApiError {
};
var BadUpload = class extends ApiError {
};
var BadCursor = class extends ApiError {
};
var BadQuery = class extends ApiError {
};
var StreamingNotSupported = class extends ApiError {
};
var WebhookRefused = class extends ApiError {
};
var Base64WithWebhook = class extends ApiError {
};
var Unauthenticated = class extends ApiError {
};
var Forbidden = class extends ApiError {
};
var NotFound = class extends ApiError {
};
var UnknownModel = class extends ApiError {
};
var MethodNotAllowed = class extends ApiError {
};
var RequestTimeout = class extends ApiError {
};
var IdempotencyMismatch = class extends ApiError {
};
var Conflict = class extends ApiError {
};
var AlreadyUploaded = class extends ApiError {
};
var TooLarge = class extends ApiError {
};
var UnsupportedMediaType = class extends ApiError {
};
var RangeNotSatisfiable = class extends ApiError {
};
var RateLimited = class extends ApiError {
};
var QueueFull = class extends ApiError {
};
var Internal = class extends ApiError {
};
var Unavailable = class extends ApiError {
};
var CLASSES = {
  bad_json: BadJson,
  invalid_input: InvalidInput,
  bad_upload: BadUpload,
  bad_cursor: BadCursor,
  bad_query: BadQuery,
  streaming_not_supported: StreamingNotSupported,
  webhook_refused: WebhookRefused,
  base64_with_webhook: Base64WithWebhook,
  unauthenticated: Unauthenticated,
  forbidden: Forbidden,
  not_found: NotFound,
  unknown_model: UnknownModel,
  method_not_allowed: MethodNotAllowed,
  request_timeout: RequestTimeout,
  idempotency_mismatch: IdempotencyMismatch,
  conflict: Conflict,
  already_uploaded: AlreadyUploaded,
  too_large: TooLarge,
  unsupported_media_type: UnsupportedMediaType,
  range_not_satisfiable: RangeNotSatisfiable,
  rate_limited: RateLimited,
  queue_full: QueueFull,
  internal: Internal,
  unavailable: Unavailable
};
var camel = (code) => code.replace(/(^|_)(\w)/g, (_, __, letter) => letter.toUpperCase());
function apiError(status, answer) {
  return new (CLASSES[answer.error_code] ?? ApiError)(status, answer);
}
var PredictionError = class extends UnspoolError {
  name = "PredictionError";
  prediction;
  constructor(prediction) {
    super(prediction.error);
    this.prediction = prediction;
  }
};
var PredictionFailed = class extends PredictionError {
  name = "PredictionFailed";
};
var PredictionCancelled = class extends PredictionError {
  name = "PredictionCancelled";
};
var PredictionTimedOut = class extends PredictionError {
  name = "PredictionTimedOut";
};
function predictionError(prediction) {
  const { status } = prediction;
  if (status === "cancelled") return new PredictionCancelled(prediction);
  return status === "timeout" ? new PredictionTimedOut(prediction) : new PredictionFailed(prediction);
}

// src/net.ts
function makeNet(options) {
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== void 0));
  const net = {
    url: environment("UNSPOOL_URL") ?? "http://127.0.0.1:8080",
    apiKey: environment("UNSPOOL_API_KEY"),
    headers: {},
    fetch: (input, init) => fetch(input, init),
    timeoutMs: 6e4,
    stallTimeoutMs: 4e4,
    firstEventTimeoutMs: 8e3,
    streamsBeforePolling: 2,
    pollWaitMs: 2e4,
    backoffMs: void 0,
    maxBackoffMs: 15e3,
    giveUpMs: void 0,
    answered: false,
    pollUntil: 0,
    ...given
  };
  net.url = absolute(net.url);
  if (/[^!-~]/.test(net.apiKey ?? "")) throw new TypeError("apiKey must be visible ASCII characters without spaces.");
  return net;
}
function absolute(url) {
  try {
    const { href, protocol } = new URL(url, globalThis.location?.href);
    if (/^https?:$/.test(protocol)) return href.replace(/\/+$/, "");
  } catch {
  }
  throw new TypeError(`url must be like "http://127.0.0.1:8080", not "${url}".`);
}
function environment(name) {
  try {
    const { process } = globalThis;
    return process?.env?.[name] || void 0;
  } catch {
    return void 0;
  }
}
function apiUrl(net, path, query = {}) {
  const url = new URL(`${net.url}/api/v3/${path}`);
  for (const [name, value] of Object.entries(query)) {
    if (value !== void 0) url.searchParams.set(name, String(value));
  }
  return url;
}
var encodePath = (id) => id.split("/").map(encodeURIComponent).join("/");
var Lost = class extends Error {
};
async function send(net, url, request, signal) {
  const own = url.origin === new URL(net.url).origin;
  const headers = { ...own ? net.headers : {}, ...request.headers };
  if (own && net.apiKey && !url.searchParams.has("token")) headers.Authorization = `Bearer ${net.apiKey}`;
  const response = await lostUnless(signal, net.fetch(url.href, { ...request, headers, signal, cache: "no-store" }));
  net.answered = true;
  if (response.ok) return response;
  throw apiError(response.status, await errorAnswer(response, await lostUnless(signal, response.text())));
}
async function lostUnless(signal, promise) {
  let aborted = () => {
  };
  const abortion = new Promise((_, reject) => {
    aborted = () => reject(signal.reason);
  });
  if (signal.aborted) aborted();
  signal.addEventListener("abort", aborted);
  try {
    return await Promise.race([promise, abortion]);
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    throw new Lost(said(error), { cause: error });
  } finally {
    signal.removeEventListener("abort", aborted);
  }
}
var said = (error) => {
  const { message, cause } = error;
  return cause?.message || message || String(error);
};
function errorAnswer(response, text) {
  let body = {};
  try {
    body = JSON.parse(text);
  } catch {
  }
  return {
    message: body?.message ?? `${response.url} answers with status ${response.status} ${response.statusText}`.trim(),
    error_code: body?.error_code ?? "",
    errors: body?.errors,
    retry_after_s: seconds(response.headers.get("retry-after")),
    request_id: response.headers.get("x-request-id") ?? void 0
  };
}
function seconds(retryAfter) {
  if (retryAfter === null) return void 0;
  const value = Number(retryAfter);
  const left = Number.isNaN(value) ? (Date.parse(retryAfter) - Date.now()) / 1e3 : value;
  return Number.isNaN(left) ? void 0 : Math.max(0, left);
}
function isPassing(error) {
  if (!(error instanceof ApiError)) return error instanceof Lost;
  return [408, 425, 429, 500, 502, 503, 504].includes(error.status) || error.status === 409 && error.retry_after_s !== void 0;
}
var MAX_TRIES_OF_INTERNAL = 2;
var Patience = class {
  /** Tries in a row that brought nothing new. */
  #tries = 0;
  #failingSince;
  /** What the server says to wait. */
  retryMs;
  #net;
  constructor(net) {
    this.#net = net;
  }
  /** There was an answer, but nothing new in it. */
  answered() {
    this.#failingSince = void 0;
  }
  /** There was something new. */
  news() {
    this.#tries = 0;
    this.answered();
  }
  /**
   * Waits as is fit after this failure. A hint that the network is back ends the wait.
   *
   * @throws the error itself, or `ConnectionFailed`, where it is no use to go on.
   */
  async wait(error, signal) {
    if (!isPassing(error) || error instanceof Internal && this.#tries >= MAX_TRIES_OF_INTERNAL) throw error;
    const now = Date.now();
    this.#failingSince ??= now;
    const pauseMs = this.#pauseMs(error);
    const { giveUpMs, answered, url } = this.#net;
    const limitMs = giveUpMs ?? (answered ? 12e4 : 5e3);
    const tired = this.#tries > 3 && now + pauseMs - this.#failingSince > limitMs;
    if (tired || pauseMs > limitMs) {
      throw error instanceof ApiError ? error : new ConnectionFailed(`${url} cannot be reached: ${error.message}`, { cause: error });
    }
    await pause(pauseMs, signal, !(error instanceof ApiError));
  }
  #pauseMs(error) {
    const base = this.#net.backoffMs ?? this.retryMs ?? 1e3;
    const tries = this.#tries++;
    const backoff = tries === 0 ? base * 0.3 * Math.random() : base * 2 ** (tries - 1) * (0.5 + Math.random() / 2);
    const asked = error instanceof ApiError ? (error.retry_after_s ?? 0) * 1e3 : 0;
    return Math.max(asked, Math.min(backoff, this.#net.maxBackoffMs));
  }
};
function pause(ms, signal, mayEndEarly) {
  return new Promise((resolve, reject) => {
    const end = () => {
      clearTimeout(timer);
      forget();
      signal.removeEventListener("abort", end);
      signal.aborted ? reject(signal.reason) : resolve();
    };
    const timer = setTimeout(end, ms);
    const forget = mayEndEarly ? onHint(end) : () => {
    };
    signal.addEventListener("abort", end);
    if (signal.aborted) end();
  });
}
function onHint(call) {
  const page = globalThis.document;
  const online = () => call(true);
  const seen = () => {
    if (page?.visibilityState === "visible") call(false);
  };
  globalThis.addEventListener?.("online", online);
  page?.addEventListener?.("visibilitychange", seen);
  return () => {
    globalThis.removeEventListener?.("online", online);
    page?.removeEventListener?.("visibilitychange", seen);
  };
}
async function limited(ms, outer, work) {
  outer?.throwIfAborted();
  const inner = new AbortController();
  const abort = () => inner.abort(outer?.reason);
  const timer = setTimeout(() => inner.abort(new Lost(`no answer within ${ms / 1e3} s`)), ms);
  outer?.addEventListener("abort", abort);
  try {
    return await work(inner.signal);
  } finally {
    clearTimeout(timer);
    outer?.removeEventListener("abort", abort);
  }
}
async function ask(net, url, request, signal = new AbortController().signal, timeoutMs = net.timeoutMs) {
  const patience = new Patience(net);
  for (; ; ) {
    try {
      return await limited(
        timeoutMs,
        signal,
        async (inner) => lostUnless(inner, (await send(net, url, request, inner)).text())
      );
    } catch (error) {
      signal.throwIfAborted();
      await patience.wait(error, signal);
    }
  }
}
async function askJson(net, url, request = {}, signal, timeoutMs) {
  const text = await ask(net, url, request, signal, timeoutMs);
  try {
    return JSON.parse(text);
  } catch {
    throw new BadAnswer(`${url.origin} answers with something that is not JSON: is it an Unspool server?`);
  }
}
async function askData(net, url, request = {}, signal, timeoutMs) {
  return (await askJson(net, url, request, signal, timeoutMs)).data;
}
var post = (body, headers = {}) => ({
  method: "POST",
  headers: { "Content-Type": "application/json", ...headers },
  body: typeof body === "string" ? body : JSON.stringify(body)
});

// src/log.ts
function place(cursor) {
  const found = /^(\d{1,9})-([1-9]\d{0,17})$/.exec(cursor);
  return found ? [Number(found[1]), Number(found[2])] : void 0;
}
function order(last, next) {
  if (next[0] < last[0] || next[0] === last[0] && next[1] <= last[1]) return "seen";
  return next[1] === (next[0] === last[0] ? last[1] + 1 : 1) ? "next" : "gap";
}
function eventAt(fields, [attempt, n], cursor) {
  const restarted = fields.type === "progress" && attempt > 1 && n === 1;
  return Object.assign(fields, { cursor, attempt, n, restarted });
}
var isTerminal = (event) => event.type === "complete" || event.type === "error";
var Fold = class {
  /** Of the last event; null before the first. */
  cursor;
  attempt;
  percentage = 0;
  /** The pieces of text of this attempt, joined. Of several outputs, the first. */
  text = "";
  /** By index: text as far as it has come, or the last part of another kind. */
  outputs = [];
  outcome;
  /** @param after The last event that was seen before. */
  constructor(after) {
    this.cursor = after;
    this.attempt = after && place(after)?.[0] || 0;
  }
  add(event) {
    this.cursor = event.cursor;
    if (event.attempt !== this.attempt) this.#begin(event.attempt);
    if (event.type === "progress") this.percentage = event.percentage;
    else if (event.type === "output") this.#append(event.output, event.index ?? 0);
    else if (event.type !== "log") this.#end(event);
  }
  /** What the attempt before has put out is void. */
  #begin(attempt) {
    this.attempt = attempt;
    this.percentage = 0;
    this.text = "";
    this.outputs = [];
  }
  #append(part, index) {
    if (index === 0 && typeof part === "string") this.text += part;
    const before = this.outputs[index];
    this.outputs[index] = typeof part === "string" && typeof before === "string" ? before + part : part;
  }
  #end(event) {
    const { type, cursor, attempt, n, restarted, ...fields } = event;
    if (event.type === "complete") {
      this.outputs = event.outputs;
      this.percentage = 100;
      if (typeof event.outputs[0] === "string") this.text = event.outputs[0];
    }
    this.outcome = { status: "completed", outputs: [], error: "", ...fields };
  }
};

// src/sse.ts
var SseParser = class {
  /** What the server says to wait before coming back, in milliseconds. */
  retryMs;
  #decoder = new TextDecoder();
  #rest = "";
  #afterCr = false;
  #id = "";
  #data;
  /** The frames that this chunk completes. */
  push(chunk) {
    const frames = [];
    const text = this.#normalised(this.#decoder.decode(chunk, { stream: true }));
    let start = 0;
    let end = text.indexOf("\n");
    while (end >= 0) {
      this.#line(this.#rest + text.slice(start, end), frames);
      this.#rest = "";
      start = end + 1;
      end = text.indexOf("\n", start);
    }
    this.#rest += text.slice(start);
    return frames;
  }
  #normalised(text) {
    if (this.#afterCr && text !== "") {
      this.#afterCr = false;
      if (text[0] === "\n") text = text.slice(1);
    }
    if (!text.includes("\r")) return text;
    this.#afterCr = text.endsWith("\r");
    return text.replace(/\r\n?/g, "\n");
  }
  #line(line, frames) {
    if (line.startsWith("data:")) {
      const value = valueFrom(line, 5);
      this.#data = this.#data === void 0 ? value : `${this.#data}
${value}`;
    } else if (line.startsWith("id:")) {
      this.#id = valueFrom(line, 3);
    } else if (line === "") {
      if (this.#data !== void 0) frames.push({ id: this.#id, data: this.#data });
      this.#data = void 0;
      this.#id = "";
    } else if (/^retry: ?\d+$/.test(line)) {
      this.retryMs = Number(valueFrom(line, 6));
    }
  }
};
var valueFrom = (line, at) => line.slice(line[at] === " " ? at + 1 : at);

// src/stream.ts
var SSE = { Accept: "text/event-stream" };
var CLOSED = new Error("The stream was closed.");
var POLL_FOR_MS = 6e5;
var MIN_POLL_WAIT_MS = 1e3;
var MIN_BYTES_PER_MS = 10;
var Stream = class {
  #net;
  #patience;
  #fold;
  #life = new AbortController();
  #signal;
  #submission;
  /** Of the prediction's stream, when it is known. */
  #url;
  #knownUrl = () => {
  };
  #urlIsKnown = new Promise((resolve) => {
    this.#knownUrl = resolve;
  });
  #connection;
  #polling;
  #pollWaitMs;
  /** Streams in a row that delivered nothing. */
  #barren = 0;
  #last = [0, 0];
  #lastCursor;
  #gapAfter;
  #queue = [];
  #queueAt = 0;
  #step;
  #failure;
  #forgetHints;
  #done = false;
  /** @internal Use `client.stream`, `client.follow` or `follow`. */
  constructor(net, from, after, signal) {
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
  get id() {
    return this.#url?.pathname.match(/\/predictions\/([^/]+)/)?.[1];
  }
  /** Of the last event; `follow(id, { after: cursor })` goes on behind it. */
  get cursor() {
    return this.#fold.cursor;
  }
  get attempt() {
    return this.#fold.attempt;
  }
  get percentage() {
    return this.#fold.percentage;
  }
  /** The text so far; of several outputs, the first. A new attempt empties it. */
  get text() {
    return this.#fold.text;
  }
  /** All outputs so far, by index; those of the prediction when it has completed. */
  get outputs() {
    return this.#fold.outputs;
  }
  /** How the prediction ended, after its last event. */
  get prediction() {
    return this.#fold.outcome;
  }
  // For its user
  [Symbol.asyncIterator]() {
    return this;
  }
  /**
   * The next event.
   *
   * @throws ApiError where the server refuses; `ConnectionFailed` where it stays away; `Gap`; the reason of an aborted signal.
   */
  async next() {
    this.#begin();
    while (this.#queueAt === this.#queue.length && !this.#done) {
      this.#step ??= this.#advance().finally(() => {
        this.#step = void 0;
      });
      await this.#step;
    }
    this.#signal?.throwIfAborted();
    const event = this.#queue[this.#queueAt++];
    if (event === void 0) {
      this.close();
      return { done: true, value: void 0 };
    }
    this.#fold.add(event);
    return { done: false, value: event };
  }
  /** Leaving a `for await` loop calls it. */
  async return() {
    this.close();
    return { done: true, value: void 0 };
  }
  /** Stops following. The prediction goes on. */
  close() {
    this.#end(CLOSED);
  }
  /** Asks the server to cancel the prediction. Its last event still comes. */
  async cancel() {
    if (this.#url === void 0 && this.#forgetHints === void 0) return this.close();
    await this.#urlIsKnown;
    if (this.#url !== void 0) await askData(this.#net, this.#sibling("cancel"), { method: "POST" });
  }
  // Its life
  #begin() {
    this.#signal?.throwIfAborted();
    if (this.#forgetHints !== void 0 || this.#done) return;
    this.#signal?.addEventListener("abort", this.#aborted);
    this.#forgetHints = onHint((online) => this.#connection?.hint(online, this.#net));
  }
  #aborted = () => this.#end(this.#signal?.reason);
  #end(reason) {
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
  async #advance() {
    this.#queue = [];
    this.#queueAt = 0;
    if (this.#failure !== void 0) return this.#recover(this.#failure);
    try {
      await (this.#polling ? this.#poll() : this.#read());
    } catch (error) {
      this.#failure = error;
    }
  }
  async #recover(error) {
    this.#failure = void 0;
    const connection = this.#disconnect();
    try {
      this.#life.signal.throwIfAborted();
      if (error instanceof Gap) return this.#checkGap(error);
      if (connection?.barren && ++this.#barren >= this.#net.streamsBeforePolling) this.#polling = true;
      this.#patience.retryMs = connection?.parser.retryMs ?? this.#patience.retryMs;
      if (!connection && error instanceof Lost) this.#pollWaitMs = Math.max(this.#pollWaitMs / 2, MIN_POLL_WAIT_MS);
      await this.#patience.wait(error, this.#life.signal);
    } catch (final) {
      if (this.#life.signal.reason === CLOSED) return;
      this.#end(final);
      throw final;
    }
  }
  /** The log has no holes, but what lies in between may make one: it is read again from there. Twice is no accident. */
  #checkGap(gap) {
    if (this.#gapAfter === this.#lastCursor) throw gap;
    this.#gapAfter = this.#lastCursor;
  }
  #disconnect() {
    const connection = this.#connection;
    this.#connection = void 0;
    connection?.abort(CLOSED);
    return connection;
  }
  // By a stream
  async #read() {
    if (this.#connection === void 0) {
      this.#connection = new Connection();
      if (!await this.#open(this.#connection)) return this.#finish();
    }
    const frames = await this.#connection.read(this.#net);
    this.#patience.answered();
    for (const frame of frames) this.#take(frame.id, frame.data);
    this.#connection.fruitful ||= this.#queue.length > 0;
  }
  /** Returns whether there is anything to come. */
  async #open(connection) {
    const [url, request, waitMs] = this.#url ? this.#resume(this.#url) : await this.#submit(true);
    const head = () => send(this.#net, url, request, connection.signal);
    const response = await connection.within(waitMs, head);
    if (response.status === 204) return false;
    if (!response.headers.get("content-type")?.startsWith("text/event-stream") || !response.body) {
      throw new Lost(`${url.origin} answers with something that is not a stream`);
    }
    const id = response.headers.get("x-prediction-id");
    if (this.#url === void 0 && id) this.#setUrl(this.#streamOf(id));
    connection.reader = response.body.getReader();
    return true;
  }
  #resume(url) {
    return [this.#after(url), { headers: SSE }, this.#net.firstEventTimeoutMs];
  }
  async #submit(stream) {
    const { url, body, idempotencyKey } = this.#submission;
    const text = JSON.stringify({ ...await body(), stream });
    const request = post(text, { "Idempotency-Key": idempotencyKey, ...stream ? SSE : {} });
    return [url, request, this.#net.firstEventTimeoutMs + text.length / MIN_BYTES_PER_MS];
  }
  // By the long poll, for networks that hold streams back or cut them
  async #poll() {
    const signal = this.#life.signal;
    if (this.#url === void 0) {
      const [url2, request, waitMs] = await this.#submit(false);
      const { id } = await askData(this.#net, url2, request, signal, waitMs + this.#net.timeoutMs);
      this.#setUrl(this.#streamOf(id));
    }
    const url = this.#after(this.#sibling("events", true));
    url.searchParams.set("wait", String(this.#pollWaitMs / 1e3));
    const page = await limited(this.#pollWaitMs + this.#net.timeoutMs, signal, async (inner) => {
      const response = await send(this.#net, url, {}, inner);
      return parsed(await lostUnless(inner, response.text()));
    });
    if (!page?.events) throw new Lost(`${url.origin} answers with something that is not a log`);
    this.#patience.answered();
    for (const { cursor, event } of page.events) this.#take(cursor, event);
    if (this.#queue.length > 0) this.#net.pollUntil = Date.now() + POLL_FOR_MS;
    if (page.done) this.#finish();
  }
  // Both
  #take(cursor, data) {
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
    const event = eventAt(fields, at, cursor);
    this.#queue.push(event);
    if (this.#url === void 0 && event.type === "progress" && event.id) this.#setUrl(this.#streamOf(event.id));
    if (isTerminal(event)) this.#finish();
  }
  #finish() {
    this.#done = true;
    this.#disconnect();
  }
  #setUrl(url) {
    this.#url = url;
    this.#knownUrl();
  }
  #after(url) {
    const next = new URL(url);
    if (this.#lastCursor) next.searchParams.set("after", this.#lastCursor);
    return next;
  }
  #streamOf(id) {
    const { url } = this.#submission;
    return new URL(url.href.replace(/\/api\/v3\/.*/, `/api/v3/predictions/${encodePath(id)}/stream`));
  }
  /** Of the same prediction; a token is good for its log and for nothing else. */
  #sibling(name, withToken = false) {
    const url = new URL(this.#url);
    url.pathname = url.pathname.replace(/\/stream$/, `/${name}`);
    if (!withToken) url.search = "";
    return url;
  }
};
function parsed(text) {
  try {
    const value = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : void 0;
  } catch {
    return void 0;
  }
}
var Connection = class {
  parser = new SseParser();
  /** It has brought an event that was new. */
  fruitful = false;
  reader;
  #controller = new AbortController();
  #silent = true;
  #late = false;
  #heardAt = Date.now();
  get signal() {
    return this.#controller.signal;
  }
  /** It came to be, as far as can be told, and brought nothing: something in between may hold streams back. */
  get barren() {
    return !this.fruitful && (this.#late || this.reader !== void 0);
  }
  abort(reason) {
    this.#controller.abort(reason);
    this.reader?.cancel().catch(() => {
    });
  }
  /** The network was away, or the page was: a silence that is longer than a keep-alive is enough to doubt it. */
  hint(online, { stallTimeoutMs }) {
    if (online || Date.now() - this.#heardAt > stallTimeoutMs / 2) this.abort(new Lost("the network was away"));
  }
  async within(ms, work) {
    const late = () => {
      this.#late = true;
      this.abort(new Lost(`silence for ${ms / 1e3} s`));
    };
    const timer = setTimeout(late, ms);
    try {
      return await work();
    } finally {
      clearTimeout(timer);
    }
  }
  /** What the next chunk completes. */
  async read({ firstEventTimeoutMs, stallTimeoutMs }) {
    const limitMs = this.#silent ? Math.min(firstEventTimeoutMs, stallTimeoutMs) : stallTimeoutMs;
    const reader = this.reader;
    const { done, value } = await this.within(limitMs, () => lostUnless(this.signal, reader.read()));
    if (done) throw new Lost("the stream ended before the prediction did");
    this.#silent = false;
    this.#heardAt = Date.now();
    return this.parser.push(value);
  }
};

// src/client.ts
var Client = class {
  #net;
  constructor(options = {}) {
    this.#net = makeNet(options);
  }
  /** Of the server. */
  get url() {
    return this.#net.url;
  }
  /** Runs a model and follows it: `for await (const event of client.stream(model, input))`. */
  stream(model, input = {}, options = {}) {
    let made;
    const body = () => {
      made ??= this.#body(input, options);
      return made;
    };
    const url = this.#submitUrl(model, options);
    const idempotencyKey = options.idempotencyKey ?? newKey();
    return new Stream(this.#net, { url, body, idempotencyKey }, null, options.signal);
  }
  /**
   * Runs a model to its end, and returns the prediction when it has completed.
   *
   * @throws PredictionFailed, PredictionCancelled, PredictionTimedOut: with the `prediction`.
   */
  async run(model, input = {}, options = {}) {
    let stream;
    const work = async (signal) => {
      const again = { ...options, idempotencyKey: options.idempotencyKey ?? newKey(), signal };
      try {
        stream = this.stream(model, input, again);
        return await this.#finish(stream, options, signal);
      } catch (error) {
        if (!(error instanceof StreamingNotSupported)) throw error;
        stream = this.follow((await this.submit(model, input, again)).id, { signal });
        return this.#finish(stream, options, signal);
      }
    };
    return withTimeout(options, () => stream?.id, work);
  }
  async #finish(stream, options, signal) {
    for await (const event of stream) {
      options.onEvent?.(event);
      if (event.type === "progress") options.onProgress?.(event);
    }
    const prediction = await this.get(stream.id, { signal });
    if (prediction.status !== "completed") throw failure(prediction);
    return prediction;
  }
  /** Runs a model and returns at once. */
  async submit(model, input = {}, options = {}) {
    const body = await this.#body(input, options);
    const key = { "Idempotency-Key": options.idempotencyKey ?? newKey() };
    return askData(this.#net, this.#submitUrl(model, options), post(body, key), options.signal);
  }
  /** A prediction as it stands. */
  async get(id, options = {}) {
    return askData(this.#net, this.#predictionUrl(id, "", { logs: options.logs }), {}, options.signal);
  }
  /** The prediction when it has ended, however it did. */
  async wait(id, options = {}) {
    const work = async (signal) => {
      for await (const _ of this.follow(id, { signal })) ;
      return this.get(id, { signal });
    };
    return withTimeout(options, () => id, work);
  }
  /**
   * Follows a prediction, from its start or from a cursor.
   *
   * @param prediction Its id, or the URL of its stream; one with a token needs no key.
   */
  follow(prediction, options = {}) {
    return followWith(this.#net, prediction, options);
  }
  /** Asks for a prediction to be cancelled; returns it as it stands. Its status changes when the work has stopped. */
  async cancel(id, options = {}) {
    return askData(this.#net, this.#predictionUrl(id, "/cancel"), { method: "POST" }, options.signal);
  }
  /** Deletes a prediction with all that belongs to it; a running one is cancelled first. */
  async delete(id, options = {}) {
    await ask(this.#net, this.#predictionUrl(id, ""), { method: "DELETE" }, options.signal);
  }
  /** Predictions, the newest first: `for await` gives all of them, `await` one page. */
  list(options = {}) {
    const { signal, ...query } = options;
    const page = (number = options.page) => askData(this.#net, apiUrl(this.#net, "predictions", { ...query, page: number }), {}, signal);
    return {
      // biome-ignore lint/suspicious/noThenProperty: a list can be awaited
      then: (resolve, reject) => page().then(resolve, reject),
      [Symbol.asyncIterator]: () => everyItem(page, options.page ?? 1)
    };
  }
  /** Uploads a file; returns its URL, which inputs take. */
  async upload(file, options = {}) {
    const { filename, contentType, signal } = options;
    const blob = file instanceof Blob && !contentType ? file : new Blob([file], { type: contentType ?? "" });
    const form = new FormData();
    form.append("file", blob, filename ?? ("name" in file ? String(file.name) : "file"));
    const url = apiUrl(this.#net, "media/upload/binary");
    const timeoutMs = this.#net.timeoutMs + blob.size / 10;
    return (await askData(this.#net, url, { method: "POST", body: form }, signal, timeoutMs)).download_url;
  }
  /** The models that the server runs. */
  async models(options = {}) {
    return askData(this.#net, apiUrl(this.#net, "models"), {}, options.signal);
  }
  /** One of them. */
  async model(id, options = {}) {
    const found = (await this.models(options)).find((model) => model.model_id === id);
    if (found === void 0)
      throw new UnknownModel(404, { message: `There is no model ${id}.`, error_code: "unknown_model" });
    return found;
  }
  /** The page of a model, as markdown. */
  async readme(model, options = {}) {
    return ask(this.#net, apiUrl(this.#net, `models/${encodePath(model)}/readme`), {}, options.signal);
  }
  /** The secret that signs this key's webhooks, for `verifyWebhook`. */
  async webhookSecret(options = {}) {
    return (await askData(this.#net, apiUrl(this.#net, "webhook/secret"), {}, options.signal)).secret;
  }
  #predictionUrl(id, rest, query) {
    return apiUrl(this.#net, `predictions/${encodeURIComponent(id)}${rest}`, query);
  }
  #submitUrl(model, { on_disconnect, start_timeout, run_timeout }) {
    return apiUrl(this.#net, encodePath(model), { on_disconnect, start_timeout, run_timeout });
  }
  async #body(input, options) {
    const { webhook_url, enable_base64_output, signal } = options;
    const inputs = await this.#uploaded(input, signal);
    return { ...inputs, webhook_url, enable_base64_output };
  }
  /** The same value with the URL of an upload for each file in it. */
  async #uploaded(value, signal) {
    if (typeof value !== "object" || value === null) return value;
    if (value instanceof Blob) return this.upload(value, { signal });
    if (Array.isArray(value)) return Promise.all(value.map((item) => this.#uploaded(item, signal)));
    const names = Object.entries(value).map(
      async ([name, item]) => [name, await this.#uploaded(item, signal)]
    );
    return Object.fromEntries(await Promise.all(names));
  }
};
function follow(url, options = {}) {
  return followWith(makeNet({ url: new URL(url).origin, ...options }), url, options);
}
function followWith(net, prediction, { after, signal }) {
  const isUrl = /^(https?:\/)?\//.test(prediction);
  const url = isUrl ? new URL(prediction, net.url) : apiUrl(net, `predictions/${encodeURIComponent(prediction)}/stream`);
  return new Stream(net, url, after, signal);
}
async function* everyItem(page, first) {
  const given = /* @__PURE__ */ new Set();
  for (let number = first; ; number++) {
    const { items, has_more } = await page(number);
    for (const item of items) {
      if (!given.has(item.id)) yield item;
      given.add(item.id);
    }
    if (!has_more) return;
  }
}
var failure = (prediction) => predictionError(prediction);
function newKey() {
  const bytes = globalThis.crypto?.getRandomValues(new Uint8Array(16)) ?? Array.from({ length: 16 }, () => Math.random() * 256);
  return Array.from(bytes, (byte) => Math.trunc(byte).toString(16).padStart(2, "0")).join("");
}
async function withTimeout({ signal, timeoutMs }, id, work) {
  if (timeoutMs === void 0) return work(signal);
  const both = new AbortController();
  const abort = () => both.abort(signal?.reason);
  const late = () => both.abort(new StillRunning(timeoutMs, id()));
  const timer = setTimeout(late, timeoutMs);
  signal?.addEventListener("abort", abort);
  if (signal?.aborted) abort();
  try {
    return await work(both.signal);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
}

// src/webhook.ts
async function verifyWebhook(body, headers, secret, toleranceS = 300) {
  const bytes = bytesOf(body);
  const timestamp = header(headers, "webhook-timestamp");
  const [version, signature = ""] = header(headers, "webhook-signature").split(",");
  const ageS = Math.abs(Date.now() / 1e3 - Number(timestamp));
  if (!/^\d+$/.test(timestamp) || ageS > toleranceS)
    throw new InvalidSignature("The webhook's time is missing, or too far away.");
  const signed = concatenated(bytesOf(`${header(headers, "webhook-id")}.${timestamp}.`), bytes);
  const subtle = await webCrypto();
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const key = await subtle.importKey("raw", bytesOf(secret.replace(/^whsec_/, "")), algorithm, false, ["verify"]);
  const given = fromHex(signature);
  if (version !== "v3" || !given || !await subtle.verify("HMAC", key, given, signed)) {
    throw new InvalidSignature("The webhook's signature is wrong.");
  }
  return JSON.parse(new TextDecoder().decode(bytes));
}
function header(headers, name) {
  if (typeof headers.get === "function") return headers.get(name) ?? "";
  const found = Object.entries(headers).find(([key]) => key.toLowerCase() === name);
  return found === void 0 ? "" : String(found[1]);
}
function bytesOf(value) {
  if (typeof value === "string") return new TextEncoder().encode(value);
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
}
function concatenated(a, b) {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}
function fromHex(text) {
  if (!/^([0-9a-f]{2})+$/.test(text)) return void 0;
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}
async function webCrypto() {
  if (globalThis.crypto?.subtle) return globalThis.crypto.subtle;
  const name = "node:crypto";
  return (await import(
    /* webpackIgnore: true */
    /* @vite-ignore */
    name
  )).webcrypto.subtle;
}
export {
  AlreadyUploaded,
  ApiError,
  BadAnswer,
  BadCursor,
  BadJson,
  BadQuery,
  BadUpload,
  Base64WithWebhook,
  Client,
  Conflict,
  ConnectionFailed,
  Forbidden,
  Gap,
  IdempotencyMismatch,
  Internal,
  InvalidInput,
  InvalidSignature,
  MethodNotAllowed,
  NotFound,
  PredictionCancelled,
  PredictionError,
  PredictionFailed,
  PredictionTimedOut,
  QueueFull,
  RangeNotSatisfiable,
  RateLimited,
  RequestTimeout,
  SseParser,
  StillRunning,
  Stream,
  StreamingNotSupported,
  TooLarge,
  Unauthenticated,
  Unavailable,
  UnknownModel,
  UnspoolError,
  UnsupportedMediaType,
  WebhookRefused,
  follow,
  verifyWebhook
};
