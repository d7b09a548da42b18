// A file through which the models of the test server let their outputs pass one by one.
import { appendFile, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A closed gate, which is opened when the test ends. */
export async function gateFor(test) {
  const folder = await mkdtemp(join(tmpdir(), "gate-"));
  const path = join(folder, "gate");
  await writeFile(path, "");
  // The gate is open first: whoever waits there may still leave a file in the folder.
  test.after(async () => {
    await rm(path, { force: true });
    await rm(folder, { recursive: true, force: true, maxRetries: 100, retryDelay: 10 });
  });
  return {
    path,
    let: (count) => appendFile(path, ".".repeat(count)),
    open: () => rm(path, { force: true }),
  };
}
