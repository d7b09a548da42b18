"""One request over the way that is measured, and what of its answer arrived when."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import httpx

GET = "/api/v3/predictions/health/stream"
POST = "/api/v3/model/health/stream"
"""The server's two streams that belong to no prediction (`unspool.api.doctor`)."""

_SPARE_S = 30.0
_PIECE_BYTES = 16 * 1024


@dataclass
class Heard:
    """An answer, with times of `time.monotonic`."""

    asked_at: float
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    http: str = ""
    pieces: list[tuple[float, bytes]] = field(default_factory=list)
    """The body as it came, each piece with when."""
    ended_at: float = 0
    error: str = ""
    """Why it has no end of its own."""

    @property
    def body(self) -> bytes:
        """All of it that came."""
        return b"".join(data for _, data in self.pieces)

    @property
    def duration_s(self) -> float:
        """From the request to the end, or to the cut."""
        return self.ended_at - self.asked_at

    def events(self) -> list[tuple[float, dict[str, Any]]]:
        """The events that are whole, each with when its last byte came."""
        found, rest = [], b""
        for at, data in self.pieces:
            rest += data
            while (end := rest.find(b"\n\n")) >= 0:
                block, rest = rest[:end], rest[end + 2 :]
                _, _, text = block.partition(b"data: ")
                if text.startswith(b"{"):
                    found.append((at, json.loads(text)))
        return found

    def message(self) -> str:
        """What an error says, of us or of a proxy."""
        try:
            said = json.loads(self.body)
            return str(said.get("message", "")) if isinstance(said, dict) else ""
        except ValueError:
            return ""

    @property
    def ours(self) -> bool:
        """Whether it is an answer of Unspool, and not of something in between."""
        return "x-request-id" in self.headers

    @property
    def refused(self) -> bool:
        """Whether Unspool itself did not want to: that says nothing about the way."""
        return self.ours and self.status != HTTPStatus.OK


class Way:
    """The way to a server.

    Args:
        api_key: without one, requests carry none.
        timeout_s: how long a connection may take, and an answer longer than it should.
    """

    def __init__(self, url: str, api_key: str | None, timeout_s: float) -> None:
        self.url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._timeout_s = timeout_s
        self._http = httpx.AsyncClient(headers=headers, limits=httpx.Limits(max_connections=None))

    async def close(self) -> None:
        """Lets go of its connections."""
        await self._http.aclose()

    async def ask(
        self,
        method: str,
        path: str,
        *,
        encodings: str = "identity",
        body_bytes: int = 0,
        lasts_s: float = 0,
        **query: float,
    ) -> Heard:
        """One request, on a connection of its own. Raises nothing that the network does: that is in the answer.

        Args:
            encodings: what to send as `Accept-Encoding`.
            lasts_s: how long the answer should take.
        """
        heard = Heard(time.monotonic())
        silence = httpx.Timeout(self._timeout_s, read=lasts_s + self._timeout_s, write=_SPARE_S)
        headers = {"accept-encoding": encodings, "connection": "close"}
        request: dict[str, Any] = {"params": query, "headers": headers, "timeout": silence}
        if body_bytes:
            request |= {"content": _body(body_bytes)}
            headers |= {"content-length": str(body_bytes), "content-type": "application/json"}
        try:
            async with self._http.stream(method, f"{self.url}{path}", **request) as answer:
                heard.status, heard.headers, heard.http = answer.status_code, answer.headers, answer.http_version
                async for data in answer.aiter_raw():
                    heard.pieces.append((time.monotonic(), data))
        except httpx.HTTPError as error:
            heard.error = str(error) or type(error).__name__
        heard.ended_at = time.monotonic()
        return heard


async def _body(size: int) -> AsyncIterator[bytes]:
    for at in range(0, size, _PIECE_BYTES):
        yield b" " * min(_PIECE_BYTES, size - at)
