"""Requests and answers of the API as values: what to ask, and what an answer means. Pure: nothing is sent here."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qs, quote, urlsplit

import msgspec

from unspool.client import errors
from unspool.client.errors import ApiError, BadAnswer
from unspool.client.pace import retry_after_s

T = TypeVar("T")
_encode = msgspec.json.Encoder().encode

_BY_STATUS = {
    401: errors.Unauthenticated,
    403: errors.Forbidden,
    404: errors.NotFound,
    413: errors.TooLarge,
    429: errors.RateLimited,
    503: errors.Unavailable,
}
"""Where an answer has no `error_code`, since a proxy gave it."""


class Ask(msgspec.Struct, frozen=True):
    """A request.

    Its path is below `/api/v3/`; a URL of another server is whole.
    """

    method: str
    path: str
    params: dict[str, str] = {}
    headers: dict[str, str] = {}
    body: bytes | None = None
    streams: bool = False
    """The answer is wanted as server-sent events."""
    timeout_s: float | None = None
    """For the beginning of the answer, if it differs from the client's."""
    with_key: bool = True


def json_ask(method: str, path: str, value: Any, params: dict[str, str] | None = None) -> Ask:
    """A request with a JSON body."""
    return Ask(method, path, params or {}, {"Content-Type": "application/json"}, _encode(value))


class Submit:
    """A submit, which may be sent as often as needed: its `Idempotency-Key` makes one prediction of all of them.

    Args:
        options: `on_disconnect`, `start_timeout`, `run_timeout`.
    """

    def __init__(
        self,
        model: str,
        inputs: Mapping[str, Any],
        *,
        webhook_url: str | None = None,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> None:
        self.model = model
        self._inputs = dict(inputs)
        if webhook_url is not None:
            self._inputs["webhook_url"] = webhook_url
        self._key = idempotency_key or secrets.token_hex(16)
        self._params = {name: f"{value}" for name, value in options.items() if value is not None}

    def ask(self, *, stream: bool) -> Ask:
        """The request."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": self._key}
        body = _encode({**self._inputs, "stream": True} if stream else self._inputs)
        return Ask("POST", quote(self.model), self._params, headers, body, streams=stream)


def inputs_of(positional: Mapping[str, Any] | None, named: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs of a call: those in the dictionary and those that are named."""
    twice = sorted(set(positional or {}) & set(named))
    if twice:
        raise TypeError(f"these inputs are given twice: {', '.join(twice)}")
    return {**(positional or {}), **named}


def target(id_or_url: str) -> tuple[str, str | None]:
    """The id of a prediction, and the token if it was named by the `urls.stream` of somebody.

    Raises:
        ValueError: it is a URL, but not of a prediction.
    """
    if "://" not in id_or_url:
        return id_or_url, None
    parts = urlsplit(id_or_url)
    steps = parts.path.split("/")
    if "predictions" not in steps or not "".join(steps[steps.index("predictions") + 1 :][:1]):
        raise ValueError(f"{id_or_url!r} is not the URL of a prediction")
    return steps[steps.index("predictions") + 1], parse_qs(parts.query).get("token", [None])[0]


def prediction(id: str, *steps: str) -> str:
    """The path of a prediction."""
    return "/".join(["predictions", quote(id, safe=""), *steps])


# Answers


class Answer(msgspec.Struct, frozen=True):
    """An answer that was read to its end."""

    status: int
    headers: Mapping[str, str]
    """Their names in lower case."""
    body: bytes


class _Envelope(msgspec.Struct, Generic[T]):
    data: T


def data_of(answer: Answer, type: type[T]) -> T:
    """What is inside the envelope.

    Raises:
        BadAnswer: it is not what an Unspool server answers.
    """
    try:
        return msgspec.json.decode(answer.body, type=_Envelope[type]).data  # type: ignore[valid-type]
    except (ValueError, UnicodeDecodeError) as error:
        raise not_ours(answer) from error


def not_ours(answer: Answer) -> BadAnswer:
    """The error for an answer of something else."""
    kind = answer.headers.get("content-type", "no content type")
    begin = answer.body[:200].decode("utf-8", "replace")
    return BadAnswer(
        f"This is not the answer of an Unspool server: status {answer.status}, {kind}, {begin!r}."
        " Check the URL, and what stands between here and the server."
    )


def error_of(answer: Answer) -> ApiError | BadAnswer:
    """The error that an answer other than 2xx stands for."""
    if 300 <= answer.status < 400:
        location = answer.headers.get("location", "nowhere")
        return BadAnswer(f"The server redirects to {location}. Use the URL that it really has.")
    said = _said(answer.body)
    wait_s = retry_after_s(answer.headers.get("retry-after", ""))
    code = str(said.get("error_code") or "")
    kind = errors.BY_CODE.get(code) or _BY_STATUS.get(answer.status, ApiError)
    message = said.get("message") or f"The answer was {_status(answer.status)}, and not from an Unspool server."
    return kind(
        str(message),
        status=answer.status,
        error_code=code,
        errors=said.get("errors"),
        retry_after_s=wait_s,
        request_id=answer.headers.get("x-request-id"),
    )


def _said(body: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(body)
    except (ValueError, UnicodeDecodeError):
        return {}
    return value if isinstance(value, dict) else {}


def _status(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
