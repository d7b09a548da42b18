/** The same request as a program, to copy. Each is whole: with UNSPOOL_API_KEY set it runs as it stands. Pure. */

export const LANGUAGES = ["curl", "Python", "JavaScript"];

/** Arguments of `Client.stream` that are no inputs: inputs of these names go into a dict. */
const PYTHON_OPTIONS = new Set([
  "self", "model", "input", "webhook_url", "on_disconnect", "idempotency_key", "start_timeout", "run_timeout",
  "timeout_s", "on_progress", "on_event",
]);
const PYTHON_WORDS = new Set(
  ("False None True and as assert async await break class continue def del elif else except finally for from global if " +
    "import in is lambda nonlocal not or pass raise return try while with yield").split(" "),
);
const DEFAULT_URL = "http://127.0.0.1:8080";

/**
 * The request as a program.
 *
 * @param {string} language one of `LANGUAGES`
 * @param {{url: string, model: string, inputs: object, key: boolean, text: boolean}} request `key`: whether the server
 *   asks for one; `text`: whether the model streams output as text
 */
export function snippet(language, request) {
  if (language === "Python") return python(request);
  return language === "JavaScript" ? javascript(request) : curl(request);
}

function curl({ url, model, inputs, key }) {
  const lines = [`curl -N ${shellWord(`${url}/api/v3/${model}`)}`];
  if (key) lines.push('-H "Authorization: Bearer $UNSPOOL_API_KEY"');
  lines.push("-H 'Content-Type: application/json'", `-d ${shellQuote(JSON.stringify({ ...inputs, stream: true }, null, 2))}`);
  return lines.join(" \\\n  ");
}

function shellWord(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : shellQuote(text);
}

function shellQuote(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function python({ url, model, inputs, key, text }) {
  const client = url === DEFAULT_URL ? "Client()" : `Client(${JSON.stringify(url)})`;
  const named = Object.keys(inputs).every((name) => /^[A-Za-z_]\w*$/.test(name) && !PYTHON_OPTIONS.has(name) && !PYTHON_WORDS.has(name));
  const given = named
    ? Object.entries(inputs).map(([name, value]) => `    ${name}=${pythonValue(value, 1)},`)
    : [`    ${pythonValue(inputs, 1)},`];
  return [
    "from unspool import Client",
    "",
    `client = ${client}${key ? "  # the key is in UNSPOOL_API_KEY" : ""}`,
    "for event in client.stream(",
    `    ${JSON.stringify(model)},`,
    ...given,
    "):",
    ...(text
      ? ['    if event.type == "output":', '        print(event.output, end="", flush=True)']
      : ["    print(event)"]),
  ].join("\n");
}

/** A JSON value as Python writes it. */
export function pythonValue(value, depth = 0) {
  const inner = "    ".repeat(depth + 1);
  const outer = "    ".repeat(depth);
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const items = Array.isArray(value)
    ? value.map((item) => pythonValue(item, depth + 1))
    : Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}: ${pythonValue(item, depth + 1)}`);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const short = open + items.join(", ") + close;
  if (short.length <= 80 && !short.includes("\n")) return short;
  return `${open}\n${items.map((item) => `${inner}${item},\n`).join("")}${outer}${close}`;
}

function javascript({ url, model, inputs, key, text }) {
  const options = [`url: ${JSON.stringify(url)}`, ...(key ? ["apiKey: process.env.UNSPOOL_API_KEY"] : [])];
  const body = JSON.stringify(inputs, null, 2);
  return [
    'import { Client } from "unspool";',
    "",
    `const client = new Client({ ${options.join(", ")} });`,
    `for await (const event of client.stream(${JSON.stringify(model)}, ${body})) {`,
    text ? '  if (event.type === "output") process.stdout.write(event.output);' : "  console.log(event);",
    "}",
  ].join("\n");
}
