// From schemas to fields, and from fields to inputs.
import assert from "node:assert/strict";
import { test } from "node:test";
import { alternatives, exampleOf, fieldsOf, inputsOf, placeErrors, sliderOf } from "../../src/unspool/playground/schema.js";

const schemaOf = (properties, more = {}) => ({ type: "object", properties, ...more });
const kindOf = (name, schema, more) => fieldsOf(schemaOf({ [name]: schema }, more))[0].kind;

test("each type has its kind of field", () => {
  const kinds = {
    text: { type: "string" },
    line: { type: "string", maxLength: 40 },
    number: { type: "number", minimum: 0 },
    slider: { type: "integer", minimum: 1, maximum: 2048 },
    switch: { type: "boolean" },
    choice: { enum: ["draft", 2, null] },
    choices: { type: "array", items: { enum: ["a", "b"] } },
    list: { type: "array", items: { type: "string" } },
    file: { type: "string", format: "uri", "x-ui-component": "uploader" },
    files: { type: "array", items: { type: "string", "x-ui-component": "uploader" } },
    json: { type: "object", properties: {} },
    const: { const: 1 },
  };
  for (const [kind, schema] of Object.entries(kinds)) assert.equal(kindOf("x", schema), kind);
});

test("a schema that is not understood is a JSON field, and breaks nothing", () => {
  for (const schema of [{}, true, { anyOf: [{ type: "string" }, { type: "integer" }] }, { type: "array" }, { $ref: "#/nowhere" }]) {
    assert.equal(kindOf("x", schema), "json");
  }
  assert.deepEqual(fieldsOf({ type: "object", properties: {} }), []);
});

test("a schema that refers to itself comes to an end", () => {
  const $defs = { Loop: { anyOf: [{ $ref: "#/$defs/Loop" }] } };
  assert.equal(kindOf("x", { $ref: "#/$defs/Loop" }, { $defs }), "json");
});

test("an optional input is of the kind of what it may be", () => {
  assert.equal(kindOf("x", { anyOf: [{ type: "boolean" }, { type: "null" }], default: null }), "switch");
  const $defs = { Size: { enum: ["s", "m"], title: "Size" } };
  assert.equal(kindOf("x", { anyOf: [{ $ref: "#/$defs/Size" }, { type: "null" }] }, { $defs }), "choice");
});

test("a seed has dice and no slider", () => {
  const seed = { type: "integer", minimum: -1, maximum: 2147483647 };
  assert.equal(kindOf("seed", seed), "seed");
  assert.equal(kindOf("noise_seed", seed), "seed");
  assert.equal(kindOf("seeds", { type: "integer", minimum: 1, maximum: 9 }), "slider");
});

test("a conversation is a list of messages", () => {
  const $defs = { Message: { type: "object", properties: { role: { enum: ["user"] }, content: { type: "string" } } } };
  assert.equal(kindOf("messages", { type: "array", items: { $ref: "#/$defs/Message" } }, { $defs }), "chat");
});

test("fields stand in the author's order and are called as they are sent, or as the author calls them", () => {
  const root = schemaOf({ b_c: { type: "string", title: "B C" }, a: { type: "string", title: "How loud" } }, { "x-order-properties": ["b_c", "a"], required: ["a"] });
  assert.deepEqual(fieldsOf(root).map(({ title, required }) => [title, required]), [["b_c", false], ["How loud", true]]);
});

test("a slider goes over exactly what the schema allows", () => {
  assert.deepEqual(sliderOf({ type: "number", minimum: 0, maximum: 2 }), { min: 0, max: 2, step: 0.02 });
  assert.deepEqual(sliderOf({ type: "integer", exclusiveMinimum: 0, maximum: 10 }), { min: 1, max: 10, step: 1 });
  assert.deepEqual(sliderOf({ type: "integer", minimum: 64, maximum: 512, multipleOf: 64 }), { min: 64, max: 512, step: 64 });
  assert.equal(sliderOf({ type: "integer", minimum: 1 }), null);
  assert.equal(kindOf("x", { type: "integer", minimum: 0, maximum: 1e15 }), "number");
});

test("limits are said in words", () => {
  const limitsOf = (schema) => fieldsOf(schemaOf({ x: schema }))[0].limits;
  assert.equal(limitsOf({ type: "integer", minimum: 1, maximum: 2048 }), "1 to 2,048");
  assert.equal(limitsOf({ type: "number", exclusiveMinimum: 0, maximum: 1 }), "more than 0, 1 at most");
  assert.equal(limitsOf({ type: "string", maxLength: 500 }), "500 characters at most");
  assert.equal(limitsOf({ type: "array", items: {}, minItems: 1 }), "1 items or more");
  assert.equal(limitsOf({ type: "boolean" }), "");
});

test("what is empty, and what is the default of an optional input, is not sent", () => {
  const fields = fieldsOf(schemaOf({ a: { type: "integer", default: 3 }, b: { type: "string" }, c: { type: "array", items: { type: "string" }, default: [] }, d: { const: 7 } }, { required: ["d"] }));
  const values = new Map([["a", 3], ["b", undefined], ["c", []]]);
  assert.deepEqual(inputsOf(fields, values), { d: 7 });
  assert.deepEqual(inputsOf(fields, new Map([["a", 0], ["b", "x"], ["c", ["y"]]])), { a: 0, b: "x", c: ["y"], d: 7 });
});

test("a required input is sent also where it is the default", () => {
  const fields = fieldsOf(schemaOf({ a: { type: "boolean", default: false } }, { required: ["a"] }));
  assert.deepEqual(inputsOf(fields, new Map([["a", false]])), { a: false });
});

const CHAT = {
  type: "object",
  properties: {
    prompt: { type: "string", examples: ["Why is the sky blue?", "Who are you?"] },
    messages: { type: "array", items: { type: "object", properties: { role: { enum: ["user"] }, content: { type: "string" } }, required: ["role", "content"] } },
    temperature: { type: "number", default: 0.7 },
  },
  oneOf: [{ required: ["prompt"] }, { required: ["messages"] }],
};

test("of inputs that exclude each other the example gives the first, and the next one another", () => {
  assert.deepEqual(alternatives(CHAT), ["prompt", "messages"]);
  assert.deepEqual(exampleOf(CHAT, fieldsOf(CHAT), 0), { prompt: "Why is the sky blue?" });
  assert.deepEqual(exampleOf(CHAT, fieldsOf(CHAT), 1), { prompt: "Who are you?" });
});

test("an author's whole examples come before everything else", () => {
  const root = schemaOf({ a: { type: "integer", examples: [5] } }, { examples: [{ a: 1 }, { a: 2 }] });
  assert.deepEqual([0, 1, 2].map((turn) => exampleOf(root, fieldsOf(root), turn)), [{ a: 1 }, { a: 2 }, { a: 1 }]);
});

test("without examples one is made of the types", () => {
  const root = schemaOf({ text: { type: "string" }, n: { type: "integer", minimum: 4, maximum: 9 }, size: { enum: ["s", "m"] }, left: { type: "string" } }, { required: ["text", "n", "size"] });
  assert.deepEqual(exampleOf(root, fieldsOf(root)), { text: "A few words.", n: 4, size: "s" });
});

test("a required file has no example", () => {
  const root = schemaOf({ image: { type: "string", "x-ui-component": "uploader" } }, { required: ["image"] });
  assert.equal(exampleOf(root, fieldsOf(root)), null);
});

test("errors are placed at the fields that they are about, and none is lost", () => {
  const { placed, rest } = placeErrors(fieldsOf(CHAT), [
    { field: "messages.0.content", message: "is missing; it is required" },
    { field: "messages", message: "is too short" },
    { field: "colour", message: "is not an input of this model" },
    { field: "", message: "more than one was given" },
  ]);
  assert.deepEqual([...placed], [["messages", ["0.content is missing; it is required", "is too short"]]]);
  assert.deepEqual(rest, ["colour is not an input of this model", "more than one was given"]);
});
