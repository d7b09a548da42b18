// Webhooks: what is genuine, and what is not. One that a server sent is verified in tests/sdk.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { test } from "node:test";
import { InvalidSignature, verifyWebhook } from "unspool";

const SECRET = "whsec_not+base64/世";
const BODY = JSON.stringify({ id: "abc", status: "completed", outputs: ["世界"] });
const now = () => Math.floor(Date.now() / 1000);

function signed({ body = BODY, id = "abc", at = now(), secret = SECRET } = {}) {
  const key = secret.replace(/^whsec_/, "");
  const signature = createHmac("sha256", key).update(`${id}.${at}.`).update(body).digest("hex");
  return { "webhook-id": id, "webhook-timestamp": String(at), "webhook-signature": `v3,${signature}` };
}

test("a genuine webhook gives its prediction, in whatever form its body and headers are", async () => {
  const headers = signed();
  const bytes = new TextEncoder().encode(`<${BODY}>`).subarray(1, -1); // a view into more
  const upper = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toUpperCase(), value]));
  for (const body of [BODY, Buffer.from(BODY), bytes, new Uint8Array(bytes).buffer]) {
    for (const form of [headers, upper, new Headers(headers)]) {
      assert.deepEqual(await verifyWebhook(body, form, SECRET), JSON.parse(BODY));
    }
  }
});

test("what is not genuine is refused", async () => {
  const good = signed();
  const wrong = {
    "another body": [BODY.replace("completed", "failed"), good, SECRET],
    "another secret": [BODY, good, "whsec_other"],
    "another id": [BODY, { ...good, "webhook-id": "abd" }, SECRET],
    "another time": [BODY, { ...good, "webhook-timestamp": String(now() - 1) }, SECRET],
    "no time": [BODY, { ...good, "webhook-timestamp": "" }, SECRET],
    "a time in words": [BODY, { ...good, "webhook-timestamp": "now" }, SECRET],
    "half a signature": [BODY, { ...good, "webhook-signature": good["webhook-signature"].slice(0, -2) }, SECRET],
    "no hexadecimal": [BODY, { ...good, "webhook-signature": "v3,zz" }, SECRET],
    "another version": [BODY, { ...good, "webhook-signature": good["webhook-signature"].replace("v3", "v1") }, SECRET],
    "an old time": [BODY, signed({ at: now() - 400 }), SECRET],
    "a time to come": [BODY, signed({ at: now() + 400 }), SECRET],
    "no headers": [BODY, {}, SECRET],
  };
  for (const [name, webhook] of Object.entries(wrong)) {
    await assert.rejects(verifyWebhook(...webhook), InvalidSignature, name);
  }
});

test("the tolerance is in seconds", async () => {
  assert.equal((await verifyWebhook(BODY, signed({ at: now() - 400 }), SECRET, 500)).id, "abc");
});
