// How many events a second the reader takes from bytes to checked events: no network, one core.
import { eventAt, Fold, order, place } from "../dist/log.js";
import { SseParser } from "../dist/sse.js";

const EVENTS = 200_000;
const CHUNK_BYTES = 16_384;

const text = Array.from(
  { length: EVENTS },
  (_, i) => `id: 1-${i + 1}\ndata: {"type":"output","output":" wörld","index":0}\n\n`,
).join("");
const bytes = new TextEncoder().encode(text);

function readAll() {
  const parser = new SseParser();
  const fold = new Fold(null);
  let last = [1, 0];
  for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
    for (const { id, data } of parser.push(bytes.subarray(at, at + CHUNK_BYTES))) {
      const next = place(id);
      if (order(last, next) !== "next") throw new Error(`${id} after ${last}`);
      last = next;
      fold.add(eventAt(JSON.parse(data), next, id));
    }
  }
  if (fold.text.length !== 6 * EVENTS) throw new Error("text is missing");
}

readAll();
const times = Array.from({ length: 5 }, () => {
  const begin = performance.now();
  readAll();
  return (performance.now() - begin) / 1000;
});
console.log(`${Math.round(EVENTS / Math.min(...times)).toLocaleString("en")} events/s`);
