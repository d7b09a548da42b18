// The package as npm would publish it: what is in it, and that it works where it is installed.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import * as api from "unspool";

const ROOT = new URL("..", import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), "unspool-"));
const run = (program, ...args) => execFileSync(program, args, { cwd: folder, encoding: "utf8", stdio: "pipe" });

before(() => {
  const [{ filename }] = JSON.parse(
    execFileSync("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", folder], {
      cwd: ROOT,
      encoding: "utf8",
      stdio: "pipe",
    }),
  );
  mkdirSync(join(folder, "node_modules"));
  run("tar", "-xzf", filename);
  execFileSync("mv", [join(folder, "package"), join(folder, "node_modules/unspool")]);
});
after(() => rmSync(folder, { recursive: true, force: true }));

test("it holds what was built, with types, and nothing that was made to build it", () => {
  const installed = join(folder, "node_modules/unspool");
  assert.deepEqual(readdirSync(installed).sort(), ["LICENSE", "README.md", "dist", "package.json"]);
  const modules = readdirSync(join(installed, "dist"));
  assert.ok(modules.every((name) => /\.(js|d\.ts)$/.test(name)));
  assert.ok(["index.js", "index.d.ts", "react.js", "react.d.ts"].every((name) => modules.includes(name)));
});

test("it can be imported where it is installed, without React", () => {
  writeFileSync(join(folder, "program.mjs"), 'import { Client } from "unspool"; console.log(new Client().url);\n');
  assert.equal(run(process.execPath, "program.mjs").trim(), "http://127.0.0.1:8080");
});

for (const [module, resolution] of [
  ["nodenext", "nodenext"],
  ["esnext", "bundler"],
]) {
  test(`its types are found with module resolution ${resolution}`, () => {
    writeFileSync(
      join(folder, "program.mts"),
      'import { Client, type PredictionEvent } from "unspool";\nexport const last = (e: PredictionEvent): string => e.cursor;\nexport const url: string = new Client().url;\n',
    );
    const options = ["--strict", "--noEmit", "--target", "es2022", "--lib", "es2022,dom", "--types", ""];
    run(
      join(ROOT, "node_modules/.bin/tsc"),
      ...options,
      "--module",
      module,
      "--moduleResolution",
      resolution,
      "program.mts",
    );
  });
}

test("nothing but what is meant for users is exported", () => {
  const others = Object.entries(api).filter(([, value]) => !(value.prototype instanceof Error));
  assert.deepEqual(others.map(([name]) => name).sort(), ["Client", "SseParser", "Stream", "follow", "verifyWebhook"]);
});
