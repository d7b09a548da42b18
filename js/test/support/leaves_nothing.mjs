// A program that uses streams in every way, and must then end by itself: no timer and no socket of theirs holds it.
import { once } from "node:events";
import { createServer } from "node:net";
import { Client, StillRunning } from "unspool";
import { all, apiKey, client } from "./server.mjs";

const input = { gate: process.argv[2] };
const ended = [];
const ids = [];

const controller = new AbortController();
const aborted = client.stream("js/count", input, { signal: controller.signal });
try {
  for await (const event of aborted) if (event.attempt === 1) controller.abort();
} catch {
  ended.push("aborted");
}

const closed = client.stream("js/count", input);
for await (const event of closed) if (event.attempt === 1) closed.close();
ended.push("closed");

const left = client.stream("js/count", input);
for await (const event of left) if (event.attempt === 1) break;
ended.push("left");

await all(client.stream("js/count"));
ended.push("over");

const listener = createServer().listen(0, "127.0.0.1");
await once(listener, "listening");
const { port } = listener.address();
listener.close();
await once(listener, "close");
const nobody = new Client({ url: `http://127.0.0.1:${port}`, apiKey, backoffMs: 1, giveUpMs: 5 });
await nobody.models().catch(() => ended.push("refused"));

await client.run("js/count", input, { timeoutMs: 200 }).catch((error) => {
  if (error instanceof StillRunning) ended.push("late");
  ids.push(error.id);
});

for (const id of [aborted.id, closed.id, left.id, ...ids]) await client.cancel(id);
const timers = process.getActiveResourcesInfo().filter((resource) => resource === "Timeout").length;
process.stdout.write(JSON.stringify({ timers, ended }));
