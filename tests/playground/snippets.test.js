// The same request as a program. The browser's tests run them; here are the corners.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { pythonValue, snippet } from "../../src/unspool/playground/snippets.js";

const REQUEST = { url: "http://127.0.0.1:8080", model: "acme/film", inputs: {}, key: true, text: false };
const NASTY = 'It\'s "late"; $HOME `date` \\ \n\t 你好 🐈 \u2028 \u0000 </script>';

test("curl sends exactly the inputs, whatever is in them", () => {
  const program = snippet("curl", { ...REQUEST, inputs: { prompt: NASTY.replace("\u0000", "") } });
  const printed = execFileSync("bash", ["-c", program.replace(/^curl -N/, "printf '%s\\0'")], { encoding: "utf8", env: { ...process.env, UNSPOOL_API_KEY: "k" } });
  const words = printed.split("\0");
  assert.equal(words[0], "http://127.0.0.1:8080/api/v3/acme/film");
  assert.ok(words.includes("Authorization: Bearer k"));
  assert.deepEqual(JSON.parse(words[words.indexOf("-d") + 1]), { prompt: NASTY.replace("\u0000", ""), stream: true });
});

test("an address with something for the shell in it is quoted", () => {
  assert.match(snippet("curl", { ...REQUEST, model: "a/b;c d" }), /^curl -N 'http:\/\/127\.0\.0\.1:8080\/api\/v3\/a\/b;c d' /);
});

test("a server that asks for no key is not told one", () => {
  for (const language of ["curl", "Python", "JavaScript"]) {
    assert.doesNotMatch(snippet(language, { ...REQUEST, key: false }), /API_KEY|apiKey/);
  }
});

test("a JSON value is the same value in Python", () => {
  const value = { text: NASTY, yes: true, no: false, none: null, numbers: [1, -2.5, 1e21, 1e-9], deep: [{ a: [{ b: "c".repeat(90) }] }], empty: [{}, []] };
  const program = `import json; print(json.dumps(${pythonValue(value)}))`;
  const printed = execFileSync("python3", ["-c", program.replaceAll("\u0000", "\\u0000")], { encoding: "utf8", env: { ...process.env, PYTHONUTF8: "1" } });
  assert.deepEqual(JSON.parse(printed), value);
});

test("inputs become arguments in Python, but for names that are none", () => {
  const python = (inputs) => snippet("Python", { ...REQUEST, inputs });
  assert.match(python({ prompt: "x", n: 2 }), /\n {4}prompt="x",\n {4}n=2,\n\):/);
  for (const name of ["from", "webhook_url", "max-tokens", "self", "é"]) assert.match(python({ [name]: 1 }), new RegExp(`\\n {4}\\{"${name}": 1\\},\\n`));
});

test("the address is left out in Python where it is the default", () => {
  assert.match(snippet("Python", REQUEST), /Client\(\)/);
  assert.match(snippet("Python", { ...REQUEST, url: "https://ai.example.com" }), /Client\("https:\/\/ai\.example\.com"\)/);
});

test("JavaScript has the inputs as they are", () => {
  const program = snippet("JavaScript", { ...REQUEST, inputs: { prompt: NASTY } });
  const given = /client\.stream\("acme\/film", (.*)\)\) \{\n/s.exec(program)[1];
  assert.deepEqual(new Function(`return (${given})`)(), { prompt: NASTY });
});
