"""Reading the body of a request within limits of size and time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from typing import Final

from starlette.requests import ClientDisconnect, Request

from unspool.config import Settings
from unspool.errors import RequestTimeout, TooLarge

DISCARD_BYTES: Final = 16 * 1024 * 1024
DISCARD_S: Final = 5.0


async def read_body(request: Request, settings: Settings) -> bytes:
    """The whole body.

    Raises:
        TooLarge: it has more than `max_body_bytes`.
        RequestTimeout: it comes too slowly.
    """
    chunks = [chunk async for chunk in body_chunks(request, settings, settings.max_body_bytes)]
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def body_chunks(request: Request, settings: Settings, max_bytes: int) -> AsyncIterator[bytes]:
    """The body piece by piece, for those who do not want it in memory.

    It may take `body_timeout_s` and, beyond that, as long as its size takes at `min_body_bytes_per_s`: a large upload
    over a thin line goes through, while a client that sends a byte now and then is let go.

    Raises:
        TooLarge: it has more than `max_bytes`.
        RequestTimeout: it comes too slowly.
    """
    too_large = TooLarge(f"The body is larger than {max_bytes} bytes, which is as much as this server takes.")
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > max_bytes:
        raise too_large
    loop = asyncio.get_running_loop()
    begin, size = loop.time(), 0
    async with aclosing(request.stream()) as stream:
        while True:
            allowed_s = settings.body_timeout_s + size / settings.min_body_bytes_per_s
            try:
                async with asyncio.timeout_at(begin + allowed_s):
                    chunk = await anext(stream, None)
            except TimeoutError:
                raise RequestTimeout(
                    f"The body was not here after {allowed_s:g} s. Send it again, or over a faster connection."
                ) from None
            if chunk is None:
                return
            size += len(chunk)
            if size > max_bytes:
                raise too_large
            yield chunk


async def discard_body(request: Request) -> None:
    """Reads what a refused request still sends, within limits.

    Who is still sending when we hang up may never see the answer: a proxy turns it into 502.
    """
    size = 0
    with suppress(TimeoutError, ClientDisconnect, RuntimeError):
        async with asyncio.timeout(DISCARD_S):
            async for chunk in request.stream():
                size += len(chunk)
                if size > DISCARD_BYTES:
                    return
