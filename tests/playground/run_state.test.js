// What is known of a run, from its events.
import assert from "node:assert/strict";
import { test } from "node:test";
import { begin, KEPT_EVENTS, secondsLeft, summary, take } from "../../src/unspool/playground/run_state.js";

const after = (...events) => {
  const state = begin("x");
  for (const event of events) take(state, event, 1000);
  return state;
};
const FILE = `http://127.0.0.1:8080/files/${"a".repeat(32)}-${"b".repeat(32)}.wav`;

test("pieces of text are joined, and other parts are kept as they are", () => {
  const state = after(
    { type: "output", output: "Hel" },
    { type: "output", output: "lo", index: 0 },
    { type: "output", output: FILE, index: 1 },
    { type: "output", output: { n: 1 }, index: 1 },
  );
  assert.deepEqual([...state.outputs], [[0, { text: "Hello", parts: [] }], [1, { text: "", parts: [FILE, { n: 1 }] }]]);
});

test("a new attempt voids the output and keeps the log", () => {
  const state = after(
    { type: "progress", percentage: 0, status: "processing", attempt: 1 },
    { type: "progress", percentage: 40, stage: "denoise", step: 4, steps: 10, preview: "p" },
    { type: "output", output: "void" },
    { type: "log", level: "info", message: "kept" },
    { type: "progress", percentage: 0, status: "processing", attempt: 2, restarted: true },
  );
  assert.equal(state.outputs.size, 0);
  assert.deepEqual([state.percentage, state.attempt, state.restarts, state.stage, state.preview], [0, 2, 1, null, null]);
  assert.equal(state.log.length, 1);
});

test("a step that is not said again goes with its stage", () => {
  const state = after({ type: "progress", percentage: 90, stage: "denoise", step: 10, steps: 10 }, { type: "progress", percentage: 95, stage: "encode" });
  assert.deepEqual([state.stage, state.step, state.steps], ["encode", null, null]);
});

test("the time that is left counts down from when it was said", () => {
  const state = after({ type: "progress", percentage: 10, eta_seconds: 12 });
  assert.equal(secondsLeft(state, 4000), 9);
  assert.equal(secondsLeft(state, 99_000), 0);
  take(state, { type: "progress", percentage: 11 }, 5000);
  assert.equal(secondsLeft(state, 5000), null);
});

test("the last event says how it ended", () => {
  const done = after({ type: "complete", outputs: ["x"], timings: { inference: 5 } });
  assert.deepEqual([done.status, done.percentage, done.final, done.error], ["completed", 100, ["x"], null]);
  const failed = after({ type: "progress", percentage: 30 }, { type: "error", status: "timeout", error: "Too long.", code: 5004 });
  assert.deepEqual([failed.status, failed.percentage, failed.error], ["timeout", 30, "Too long."]);
});

test("of very many events the last are kept, and all are counted", () => {
  const state = begin("x");
  for (let n = 1; n <= 20_000; n++) take(state, { type: "log", level: "info", message: `${n}`, cursor: `1-${n}` });
  assert.equal(state.eventCount, 20_000);
  assert.ok(state.events.length >= KEPT_EVENTS && state.events.length <= KEPT_EVENTS * 1.25);
  assert.equal(state.events.at(-1).event.cursor, "1-20000");
  assert.equal(state.cursor, "1-20000");
});

test("an event is told in one line", () => {
  assert.equal(summary({ type: "progress", percentage: 25, stage: "denoise", step: 1, steps: 4, eta_seconds: 3 }), "25 % · denoise · step 1 of 4 · 3 s left");
  assert.equal(summary({ type: "output", output: "a\nb" }), '"a\\nb"');
  assert.equal(summary({ type: "error", status: "failed", code: 1403, error: "No." }), "failed (1403): No.");
});
