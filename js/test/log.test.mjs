// The order of a log and what its events add up to, without any I/O.
import assert from "node:assert/strict";
import { test } from "node:test";
import { eventAt, Fold, order, place } from "../dist/log.js";

test("a cursor is read in its one spelling only", () => {
  assert.deepEqual(place("1-17"), [1, 17]);
  assert.deepEqual(place("0-1"), [0, 1]);
  for (const wrong of ["", "1", "1-", "-1", "1-0", "1-01", " 1-1", "1-1 ", "1_1", "a-b", "1-1-1"]) {
    assert.equal(place(wrong), undefined, wrong);
  }
});

test("every event is the next one, was there before, or comes after a hole", () => {
  for (const [last, next, expected] of [
    [[0, 0], [0, 1], "next"],
    [[0, 1], [1, 1], "next"],
    [[0, 2], [1, 1], "next"],
    [[1, 17], [1, 18], "next"],
    [[1, 17], [2, 1], "next"],
    [[1, 17], [3, 1], "next"], // an attempt that was lost at once leaves nothing
    [[1, 17], [1, 17], "seen"],
    [[1, 17], [1, 2], "seen"],
    [[2, 1], [1, 99], "seen"],
    [[1, 17], [0, 1], "seen"],
    [[0, 0], [0, 2], "gap"],
    [[0, 0], [1, 2], "gap"],
    [[1, 17], [1, 19], "gap"],
    [[1, 17], [2, 2], "gap"],
  ]) {
    assert.equal(order(last, next), expected, `${last} then ${next}`);
  }
});

const folded = (...events) => {
  const fold = new Fold(null);
  for (const [cursor, fields] of events) fold.add(eventAt({ ...fields }, place(cursor), cursor));
  return fold;
};
const output = (value, index) => ({ type: "output", output: value, ...(index === undefined ? {} : { index }) });
const progress = (percentage) => ({ type: "progress", percentage });

test("pieces of text are joined, each output for itself", () => {
  const fold = folded(["1-1", output("a")], ["1-2", output("X", 1)], ["1-3", output("b", 0)], ["1-4", output("Y", 1)]);
  assert.deepEqual([fold.text, fold.outputs], ["ab", ["ab", "XY"]]);
});

test("parts that are not text are taken as they are", () => {
  const fold = folded(["1-1", output({ x: 1 })], ["1-2", output([2], 1)]);
  assert.deepEqual([fold.text, fold.outputs], ["", [{ x: 1 }, [2]]]);
});

test("a new attempt voids the output of the one before", () => {
  const fold = folded(["1-1", progress(0)], ["1-2", progress(40)], ["1-3", output("void")], ["2-1", progress(0)]);
  assert.deepEqual([fold.text, fold.outputs, fold.percentage, fold.attempt], ["", [], 0, 2]);
});

test("only the first progress of an attempt after the first is a restart", () => {
  const at = (cursor, type) => eventAt({ type }, place(cursor), cursor).restarted;
  assert.equal(at("2-1", "progress"), true);
  assert.equal(at("1-1", "progress"), false);
  assert.equal(at("2-2", "progress"), false);
  assert.equal(at("2-1", "error"), false);
});

test("the outcome is what the last event says", () => {
  const done = folded(["1-1", { type: "complete", id: "x", outputs: ["a"], timings: { inference: 1 } }]);
  assert.deepEqual(done.outcome, {
    id: "x",
    status: "completed",
    outputs: ["a"],
    error: "",
    timings: { inference: 1 },
  });
  assert.deepEqual([done.percentage, done.outputs, done.text], [100, ["a"], "a"]);
  const failed = folded(
    ["1-1", output("half")],
    ["1-2", { type: "error", id: "x", error: "no", code: 1403, status: "failed" }],
  );
  assert.deepEqual(failed.outcome, { id: "x", status: "failed", outputs: [], error: "no", code: 1403 });
  assert.equal(failed.text, "half");
});

test("fields that are newer than this client are there", () => {
  const event = eventAt({ type: "progress", percentage: 1, weather: "fair" }, [1, 2], "1-2");
  assert.equal(event.weather, "fair");
});
