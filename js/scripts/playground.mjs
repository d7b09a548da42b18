// Writes the playground's copy of this client: one module, readable. `--check` only says whether it is behind.
import { readFile, writeFile } from "node:fs/promises";
import { build } from "esbuild";

const target = new URL("../../src/unspool/playground/unspool.js", import.meta.url);
const source = new URL("../src/index.ts", import.meta.url);

const { outputFiles } = await build({
  entryPoints: [source.pathname],
  banner: { js: "// Made from js/src by `npm run playground` in js/. Change it there." },
  bundle: true,
  charset: "utf8",
  format: "esm",
  target: "es2022",
  write: false,
});
const made = outputFiles[0].text;
if (!process.argv.includes("--check")) {
  await writeFile(target, made);
} else if ((await readFile(target, "utf8").catch(() => "")) !== made) {
  console.error("src/unspool/playground/unspool.js is behind js/src: run `npm run playground` in js/.");
  process.exitCode = 1;
}
