// How many bytes a page pays for this client: bundled, minified, gzipped.
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const uses = {
  "the whole client": 'export * from "./src/index.ts"',
  "only follow": 'export { follow } from "./src/index.ts"',
  "only verifyWebhook": 'export { verifyWebhook } from "./src/index.ts"',
  "unspool/react, beside the client": 'export * from "./src/react.ts"',
};
const sizes = {};
for (const [use, contents] of Object.entries(uses)) {
  const external = use.startsWith("unspool/react") ? ["react", "./client.js", "./stream.js", "./errors.js"] : [];
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: new URL("..", import.meta.url).pathname, loader: "ts" },
    bundle: true,
    external,
    format: "esm",
    minify: true,
    target: "es2022",
    write: false,
  });
  sizes[use] = {
    bytes: outputFiles[0].contents.length,
    gzipped: gzipSync(outputFiles[0].contents, { level: 9 }).length,
  };
}
console.log(process.argv.includes("--json") ? JSON.stringify(sizes) : "");
if (!process.argv.includes("--json")) console.table(sizes);
