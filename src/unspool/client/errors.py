"""Every error that the SDK raises on purpose.

UnspoolError
└── SdkError
    ├── ApiError                     the server said no: its status, error_code and message (`wire.md` §6)
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
    ├── ConnectionFailed             no answer, however often it was tried
    ├── BadAnswer                    something answered, but not as an Unspool server does
    │   └── Gap                      an event was missing, twice at the same place
    ├── PredictionError              a prediction that was waited for did not complete; it is in `.prediction`
    │   ├── PredictionFailed
    │   ├── PredictionCancelled
    │   └── PredictionTimedOut
    ├── StillRunning                 the time to wait is over; the prediction goes on
    └── WebhookInvalid               a webhook that did not come from the server, or is too old

The classes below `ApiError` are called like those that the server raises (`unspool.errors`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from unspool.client.objects import Prediction
from unspool.errors import UnspoolError


class SdkError(UnspoolError):
    """The root of the tree above."""


class ApiError(SdkError):
    """The server said no. The message says what to do."""

    code: ClassVar[str] = ""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        error_code: str = "",
        errors: list[dict[str, str]] | None = None,
        retry_after_s: float | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        """Of HTTP."""
        self.error_code = error_code or self.code
        """As on the wire; empty if something between here and the server answered."""
        self.errors = errors
        """For `invalid_input`: every wrong field as `{"field", "message"}`."""
        self.retry_after_s = retry_after_s
        """Seconds after which the same request may succeed, if the answer said so."""
        self.request_id = request_id
        """What the server's log has this request under."""

    def __str__(self) -> str:
        details = [f"{wrong.get('field') or 'inputs'}: {wrong.get('message', '')}" for wrong in self.errors or []]
        return "\n  ".join([self.message, *details])


class BadJson(ApiError):
    """The body is not the JSON object that was expected."""

    code = "bad_json"


class InvalidInput(ApiError):
    """The inputs do not fit the model's schema; `.errors` names every wrong field."""

    code = "invalid_input"


class BadUpload(ApiError):
    """The body of an upload is not the file that was announced."""

    code = "bad_upload"


class BadCursor(ApiError):
    """The cursor is malformed or was never issued."""

    code = "bad_cursor"


class BadQuery(ApiError):
    """A query parameter or header has a value that cannot be used."""

    code = "bad_query"


class StreamingNotSupported(ApiError):
    """The model declares that it does not stream. `run`, `submit` and `wait` work."""

    code = "streaming_not_supported"


class WebhookRefused(ApiError):
    """A webhook to where this server does not send."""

    code = "webhook_refused"


class Base64WithWebhook(ApiError):
    """`enable_base64_output` together with a webhook."""

    code = "base64_with_webhook"


class Unauthenticated(ApiError):
    """No key, or a wrong one."""

    code = "unauthenticated"


class Forbidden(ApiError):
    """Whoever asks may not do this."""

    code = "forbidden"


class NotFound(ApiError):
    """Nothing there, or nothing that this key may see."""

    code = "not_found"


class UnknownModel(ApiError):
    """No model of that id is served; the message names the nearest."""

    code = "unknown_model"


class MethodNotAllowed(ApiError):
    """The path exists, but not with this method."""

    code = "method_not_allowed"


class RequestTimeout(ApiError):
    """The body did not reach the server in time."""

    code = "request_timeout"


class IdempotencyMismatch(ApiError):
    """An `idempotency_key` was used before for another request."""

    code = "idempotency_mismatch"


class Conflict(ApiError):
    """Not while things are as they are; the message says what has to happen first."""

    code = "conflict"


class AlreadyUploaded(ApiError):
    """The file of an upload ticket is there."""

    code = "already_uploaded"


class TooLarge(ApiError):
    """The body is larger than the server takes."""

    code = "too_large"


class UnsupportedMediaType(ApiError):
    """The body is not declared as JSON."""

    code = "unsupported_media_type"


class RangeNotSatisfiable(ApiError):
    """The part that is asked for begins behind the end of the file."""

    code = "range_not_satisfiable"


class RateLimited(ApiError):
    """The API key has asked too often, or holds too many streams open."""

    code = "rate_limited"


class QueueFull(ApiError):
    """The API key has as many predictions waiting as it may."""

    code = "queue_full"


class Internal(ApiError):
    """A fault of the server. Its operator finds the details under `.request_id`."""

    code = "internal"


class Unavailable(ApiError):
    """Not now: the server starts, stops, or cannot keep what it would accept."""

    code = "unavailable"


class ConnectionFailed(SdkError):
    """There was no answer, however often it was tried. `__cause__` is the last reason."""


class BadAnswer(SdkError):
    """Something answered, but not as an Unspool server does: a proxy, a login page, or another service."""


class Gap(BadAnswer):
    """Events were missing in the log, and again when it was read anew: it cannot be followed without a hole."""


class PredictionError(SdkError):
    """A prediction that was waited for did not complete."""

    def __init__(self, prediction: Prediction) -> None:
        super().__init__(prediction.error or f"The prediction is {prediction.status}.")
        self.prediction = prediction


class PredictionFailed(PredictionError):
    """The model failed, or its process was lost too often."""


class PredictionCancelled(PredictionError):
    """Somebody cancelled it."""


class PredictionTimedOut(PredictionError):
    """It ran longer than its run timeout, or waited longer than its start timeout."""


def completed(prediction: Prediction) -> Prediction:
    """The prediction, if it has completed.

    Raises:
        PredictionError: it has not; which of them says what became of it.
    """
    if prediction.status == "completed":
        return prediction
    kinds = {"cancelled": PredictionCancelled, "timeout": PredictionTimedOut}
    raise kinds.get(prediction.status, PredictionFailed)(prediction)


class StillRunning(SdkError, TimeoutError):
    """The time to wait is over. The prediction goes on: `client.wait(error.id)` waits again."""

    def __init__(self, id: str, timeout_s: float) -> None:
        super().__init__(f"The prediction {id} has not ended within {timeout_s:g} s. It goes on.")
        self.id = id


class WebhookInvalid(SdkError):
    """A webhook that the server did not sign with one of these secrets, or not lately. Answer it with 401."""


def _all(of: type[ApiError]) -> Iterator[type[ApiError]]:
    for one in of.__subclasses__():
        yield one
        yield from _all(one)


BY_CODE: dict[str, type[ApiError]] = {one.code: one for one in _all(ApiError)}
"""The class of each `error_code`."""
