// A browser says when the network is back and when a page is looked at again: then nobody waits for a timer.
import assert from "node:assert/strict";
import { test } from "node:test";

// What of a browser matters here: Node has neither.
Object.assign(globalThis, browserEvents(globalThis));
globalThis.document = Object.assign(new EventTarget(), { visibilityState: "visible" });

function browserEvents() {
  const target = new EventTarget();
  return {
    addEventListener: target.addEventListener.bind(target),
    removeEventListener: target.removeEventListener.bind(target),
    dispatchEvent: target.dispatchEvent.bind(target),
  };
}

const { Client } = await import("unspool");
const { gateFor } = await import("./support/gate.mjs");
const { proxyTo, until } = await import("./support/proxy.mjs");
const { all, apiKey, url } = await import("./support/server.mjs");

const online = () => globalThis.dispatchEvent(new Event("online"));
const seen = () => globalThis.document.dispatchEvent(new Event("visibilitychange"));
const NEVER = 3_600_000;

for (const [name, hint] of Object.entries({ "the network is back": online, "the page is looked at again": seen })) {
  test(`a stream that waits to try again does so at once when ${name}`, async (t) => {
    const gate = await gateFor(t);
    let refuse = false;
    let refused = 0;
    const proxy = await proxyTo(t, url, (near) => {
      if (!refuse) return;
      refused++;
      near.destroy();
      return "refused";
    });
    const patient = new Client({ url: proxy.url, apiKey, backoffMs: NEVER, maxBackoffMs: NEVER, giveUpMs: 10 * NEVER });
    const stream = patient.stream("js/count", { gate: gate.path });
    while ((await stream.next()).value.attempt === 0);
    refuse = true;
    const rest = all(stream);
    proxy.cut();
    await until("it waits", async () => {
      hint();
      return refused > 0;
    });
    refuse = false;
    await gate.open();
    const hints = setInterval(hint, 20);
    t.after(() => clearInterval(hints));
    assert.equal((await rest).at(-1).type, "complete");
  });
}

test("a connection of before is not trusted when the network is back", async (t) => {
  const gate = await gateFor(t);
  const proxy = await proxyTo(t, url);
  const stream = new Client({ url: proxy.url, apiKey, stallTimeoutMs: NEVER }).stream("js/count", { gate: gate.path });
  while ((await stream.next()).value.attempt === 0);
  const rest = all(stream);
  online();
  await until("it has come back", () => proxy.requests.some((request) => request.includes("/stream?after=")));
  await gate.open();
  assert.equal((await rest).at(-1).type, "complete");
});

test("a page that is looked at again keeps a stream that is alive", async (t) => {
  const gate = await gateFor(t);
  const proxy = await proxyTo(t, url);
  const stream = new Client({ url: proxy.url, apiKey }).stream("js/count", { gate: gate.path });
  while ((await stream.next()).value.attempt === 0);
  const rest = all(stream);
  seen();
  await gate.open();
  assert.equal((await rest).at(-1).type, "complete");
  assert.equal(
    proxy.requests.some((request) => request.includes("/stream?after=")),
    false,
  );
});
