/** The client: every verb of the API. */

import { type PredictionError, predictionError, StillRunning, StreamingNotSupported, UnknownModel } from "./errors.js";
import { apiUrl, ask, askData, type ClientOptions, encodePath, makeNet, type Net, post } from "./net.js";
import { Stream } from "./stream.js";
import type { Input, Json, Model, Outcome, Page, Prediction, PredictionEvent, ProgressEvent, Status } from "./types.js";

/** What any call may be given. */
export interface CallOptions {
  /** Ends the call; what was submitted goes on. The call throws the signal's reason. */
  signal?: AbortSignal | undefined;
}

export interface SubmitOptions extends CallOptions {
  /** Where the server sends the prediction when it has ended. */
  webhook_url?: string | undefined;
  /** "cancel": the server cancels it when nobody has followed it for some seconds. */
  on_disconnect?: "continue" | "cancel" | undefined;
  /** Seconds that it may wait for its start. */
  start_timeout?: number | undefined;
  /** Seconds that one attempt may take. */
  run_timeout?: number | undefined;
  /** Output files as base64 in place of URLs. */
  enable_base64_output?: boolean | undefined;
  /** The same key with the same inputs is the same prediction, for 24 hours. Default is a new one for each call. */
  idempotencyKey?: string | undefined;
}

export interface RunOptions<T = Json> extends SubmitOptions {
  onEvent?: ((event: PredictionEvent<T>) => void) | undefined;
  onProgress?: ((event: ProgressEvent) => void) | undefined;
  /** The prediction goes on when the time is over; the call throws `StillRunning`. */
  timeoutMs?: number | undefined;
}

export interface FollowOptions extends CallOptions {
  /** Cursor of the last event that you have; without it, the stream is whole. */
  after?: string | null | undefined;
}

export interface ListOptions extends CallOptions {
  model?: string | undefined;
  status?: Status | undefined;
  /** RFC 3339, a date, or milliseconds since 1970. */
  created_after?: string | number | undefined;
  created_before?: string | number | undefined;
  include_inputs?: boolean | undefined;
  /** From 1. */
  page?: number | undefined;
  /** 1 to 100. */
  page_size?: number | undefined;
}

export interface UploadOptions extends CallOptions {
  filename?: string | undefined;
  /** As in "image/png". */
  contentType?: string | undefined;
}

type Inputs = { [name: string]: Input };

/** A client of one server. It holds no connection: there is nothing to close. */
export class Client {
  readonly #net: Net;

  constructor(options: ClientOptions = {}) {
    this.#net = makeNet(options);
  }

  /** Of the server. */
  get url(): string {
    return this.#net.url;
  }

  /** Runs a model and follows it: `for await (const event of client.stream(model, input))`. */
  stream<T = Json>(model: string, input: Inputs = {}, options: SubmitOptions = {}): Stream<T> {
    let made: Promise<Record<string, unknown>> | undefined;
    const body = (): Promise<Record<string, unknown>> => {
      made ??= this.#body(input, options);
      return made;
    };
    const url = this.#submitUrl(model, options);
    const idempotencyKey = options.idempotencyKey ?? newKey();
    return new Stream<T>(this.#net, { url, body, idempotencyKey }, null, options.signal);
  }

  /**
   * Runs a model to its end, and returns the prediction when it has completed.
   *
   * @throws PredictionFailed, PredictionCancelled, PredictionTimedOut: with the `prediction`.
   */
  async run<T = Json>(model: string, input: Inputs = {}, options: RunOptions<T> = {}): Promise<Prediction<T>> {
    let stream: Stream<T> | undefined;
    const work = async (signal: AbortSignal | undefined): Promise<Prediction<T>> => {
      const again = { ...options, idempotencyKey: options.idempotencyKey ?? newKey(), signal };
      try {
        stream = this.stream<T>(model, input, again);
        return await this.#finish(stream, options, signal);
      } catch (error) {
        if (!(error instanceof StreamingNotSupported)) throw error;
        stream = this.follow<T>((await this.submit(model, input, again)).id, { signal });
        return this.#finish(stream, options, signal);
      }
    };
    return withTimeout(options, () => stream?.id, work);
  }

  async #finish<T>(stream: Stream<T>, options: RunOptions<T>, signal: AbortSignal | undefined): Promise<Prediction<T>> {
    for await (const event of stream) {
      options.onEvent?.(event);
      if (event.type === "progress") options.onProgress?.(event);
    }
    const prediction = await this.get<T>(stream.id as string, { signal });
    if (prediction.status !== "completed") throw failure(prediction as Prediction);
    return prediction;
  }

  /** Runs a model and returns at once. */
  async submit<T = Json>(model: string, input: Inputs = {}, options: SubmitOptions = {}): Promise<Prediction<T>> {
    const body = await this.#body(input, options);
    const key = { "Idempotency-Key": options.idempotencyKey ?? newKey() };
    return askData(this.#net, this.#submitUrl(model, options), post(body, key), options.signal);
  }

  /** A prediction as it stands. */
  async get<T = Json>(id: string, options: CallOptions & { logs?: boolean | undefined } = {}): Promise<Prediction<T>> {
    return askData(this.#net, this.#predictionUrl(id, "", { logs: options.logs }), {}, options.signal);
  }

  /** The prediction when it has ended, however it did. */
  async wait<T = Json>(
    id: string,
    options: CallOptions & { timeoutMs?: number | undefined } = {},
  ): Promise<Prediction<T>> {
    const work = async (signal: AbortSignal | undefined): Promise<Prediction<T>> => {
      for await (const _ of this.follow(id, { signal }));
      return this.get<T>(id, { signal });
    };
    return withTimeout(options, () => id, work);
  }

  /**
   * Follows a prediction, from its start or from a cursor.
   *
   * @param prediction Its id, or the URL of its stream; one with a token needs no key.
   */
  follow<T = Json>(prediction: string, options: FollowOptions = {}): Stream<T> {
    return followWith(this.#net, prediction, options);
  }

  /** Asks for a prediction to be cancelled; returns it as it stands. Its status changes when the work has stopped. */
  async cancel(id: string, options: CallOptions = {}): Promise<Prediction> {
    return askData(this.#net, this.#predictionUrl(id, "/cancel"), { method: "POST" }, options.signal);
  }

  /** Deletes a prediction with all that belongs to it; a running one is cancelled first. */
  async delete(id: string, options: CallOptions = {}): Promise<void> {
    await ask(this.#net, this.#predictionUrl(id, ""), { method: "DELETE" }, options.signal);
  }

  /** Predictions, the newest first: `for await` gives all of them, `await` one page. */
  list<T = Json>(options: ListOptions = {}): AsyncIterable<Prediction<T>> & PromiseLike<Page<T>> {
    const { signal, ...query } = options;
    const page = (number = options.page): Promise<Page<T>> =>
      askData(this.#net, apiUrl(this.#net, "predictions", { ...query, page: number }), {}, signal);
    return {
      // biome-ignore lint/suspicious/noThenProperty: a list can be awaited
      then: (resolve, reject) => page().then(resolve, reject),
      [Symbol.asyncIterator]: () => everyItem(page, options.page ?? 1),
    };
  }

  /** Uploads a file; returns its URL, which inputs take. */
  async upload(file: Blob | BufferSource, options: UploadOptions = {}): Promise<string> {
    const { filename, contentType, signal } = options;
    const blob = file instanceof Blob && !contentType ? file : new Blob([file], { type: contentType ?? "" });
    const form = new FormData();
    form.append("file", blob, filename ?? ("name" in file ? String(file.name) : "file"));
    const url = apiUrl(this.#net, "media/upload/binary");
    const timeoutMs = this.#net.timeoutMs + blob.size / 10;
    return (await askData<{ download_url: string }>(this.#net, url, { method: "POST", body: form }, signal, timeoutMs))
      .download_url;
  }

  /** The models that the server runs. */
  async models(options: CallOptions = {}): Promise<Model[]> {
    return askData(this.#net, apiUrl(this.#net, "models"), {}, options.signal);
  }

  /** One of them. */
  async model(id: string, options: CallOptions = {}): Promise<Model> {
    const found = (await this.models(options)).find((model) => model.model_id === id);
    if (found === undefined)
      throw new UnknownModel(404, { message: `There is no model ${id}.`, error_code: "unknown_model" });
    return found;
  }

  /** The page of a model, as markdown. */
  async readme(model: string, options: CallOptions = {}): Promise<string> {
    return ask(this.#net, apiUrl(this.#net, `models/${encodePath(model)}/readme`), {}, options.signal);
  }

  /** The secret that signs this key's webhooks, for `verifyWebhook`. */
  async webhookSecret(options: CallOptions = {}): Promise<string> {
    return (await askData<{ secret: string }>(this.#net, apiUrl(this.#net, "webhook/secret"), {}, options.signal))
      .secret;
  }

  #predictionUrl(id: string, rest: string, query?: Record<string, boolean | undefined>): URL {
    return apiUrl(this.#net, `predictions/${encodeURIComponent(id)}${rest}`, query);
  }

  #submitUrl(model: string, { on_disconnect, start_timeout, run_timeout }: SubmitOptions): URL {
    return apiUrl(this.#net, encodePath(model), { on_disconnect, start_timeout, run_timeout });
  }

  async #body(input: Inputs, options: SubmitOptions): Promise<Record<string, unknown>> {
    const { webhook_url, enable_base64_output, signal } = options;
    const inputs = (await this.#uploaded(input, signal)) as Record<string, unknown>;
    return { ...inputs, webhook_url, enable_base64_output };
  }

  /** The same value with the URL of an upload for each file in it. */
  async #uploaded(value: Input, signal: AbortSignal | undefined): Promise<unknown> {
    if (typeof value !== "object" || value === null) return value;
    if (value instanceof Blob) return this.upload(value, { signal });
    if (Array.isArray(value)) return Promise.all(value.map((item) => this.#uploaded(item, signal)));
    const names = Object.entries(value).map(
      async ([name, item]) => [name, await this.#uploaded(item, signal)] as const,
    );
    return Object.fromEntries(await Promise.all(names));
  }
}

/**
 * Follows a prediction without a client: by the URL of its stream, which has a token for that.
 *
 * @param url As in `urls.stream` of a prediction.
 */
export function follow<T = Json>(url: string, options: FollowOptions & ClientOptions = {}): Stream<T> {
  return followWith(makeNet({ url: new URL(url).origin, ...options }), url, options);
}

function followWith<T>(net: Net, prediction: string, { after, signal }: FollowOptions): Stream<T> {
  const isUrl = /^(https?:\/)?\//.test(prediction);
  const url = isUrl
    ? new URL(prediction, net.url)
    : apiUrl(net, `predictions/${encodeURIComponent(prediction)}/stream`);
  return new Stream<T>(net, url, after, signal);
}

/** Predictions that are made meanwhile push others to the next page: no one is given twice. */
async function* everyItem<T>(page: (number: number) => Promise<Page<T>>, first: number): AsyncGenerator<Prediction<T>> {
  const given = new Set<string>();
  for (let number = first; ; number++) {
    const { items, has_more } = await page(number);
    for (const item of items) {
      if (!given.has(item.id)) yield item;
      given.add(item.id);
    }
    if (!has_more) return;
  }
}

const failure = (prediction: Prediction): PredictionError => predictionError(prediction as Prediction & Outcome);

/** Where there is no strong randomness, an idempotency key does with less: it only has to differ from others of this API key. */
function newKey(): string {
  const bytes =
    globalThis.crypto?.getRandomValues(new Uint8Array(16)) ?? Array.from({ length: 16 }, () => Math.random() * 256);
  return Array.from(bytes, (byte) => Math.trunc(byte).toString(16).padStart(2, "0")).join("");
}

async function withTimeout<T>(
  { signal, timeoutMs }: CallOptions & { timeoutMs?: number | undefined },
  id: () => string | undefined,
  work: (signal: AbortSignal | undefined) => Promise<T>,
): Promise<T> {
  if (timeoutMs === undefined) return work(signal);
  const both = new AbortController();
  const abort = (): void => both.abort(signal?.reason);
  const late = (): void => both.abort(new StillRunning(timeoutMs, id()));
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
