/** Webhooks: whether one is genuine. */

import { InvalidSignature } from "./errors.js";
import type { Json, Prediction } from "./types.js";

type HeaderBag = Headers | Record<string, string | readonly string[] | undefined>;

/**
 * The prediction that a webhook brings, if it is genuine.
 *
 * @param body As it came, byte for byte: not what a framework has parsed and printed again.
 * @param headers Of the request.
 * @param secret Yours, as `client.webhookSecret()` tells it.
 * @param toleranceS Webhooks that are older, or of a time to come, are refused; in seconds.
 * @throws InvalidSignature
 */
export async function verifyWebhook<T = Json>(
  body: string | BufferSource,
  headers: HeaderBag,
  secret: string,
  toleranceS = 300,
): Promise<Prediction<T>> {
  const bytes = bytesOf(body);
  const timestamp = header(headers, "webhook-timestamp");
  const [version, signature = ""] = header(headers, "webhook-signature").split(",");
  const ageS = Math.abs(Date.now() / 1000 - Number(timestamp));
  if (!/^\d+$/.test(timestamp) || ageS > toleranceS)
    throw new InvalidSignature("The webhook's time is missing, or too far away.");
  const signed = concatenated(bytesOf(`${header(headers, "webhook-id")}.${timestamp}.`), bytes);
  const subtle = await webCrypto();
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const key = await subtle.importKey("raw", bytesOf(secret.replace(/^whsec_/, "")), algorithm, false, ["verify"]);
  const given = fromHex(signature);
  // `verify` compares in constant time.
  if (version !== "v3" || !given || !(await subtle.verify("HMAC", key, given, signed))) {
    throw new InvalidSignature("The webhook's signature is wrong.");
  }
  return JSON.parse(new TextDecoder().decode(bytes));
}

function header(headers: HeaderBag, name: string): string {
  if (typeof headers.get === "function") return (headers as Headers).get(name) ?? "";
  const found = Object.entries(headers).find(([key]) => key.toLowerCase() === name);
  return found === undefined ? "" : String(found[1]);
}

function bytesOf(value: string | BufferSource): Uint8Array<ArrayBuffer> {
  if (typeof value === "string") return new TextEncoder().encode(value);
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  return new Uint8Array(value.buffer as ArrayBuffer, value.byteOffset, value.byteLength);
}

function concatenated(a: Uint8Array, b: Uint8Array): Uint8Array<ArrayBuffer> {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}

function fromHex(text: string): Uint8Array<ArrayBuffer> | undefined {
  if (!/^([0-9a-f]{2})+$/.test(text)) return undefined;
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

async function webCrypto(): Promise<SubtleCrypto> {
  if (globalThis.crypto?.subtle) return globalThis.crypto.subtle;
  const name = "node:crypto"; // Node 18 has it there only. In a variable, so that bundlers for browsers leave it alone.
  return (await import(/* webpackIgnore: true */ /* @vite-ignore */ name)).webcrypto.subtle;
}
