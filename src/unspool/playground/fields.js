/**
 * The control of each kind of field. All have the same four parts:
 *
 * `body` is what stands under the label; `labelled` is the element that the label is about; `read()` is the value,
 * `undefined` if it was left empty, and throws `Wrong` for what is no value; `write(value)` puts one in.
 */

import { h, say } from "./dom.js";
import { dropZone } from "./files.js";
import { sliderOf } from "./schema.js";

const SEEDS = 2 ** 31 - 1;

/** What stands in a field is no value: the message says why. */
export class Wrong extends Error {}

/** Makes the control of a field. `context.upload` uploads a file, `context.changed` is called after changes. */
export function control(field, context) {
  return (MAKERS[field.kind] ?? MAKERS.json)(field, context);
}

const MAKERS = {
  text: (field) => textControl(h("textarea", { rows: /prompt|text|lyrics/i.test(field.name) && field.name !== "system_prompt" ? 3 : 1 }), field),
  line: (field) => textControl(h("input", { type: "text" }), field),
  number: (field) => numberControl(field),
  slider: sliderControl,
  seed: seedControl,
  switch: switchControl,
  choice: choiceControl,
  choices: choicesControl,
  file: (field, context) => dropZone(field, context, { several: false }),
  files: (field, context) => dropZone(field, context, { several: true }),
  list: listControl,
  chat: chatControl,
  json: jsonControl,
};

function textControl(input, { schema, initial, name }) {
  Object.assign(input, { value: initial ?? "", name, autocomplete: "off" });
  if (input.tagName === "TEXTAREA") input.placeholder = schema.examples?.[0] ?? "";
  const count = schema.maxLength ? h("span", { class: "count", "aria-hidden": true }) : null;
  const told = () => count && say(count, `${[...input.value].length} / ${schema.maxLength}`);
  input.addEventListener("input", told);
  told();
  return {
    body: count ? h("div", { class: "counted" }, input, count) : input,
    labelled: input,
    read: () => (input.value === "" ? undefined : input.value),
    write(value) {
      input.value = typeof value === "string" || value === undefined ? (value ?? "") : JSON.stringify(value);
      told();
    },
  };
}

function numberInput({ name, schema, initial }) {
  const whole = schema.type === "integer";
  const input = h("input", { type: "number", name, inputmode: whole ? "numeric" : "decimal", autocomplete: "off" });
  input.step = schema.multipleOf ?? (whole ? 1 : "any");
  if (schema.minimum !== undefined) input.min = schema.minimum;
  if (schema.maximum !== undefined) input.max = schema.maximum;
  input.value = initial ?? "";
  return input;
}

function readNumber(input) {
  if (input.validity.badInput) throw new Wrong("is not a number");
  return input.value === "" ? undefined : Number(input.value);
}

function numberControl(field) {
  const input = numberInput(field);
  return { body: input, labelled: input, read: () => readNumber(input), write: (value) => (input.value = value ?? "") };
}

/** A number and a slider that move each other; the number is exact and is what the keyboard reaches first. */
function sliderControl(field) {
  const { min, max, step } = sliderOf(field.schema);
  const input = numberInput(field);
  const slider = h("input", { type: "range", min, max, step, title: `${field.title}, as a slider`, "aria-label": `${field.title}, as a slider` });
  const follow = () => {
    slider.value = input.value === "" ? min : input.value;
    slider.style.setProperty("--filled", `${(100 * (slider.value - min)) / (max - min)}%`);
  };
  input.addEventListener("input", follow);
  slider.addEventListener("input", () => {
    input.value = slider.value;
    follow();
  });
  follow();
  return {
    body: h("div", { class: "slider" }, slider, input),
    labelled: input,
    read: () => readNumber(input),
    write(value) {
      input.value = value ?? "";
      follow();
    },
  };
}

function seedControl(field, { changed }) {
  const input = numberInput(field);
  const most = Math.min(field.schema.maximum ?? SEEDS, SEEDS);
  const least = Math.max(field.schema.minimum ?? 0, 0);
  const dice = h("button", { type: "button", class: "button icon-button", title: "Throw the dice" }, diceIcon(), h("span", { class: "hidden-text", text: "Throw the dice" }));
  dice.addEventListener("click", () => {
    const [random] = crypto.getRandomValues(new Uint32Array(1));
    input.value = least + (random % (most - least + 1));
    changed();
  });
  return {
    body: h("div", { class: "with-button" }, input, dice),
    labelled: input,
    read: () => readNumber(input),
    write: (value) => (input.value = value ?? ""),
  };
}

function diceIcon() {
  return h("span", { class: "dice", "aria-hidden": true });
}

function switchControl({ name, initial }) {
  const input = h("input", { type: "checkbox", role: "switch", class: "switch", name, props: { checked: initial === true } });
  return { body: input, labelled: input, read: () => input.checked, write: (value) => (input.checked = value === true) };
}

function choiceControl({ name, schema, required, initial }) {
  const select = h("select", { name });
  if (!required || initial === undefined) select.append(h("option", { value: "", text: required ? "choose" : "—" }));
  schema.enum.forEach((value, index) => select.append(h("option", { value: index, text: typeof value === "string" ? value : JSON.stringify(value) })));
  const write = (value) => {
    const index = schema.enum.findIndex((one) => JSON.stringify(one) === JSON.stringify(value));
    select.value = index < 0 ? "" : index;
  };
  write(initial);
  return { body: select, labelled: select, read: () => (select.value === "" ? undefined : schema.enum[select.value]), write };
}

function choicesControl({ item, initial }) {
  const boxes = item.enum.map((value) => ({ value, input: h("input", { type: "checkbox" }) }));
  const group = h("div", { class: "choices", role: "group" });
  for (const { value, input } of boxes) group.append(h("label", { class: "choice" }, input, String(value)));
  const write = (values) => {
    for (const { value, input } of boxes) input.checked = (values ?? []).includes(value);
  };
  write(initial);
  const read = () => {
    const chosen = boxes.filter(({ input }) => input.checked).map(({ value }) => value);
    return chosen.length === 0 && initial === undefined ? undefined : chosen;
  };
  return { body: group, labelled: group, read, write };
}

/** Rows that can be added and removed. */
function rows({ add, row, changed }) {
  const list = h("div", { class: "rows" });
  const more = h("button", { type: "button", class: "button small", text: add });
  const append = (value) => {
    const made = row(value, list.children.length + 1);
    const remove = h("button", { type: "button", class: "button icon-button quiet", title: "Remove" }, h("span", { class: "cross", "aria-hidden": true }), h("span", { class: "hidden-text", text: "Remove" }));
    const line = h("div", { class: "row" }, made.element, remove);
    line.read = made.read;
    remove.addEventListener("click", () => {
      (line.nextElementSibling?.querySelector("input, textarea, select") ?? more).focus();
      line.remove();
      changed();
    });
    list.append(line);
    return made;
  };
  more.addEventListener("click", () => {
    append(undefined).focus.focus();
    changed();
  });
  return {
    body: h("div", { class: "many", role: "group" }, list, h("div", {}, more)),
    read: () => [...list.children].map((line) => line.read()).filter((value) => value !== undefined),
    write(values) {
      list.replaceChildren();
      for (const value of Array.isArray(values) ? values : []) append(value);
    },
  };
}

function listControl(field, { changed }) {
  const { item, title, initial } = field;
  const made = rows({
    add: "Add",
    changed,
    row(value, place) {
      const inner = { ...field, schema: item, initial: value };
      const input = item.type === "string" ? h("input", { type: "text", autocomplete: "off", props: { value: value ?? "" } }) : numberInput(inner);
      input.title = `${title} ${place}`;
      const read = () => (item.type === "string" ? (input.value === "" ? undefined : input.value) : readNumber(input));
      return { element: input, focus: input, read };
    },
  });
  made.write(initial);
  const read = () => (made.read().length === 0 && initial === undefined ? undefined : made.read());
  return { ...made, labelled: made.body, read };
}

function chatControl({ item, initial }, { changed }) {
  const roles = item.properties.role.enum ?? ["system", "user", "assistant"];
  const made = rows({
    add: "Add a message",
    changed,
    row(value, place) {
      const role = h("select", { title: `Role of message ${place}` }, ...roles.map((one) => h("option", { text: one })));
      role.value = value?.role ?? (roles.includes("user") ? (place % 2 ? "user" : "assistant") : roles[0]);
      const text = h("textarea", { rows: 1, title: `Content of message ${place}`, props: { value: value?.content ?? "" } });
      const read = () => (text.value === "" ? undefined : { ...value, role: role.value, content: text.value });
      return { element: h("div", { class: "message" }, role, text), focus: text, read };
    },
  });
  made.write(initial);
  const read = () => (made.read().length === 0 ? undefined : made.read());
  return { ...made, labelled: made.body, read };
}

function jsonControl({ name, initial, schema }) {
  const area = h("textarea", { rows: 2, class: "json", name, spellcheck: "false", placeholder: PLACEHOLDERS[schema.type] ?? "JSON" });
  const write = (value) => (area.value = value === undefined ? "" : JSON.stringify(value, null, 2));
  write(initial ?? undefined);
  const read = () => {
    if (area.value.trim() === "") return undefined;
    try {
      return JSON.parse(area.value);
    } catch (error) {
      throw new Wrong(`is not JSON: ${error.message}`);
    }
  };
  return { body: area, labelled: area, read, write };
}

const PLACEHOLDERS = { object: '{"name": "value"}', array: "[ … ]" };
