export {
  type CallOptions,
  Client,
  type FollowOptions,
  follow,
  type ListOptions,
  type RunOptions,
  type SubmitOptions,
  type UploadOptions,
} from "./client.js";
export * from "./errors.js";
export type { ClientOptions } from "./net.js";
export { type Frame, SseParser } from "./sse.js";
export { Stream } from "./stream.js";
export type * from "./types.js";
export { verifyWebhook } from "./webhook.js";
