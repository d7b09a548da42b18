"""Every error that Unspool raises on purpose.

UnspoolError
├── ClientError                  answered over HTTP with its status and error_code (`wire.md` §6)
│   ├── BadJson                  400 bad_json
│   ├── InvalidInput             400 invalid_input
│   ├── BadUpload                400 bad_upload
│   ├── BadCursor                400 bad_cursor
│   ├── BadQuery                 400 bad_query
│   ├── StreamingNotSupported    400 streaming_not_supported
│   ├── WebhookRefused           400 webhook_refused
│   ├── Base64WithWebhook        400 base64_with_webhook
│   ├── Unauthenticated          401 unauthenticated
│   ├── Forbidden                403 forbidden
│   ├── NotFound                 404 not_found
│   ├── UnknownModel             404 unknown_model
│   ├── MethodNotAllowed         405 method_not_allowed
│   ├── RequestTimeout           408 request_timeout
│   ├── IdempotencyMismatch      409 idempotency_mismatch
│   ├── Conflict                 409 conflict
│   ├── AlreadyUploaded          412 already_uploaded
│   ├── TooLarge                 413 too_large
│   ├── UnsupportedMediaType     415 unsupported_media_type
│   ├── RangeNotSatisfiable      416 range_not_satisfiable
│   ├── RateLimited              429 rate_limited
│   ├── QueueFull                429 queue_full
│   ├── Internal                 500 internal
│   └── Unavailable              503 unavailable
├── SpoolError                   raised by a spool to the code that called it
│   ├── StaleAttempt             the attempt was overtaken or has ended
│   ├── UnknownPrediction        there is no prediction of that id
│   ├── UnknownKey               there is no API key of that name or id
│   ├── KeyExists                an API key of that name exists already
│   └── SpoolUnavailable         the store cannot keep what it was given (disk full, broker away)
├── Refused                      a URL that this server must not ask
├── ModelFileError               a model file that cannot be served, told to its author
└── ModelError                   raised by a model: its message is shown to the client as it is
"""

from __future__ import annotations

from typing import ClassVar


class UnspoolError(Exception):
    """The root of the tree above."""


class ClientError(UnspoolError):
    """An answer to a request. The message says what to do."""

    http_status: ClassVar[int] = 400
    code: ClassVar[str] = "bad_request"
    retry_after_s: int | None = None
    """Seconds after which the same request may succeed; sent as `Retry-After`."""

    def __init__(
        self,
        message: str,
        errors: list[dict[str, str]] | None = None,
        *,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.headers = headers or {}
        """Headers of the answer."""
        self.errors = errors
        """For bad inputs: every wrong field as `{"field", "message"}`."""

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later."""
        return self.retry_after_s is not None


class BadJson(ClientError):
    """The body is not the JSON object that was expected."""

    code = "bad_json"


class InvalidInput(ClientError):
    """The inputs do not fit the model's schema."""

    code = "invalid_input"


class BadUpload(ClientError):
    """The body of an upload is not the file that was announced, or holds none."""

    code = "bad_upload"


class BadCursor(ClientError):
    """The cursor is malformed or was never issued."""

    code = "bad_cursor"


class BadQuery(ClientError):
    """A query parameter or header has a value that cannot be used."""

    code = "bad_query"


class StreamingNotSupported(ClientError):
    """The model declares that it does not stream."""

    code = "streaming_not_supported"


class WebhookRefused(ClientError):
    """A webhook to where this server does not send."""

    code = "webhook_refused"


class Base64WithWebhook(ClientError):
    """`enable_base64_output` together with a webhook."""

    code = "base64_with_webhook"


class Unauthenticated(ClientError):
    """No key, or a wrong one."""

    http_status = 401
    code = "unauthenticated"


class Forbidden(ClientError):
    """Whoever asks is known, or need not be, and may not do this."""

    http_status = 403
    code = "forbidden"


class NotFound(ClientError):
    """Nothing there, or nothing that this key may see."""

    http_status = 404
    code = "not_found"


class UnknownModel(ClientError):
    """No model of that id is served."""

    http_status = 404
    code = "unknown_model"


class MethodNotAllowed(ClientError):
    """The path exists, but not with this method."""

    http_status = 405
    code = "method_not_allowed"


class RequestTimeout(ClientError):
    """The body did not come in time."""

    http_status = 408
    code = "request_timeout"


class IdempotencyMismatch(ClientError):
    """An `Idempotency-Key` was used before for another request."""

    http_status = 409
    code = "idempotency_mismatch"


class Conflict(ClientError):
    """Not while things are as they are; the message says what has to happen first."""

    http_status = 409
    code = "conflict"
    retry_after_s = 1


class AlreadyUploaded(ClientError):
    """The file of an upload ticket is there. A file is written once."""

    http_status = 412
    code = "already_uploaded"


class TooLarge(ClientError):
    """The body is larger than the server takes."""

    http_status = 413
    code = "too_large"


class UnsupportedMediaType(ClientError):
    """The body is not declared as JSON."""

    http_status = 415
    code = "unsupported_media_type"


class RangeNotSatisfiable(ClientError):
    """The part that is asked for begins behind the end of the file."""

    http_status = 416
    code = "range_not_satisfiable"


class RateLimited(ClientError):
    """An API key has asked too often, or holds too many streams open."""

    http_status = 429
    code = "rate_limited"
    retry_after_s = 1

    def __init__(self, message: str, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class QueueFull(ClientError):
    """An API key has as many predictions waiting as it may."""

    http_status = 429
    code = "queue_full"
    retry_after_s = 5


class Internal(ClientError):
    """Our fault. Details are in the server's log under the same request id."""

    http_status = 500
    code = "internal"


class Unavailable(ClientError):
    """Not now: the server starts, stops, or cannot keep what it would accept."""

    http_status = 503
    code = "unavailable"
    retry_after_s = 1


class SpoolError(UnspoolError):
    """Raised by a spool to the code that called it."""


class StaleAttempt(SpoolError):
    """The attempt was overtaken, was lost, or its prediction has ended. Nothing was changed."""


class UnknownPrediction(SpoolError):
    """There is no prediction of that id."""


class UnknownKey(SpoolError):
    """There is no API key of that name or id, or it is not in a state in which this can be done to it."""


class KeyExists(SpoolError):
    """An API key of that name exists already."""


class SpoolUnavailable(SpoolError):
    """The store cannot keep what it was given. Nothing was accepted; trying again later may work."""


class Refused(UnspoolError):
    """A URL that this server must not ask. The message says what to do, and may be shown to clients."""


class ModelFileError(UnspoolError):
    """The model file cannot be served. The message is for its author."""


class ModelError(UnspoolError):
    """Raise this in a model to end the prediction with a message that the client sees word for word."""
