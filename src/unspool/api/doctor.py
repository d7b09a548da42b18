"""A stream to measure the way with: `unspool doctor` reads it and sees what happens to it between here and there.

It has the paths and headers of a prediction's stream, so that every proxy treats it as one, but no prediction: the
server says when it sends, and stays silent as long as it is asked to.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from unspool import __version__
from unspool.api.auth import Auth
from unspool.api.body import read_body
from unspool.api.description import content, described, query
from unspool.api.fields import Fields
from unspool.api.responses import Answer, Headers
from unspool.config import Settings
from unspool.errors import BadQuery, RateLimited, TooLarge

MAX_OPEN: Final = 32
"""So many are open at once, whoever asks."""
MAX_TOTAL_S: Final = 900
RETRY_S: Final = 5

_SECRETS: Final = frozenset({"authorization", "cookie", "proxy-authorization"})
_SECONDS = {"type": "number", "minimum": 0, "maximum": MAX_TOTAL_S, "default": 0}
_QUERY = Fields(
    {
        "type": "object",
        "properties": {
            "count": {"type": "integer", "minimum": 1, "maximum": 2_000, "default": 10},
            "interval_s": {**_SECONDS, "default": 0.2},
            "silence_s": _SECONDS,
            "delay_s": _SECONDS,
            "padding_bytes": {"type": "integer", "minimum": 0, "maximum": 16_000, "default": 0},
        },
    }
)
_MEANING = {
    "count": "How many events.",
    "interval_s": "Seconds from one event to the next.",
    "silence_s": "Seconds before the last event in which nothing is sent, no keep-alive either.",
    "delay_s": "Seconds before the answer begins.",
    "padding_bytes": "So many more bytes in each event.",
}
_PARAMETERS = tuple(query(name, _QUERY.schema["properties"][name], text) for name, text in _MEANING.items())
_EVENTS = {
    "type": "string",
    "description": "Events with `n`, and `at`: when the server sent it, in seconds since the Unix epoch. The first one "
    "has `server`, its settings that matter to proxies, and `request`, the request as it arrived.",
}
_ANSWERS = {200: content({"text/event-stream": _EVENTS}, "A stream that belongs to no prediction.")}
_DETAILS = "For `unspool doctor`: its events say when they were sent, so that a client sees what holds them up."

_encode = msgspec.json.Encoder().encode


class Doctor:
    """The handlers.

    Args:
        closing: done when the server goes down: streams end then.
    """

    def __init__(self, auth: Auth, settings: Settings, closing: asyncio.Future[None]) -> None:
        self._auth = auth
        self._settings = settings
        self._closing = closing
        self._open = 0

    @described(
        summary="Measure the way of a stream",
        tag="Health",
        details=_DETAILS,
        parameters=_PARAMETERS,
        answers=_ANSWERS,
    )
    async def get(self, request: Request) -> Answer:
        """`GET /api/v3/predictions/health/stream`: for a proxy, the stream of a prediction."""
        return await self._stream(request, 0)

    @described(
        summary="Measure the way of a submit",
        tag="Health",
        details=f"{_DETAILS} The body may be anything; it is counted and dropped.",
        parameters=_PARAMETERS,
        answers=_ANSWERS,
        errors=(TooLarge,),
    )
    async def post(self, request: Request) -> Answer:
        """`POST /api/v3/model/health/stream`: for a proxy, a submit with a stream."""
        return await self._stream(request, None)

    async def _stream(self, request: Request, body_bytes: int | None) -> Answer:
        await self._auth.owner(request)
        asked = _QUERY.of_query(request)
        if asked["count"] * asked["interval_s"] + asked["silence_s"] + asked["delay_s"] > MAX_TOTAL_S:
            raise BadQuery(f"All in all it may take {MAX_TOTAL_S} s. Ask for less.")
        if self._open >= MAX_OPEN:
            raise RateLimited(f"{MAX_OPEN} of these streams are open, which is as many as may be.", RETRY_S)
        if body_bytes is None:
            body_bytes = len(await read_body(request, self._settings, self._settings.max_body_bytes))
        return _Probe(self, asked, {"server": self._server(request), "request": _arrived(request, body_bytes)})

    def _server(self, request: Request) -> dict[str, Any]:
        settings = self._settings
        return {
            "version": __version__,
            "base_url": settings.public_url or str(request.base_url),
            "public_url": settings.public_url,
            "keep_alive_s": settings.keep_alive_s,
            "sync_wait_s": settings.sync_wait_s,
            "max_body_bytes": settings.max_body_bytes,
        }

    async def rest(self, seconds: float, gone: asyncio.Future[None]) -> bool:
        """Waits. Returns whether to go on: the server stays and the client is there."""
        waiting: set[asyncio.Future[None]] = {self._closing, gone}
        done, _ = await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return not done

    async def send(self, probe: _Probe, receive: Receive, send: Send, extra: Headers) -> None:
        """Sends it, counted among those that are open."""
        self._open += 1
        gone = asyncio.ensure_future(_until_disconnect(receive))
        try:
            await probe.run(send, extra, gone)
        finally:
            self._open -= 1
            gone.cancel()
            with suppress(asyncio.CancelledError):
                await gone


class _Probe:
    """One answer: the stream that was asked for."""

    def __init__(self, doctor: Doctor, asked: dict[str, Any], first: dict[str, Any]) -> None:
        self._doctor = doctor
        self._asked = asked
        self._first = first

    async def send(self, scope: Scope, receive: Receive, send: Send, extra: Headers) -> None:
        """See `Answer.send`."""
        if scope["method"] == "HEAD":
            await send(_start(extra))
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            await self._doctor.send(self, receive, send, extra)

    async def run(self, send: Send, extra: Headers, gone: asyncio.Future[None]) -> None:
        """Says everything, with its pauses, unless it is over before."""
        rest = self._doctor.rest
        if self._asked["delay_s"]:
            await rest(self._asked["delay_s"], gone)
        await send(_start(extra))
        async for piece in self._pieces(gone):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        if not gone.done():
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pieces(self, gone: asyncio.Future[None]) -> AsyncIterator[bytes]:
        count = self._asked["count"]
        for n in range(1, count + 1):
            pause_s = self._asked["interval_s"] if n > 1 else 0
            pause_s += self._asked["silence_s"] if n == count else 0
            if pause_s and not await self._doctor.rest(pause_s, gone):
                return
            yield self._event(n)

    def _event(self, n: int) -> bytes:
        said = {"n": n, "at": time.time(), **(self._first if n == 1 else {})}
        if padding := self._asked["padding_bytes"]:
            said["padding"] = "." * padding
        return b"id: %d\ndata: %b\n\n" % (n, _encode(said))


def _start(extra: Headers) -> dict[str, Any]:
    headers: Headers = [
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"cache-control", b"no-cache, no-transform"),
        (b"x-accel-buffering", b"no"),
        *extra,
    ]
    return {"type": "http.response.start", "status": 200, "headers": headers}


def _arrived(request: Request, body_bytes: int) -> dict[str, Any]:
    headers = {name: value for name, value in request.headers.items() if name not in _SECRETS}
    version = request.scope.get("http_version", "")
    return {
        "method": request.method,
        "scheme": request.url.scheme,
        "http": version,
        "headers": headers,
        "body_bytes": body_bytes,
    }


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
