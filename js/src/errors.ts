/**
 * Every error that this package throws on purpose. (An aborted signal throws its own reason, as `fetch` does.)
 *
 * UnspoolError
 * ├── ApiError             an answer of the server; one class for each `error_code`
 * ├── ConnectionFailed     the server could not be reached, again and again
 * ├── BadAnswer            something answered, but not as an Unspool server does
 * │   └── Gap              events were missing or unreadable, twice at the same place
 * ├── StillRunning         the time to wait is over; the prediction goes on
 * ├── InvalidSignature     a webhook that did not come from the server, or is too old
 * └── PredictionError      the prediction that was waited for did not complete
 *     ├── PredictionFailed
 *     ├── PredictionCancelled
 *     └── PredictionTimedOut
 */

import type { FieldError, Outcome } from "./types.js";

export class UnspoolError extends Error {
  /** Said in words, since a minifier shortens the names of classes. */
  override readonly name: string = "UnspoolError";
}

export class ConnectionFailed extends UnspoolError {
  override readonly name = "ConnectionFailed";
}

export class BadAnswer extends UnspoolError {
  override readonly name: string = "BadAnswer";
}

export class Gap extends BadAnswer {
  override readonly name = "Gap";
}

export class InvalidSignature extends UnspoolError {
  override readonly name = "InvalidSignature";
}

export class StillRunning extends UnspoolError {
  override readonly name = "StillRunning";
  /** Of the prediction, if it was known already: `client.wait(id)` waits again. */
  readonly id: string | undefined;

  constructor(timeoutMs: number, id: string | undefined) {
    super(`The prediction has not ended within ${timeoutMs / 1000} s. It goes on.`);
    this.id = id;
  }
}

/** What an answer with an error says. */
export interface ErrorAnswer {
  message: string;
  error_code: string;
  errors?: FieldError[] | undefined;
  retry_after_s?: number | undefined;
  request_id?: string | undefined;
}

/** An answer that is an error. The message says what to do. */
export class ApiError extends UnspoolError {
  override readonly name: string;
  /** Of HTTP. */
  readonly status: number;
  /** As in "invalid_input"; empty if something else than the server answered, as a proxy. */
  readonly error_code: string;
  /** For `invalid_input`: every wrong field. */
  readonly errors: FieldError[];
  /** Seconds after which the same request may succeed. */
  readonly retry_after_s: number | undefined;
  /** The server's log has more about it under this id. */
  readonly request_id: string | undefined;

  constructor(status: number, answer: ErrorAnswer) {
    super(answer.message);
    this.status = status;
    this.error_code = answer.error_code;
    this.errors = answer.errors ?? [];
    this.retry_after_s = answer.retry_after_s;
    this.request_id = answer.request_id;
    this.name = CLASSES[answer.error_code] ? camel(answer.error_code) : "ApiError";
  }
}

export class BadJson extends ApiError {}
export class InvalidInput extends ApiError {}
export class BadUpload extends ApiError {}
export class BadCursor extends ApiError {}
export class BadQuery extends ApiError {}
export class StreamingNotSupported extends ApiError {}
export class WebhookRefused extends ApiError {}
export class Base64WithWebhook extends ApiError {}
export class Unauthenticated extends ApiError {}
export class Forbidden extends ApiError {}
export class NotFound extends ApiError {}
export class UnknownModel extends ApiError {}
export class MethodNotAllowed extends ApiError {}
export class RequestTimeout extends ApiError {}
export class IdempotencyMismatch extends ApiError {}
export class Conflict extends ApiError {}
export class AlreadyUploaded extends ApiError {}
export class TooLarge extends ApiError {}
export class UnsupportedMediaType extends ApiError {}
export class RangeNotSatisfiable extends ApiError {}
export class RateLimited extends ApiError {}
export class QueueFull extends ApiError {}
export class Internal extends ApiError {}
export class Unavailable extends ApiError {}

const CLASSES: Record<string, typeof ApiError> = {
  bad_json: BadJson,
  invalid_input: InvalidInput,
  bad_upload: BadUpload,
  bad_cursor: BadCursor,
  bad_query: BadQuery,
  streaming_not_supported: StreamingNotSupported,
  webhook_refused: WebhookRefused,
  base64_with_webhook: Base64WithWebhook,
  unauthenticated: Unauthenticated,
  forbidden: Forbidden,
  not_found: NotFound,
  unknown_model: UnknownModel,
  method_not_allowed: MethodNotAllowed,
  request_timeout: RequestTimeout,
  idempotency_mismatch: IdempotencyMismatch,
  conflict: Conflict,
  already_uploaded: AlreadyUploaded,
  too_large: TooLarge,
  unsupported_media_type: UnsupportedMediaType,
  range_not_satisfiable: RangeNotSatisfiable,
  rate_limited: RateLimited,
  queue_full: QueueFull,
  internal: Internal,
  unavailable: Unavailable,
};

const camel = (code: string): string => code.replace(/(^|_)(\w)/g, (_, __, letter: string) => letter.toUpperCase());

/** The error of an answer, of the class that its `error_code` names. */
export function apiError(status: number, answer: ErrorAnswer): ApiError {
  return new (CLASSES[answer.error_code] ?? ApiError)(status, answer);
}

/** The prediction that was waited for ended without completing. */
export class PredictionError extends UnspoolError {
  override readonly name: string = "PredictionError";
  readonly prediction: Outcome;

  constructor(prediction: Outcome) {
    super(prediction.error);
    this.prediction = prediction;
  }
}

export class PredictionFailed extends PredictionError {
  override readonly name = "PredictionFailed";
}

export class PredictionCancelled extends PredictionError {
  override readonly name = "PredictionCancelled";
}

export class PredictionTimedOut extends PredictionError {
  override readonly name = "PredictionTimedOut";
}

/** The error of a prediction that did not complete. */
export function predictionError(prediction: Outcome): PredictionError {
  const { status } = prediction;
  if (status === "cancelled") return new PredictionCancelled(prediction);
  return status === "timeout" ? new PredictionTimedOut(prediction) : new PredictionFailed(prediction);
}
