// The hooks, in a real React with a real DOM, against a real server.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Window } from "happy-dom";

// React asks for these when it is loaded.
const window = new Window();
globalThis.window = window;
globalThis.document = window.document;
globalThis.navigator ??= window.navigator;
globalThis.IS_REACT_ACT_ENVIRONMENT = false;

const { createElement, StrictMode, useEffect } = await import("react");
const { createRoot } = await import("react-dom/client");
const { renderToString } = await import("react-dom/server");
const { usePrediction, useRun } = await import("unspool/react");
const { Client, InvalidInput, PredictionCancelled, PredictionFailed } = await import("unspool");
const { gateFor } = await import("./support/gate.mjs");
const { proxyTo, until } = await import("./support/proxy.mjs");
const { all, apiKey, client, url } = await import("./support/server.mjs");

/** A component that uses the hook that it is given, and tells what it got. */
function Shown({ useHook, shown, ...props }) {
  shown.now = useHook(props);
  shown.renders.push(shown.now);
  useEffect(() => {
    shown.mounted = true;
  });
  return createElement("p", null, shown.now.text);
}

/** Puts one on the page, twice as strict as in production. */
function mount(t, useHook, props = {}) {
  const shown = { renders: [] };
  const place = document.body.appendChild(document.createElement("div"));
  const root = createRoot(place);
  shown.render = (props) =>
    root.render(createElement(StrictMode, null, createElement(Shown, { ...props, useHook, shown })));
  shown.unmount = () => root.unmount();
  shown.page = () => place.textContent;
  t.after(() => root.unmount());
  shown.render(props);
  return shown;
}

const ended = (shown) => until("it has ended", () => shown.now && !shown.now.following && shown.now.status);

test("a prediction is shown as it comes, and ends", async (t) => {
  const gate = await gateFor(t);
  const { id } = await client.submit("js/count", { n: 3, gate: gate.path });
  const shown = mount(t, () => usePrediction(client, id));
  await gate.let(2);
  await until("two numbers are on the page", () => shown.page() === "1 2 ");
  const { status, following, attempt, step, steps, error } = shown.now;
  assert.deepEqual(
    { status, following, attempt, error },
    { status: "processing", following: true, attempt: 1, error: undefined },
  );
  assert.ok(step >= 1 && steps === 3);
  await gate.open();
  await ended(shown);
  assert.equal(shown.page(), "1 2 3 ");
  assert.deepEqual(
    [shown.now.id, shown.now.status, shown.now.percentage, shown.now.outputs],
    [id, "completed", 100, ["1 2 3 "]],
  );
  assert.deepEqual(shown.now.events, await all(client.follow(id)));
});

test("under StrictMode, too, there is one stream, and none after the component has gone", async (t) => {
  const gate = await gateFor(t);
  const { id } = await client.submit("js/count", { gate: gate.path });
  const proxy = await proxyTo(t, url);
  const near = new Client({ url: proxy.url, apiKey });
  const shown = mount(t, () => usePrediction(near, id));
  await until("it is followed", () => shown.now?.status === "processing");
  await until("one connection is open", () => proxy.open() === 1);
  shown.unmount();
  await until("no connection is open", () => proxy.open() === 0);
  assert.equal((await client.get(id)).status, "processing");
});

test("the URL of a stream needs no client", async (t) => {
  const { urls } = await client.run("js/count");
  const shown = mount(t, () => usePrediction(null, urls.stream));
  await ended(shown);
  assert.equal(shown.page(), "1 2 3 ");
});

test("another prediction is shown without anything of the one before", async (t) => {
  const [first, second] = [await client.run("js/count", { n: 2 }), await client.run("js/count", { n: 3 })];
  const shown = mount(t, ({ id }) => ({ ...usePrediction(client, id), asked: id }), { id: first.id });
  await ended(shown);
  shown.render({ id: second.id });
  await until("the second is shown", () => shown.page() === "1 2 3 ");
  shown.render({ id: null });
  await until("nothing is shown", () => shown.page() === "");
  for (const { id, asked, text } of shown.renders) {
    assert.ok(id === undefined || id === asked, `${id} was shown for ${asked}`);
    assert.ok(asked !== null || text === "");
  }
});

test("a client that is made anew with each render does not follow anew", async (t) => {
  const gate = await gateFor(t);
  const { id } = await client.submit("js/count", { n: 5, gate: gate.path });
  const proxy = await proxyTo(t, url);
  const shown = mount(t, () => usePrediction(new Client({ url: proxy.url, apiKey }), id));
  for (let i = 1; i <= 5; i++) {
    await gate.let(1);
    await until("the next number is there", () => shown.page().endsWith(`${i} `));
  }
  await ended(shown);
  assert.ok(proxy.requests.filter((request) => request.startsWith("GET ")).length <= 2);
});

test("what cannot be followed is an error, and no exception", async (t) => {
  const shown = mount(t, () => usePrediction(client, "0".repeat(32)));
  await until("the error is shown", () => shown.now?.error);
  assert.deepEqual([shown.now.error.name, shown.now.following], ["NotFound", false]);
});

test("a run begins when it is told to, once, and shows how it goes", async (t) => {
  const gate = await gateFor(t);
  const before = (await client.list({ model: "js/count" })).total;
  const shown = mount(t, () => useRun(client, "js/count"));
  await until("it is there", () => shown.mounted);
  assert.deepEqual([shown.now.status, shown.now.following], [undefined, false]);
  shown.now.run({ n: 3, gate: gate.path });
  await until("it has begun", () => shown.now.following);
  await gate.open();
  await ended(shown);
  assert.deepEqual([shown.page(), shown.now.status], ["1 2 3 ", "completed"]);
  assert.equal((await client.list({ model: "js/count" })).total, before + 1);
  shown.now.reset();
  await until("nothing is shown", () => shown.page() === "" && shown.now.id === undefined);
});

test("a run can be cancelled", async (t) => {
  const gate = await gateFor(t);
  const shown = mount(t, () => useRun(client, "js/count"));
  await until("it is there", () => shown.mounted);
  shown.now.run({ gate: gate.path });
  await until("it runs", () => shown.now.status === "processing");
  await shown.now.cancel();
  await ended(shown);
  assert.equal(shown.now.status, "cancelled");
  assert.ok(shown.now.error instanceof PredictionCancelled);
});

test("a run that is refused or fails is an error that can be shown, and the next one begins afresh", async (t) => {
  const shown = mount(t, ({ model }) => useRun(client, model), { model: "js/count" });
  await until("it is there", () => shown.mounted);
  shown.now.run({ n: "many" });
  await until("the error is shown", () => shown.now.error);
  assert.ok(shown.now.error instanceof InvalidInput);
  shown.render({ model: "js/fail" });
  await new Promise((resolve) => setTimeout(resolve, 50));
  shown.now.run();
  await until("it has failed", () => shown.now.status === "failed");
  assert.ok(shown.now.error instanceof PredictionFailed);
  assert.equal(shown.page(), "a little");
});

test("text that comes fast is drawn less often than it comes", async (t) => {
  const shown = mount(t, () => useRun(client, "js/count"));
  await until("it is there", () => shown.mounted);
  shown.now.run({ n: 5000 });
  await ended(shown);
  assert.ok(shown.now.events.length > 5000);
  assert.ok(shown.renders.length < 1000, `${shown.renders.length} renders`);
});

test("on a server it renders as before its first event", () => {
  const props = { useHook: () => usePrediction(client, "x"), shown: { renders: [] } };
  assert.equal(renderToString(createElement(Shown, props)), "<p></p>");
});
