// The reader of server-sent events, on literal bytes.
import assert from "node:assert/strict";
import { test } from "node:test";
import { SseParser } from "unspool";

const bytes = (text) => new TextEncoder().encode(text);
const read = (...chunks) => {
  const parser = new SseParser();
  return chunks.flatMap((chunk) => parser.push(typeof chunk === "string" ? bytes(chunk) : chunk));
};

const STREAM = `﻿retry: 1000

: keep-alive

id: 1-1
data: {"output":"naïve 世界 👩🏿‍🚀 𠮷"}

event: x
unknown
id:1-2
data:first
data:  second

data

id: 1-3
data: {"left":`;
const FRAMES = [
  { id: "1-1", data: '{"output":"naïve 世界 👩🏿‍🚀 𠮷"}' },
  { id: "1-2", data: "first\n second" },
];

for (const [name, end] of Object.entries({ LF: "\n", CR: "\r", CRLF: "\r\n" })) {
  const whole = bytes(STREAM.replaceAll("\n", end));

  test(`events are the same however their bytes are cut, with ${name} as line ends`, () => {
    assert.deepEqual(read(whole), FRAMES);
    for (let at = 0; at <= whole.length; at++) {
      assert.deepEqual(read(whole.slice(0, at), whole.slice(at)), FRAMES, `cut at byte ${at}`);
    }
    assert.deepEqual(read(...Array.from(whole, (_, i) => whole.slice(i, i + 1))), FRAMES, "byte by byte");
  });

  test(`an event is there with the last byte of its empty line, with ${name} as line ends`, () => {
    const event = bytes(`id: 1-1${end}data: x${end}${end}`);
    const last = end === "\r\n" ? event.length - 1 : event.length; // CR ends the line already
    assert.deepEqual(read(event.slice(0, last)), [{ id: "1-1", data: "x" }]);
    assert.deepEqual(read(event.slice(0, last - 1)), []);
  });
}

test("what a connection leaves unfinished is no event", () => {
  assert.deepEqual(read("id: 1-1\ndata: x\n"), []);
});

test("an id belongs to its own event only", () => {
  assert.deepEqual(read("id: 1-1\ndata: x\n\ndata: y\n\n"), [
    { id: "1-1", data: "x" },
    { id: "", data: "y" },
  ]);
});

test("the time to wait is taken from the server, if it is one", () => {
  const parser = new SseParser();
  parser.push(bytes("retry: 250\n\n"));
  assert.equal(parser.retryMs, 250);
  parser.push(bytes("retry: soon\nretry: -1\n\n"));
  assert.equal(parser.retryMs, 250);
});

test("one event of many megabytes takes no more than its share of time", () => {
  const megabytes = 20;
  const chunk = bytes("x".repeat(65_536));
  const parser = new SseParser();
  parser.push(bytes("id: 1-1\ndata: "));
  for (let i = 0; i < megabytes * 16; i++) assert.deepEqual(parser.push(chunk), []);
  const [frame] = parser.push(bytes("\n\n"));
  assert.equal(frame.data.length, megabytes * 1024 * 1024);
});
