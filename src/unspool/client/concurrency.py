"""What is done differently by the synchronous and the asynchronous client, in pairs. Both are used by one source."""

from __future__ import annotations

import inspect
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import anyio
import anyio.to_thread
import httpx

CHUNK_BYTES = 256 * 1024

sleep = time.sleep


async def async_sleep(seconds: float) -> None:
    """Lets others run meanwhile."""
    await anyio.sleep(seconds)


def hang_up(response: httpx.Response) -> None:
    """Ends a connection that another thread is reading from: to that one it is lost."""
    stream = response.extensions.get("network_stream")
    connection = stream.get_extra_info("socket") if stream is not None else None
    if connection is not None:
        with suppress(OSError):
            # That of TLS would change what the other thread is using; what counts is below it.
            socket.socket.shutdown(connection, socket.SHUT_RDWR)


async def async_hang_up(response: httpx.Response) -> None:
    """Ends a connection that another task is reading from: to that one it is lost."""
    await response.aclose()


def chunks(response: httpx.Response, first_s: float) -> Iterator[bytes]:
    """The body of an answer as it comes. A connection that brings nothing for `first_s` seconds is lost."""
    watch = threading.Timer(first_s, hang_up, [response])
    watch.daemon = True
    watch.start()
    try:
        for chunk in response.iter_bytes():
            watch.cancel()
            yield chunk
    finally:
        watch.cancel()


async def async_chunks(response: httpx.Response, first_s: float) -> AsyncIterator[bytes]:
    """The body of an answer as it comes. A connection that brings nothing for `first_s` seconds is lost."""
    coming = response.aiter_bytes()
    try:
        with anyio.fail_after(first_s):
            first = await anext(coming, b"")
    except TimeoutError:
        raise httpx.ReadTimeout("The stream brought nothing.", request=response.request) from None
    yield first
    async for chunk in coming:
        yield chunk


def call(function: Callable[[Any], Any], value: Any) -> None:
    """Calls back the user."""
    function(value)


async def async_call(function: Callable[[Any], Any], value: Any) -> None:
    """Calls back the user, whose function may be asynchronous."""
    result = function(value)
    if inspect.isawaitable(result):
        await result


def open_file(path: Path) -> IO[bytes]:
    """Opens a file to be read."""
    return path.open("rb")


async def async_open_file(path: Path) -> IO[bytes]:
    """The same, beside the event loop."""
    return await anyio.to_thread.run_sync(open_file, path)


def rest(file: IO[bytes]) -> bytes:
    """All that is left in a file."""
    return file.read()


async def async_rest(file: IO[bytes]) -> bytes:
    """The same, beside the event loop."""
    return await anyio.to_thread.run_sync(file.read)


def pieces(file: IO[bytes], start: int) -> Iterator[bytes]:
    """A file from a position on, piece by piece."""
    file.seek(start)
    while piece := file.read(CHUNK_BYTES):
        yield piece


async def async_pieces(file: IO[bytes], start: int) -> AsyncIterator[bytes]:
    """The same, read beside the event loop."""
    file.seek(start)
    while piece := await anyio.to_thread.run_sync(file.read, CHUNK_BYTES):
        yield piece


def size_of(file: IO[bytes]) -> int | None:
    """How many bytes are left in a file; None if it cannot tell."""
    try:
        at = file.tell()
        end = file.seek(0, os.SEEK_END)
        file.seek(at)
    except (OSError, ValueError, AttributeError):
        return None
    return end - at
