// Following, where the scenarios of tests/sdk do not go: what JavaScript alone has, and what must not be left behind.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { getEventListeners } from "node:events";
import { test } from "node:test";
import { promisify } from "node:util";
import { Client, ConnectionFailed, follow, Unauthenticated } from "unspool";
import { gateFor } from "./support/gate.mjs";
import { proxyTo, until } from "./support/proxy.mjs";
import { all, apiKey, client, url } from "./support/server.mjs";

const QUICK = { backoffMs: 10, maxBackoffMs: 50 };

test("nothing is sent before somebody asks for an event", async (t) => {
  const proxy = await proxyTo(t, url);
  const stream = new Client({ url: proxy.url, apiKey }).stream("js/count");
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.deepEqual(proxy.requests, []);
  assert.equal(stream.id, undefined);
  assert.equal((await all(stream)).at(-1).type, "complete");
});

test("a stream that was never begun can be closed and cancelled", async () => {
  const [closed, cancelled] = [client.stream("js/count"), client.stream("js/count")];
  closed.close();
  await cancelled.cancel();
  assert.deepEqual([await all(closed), await all(cancelled)], [[], []]);
});

test("several who ask at once get the events in order, each once", async () => {
  const stream = client.stream("js/count", { n: 3 });
  const asked = await Promise.all(Array.from({ length: 12 }, () => stream.next()));
  const events = asked.filter(({ done }) => !done).map(({ value }) => value);
  assert.equal(events.at(-1).type, "complete");
  assert.deepEqual(
    events.map(({ n }) => n),
    [1, ...events.slice(1).map((_, i) => i + 1)],
  );
});

test("after the last event there is nothing more, however often it is asked", async () => {
  const stream = client.stream("js/count", { n: 1 });
  await all(stream);
  assert.deepEqual(await stream.next(), { done: true, value: undefined });
  assert.deepEqual(await stream.return(), { done: true, value: undefined });
  assert.equal(stream.prediction.status, "completed");
});

test("leaving the loop closes the connection and nothing else", async (t) => {
  const gate = await gateFor(t);
  const proxy = await proxyTo(t, url);
  const stream = new Client({ url: proxy.url, apiKey }).stream("js/count", { gate: gate.path });
  for await (const event of stream) if (event.attempt === 1) break;
  await until("the connection is closed", () => proxy.open() === 0);
  assert.equal((await client.get(stream.id)).status, "processing");
  await gate.open();
  assert.equal((await client.wait(stream.id)).status, "completed");
});

test("close ends a loop that waits, without an error", async (t) => {
  const gate = await gateFor(t);
  const stream = client.stream("js/count", { gate: gate.path });
  for await (const event of stream) if (event.attempt === 1) setImmediate(() => stream.close());
  assert.equal(stream.prediction, undefined);
  await client.cancel(stream.id);
});

/** What an abort may interrupt: each gives a client and inputs whose stream hangs in this place. */
const PLACES = {
  "before anything": async () => [client, {}],
  "while the server does not answer": async (t) => {
    const proxy = await proxyTo(t, url, () => "silence");
    return [new Client({ url: proxy.url, apiKey }), {}];
  },
  "while it waits for an event": async (t) => [client, { gate: (await gateFor(t)).path }],
  "while it waits to try again": async (t) => {
    const proxy = await proxyTo(t, url);
    proxy.close();
    return [new Client({ url: proxy.url, apiKey, backoffMs: 60_000, maxBackoffMs: 60_000, giveUpMs: 600_000 }), {}];
  },
  "while it polls": async (t) => {
    const gate = await gateFor(t);
    const proxy = await proxyTo(t, url, holdStreamsBack);
    const impatient = { ...QUICK, firstEventTimeoutMs: 50, streamsBeforePolling: 1 };
    return [new Client({ ...impatient, url: proxy.url, apiKey }), { gate: gate.path }];
  },
};

for (const [place, make] of Object.entries(PLACES)) {
  test(`an abort throws its own reason ${place}, and leaves no listener on the signal`, async (t) => {
    const [client, input] = await make(t);
    const controller = new AbortController();
    const reason = new Error("enough");
    const stream = client.stream("js/count", input, { signal: controller.signal });
    setTimeout(() => controller.abort(reason), place === "before anything" ? 0 : 300);
    if (place === "before anything") controller.abort(reason);
    await assert.rejects(all(stream), reason);
    await assert.rejects(stream.next(), reason);
    assert.equal(getEventListeners(controller.signal, "abort").length, 0);
  });
}

test("a stream that has ended leaves no listener on the signal", async () => {
  const { signal } = new AbortController();
  await all(client.stream("js/count", {}, { signal }));
  await client.run("js/count", {}, { signal, timeoutMs: 60_000 });
  await client.models({ signal });
  assert.equal(getEventListeners(signal, "abort").length, 0);
});

test("a program ends by itself when its streams are aborted, closed, left or over", async (t) => {
  const gate = await gateFor(t);
  const program = new URL("support/leaves_nothing.mjs", import.meta.url).pathname;
  const { stdout } = await promisify(execFile)(process.execPath, [program, gate.path], { timeout: 60_000 });
  assert.deepEqual(JSON.parse(stdout), { timers: 0, ended: ["aborted", "closed", "left", "over", "refused", "late"] });
});

/** Lets everything pass but the answers to those who want a stream. */
function holdStreamsBack(near, far) {
  let held = false;
  near.on("data", (data) => {
    held ||= data.toString("latin1").toLowerCase().includes("accept: text/event-stream");
    far.write(data);
  });
  far.on("data", (data) => held || near.write(data));
  return "handled";
}

test("a network that holds streams back is remembered: the next stream does not wait for it", async (t) => {
  const proxy = await proxyTo(t, url, holdStreamsBack);
  const held = new Client({ ...QUICK, url: proxy.url, apiKey, firstEventTimeoutMs: 200, streamsBeforePolling: 1 });
  assert.equal((await all(held.stream("js/count"))).at(-1).type, "complete");
  const before = proxy.requests.length;
  assert.equal((await all(held.stream("js/count"))).at(-1).type, "complete");
  assert.equal(proxy.requests.slice(before).join("").toLowerCase().includes("text/event-stream"), false);
});

test("a fetch that does not listen to its signal is not waited for", async () => {
  const deaf = () => new Promise(() => {});
  const client = new Client({
    ...QUICK,
    url,
    apiKey,
    fetch: deaf,
    firstEventTimeoutMs: 20,
    timeoutMs: 20,
    giveUpMs: 200,
  });
  await assert.rejects(all(client.stream("js/count")), ConnectionFailed);
  await assert.rejects(client.models(), ConnectionFailed);
});

test("the network's news is read only as fast as events are asked for", async (t) => {
  let read = 0;
  const counting = async (...request) => {
    const response = await fetch(...request);
    const transform = (chunk, to) => {
      read++;
      to.enqueue(chunk);
    };
    const counted = new TransformStream({ transform }, undefined, { highWaterMark: 0 });
    return new Response(response.body.pipeThrough(counted), response);
  };
  const gate = await gateFor(t);
  const stream = new Client({ url, apiKey, fetch: counting }).stream("js/count", { n: 60, gate: gate.path });
  while ((await stream.next()).value.attempt === 0);
  const before = read;
  const other = client.follow(stream.id);
  while (!other.text.endsWith("50 ")) {
    await gate.let(1);
    while ((await other.next()).value.type !== "output");
  }
  assert.ok(read - before <= 2, `${read - before} chunks were read ahead`);
  await gate.open();
  assert.equal((await all(stream)).at(-1).type, "complete");
});

// URLs with a token, and whom the key is told

test("the URL of a stream is followed without a key, from any cursor", async (t) => {
  const { id, urls } = await client.run("js/count", { n: 3 });
  const proxy = await proxyTo(t, url);
  const whole = await all(client.follow(id));
  const shared = follow(urls.stream.replace(url, proxy.url), { apiKey: "never-sent" });
  assert.deepEqual(await all(shared), whole);
  assert.deepEqual([shared.id, shared.prediction.status], [id, "completed"]);
  assert.deepEqual(await all(follow(urls.stream, { after: whole.at(-3).cursor })), whole.slice(-2));
  assert.deepEqual(await all(follow(urls.stream, { after: whole.at(-1).cursor })), []);
  assert.equal(proxy.requests.join("").toLowerCase().includes("authorization"), false);
});

test("a token is good for the long poll, too, and not for cancelling", async (t) => {
  const gate = await gateFor(t);
  const { urls } = await client.submit("js/count", { n: 3, gate: gate.path });
  const proxy = await proxyTo(t, url, holdStreamsBack);
  const options = { ...QUICK, firstEventTimeoutMs: 100, streamsBeforePolling: 1, apiKey: "" };
  const stream = follow(urls.stream.replace(url, proxy.url), options);
  while ((await stream.next()).value.attempt === 0);
  await assert.rejects(stream.cancel(), Unauthenticated);
  await gate.open();
  assert.equal((await all(stream)).at(-1).type, "complete");
});

test("a key is told to its own server only", async (t) => {
  const { id } = await client.run("js/count");
  const elsewhere = await proxyTo(t, url);
  await assert.rejects(all(client.follow(`${elsewhere.url}/api/v3/predictions/${id}/stream`)), Unauthenticated);
  assert.equal(elsewhere.requests.join("").toLowerCase().includes("authorization"), false);
});

test("a server below a path is reached there", async (t) => {
  const proxy = await proxyTo(t, url, (near, far) => {
    near.on("data", (data) => far.write(data.toString("latin1").replaceAll(" /below/", " /"), "latin1"));
    far.pipe(near);
    return "handled";
  });
  const below = new Client({ url: `${proxy.url}/below/`, apiKey });
  assert.equal((await below.run("js/count")).status, "completed");
  assert.ok(proxy.requests.every((request) => request.split(" ")[1]?.startsWith("/below/api/v3/")));
});
