// The verbs, against a real server.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import {
  ApiError,
  BadAnswer,
  Client,
  ConnectionFailed,
  IdempotencyMismatch,
  InvalidInput,
  NotFound,
  PredictionCancelled,
  PredictionError,
  PredictionFailed,
  PredictionTimedOut,
  StillRunning,
  UnknownModel,
  UnspoolError,
} from "unspool";
import { gateFor } from "./support/gate.mjs";
import { proxyTo } from "./support/proxy.mjs";
import { all, apiKey, client, url } from "./support/server.mjs";

test("run gives the prediction, and tells each event and each progress", async () => {
  const events = [];
  const progress = [];
  const prediction = await client.run(
    "js/count",
    { n: 3 },
    { onEvent: (event) => events.push(event), onProgress: (event) => progress.push(event) },
  );
  assert.deepEqual([prediction.status, prediction.outputs], ["completed", ["1 2 3 "]]);
  assert.equal(events.at(-1).type, "complete");
  assert.deepEqual(
    progress,
    events.filter((event) => event.type === "progress"),
  );
  assert.deepEqual(await client.get(prediction.id), prediction);
});

test("run of a model that does not stream gives its prediction all the same, and only one", async () => {
  const before = (await client.list({ model: "js/still" })).total;
  assert.deepEqual((await client.run("js/still", { prompt: "世界" })).outputs, ["世界"]);
  assert.equal((await client.list({ model: "js/still" })).total, before + 1);
});

test("a run that does not complete is thrown as what it is, with its prediction", async (t) => {
  const gate = await gateFor(t);
  await assert.rejects(client.run("js/fail"), (error) => {
    assert.ok(error instanceof PredictionFailed && error instanceof PredictionError && error instanceof UnspoolError);
    assert.deepEqual([error.name, error.message], ["PredictionFailed", "The picture could not be made."]);
    assert.equal(error.prediction.code, 1403);
    return true;
  });
  await assert.rejects(client.run("js/count", { gate: gate.path }, { run_timeout: 0.2 }), PredictionTimedOut);
  const cancel = async ({ type }, id) => type === "progress" && id && client.cancel(id);
  await assert.rejects(
    client.run("js/count", { gate: gate.path }, { onProgress: (event) => cancel(event, event.id) }),
    PredictionCancelled,
  );
});

test("the time that one waits is one's own: the prediction goes on", async (t) => {
  const gate = await gateFor(t);
  const { id } = await client.submit("js/count", { gate: gate.path });
  await assert.rejects(
    client.wait(id, { timeoutMs: 100 }),
    (error) => error instanceof StillRunning && error.id === id,
  );
  await gate.open();
  assert.equal((await client.wait(id, { timeoutMs: 60_000 })).status, "completed");
});

test("wrong inputs are told field by field", async () => {
  await assert.rejects(client.submit("js/count", { n: "x", m: 1 }), (error) => {
    assert.ok(error instanceof InvalidInput && error instanceof ApiError);
    assert.deepEqual([error.name, error.status, error.error_code], ["InvalidInput", 400, "invalid_input"]);
    assert.deepEqual(error.errors.map(({ field }) => field).sort(), ["m", "n"]);
    assert.match(error.request_id, /^[0-9a-f]{16}$/);
    return true;
  });
});

test("what is not there is told by its own class", async () => {
  await assert.rejects(client.submit("js/cuont"), UnknownModel);
  await assert.rejects(client.model("js/cuont"), UnknownModel);
  await assert.rejects(client.get("0".repeat(32)), NotFound);
  await assert.rejects(client.get("../models"), NotFound);
});

test("a submit with a key of one's own is one prediction", async () => {
  const options = { idempotencyKey: `mine-${Math.random()}` };
  const first = await client.submit("js/count", { n: 1 }, options);
  assert.equal((await client.submit("js/count", { n: 1 }, options)).id, first.id);
  await assert.rejects(client.submit("js/count", { n: 2 }, options), IdempotencyMismatch);
});

test("files among the inputs are uploaded, wherever they stand", async () => {
  const sha256 = (data) => createHash("sha256").update(data).digest("hex");
  const text = Buffer.from("naïve 世界");
  const noise = Buffer.from(Array.from({ length: 100_000 }, (_, i) => (i * i) % 251));
  const input = { file: new Blob([text], { type: "text/plain" }), others: [new Blob([noise], { type: "image/png" })] };
  const { outputs } = await client.run("js/facts", input);
  assert.deepEqual(
    outputs.flat().map((facts) => [facts.content_type, facts.sha256]),
    [
      ["text/plain", sha256(text)],
      ["image/png", sha256(noise)],
    ],
  );
  assert.ok(input.file instanceof Blob, "what was given is as it was");
});

test("an upload keeps its bytes, its name and its type", async () => {
  const bytes = new Uint8Array([0, 1, 254, 255]);
  const uploaded = await client.upload(bytes, { filename: "some name.png", contentType: "image/png" });
  const answer = await fetch(uploaded);
  assert.deepEqual(new Uint8Array(await answer.arrayBuffer()), bytes);
  assert.equal(answer.headers.get("content-type"), "image/png");
  assert.match(uploaded, /some.name\.png$/);
});

test("a list is a page when it is awaited, and everything when it is iterated", async () => {
  const ids = [];
  for (let i = 0; i < 5; i++) ids.unshift((await client.run("js/fail").catch((error) => error.prediction)).id);
  const page = await client.list({ model: "js/fail", page_size: 2 });
  assert.deepEqual(
    page.items.map(({ id }) => id),
    ids.slice(0, 2),
  );
  assert.equal(page.has_more, true);
  const everything = await all(client.list({ model: "js/fail", status: "failed", page_size: 2 }));
  assert.deepEqual(
    everything.slice(0, 5).map(({ id }) => id),
    ids,
  );
  assert.equal(everything.length, page.total);
});

test("predictions that are made meanwhile do not show others twice", async () => {
  const seen = [];
  for await (const { id } of client.list({ model: "js/still", page_size: 1 })) {
    seen.push(id);
    if (seen.length < 3) await client.run("js/still", { prompt: "x" });
    if (seen.length > 20) break;
  }
  assert.equal(new Set(seen).size, seen.length);
});

test("a deleted prediction is gone", async () => {
  const { id } = await client.run("js/count");
  await client.delete(id);
  await assert.rejects(client.get(id), NotFound);
});

test("models tell what they stream and take, and have a page", async () => {
  const models = await client.models();
  assert.deepEqual(models.map((model) => model.model_id).sort(), ["js/count", "js/facts", "js/fail", "js/still"]);
  const { streams, api_schema } = await client.model("js/count");
  assert.ok(streams.includes("output"));
  assert.ok("gate" in api_schema.api_schemas[0].request_schema.properties);
  assert.match(await client.readme("js/count"), /Says `1 2 3 …`/);
});

test("the logs of a prediction come where they are asked for", async () => {
  const { id } = await client.run("js/count");
  assert.equal("logs" in (await client.get(id)), false);
  assert.deepEqual((await client.get(id, { logs: true })).logs, []);
});

test("a server that is not there is told soon, and by its URL", async (t) => {
  const gone = await proxyTo(t, url);
  gone.close();
  const nobody = new Client({ url: gone.url, apiKey, backoffMs: 1, giveUpMs: 20 });
  for (const call of [() => nobody.models(), () => nobody.submit("js/count"), () => nobody.run("js/count")]) {
    await assert.rejects(call, (error) => error instanceof ConnectionFailed && error.message.includes(gone.url));
  }
});

test("something else than a server is told as such", async (t) => {
  const proxy = await proxyTo(t, url, (near) => {
    near.once("data", () => near.end("HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n<html>login<"));
    return "handled";
  });
  const page = new Client({ url: proxy.url, apiKey, backoffMs: 1, giveUpMs: 50 });
  await assert.rejects(page.models(), BadAnswer);
  await assert.rejects(all(page.stream("js/count")), ConnectionFailed);
});

test("the server's URL and the key come from the environment", async () => {
  process.env.UNSPOOL_URL = url;
  process.env.UNSPOOL_API_KEY = apiKey;
  try {
    assert.equal((await new Client().run("js/count")).status, "completed");
  } finally {
    delete process.env.UNSPOOL_URL;
    delete process.env.UNSPOOL_API_KEY;
  }
  assert.equal(new Client().url, "http://127.0.0.1:8080");
});

test("a key that cannot stand in a header, and a URL that is none, are told at once", async () => {
  assert.throws(() => new Client({ url: "localhost" }), /url/);
  assert.throws(() => new Client({ url, apiKey: "ключ" }), /apiKey/);
});
