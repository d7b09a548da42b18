/**
 * From the JSON schema of a model's inputs to the fields of a form, and back to inputs. Pure.
 *
 * The server checks what is sent, so nothing here refuses a value; a schema that is not understood becomes a JSON field.
 */

const MAX_DEPTH = 8;
const LONG_TEXT = 120;
const SLIDER_MOST_STEPS = 100_000;

/**
 * The fields of the form, in the order that the model's author gave.
 *
 * @returns {Array<{name: string, title: string, description: string, required: boolean, kind: string, schema: object,
 *   item: object|null, limits: string, initial: *, hasDefault: boolean}>} `kind` is one of text, line, number, slider,
 *   seed, switch, choice, choices, file, files, list, chat, json, const
 */
export function fieldsOf(root) {
  const required = new Set(root.required ?? []);
  const order = root["x-order-properties"] ?? Object.keys(root.properties ?? {});
  return order.filter((name) => name in root.properties).map((name) => fieldOf(name, root, required.has(name)));
}

function fieldOf(name, root, required) {
  const schema = resolve(root.properties[name], root);
  const item = schema.type === "array" ? resolve(schema.items ?? {}, root) : null;
  return {
    name,
    title: titleOf(name, schema.title),
    description: schema.description ?? "",
    required,
    kind: kindOf(name, schema, item),
    schema,
    item,
    limits: isSeed(name, schema) ? "" : limitsOf(schema),
    initial: schema.default,
    hasDefault: schema.default !== undefined && schema.default !== null,
  };
}

/** The name, as it is sent, unless the author has given a title that says more. */
function titleOf(name, title) {
  const plain = (text) => text.toLowerCase().replace(/[\s_-]+/g, "");
  return !title || plain(title) === plain(name) ? name : title;
}

/** A schema with its references followed, and without the `null` that an optional input may be. */
export function resolve(schema, root, depth = 0) {
  if (typeof schema !== "object" || schema === null || depth > MAX_DEPTH) return {};
  const { $ref, anyOf, oneOf, allOf, ...own } = schema;
  if ($ref !== undefined) return { ...resolve(at($ref, root), root, depth + 1), ...own };
  if (allOf?.length === 1) return { ...resolve(allOf[0], root, depth + 1), ...own };
  const branches = (anyOf ?? oneOf ?? []).filter((branch) => branch?.type !== "null");
  if (branches.length === 1) return { ...resolve(branches[0], root, depth + 1), ...own };
  return schema;
}

function at(reference, root) {
  const steps = reference.replace(/^#\/?/, "").split("/").filter(Boolean);
  const names = steps.map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));
  return names.reduce((node, name) => node?.[name], root);
}

function kindOf(name, schema, item) {
  if (schema.const !== undefined) return "const";
  if (Array.isArray(schema.enum)) return "choice";
  if (isFile(schema)) return "file";
  const type = Array.isArray(schema.type) ? schema.type.find((one) => one !== "null") : schema.type;
  switch (type) {
    case "boolean":
      return "switch";
    case "integer":
    case "number":
      return isSeed(name, schema) ? "seed" : hasSlider(schema) ? "slider" : "number";
    case "string":
      return isLine(schema) ? "line" : "text";
    case "array":
      return kindOfList(item);
    default:
      return "json";
  }
}

/** The number that chance begins with: it has limits, and nobody wants a slider for it. */
function isSeed(name, schema) {
  return schema.type === "integer" && /(^|_)seed$/i.test(name);
}

function kindOfList(item) {
  if (isFile(item)) return "files";
  if (Array.isArray(item.enum)) return "choices";
  if (item.properties?.role && item.properties?.content?.type === "string") return "chat";
  return ["string", "integer", "number"].includes(item.type) ? "list" : "json";
}

function isFile(schema) {
  return schema["x-ui-component"] === "uploader";
}

function isLine(schema) {
  return schema.format !== undefined || schema.pattern !== undefined || (schema.maxLength ?? Infinity) <= LONG_TEXT;
}

/** What a slider goes over, if the schema bounds the number on both sides; `exclusive…` is one step inside. */
export function sliderOf(schema) {
  const whole = schema.type === "integer";
  const low = schema.minimum ?? schema.exclusiveMinimum;
  const high = schema.maximum ?? schema.exclusiveMaximum;
  if (low === undefined || high === undefined || !(high > low)) return null;
  const step = schema.multipleOf ?? (whole ? 1 : niceStep((high - low) / 100));
  const min = schema.minimum === undefined ? low + step : low;
  const max = schema.maximum === undefined ? high - step : high;
  return { min: tidy(min), max: tidy(max), step };
}

function hasSlider(schema) {
  const slider = sliderOf(schema);
  return slider !== null && (slider.max - slider.min) / slider.step <= SLIDER_MOST_STEPS;
}

function niceStep(wanted) {
  const power = 10 ** Math.floor(Math.log10(wanted));
  return tidy(power * [1, 2, 5, 10].findLast((factor) => factor * power <= wanted * 1.0001));
}

function tidy(value) {
  return Number(value.toPrecision(12));
}

function limitsOf(schema) {
  const of = (unit, low, high) => range(low, high, unit);
  if (schema.type === "integer" || schema.type === "number") {
    const low = schema.minimum ?? (schema.exclusiveMinimum === undefined ? undefined : `more than ${schema.exclusiveMinimum}`);
    const high = schema.maximum ?? (schema.exclusiveMaximum === undefined ? undefined : `less than ${schema.exclusiveMaximum}`);
    return of("", low, high);
  }
  if (schema.type === "string") return of("characters", schema.minLength > 1 ? schema.minLength : undefined, schema.maxLength);
  if (schema.type === "array") return of("items", schema.minItems, schema.maxItems);
  return "";
}

function range(low, high, unit) {
  const shown = (value) => (typeof value === "number" ? value.toLocaleString("en", { maximumFractionDigits: 12 }) : value);
  const after = unit && ` ${unit}`;
  if (low === undefined && high === undefined) return "";
  if (typeof low === "string" || typeof high === "string") {
    const ends = [typeof low === "number" ? `${shown(low)} or more` : low, typeof high === "number" ? `${shown(high)} at most` : high];
    return ends.filter((end) => end !== undefined).join(", ") + after;
  }
  if (high === undefined) return `${shown(low)}${after} or more`;
  if (low === undefined) return `${shown(high)}${after} at most`;
  return `${shown(low)} to ${shown(high)}${after}`;
}

/** The names of the inputs of which exactly one is to be given; empty if there is no such choice. */
export function alternatives(root) {
  const branches = root.oneOf ?? [];
  const single = branches.every((branch) => branch.required?.length === 1 && Object.keys(branch).length === 1);
  return branches.length > 1 && single ? branches.map((branch) => branch.required[0]) : [];
}

/**
 * The inputs to send: without what was left empty and without what is the default anyway.
 *
 * @param {Map<string, *>} values what the fields hold, by name; `undefined` is empty
 */
export function inputsOf(fields, values) {
  const inputs = {};
  for (const field of fields) {
    const value = field.kind === "const" ? field.schema.const : values.get(field.name);
    if (value === undefined) continue;
    if (!field.required && same(value, field.initial)) continue;
    inputs[field.name] = value;
  }
  return inputs;
}

function same(one, other) {
  return JSON.stringify(one) === JSON.stringify(other);
}

/** How many different examples there are to try. */
export function exampleCount(root, fields) {
  const whole = (root.examples ?? []).filter(isObject).length;
  return whole || Math.max(1, ...fields.map((field) => field.schema.examples?.length ?? 0));
}

/**
 * Inputs to try the model with: what its author gave as examples, or what the types allow.
 *
 * @param {number} turn which of several
 * @returns {object|null} `null` if nothing can be made up, as for a required file
 */
export function exampleOf(root, fields, turn = 0) {
  const whole = (root.examples ?? []).filter(isObject);
  if (whole.length) return whole[turn % whole.length];
  const choice = alternatives(root);
  const wanted = fields.filter((field) => field.required || field.name === choice[0] || field.schema.examples?.length);
  const made = wanted
    .filter((field) => !choice.slice(1).includes(field.name) && field.kind !== "const")
    .map((field) => [field.name, valueFor(field.schema, root, turn, 0)]);
  const needed = (name) => fields.find((field) => field.name === name).required || name === choice[0];
  if (made.some(([name, value]) => value === undefined && needed(name))) return null;
  return Object.fromEntries(made.filter(([, value]) => value !== undefined));
}

function valueFor(given, root, turn, depth) {
  const schema = resolve(given, root);
  if (schema.examples?.length) return schema.examples[turn % schema.examples.length];
  if (schema.const !== undefined) return schema.const;
  if (schema.default !== undefined && schema.default !== null) return schema.default;
  if (schema.enum) return schema.enum[turn % schema.enum.length];
  if (isFile(schema) || depth > 4) return undefined;
  switch (schema.type) {
    case "string":
      if (schema.pattern !== undefined || schema.format !== undefined) return undefined;
      return "A few words.".padEnd(Math.min(schema.minLength ?? 0, 200), ".").slice(0, schema.maxLength);
    case "integer":
    case "number":
      return numberFor(schema);
    case "boolean":
      return true;
    case "array":
      return listFor(schema, root, turn, depth);
    case "object":
      return objectFor(schema, root, turn, depth);
    default:
      return undefined;
  }
}

function numberFor(schema) {
  const slider = sliderOf(schema);
  if (slider) return tidy(Math.min(Math.max(1, slider.min), slider.max));
  const step = schema.multipleOf ?? 1;
  const low = schema.minimum ?? (schema.exclusiveMinimum === undefined ? step : schema.exclusiveMinimum + step);
  const value = Math.ceil(Math.max(low, step) / step) * step;
  return Math.min(value, schema.maximum ?? (schema.exclusiveMaximum === undefined ? value : schema.exclusiveMaximum - step));
}

function listFor(schema, root, turn, depth) {
  const item = valueFor(schema.items ?? {}, root, turn, depth + 1);
  if (item === undefined) return undefined;
  return Array(Math.min(Math.max(1, schema.minItems ?? 0), 20)).fill(item);
}

function objectFor(schema, root, turn, depth) {
  const inside = (schema.required ?? []).map((name) => [name, valueFor(schema.properties?.[name] ?? {}, root, turn, depth + 1)]);
  return inside.some(([, value]) => value === undefined) ? undefined : Object.fromEntries(inside);
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Which field an error of the server is about, and what it says: `messages.0.content` is about `messages`. */
export function placeErrors(fields, errors) {
  const names = fields.map((field) => field.name);
  const placed = new Map();
  const rest = [];
  for (const { field, message } of errors) {
    const name = names.find((one) => field === one || field.startsWith(`${one}.`));
    if (name === undefined) rest.push(field ? `${field} ${message}` : message);
    else placed.set(name, [...(placed.get(name) ?? []), field === name ? message : `${field.slice(name.length + 1)} ${message}`]);
  }
  return { placed, rest };
}
