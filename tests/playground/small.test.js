// Addresses, files, and numbers in words.
import assert from "node:assert/strict";
import { test } from "node:test";
import { age, bytes, duration, shorten } from "../../src/unspool/playground/format.js";
import { fileOf, filesIn, givesOf } from "../../src/unspool/playground/media.js";
import { modelAddress, parse, predictionAddress } from "../../src/unspool/playground/router.js";

const BASE = new URL("https://ai.example.com/models/");
const NAME = `${"a".repeat(32)}-${"b".repeat(32)}.mp4`;

test("what an address says is what it was made of", () => {
  for (const id of ["single", "acme/video/t2v-480p", "a b/ü#?&", "<img src=x>"]) assert.deepEqual(parse(modelAddress(id)), { view: "model", id });
  assert.deepEqual(parse(predictionAddress("x1")), { view: "prediction", id: "x1", token: null });
  assert.deepEqual(parse(predictionAddress("x1", "t&k")), { view: "prediction", id: "x1", token: "t&k" });
});

test("a key in the address is taken as it is, and everything that means nothing leads home", () => {
  assert.deepEqual(parse("#key=unspool_a-b%2Bc"), { view: "key", key: "unspool_a-b+c" });
  for (const hash of ["", "#", "#/", "#/models", "#/models/", "#/nothing/x", "#/predictions/"]) assert.deepEqual(parse(hash), { view: "home" });
  assert.deepEqual(parse("#main"), { view: "other" });
  assert.deepEqual(parse("#/models/%E0%A4%A"), { view: "model", id: "%E0%A4%A" });
});

test("a file of this server is shown from here, whatever host its URL names", () => {
  const file = fileOf(`http://127.0.0.1:8080/files/${NAME}`, BASE);
  assert.deepEqual([file.kind, file.url, file.here], ["video", `https://ai.example.com/models/files/${NAME}`, true]);
});

test("a file from elsewhere is a file, and is not loaded", () => {
  const file = fileOf("https://elsewhere.example/cat.PNG?x=1", BASE);
  assert.deepEqual([file.kind, file.here], ["image", false]);
});

test("text is no file", () => {
  for (const value of ["https://example.com/page", "see https://example.com/cat.png", "javascript:alert(1)", "cat.png", "http://", 7, null, {}]) assert.equal(fileOf(value, BASE), null);
});

test("a data URL is a file if it can be looked at or heard", () => {
  assert.equal(fileOf("data:image/png;base64,AAAA", BASE).kind, "image");
  assert.equal(fileOf("data:text/html,<b>", BASE), null);
});

test("files are found anywhere in an output, each once", () => {
  const url = `http://x/files/${NAME}`;
  assert.equal(filesIn({ a: [url, { b: url }], c: "https://x.example/a.wav" }, BASE).length, 2);
});

test("what a model gives is the end of its category", () => {
  assert.deepEqual(["text-to-video", "image-to-image", "chat", "", undefined].map(givesOf), ["video", "image", null, null, null]);
});

test("times and sizes are said in words", () => {
  assert.deepEqual([0.25, 9.96, 59.4, 200, 9000].map(duration), ["250 ms", "10.0 s", "59 s", "3 min 20 s", "2 h 30 min"]);
  assert.deepEqual([999, 1200, 25e6].map(bytes), ["999 bytes", "1.2 kB", "25 MB"]);
  const now = Date.parse("2026-01-02T00:00:00Z");
  assert.deepEqual(["2026-01-01T23:59:57Z", "2026-01-01T23:58:00Z", "2026-01-01T00:00:00Z"].map((from) => age(from, now)), ["just now", "2m ago", "yesterday"]);
  assert.equal(shorten("a\n  b".padEnd(100, "c"), 10), "a bcccccc…");
});
