/** The form of a model's inputs. */

import { h, say, show } from "./dom.js";
import { control, Wrong } from "./fields.js";
import { alternatives, exampleCount, exampleOf, fieldsOf, inputsOf, placeErrors } from "./schema.js";

/**
 * Fills `place` with the fields of a schema.
 *
 * @param {{upload: function(File): Promise<string>, changed: function(): void}} context
 */
export function makeForm(place, root, context) {
  const fields = fieldsOf(root);
  const choice = alternatives(root);
  const shown = fields.filter((field) => field.kind !== "const").map((field) => makeField(field, choice.includes(field.name), context));
  const pick = choice.length ? chooser(shown, choice, context.changed) : null;
  place.replaceChildren(...(pick ? [pick.element] : []), ...shown.map((one) => one.element));
  if (shown.length === 0) place.append(h("p", { class: "hint", text: "This model takes no inputs." }));
  let turn = 0;

  return {
    /** The inputs as they stand; fields that hold no value are left out. */
    peek: () => inputsOf(fields, valuesOf(shown, () => undefined)),

    /** The inputs to send, when uploads are done; `null` if a field holds what is no value, which it then says. */
    async collect() {
      this.clearErrors();
      await Promise.all(shown.map((one) => one.control.ready?.()));
      let wrong = false;
      const values = valuesOf(shown, (one, error) => {
        one.say([error.message]);
        wrong = true;
      });
      if (wrong) focusFirst(shown);
      return wrong ? null : inputsOf(fields, values);
    },

    /** Puts inputs in; what they leave out gets its default. */
    fill(inputs) {
      const given = choice.find((name) => name in inputs);
      if (given) pick.choose(given);
      for (const { field, control } of shown) control.write(inputs[field.name] ?? field.initial ?? undefined);
      this.clearErrors();
      context.changed();
    },

    /** The next example, or `null` if none can be made up. */
    example: () => exampleOf(root, fields, turn++),
    exampleCount: exampleCount(root, fields),

    /** Shows what the server said beside the fields; returns what belongs to none. */
    showErrors(errors) {
      const { placed, rest } = placeErrors(fields, errors);
      const wrong = choice.find((name) => placed.has(name) && !choice.some((other) => other !== name && placed.has(other)));
      if (wrong) pick.choose(wrong);
      for (const one of shown) one.say(placed.get(one.field.name) ?? []);
      focusFirst(shown);
      return rest;
    },

    clearErrors() {
      for (const one of shown) one.say([]);
    },
  };
}

function valuesOf(shown, onWrong) {
  const values = new Map();
  for (const one of shown) {
    if (one.element.hidden) continue;
    try {
      values.set(one.field.name, one.control.read());
    } catch (error) {
      if (!(error instanceof Wrong)) throw error;
      onWrong(one, error);
    }
  }
  return values;
}

function focusFirst(shown) {
  shown.find((one) => one.wrong && !one.element.hidden)?.control.labelled.focus();
}

/** Label, description, limits, control and errors of one field. */
function makeField(field, isAlternative, context) {
  const made = control(field, context);
  const id = `field-${field.name.replace(/[^\w-]/g, "_")}`;
  const group = made.labelled.getAttribute("role") === "group";
  made.labelled.id = id;
  const label = group ? h("span", { class: "label", id: `${id}-label`, text: field.title }) : h("label", { for: id, text: field.title });
  if (group) made.labelled.setAttribute("aria-labelledby", `${id}-label`);
  const required = field.required && field.kind !== "switch";
  if (required && !group) made.labelled.required = true;
  const marks = h("span", { class: "marks" });
  if (field.title !== field.name) marks.append(h("code", { text: field.name }));
  if (required || isAlternative) marks.append(h("span", { class: "required", text: required ? "required" : "one of these" }));
  if (field.limits && field.kind !== "switch") marks.append(h("span", { text: field.limits }));
  const hint = h("p", { class: "hint", id: `${id}-hint`, text: field.description });
  const problem = h("p", { class: "field-error", id: `${id}-error`, props: { hidden: true } });
  made.labelled.setAttribute("aria-describedby", `${id}-hint`);
  const head = h("div", { class: "field-head" }, label, marks);
  const inline = field.kind === "switch";
  const element = h(
    "div",
    { class: inline ? "field inline" : "field", "data-name": field.name },
    ...(inline ? [h("div", { class: "field-head" }, label, made.body)] : [head]),
    field.description ? hint : null,
    inline ? null : made.body,
    problem,
  );
  const one = { field, control: made, element, wrong: false };
  one.say = (messages) => {
    one.wrong = messages.length > 0;
    say(problem, messages.join(" · "));
    show(problem, one.wrong);
    if (one.wrong) made.labelled.setAttribute("aria-invalid", "true");
    else made.labelled.removeAttribute("aria-invalid");
    made.labelled.setAttribute("aria-describedby", one.wrong ? `${id}-error ${id}-hint` : `${id}-hint`);
  };
  element.addEventListener("input", () => {
    if (one.wrong) one.say([]);
    context.changed();
  });
  return one;
}

/** Buttons to say which of several inputs is given; only that one is shown. */
function chooser(shown, names, changed) {
  const buttons = names.map((name) => {
    const { title } = shown.find((one) => one.field.name === name).field;
    return h("button", { type: "button", class: "segment", text: title, on: { click: () => (choose(name), changed()) } });
  });
  const choose = (chosen) => {
    names.forEach((name, index) => {
      buttons[index].setAttribute("aria-pressed", String(name === chosen));
      shown.find((one) => one.field.name === name).element.hidden = name !== chosen;
    });
  };
  choose(names[0]);
  const element = h("div", { class: "segments", role: "group", "aria-label": "Which one to give" }, ...buttons);
  return { element, choose };
}
