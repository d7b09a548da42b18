"""What handlers answer with, and how it goes out. All of it is ASGI; nothing wraps `send`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

import msgspec
from starlette.types import Receive, Scope, Send

from unspool.api.stream import Viewers
from unspool.errors import ClientError
from unspool.http_server import pipe_of
from unspool.observer import Outlet
from unspool.types import Cursor

Headers = list[tuple[bytes, bytes]]
_encode = msgspec.json.Encoder().encode


class Answer(Protocol):
    """Something that can be sent."""

    async def send(self, scope: Scope, receive: Receive, send: Send, extra: Headers) -> None:
        """Sends it, with `extra` among its headers."""
        ...


class Json:
    """A JSON body in the envelope of the API, `{"code", "message", "data"}`; or bare."""

    def __init__(
        self, data: Any, headers: Mapping[str, str] | None = None, *, bare: bool = False, status: int = 200
    ) -> None:
        self._body = _encode(data if bare else {"code": 200, "message": "success", "data": data})
        self._headers = headers or {}
        self._status = status

    async def send(self, scope: Scope, receive: Receive, send: Send, extra: Headers) -> None:
        """See `Answer.send`."""
        headers: Headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(self._body)),
            (b"cache-control", b"no-store"),
            *((name.encode("latin-1"), value.encode("latin-1")) for name, value in self._headers.items()),
            *extra,
        ]
        await send({"type": "http.response.start", "status": self._status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else self._body})


class Text:
    """A body of text, or of bytes of some kind, as it is."""

    def __init__(self, body: str | bytes, kind: str, headers: Mapping[str, str] | None = None) -> None:
        self._body = body.encode() if isinstance(body, str) else body
        self._headers = {"content-type": kind, "cache-control": "no-store", **(headers or {})}

    async def send(self, scope: Scope, receive: Receive, send: Send, extra: Headers) -> None:
        """See `Answer.send`."""
        headers: Headers = [
            (b"content-length", b"%d" % len(self._body)),
            *((name.encode("latin-1"), value.encode("latin-1")) for name, value in self._headers.items()),
            *extra,
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else self._body})


class NoContent:
    """204: nothing, and nothing more to come."""

    async def send(self, scope: Scope, receive: Receive, send: Send, extra: Headers) -> None:
        """See `Answer.send`."""
        await send({"type": "http.response.start", "status": 204, "headers": extra})
        await send({"type": "http.response.body", "body": b""})


class Stream:
    """The events of a prediction after a cursor, for as long as it takes."""

    def __init__(
        self, viewers: Viewers, id: str, after: Cursor, cancel_when_left: bool, seat: AbstractContextManager[None]
    ) -> None:
        """Prepares it.

        Args:
            seat: held for as long as the stream is open.
        """
        self._seat = seat
        self._viewers = viewers
        self._id = id
        self._after = after
        self._cancel_when_left = cancel_when_left

    async def send(self, scope: Scope, receive: Receive, send: Send, extra: Headers) -> None:
        """See `Answer.send`."""
        id = self._id.encode()
        headers: Headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-cache, no-transform"),
            (b"x-accel-buffering", b"no"),
            (b"x-prediction-id", id),
            (b"content-location", b"/api/v3/predictions/%b/stream" % id),
            *extra,
        ]
        with self._seat:
            await self._viewers.serve(
                receive,
                _outlet(scope, send),
                id=self._id,
                after=self._after,
                headers=headers,
                cancel_when_left=self._cancel_when_left,
            )


def _outlet(scope: Scope, send: Send) -> Outlet:
    pipe = pipe_of(scope)
    return Outlet(send) if pipe is None else Outlet(send, pipe.push, pipe.abort)


def error_answer(error: ClientError) -> Json:
    """The answer to a request that cannot be fulfilled (`wire.md` §6)."""
    body: dict[str, Any] = {
        "code": error.http_status,
        "message": error.message,
        "error_code": error.code,
        "data": None,
    }
    if error.errors is not None:
        body["errors"] = error.errors
    headers = dict(error.headers)
    if error.retry_after_s is not None:
        headers["retry-after"] = str(error.retry_after_s)
    if error.http_status == 401:
        headers["www-authenticate"] = "Bearer"
    return Json(body, headers, bare=True, status=error.http_status)
