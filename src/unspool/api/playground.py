"""The playground: a page at `/` to try the models with, every file of it from this server.

Owns how its files are answered. What the page does is in `playground/`; it uses the public API like any client.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from unspool.api.description import content, described, empty
from unspool.api.responses import Answer, Headers
from unspool.config import Settings
from unspool.errors import NotFound

PAGE = "index.html"
TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "mjs": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
"""What is served, by extension. Licences and notes lie beside the files and are not."""


class StaticFile:
    """A file that clients keep and ask about: 304 without a body if theirs is this one."""

    def __init__(self, body: bytes, kind: str, headers: Mapping[str, str]) -> None:
        self._body = body
        self._etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        known = {"content-type": kind, "etag": self._etag, "cache-control": "no-cache", **headers}
        self._headers: Headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in known.items()]

    async def send(self, scope: Scope, receive: Receive, send: Send, extra: Headers) -> None:
        """See `Answer.send`."""
        if self._is_known(Request(scope)):
            await send({"type": "http.response.start", "status": 304, "headers": [*self._headers, *extra]})
            await send({"type": "http.response.body", "body": b""})
            return
        length = (b"content-length", b"%d" % len(self._body))
        await send({"type": "http.response.start", "status": 200, "headers": [length, *self._headers, *extra]})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else self._body})

    def _is_known(self, request: Request) -> bool:
        named = ",".join(request.headers.getlist("if-none-match"))
        tags = [tag.strip().removeprefix("W/") for tag in named.split(",")]
        return self._etag in tags or tags == ["*"]


class Playground:
    """The handlers. All files are read when it is made."""

    def __init__(self, settings: Settings) -> None:
        headers = {
            "content-security-policy": _policy(settings.public_url),
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
            "cross-origin-opener-policy": "same-origin",
            "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
        }
        root = files("unspool").joinpath("playground")
        found = {**_served(root), **_served(root.joinpath("vendor"), "vendor/")}
        self._files = {
            name: StaticFile(file.read_bytes(), TYPES[name.rpartition(".")[2]], headers) for name, file in found.items()
        }

    @described(
        summary="The playground",
        tag="Description",
        details="A page to try the models with. `UNSPOOL_PLAYGROUND=0` turns it off.",
        security="none",
        answers={200: content({"text/html": {"type": "string"}}), 304: empty("The client has it already.")},
    )
    async def page(self, request: Request) -> Answer:
        """`GET /`."""
        return self._files[PAGE]

    @described(
        summary="A file of the playground",
        tag="Description",
        security="none",
        answers={
            200: content({kind.partition(";")[0]: {} for kind in TYPES.values()}),
            304: empty("The client has it already."),
        },
        errors=(NotFound,),
    )
    async def file(self, request: Request) -> Answer:
        """`GET /playground/{path}`."""
        file = self._files.get(request.path_params["path"])
        if file is None:
            raise NotFound("There is no such file. The playground is at /.")
        return file


def _served(folder: Traversable, prefix: str = "") -> dict[str, Traversable]:
    return {
        f"{prefix}{file.name}": file
        for file in folder.iterdir()
        if file.is_file() and file.name.rpartition(".")[2] in TYPES
    }


def _policy(public_url: str | None) -> str:
    """What the page may load: files of this server, and nothing inline.

    URLs in answers begin with the public URL, which need not be the origin that the page was opened at.
    """
    parts = urlsplit(public_url or "")
    here = f"'self' {parts.scheme}://{parts.netloc}" if parts.netloc else "'self'"
    return "; ".join(
        [
            "default-src 'self'",
            "script-src 'self'",
            "style-src 'self'",
            f"img-src {here} data: blob:",
            f"media-src {here} data: blob:",
            f"connect-src {here}",
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-src 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types dompurify",
        ]
    )
