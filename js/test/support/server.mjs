// The real server that these tests talk to: `unspool serve tests/models/javascript.py`. tests/e2e/test_js_sdk.py starts it.
import { Client } from "unspool";

const { UNSPOOL_TEST_URL, UNSPOOL_TEST_KEY } = process.env;
if (!UNSPOOL_TEST_URL || !UNSPOOL_TEST_KEY) {
  throw new Error("These tests need a server: run them with pytest tests/e2e/test_js_sdk.py");
}

export const url = UNSPOOL_TEST_URL;
export const apiKey = UNSPOOL_TEST_KEY;
export const client = new Client({ url, apiKey });

/** All that an async iterable gives. */
export async function all(items) {
  const found = [];
  for await (const item of items) found.push(item);
  return found;
}
