/** The server, through the SDK, and the key of this tab. */

import { Client } from "./unspool.js";

const KEPT = "unspool.key";

/** Where the page is served from; the API is below it. Ends with a slash. */
export const base = new URL(".", location.origin + location.pathname);

/** What URLs in programs begin with. */
export const serverUrl = base.href.replace(/\/$/, "");

/** The key of this tab; `null` if there is none. */
export function keptKey() {
  return sessionStorage.getItem(KEPT);
}

export function keepKey(key) {
  if (key === null) sessionStorage.removeItem(KEPT);
  else sessionStorage.setItem(KEPT, key);
}

/** How long a stream that was lost may wait for its next try. */
const MAX_BACKOFF_MS = 5_000;

/**
 * A client of this server. Without a key it can still use servers that ask for none, and watch by token.
 *
 * @returns {{client: Client, follow: function(string, object): AsyncIterable<object>}} `follow` never gives up while
 *   the page is open: somebody who looks at it sees that it reconnects
 */
export function clientWith(key) {
  const options = { url: serverUrl, apiKey: key ?? undefined };
  const patient = new Client({ ...options, giveUpMs: Infinity, maxBackoffMs: MAX_BACKOFF_MS, fetch: watchedFetch });
  return { client: new Client(options), follow: (prediction, given) => patient.follow(prediction, given) };
}

/** Called with "live", "lost" or "ended" as the connection of a stream comes and goes. */
let onConnection = () => {};
export function watchConnection(listener) {
  onConnection = listener;
}

/** `fetch` that tells how the streams do that go through it: the SDK comes back by itself, and people want to know. */
async function watchedFetch(resource, options) {
  const path = new URL(resource.url ?? resource).pathname;
  if (!/\/predictions\/[^/]+\/(stream|events)$/.test(path)) return fetch(resource, options);
  let response;
  try {
    response = await fetch(resource, options);
  } catch (error) {
    if (!options?.signal?.aborted) onConnection("lost");
    throw error;
  }
  if (!response.ok) onConnection(response.status >= 500 || response.status === 429 ? "lost" : "ended");
  else onConnection("live");
  if (!response.ok || response.body === null || !path.endsWith("/stream")) return response;
  return new Response(told(response.body), { status: response.status, statusText: response.statusText, headers: response.headers });
}

/** The same bytes; says when they end or break off. */
function told(body) {
  const reader = body.getReader();
  return new ReadableStream({
    async pull(controller) {
      try {
        const { done, value } = await reader.read();
        if (!done) return controller.enqueue(value);
        onConnection("lost");
        return controller.close();
      } catch (error) {
        onConnection("lost");
        return controller.error(error);
      }
    },
    cancel: (reason) => reader.cancel(reason),
  });
}
