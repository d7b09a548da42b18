"""`GET /files/{name}`: uploads and outputs, to whoever has the name.

What is uploaded may be a page or a picture with scripts in it. Nothing of it runs: every answer forbids a browser to
guess types, to run scripts and to load anything.
"""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import NamedTuple

import structlog
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from unspool.api.description import content, described, empty, header
from unspool.api.responses import Answer, Headers
from unspool.config import Settings
from unspool.errors import NotFound, RangeNotSatisfiable
from unspool.files.storage import Info, Storage
from unspool.http_server import abort

MAX_CACHED_S = 3600
"""How long others may keep a copy: a file can be deleted."""

_log = structlog.get_logger("unspool.files")
_RANGE = re.compile(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*", re.ASCII)
_SAFETY: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"sandbox; default-src 'none'"),
    (b"cross-origin-resource-policy", b"cross-origin"),
    (b"referrer-policy", b"no-referrer"),
]


class Part(NamedTuple):
    """The bytes from `start` up to, not with, `end`."""

    start: int
    end: int


class Downloads:
    """The handler of files."""

    def __init__(self, storage: Storage, settings: Settings) -> None:
        self._storage = storage
        self._stalled_s = settings.stalled_transfer_s

    @described(
        summary="Download a file",
        tag="Files",
        details="Whoever has the URL may read it, in parts too (`Range`).",
        security="none",
        parameters=(header("Range", {"type": "string"}, "One part, as `bytes=0-99`."),),
        answers={
            200: content({"*/*": {}}),
            206: content({"*/*": {}}, "A part of it."),
            304: empty("The client has it already (`If-None-Match`, `If-Modified-Since`)."),
        },
        errors=(NotFound, RangeNotSatisfiable),
    )
    async def get(self, request: Request) -> Answer:
        """`GET` and `HEAD`."""
        info = await self._storage.info(request.path_params["name"])
        if info is None:
            raise NotFound("There is no such file. It may have expired, or its prediction was deleted.")
        etag = _etag(info)
        cached_s = max(0, min(MAX_CACHED_S, int(self._storage.left_s(info))))
        headers: Headers = [
            (b"etag", etag.encode()),
            (b"last-modified", format_datetime(_whole_seconds(info.modified), usegmt=True).encode()),
            (b"cache-control", b"private, max-age=%d" % cached_s),
            (b"accept-ranges", b"bytes"),
            *_SAFETY,
        ]
        if not_modified(request.headers.get("if-none-match"), request.headers.get("if-modified-since"), info):
            return _File(self._storage, info, 304, None, headers, self._stalled_s)
        part = None
        if request.method == "GET" and may_be_partial(request.headers.get("if-range"), info):
            part = part_of(request.headers.get("range"), info.size)
        headers += _about(info)
        if part is None:
            whole = Part(0, info.size)
            return _File(self._storage, info, 200, whole, headers, self._stalled_s)
        headers.append((b"content-range", f"bytes {part.start}-{part.end - 1}/{info.size}".encode()))
        return _File(self._storage, info, 206, part, headers, self._stalled_s)


def _about(info: Info) -> Headers:
    kind = info.content_type + ("; charset=utf-8" if info.content_type.startswith("text/") else "")
    return [
        (b"content-type", kind.encode()),
        (b"content-disposition", f'inline; filename="{info.name}"'.encode()),
    ]


def _etag(info: Info) -> str:
    """A file is written once: its name says which bytes it has."""
    return f'"{info.name}"'


def not_modified(if_none_match: str | None, if_modified_since: str | None, info: Info) -> bool:
    """Whether the client has the file (RFC 9110, 13.1.2 and 13.1.3)."""
    if if_none_match is not None:
        known = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
        return "*" in known or _etag(info) in known
    since = _date(if_modified_since)
    return since is not None and _whole_seconds(info.modified) <= since


def may_be_partial(if_range: str | None, info: Info) -> bool:
    """Whether a `Range` counts: what the client has of the file is of this very file (RFC 9110, 13.1.5)."""
    if if_range is None or if_range.strip() == _etag(info):
        return True
    return _date(if_range) == _whole_seconds(info.modified)


def part_of(header: str | None, size: int) -> Part | None:
    """The part that a `Range` header asks for; `None` for all: without it, if it is malformed, or asks for several.

    Raises:
        RangeNotSatisfiable: the file has no such part.
    """
    match = _RANGE.fullmatch(header or "")
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        part = Part(max(0, size - int(match[2])), size)
    else:
        part = Part(int(match[1]), min(int(match[2]) + 1, size) if match[2] else size)
        if match[2] and int(match[2]) < int(match[1]):
            return None
    if part.start >= part.end:
        raise RangeNotSatisfiable(
            f"The file has {size} bytes; ask for a part of it.", headers={"content-range": f"bytes */{size}"}
        )
    return part


def _date(text: str | None) -> datetime | None:
    try:
        found = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _whole_seconds(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(microsecond=0)


class _File:
    """A file, or a part of it, piece by piece as its client takes them; without a part, only the headers."""

    def __init__(
        self, storage: Storage, info: Info, status: int, part: Part | None, headers: Headers, stalled_s: float
    ) -> None:
        self._storage = storage
        self._info = info
        self._status = status
        self._part = part
        self._headers = headers
        self._stalled_s = stalled_s

    async def send(self, scope: Scope, receive: Receive, send: Send, extra: Headers) -> None:
        """See `Answer.send`."""
        headers = [*self._headers, *extra]
        if self._part is not None:
            headers.append((b"content-length", b"%d" % (self._part.end - self._part.start)))
        await send({"type": "http.response.start", "status": self._status, "headers": headers})
        if self._part is None or scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        gone = asyncio.ensure_future(_until_disconnect(receive))
        try:
            if not await self._send_pieces(self._part, send, gone):
                abort(scope)
                await asyncio.wait([gone], timeout=1)
        finally:
            gone.cancel()

    async def _send_pieces(self, part: Part, send: Send, gone: asyncio.Future[None]) -> bool:
        """Ends early for a client that has left or takes nothing: a server's `send` does not tell.

        Returns whether it ended well.
        """
        async for piece in self._storage.read(self._info.name, part.start, part.end):
            try:
                async with asyncio.timeout(self._stalled_s):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            except TimeoutError:
                _log.info("a client took nothing of a file and was dropped", after_s=self._stalled_s)
                return False
            if gone.done():
                return True
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return True


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
