/**
 * HTTP with the patience that clients need: limits of time, tries again, errors as classes. Knows nothing of streams.
 */

import { ApiError, apiError, BadAnswer, ConnectionFailed, type ErrorAnswer, Internal } from "./errors.js";

/** How a client behaves. Everything has a default that works. */
export interface ClientOptions {
  /** Of the server; in a page, "/" is the one that it came from. Default is `UNSPOOL_URL` of the environment, or http://127.0.0.1:8080. */
  url?: string | undefined;
  /** Default is `UNSPOOL_API_KEY` of the environment. */
  apiKey?: string | undefined;
  /** Sent with every request to the server. */
  headers?: Record<string, string> | undefined;
  /** In place of the global `fetch`. */
  fetch?: typeof fetch | undefined;
  /** How long an answer that is not a stream may take; default 60,000. */
  timeoutMs?: number | undefined;
  /** Silence after which a stream counts as dead and is opened anew; default 40,000. The server is never silent for 15,000. */
  stallTimeoutMs?: number | undefined;
  /** How long a fresh stream may deliver not one byte before something in between counts as holding it back; default 8,000. */
  firstEventTimeoutMs?: number | undefined;
  /** After so many streams in a row that delivered nothing, the log is polled; default 2. */
  streamsBeforePolling?: number | undefined;
  /** How long one such poll waits for news; default 20,000. */
  pollWaitMs?: number | undefined;
  /** First pause between two tries; it doubles each time. Default is what the server says (`retry:`), or 1,000. */
  backoffMs?: number | undefined;
  /** Longest pause between two tries; default 15,000. */
  maxBackoffMs?: number | undefined;
  /** How long to go on trying without any answer; default 120,000, or 5,000 with a server that has never answered. */
  giveUpMs?: number | undefined;
}

type Unset = "apiKey" | "backoffMs" | "giveUpMs";

/** The options with their defaults, and what was learned about the network meanwhile. */
export type Net = Pick<ClientOptions, Unset> & {
  [K in Exclude<keyof ClientOptions, Unset>]-?: NonNullable<ClientOptions[K]>;
} & {
  /** The server has answered at least once: its URL is right. */
  answered: boolean;
  /** Streams were held back here a short time ago: until then (as of `Date.now`), poll at once. */
  pollUntil: number;
};

export function makeNet(options: ClientOptions): Net {
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  const net = {
    url: environment("UNSPOOL_URL") ?? "http://127.0.0.1:8080",
    apiKey: environment("UNSPOOL_API_KEY"),
    headers: {},
    fetch: (input, init) => fetch(input, init),
    timeoutMs: 60_000,
    stallTimeoutMs: 40_000,
    firstEventTimeoutMs: 8_000,
    streamsBeforePolling: 2,
    pollWaitMs: 20_000,
    backoffMs: undefined,
    maxBackoffMs: 15_000,
    giveUpMs: undefined,
    answered: false,
    pollUntil: 0,
    ...given,
  } as Net;
  net.url = absolute(net.url);
  if (/[^!-~]/.test(net.apiKey ?? "")) throw new TypeError("apiKey must be visible ASCII characters without spaces.");
  return net;
}

/** A page may name its own server as "/". */
function absolute(url: string): string {
  try {
    const { href, protocol } = new URL(url, (globalThis.location as Location | undefined)?.href);
    if (/^https?:$/.test(protocol)) return href.replace(/\/+$/, "");
  } catch {
    // It is told below.
  }
  throw new TypeError(`url must be like "http://127.0.0.1:8080", not "${url}".`);
}

function environment(name: string): string | undefined {
  try {
    const { process } = globalThis as { process?: { env?: Record<string, string | undefined> } };
    return process?.env?.[name] || undefined;
  } catch {
    return undefined; // Deno without --allow-env
  }
}

/** The URL of a path below `/api/v3`; parameters without a value are left out. */
export function apiUrl(net: Net, path: string, query: Record<string, string | number | boolean | undefined> = {}): URL {
  const url = new URL(`${net.url}/api/v3/${path}`);
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined) url.searchParams.set(name, String(value));
  }
  return url;
}

/** A path with everything in it encoded but the slashes, which ids of models have. */
export const encodePath = (id: string): string => id.split("/").map(encodeURIComponent).join("/");

/** The other side did not answer, or not to the end. It is worth another try. */
export class Lost extends Error {}

/** What one request needs. */
export interface Request {
  method?: string;
  headers?: Record<string, string>;
  body?: BodyInit;
}

/**
 * One request, tried once. The key goes to the server itself and to nobody else; a URL with a token needs none.
 *
 * @throws Lost where there was no answer.
 * @throws ApiError where the answer is an error.
 */
export async function send(net: Net, url: URL, request: Request, signal: AbortSignal): Promise<Response> {
  const own = url.origin === new URL(net.url).origin;
  const headers = { ...(own ? net.headers : {}), ...request.headers };
  if (own && net.apiKey && !url.searchParams.has("token")) headers.Authorization = `Bearer ${net.apiKey}`;
  const response = await lostUnless(signal, net.fetch(url.href, { ...request, headers, signal, cache: "no-store" }));
  net.answered = true;
  if (response.ok) return response;
  throw apiError(response.status, await errorAnswer(response, await lostUnless(signal, response.text())));
}

/** What a promise of `fetch` gives. It rejects with a reason that was given for aborting, or else with `Lost`. */
export async function lostUnless<T>(signal: AbortSignal, promise: Promise<T>): Promise<T> {
  let aborted = (): void => {};
  const abortion = new Promise<never>((_, reject) => {
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

const said = (error: unknown): string => {
  const { message, cause } = error as { message?: string; cause?: { message?: string } };
  return cause?.message || message || String(error);
};

function errorAnswer(response: Response, text: string): ErrorAnswer {
  let body: Partial<ErrorAnswer> = {};
  try {
    body = JSON.parse(text);
  } catch {
    // Not of the server: a page of some proxy.
  }
  return {
    message: body?.message ?? `${response.url} answers with status ${response.status} ${response.statusText}`.trim(),
    error_code: body?.error_code ?? "",
    errors: body?.errors,
    retry_after_s: seconds(response.headers.get("retry-after")),
    request_id: response.headers.get("x-request-id") ?? undefined,
  };
}

function seconds(retryAfter: string | null): number | undefined {
  if (retryAfter === null) return undefined;
  const value = Number(retryAfter);
  const left = Number.isNaN(value) ? (Date.parse(retryAfter) - Date.now()) / 1000 : value;
  return Number.isNaN(left) ? undefined : Math.max(0, left);
}

/** Whether the same request may go well later. */
export function isPassing(error: unknown): error is Lost | ApiError {
  if (!(error instanceof ApiError)) return error instanceof Lost;
  return (
    [408, 425, 429, 500, 502, 503, 504].includes(error.status) ||
    (error.status === 409 && error.retry_after_s !== undefined)
  );
}

/** A server that fails at a request fails at it again, as a rule. */
const MAX_TRIES_OF_INTERNAL = 2;

/** Decides, failure after failure, how long to wait before the next try, and when to give up. */
export class Patience {
  /** Tries in a row that brought nothing new. */
  #tries = 0;

  #failingSince: number | undefined;
  /** What the server says to wait. */
  retryMs: number | undefined;

  readonly #net: Net;

  constructor(net: Net) {
    this.#net = net;
  }

  /** There was an answer, but nothing new in it. */
  answered(): void {
    this.#failingSince = undefined;
  }

  /** There was something new. */
  news(): void {
    this.#tries = 0;
    this.answered();
  }

  /**
   * Waits as is fit after this failure. A hint that the network is back ends the wait.
   *
   * @throws the error itself, or `ConnectionFailed`, where it is no use to go on.
   */
  async wait(error: unknown, signal: AbortSignal): Promise<void> {
    if (!isPassing(error) || (error instanceof Internal && this.#tries >= MAX_TRIES_OF_INTERNAL)) throw error;
    const now = Date.now();
    this.#failingSince ??= now;
    const pauseMs = this.#pauseMs(error);
    const { giveUpMs, answered, url } = this.#net;
    const limitMs = giveUpMs ?? (answered ? 120_000 : 5_000);
    // Of the time that has passed, a machine may have slept the most: it counts only when there were tries in it.
    const tired = this.#tries > 3 && now + pauseMs - this.#failingSince > limitMs;
    if (tired || pauseMs > limitMs) {
      throw error instanceof ApiError
        ? error
        : new ConnectionFailed(`${url} cannot be reached: ${error.message}`, { cause: error });
    }
    await pause(pauseMs, signal, !(error instanceof ApiError));
  }

  #pauseMs(error: Lost | ApiError): number {
    const base = this.#net.backoffMs ?? this.retryMs ?? 1_000;
    const tries = this.#tries++;
    // After a stream that went well, as all do that a restarting server ends, only chance keeps viewers apart.
    const backoff = tries === 0 ? base * 0.3 * Math.random() : base * 2 ** (tries - 1) * (0.5 + Math.random() / 2);
    const asked = error instanceof ApiError ? (error.retry_after_s ?? 0) * 1000 : 0;
    return Math.max(asked, Math.min(backoff, this.#net.maxBackoffMs));
  }
}

/** Waits. Ends early at a hint, if it may; rejects when the signal is aborted, and leaves no timer behind. */
export function pause(ms: number, signal: AbortSignal, mayEndEarly: boolean): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = (): void => {
      clearTimeout(timer);
      forget();
      signal.removeEventListener("abort", end);
      signal.aborted ? reject(signal.reason) : resolve();
    };
    const timer = setTimeout(end, ms);
    const forget = mayEndEarly ? onHint(end) : () => {};
    signal.addEventListener("abort", end);
    if (signal.aborted) end();
  });
}

/** Calls when a browser says that the network is back, or that the page is looked at again. Returns what ends that. */
export function onHint(call: (online: boolean) => void): () => void {
  const page = globalThis.document as Document | undefined;
  const online = (): void => call(true);
  const seen = (): void => {
    if (page?.visibilityState === "visible") call(false);
  };
  globalThis.addEventListener?.("online", online);
  page?.addEventListener?.("visibilitychange", seen);
  return () => {
    globalThis.removeEventListener?.("online", online);
    page?.removeEventListener?.("visibilitychange", seen);
  };
}

/** Does something that may take so long, and ends it when the outer signal is aborted. */
export async function limited<T>(
  ms: number,
  outer: AbortSignal | undefined,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  outer?.throwIfAborted();
  const inner = new AbortController();
  const abort = (): void => inner.abort(outer?.reason);
  const timer = setTimeout(() => inner.abort(new Lost(`no answer within ${ms / 1000} s`)), ms);
  outer?.addEventListener("abort", abort);
  try {
    return await work(inner.signal);
  } finally {
    clearTimeout(timer);
    outer?.removeEventListener("abort", abort);
  }
}

/** One request and its whole answer as text, tried until there is one. Only for what may be repeated. */
export async function ask(
  net: Net,
  url: URL,
  request: Request,
  signal: AbortSignal = new AbortController().signal,
  timeoutMs = net.timeoutMs,
): Promise<string> {
  const patience = new Patience(net);
  for (;;) {
    try {
      return await limited(timeoutMs, signal, async (inner) =>
        lostUnless(inner, (await send(net, url, request, inner)).text()),
      );
    } catch (error) {
      signal.throwIfAborted();
      await patience.wait(error, signal);
    }
  }
}

/** The answer to a request as JSON. */
export async function askJson<T>(
  net: Net,
  url: URL,
  request: Request = {},
  signal?: AbortSignal,
  timeoutMs?: number,
): Promise<T> {
  const text = await ask(net, url, request, signal, timeoutMs);
  try {
    return JSON.parse(text);
  } catch {
    throw new BadAnswer(`${url.origin} answers with something that is not JSON: is it an Unspool server?`);
  }
}

/** The `data` of an answer in its envelope. */
export async function askData<T>(
  net: Net,
  url: URL,
  request: Request = {},
  signal?: AbortSignal,
  timeoutMs?: number,
): Promise<T> {
  return (await askJson<{ data: T }>(net, url, request, signal, timeoutMs)).data;
}

/** A POST of JSON. */
export const post = (body: unknown, headers: Record<string, string> = {}): Request => ({
  method: "POST",
  headers: { "Content-Type": "application/json", ...headers },
  body: typeof body === "string" ? body : JSON.stringify(body),
});
