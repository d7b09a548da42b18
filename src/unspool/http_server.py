"""An ASGI application on a port, in the event loop that runs already.

This is uvicorn, with what it leaves open decided: signals, starting and stopping are the caller's; a head has to be
whole in time and within limits; what leaves in one turn of the loop leaves in one write. An application that streams
finds a `Pipe` in its scope: a way to write where news arise, without a task of its own.

Knows nothing of what is served.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

import uvicorn
from starlette.types import ASGIApp, Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

MAX_HEAD_BYTES: Final = 64 * 1024
"""The longest head of a request."""
MAX_HEADERS: Final = 100
BACKLOG: Final = 4096
"""Connections that may wait to be accepted."""
MAX_HELD_BYTES: Final = 16 * 1024
"""What is written in one turn of the loop leaves together, but no more than this."""
LINGER_S: Final = 30.0
"""How long a closed connection may take to take what it was sent."""
STOP_S: Final = 5.0
"""How long a stop waits for answers that are on their way."""
PIPE: Final = "unspool.pipe"
"""Where in `scope["extensions"]` the pipe is."""
BODY: Final = "unspool.body"
"""Where in `scope["extensions"]` the body is, if it is small and came with the head."""
MAX_BODY_WITH_HEAD_BYTES: Final = 16 * 1024
"""A larger body is read piece by piece as ever: for as long as it is answered, a request keeps what came with it."""


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 becomes one that is free.

    Raises:
        OSError: it is in use, or no address of this machine.
    """
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    return socket.create_server(address[:2], family=family, backlog=BACKLOG)


def pipe_of(scope: Scope) -> Pipe | None:
    """The pipe of a request, if the server that it came through has one."""
    found: Pipe | None = (scope.get("extensions") or {}).get(PIPE)
    return found


def body_of(scope: Scope) -> bytes | None:
    """Takes the whole body of a request if it came with its head, as small ones do: then nobody has to wait for it."""
    found: bytes | None = (scope.get("extensions") or {}).pop(BODY, None)
    return found


def abort(scope: Scope) -> None:
    """Ends the connection of a request without waiting for what its socket has not taken, where the server can."""
    pipe = pipe_of(scope)
    if pipe is not None:
        pipe.abort()


class HttpServer:
    """Answers what comes to a listening socket.

    Args:
        head_timeout_s: how long the head of a request may take, and how long an idle connection is kept.
    """

    def __init__(self, app: ASGIApp, listening: socket.socket, *, head_timeout_s: float) -> None:
        class Connection(_Connection):
            timeout_s = head_timeout_s

        self._listening = listening
        self._server = _Server(
            uvicorn.Config(
                cast(Any, app),
                http=Connection,
                ws="none",
                loop="none",
                lifespan="off",
                interface="asgi3",
                proxy_headers=False,
                server_header=False,
                headers=[("server", "unspool")],
                access_log=False,
                log_config=None,
                log_level="error",
                backlog=BACKLOG,
                timeout_keep_alive=cast(int, head_timeout_s),  # it is handed to `call_later`
                timeout_graceful_shutdown=1,
            )
        )
        self._serving: asyncio.Task[None]

    async def start(self) -> None:
        """Answers requests from now on."""
        self._serving = asyncio.create_task(self._server.serve([self._listening]))
        up = asyncio.create_task(self._server.up.wait())
        await asyncio.wait([up, self._serving], return_when=asyncio.FIRST_COMPLETED)
        if not self._server.started:
            up.cancel()
            await self._serving

    async def stop(self) -> None:
        """Closes what is open."""
        self._server.should_exit = True
        await asyncio.wait([self._serving], timeout=STOP_S)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the caller's."""
        yield


class _Connection(HttpToolsProtocol):
    """One connection: uvicorn's, with limits for heads and with joined writes."""

    timeout_s: float
    _pipe: Pipe
    _head: asyncio.TimerHandle | None = None
    """Runs out when the head that is waited for has taken too long."""
    _in_head = True
    """A head is waited for, or has begun."""
    _head_bytes = 0
    _head_just_read = False
    """The head ended in what is being read, so the whole body is here if it ends there, too."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._pipe = Pipe(transport, self.loop)
        self.transport = self._pipe
        self._await_head()

    def pause_writing(self) -> None:
        self._pipe.paused = True
        super().pause_writing()

    def resume_writing(self) -> None:
        self._pipe.paused = False
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        self._head_just_read = False
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES:
            self.send_400_response("The head of the request is too long.")
        elif self._head is None and self.timeout_keep_alive_task is None and self._idle():
            self._await_head()  # what came is a part of a head, or nothing: uvicorn's timer for idle ones is off by now

    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True

    def on_headers_complete(self) -> None:
        """Raises:
        ValueError: the head is none that can be answered; the parser ends the connection over it.
        """
        self._in_head, self._head_bytes = False, 0
        self._forget_head()
        version = self.parser.get_http_version()
        _check_head(self.headers, version)
        if version == "1.1" and self.parser.get_method() != b"HEAD":
            self.scope["extensions"] = cast(Any, {PIPE: self._pipe})
        super().on_headers_complete()
        self._head_just_read = True
        if version != "1.1":
            _end_by_closing(self.cycle)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        whole = self._head_just_read and len(self.cycle.body) <= MAX_BODY_WITH_HEAD_BYTES
        if whole and "extensions" in self.scope:
            self.scope["extensions"][BODY] = cast(Any, bytes(self.cycle.body))

    def _await_head(self) -> None:
        self._head = self.loop.call_later(self.timeout_s, self._give_up)

    def _forget_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _give_up(self) -> None:
        self._head = None
        self.transport.close()


def _check_head(headers: list[tuple[bytes, bytes]], version: str) -> None:
    """RFC 9112, 3.2: a request of HTTP/1.1 has one Host, or it is not to be answered."""
    hosts = size = 0
    for name, value in headers:
        hosts += name == b"host"
        size += len(name) + len(value)
    if hosts > 1 or (hosts == 0 and version == "1.1"):
        raise ValueError("one Host is needed")
    if len(headers) > MAX_HEADERS or size > MAX_HEAD_BYTES:
        raise ValueError("too many headers")


def _end_by_closing(cycle: RequestResponseCycle) -> None:
    """HTTP/1.0 has no chunks: an answer whose length is not told ends with its connection (RFC 9112, 6.3)."""
    send_chunked = cycle.send
    unknown_length = True

    async def send(message: Any) -> None:
        nonlocal unknown_length
        if message["type"] == "http.response.start":
            unknown_length = all(name.lower() != b"content-length" for name, _ in message.get("headers", ()))
            cycle.chunked_encoding = False if unknown_length else None
        elif unknown_length:
            cycle.expected_content_length = len(message.get("body", b""))
        await send_chunked(message)

    cycle.send = send  # type: ignore[method-assign]


class Pipe(asyncio.Transport):
    """Where a connection's answers go: a transport that writes in one piece what it is given in one turn of the loop,
    and a way for streams to write at once.

    Names what it passes on to the real one: with a `__getattr__`, Python would look up each attribute in the slow way.
    """

    __slots__ = ("_held", "_held_bytes", "_loop", "_transport", "_write", "paused")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self.paused = False
        """The socket is behind."""
        self._write = transport.write
        self._loop = loop
        self._held: list[bytes | bytearray | memoryview] = []
        self._held_bytes = 0

    def push(self, piece: bytes) -> bool:
        """Writes a piece of the body at once, or does nothing and returns `False`: the socket is behind, or gone.

        Only between two `send` of an answer that has begun, is chunked and has not ended.
        """
        if self.paused:
            return False
        size = len(piece)
        chunk = (_SIZES[size] if size < len(_SIZES) else b"%x\r\n" % size) + piece + b"\r\n"
        if self._held:
            self._held.append(chunk)
            self._flush()
            return True
        write = self._write
        try:
            write(chunk)
        except RuntimeError:  # what a closed transport says
            return False
        return True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Writes at the end of this turn of the loop."""
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > MAX_HELD_BYTES:
            self._flush()

    def _flush(self) -> None:
        held, self._held, self._held_bytes = self._held, [], 0
        if held and not self._transport.is_closing():
            self._write(held[0] if len(held) == 1 else b"".join(held))

    def close(self) -> None:
        """Closes when what was written is sent; but a client that does not take it is not waited for for ever."""
        if self._transport.is_closing():
            return
        self._flush()
        self._transport.close()
        if self._transport.get_write_buffer_size():
            self._loop.call_later(LINGER_S, self._transport.abort)

    def abort(self) -> None:
        """Ends the connection without waiting for what its socket has not taken."""
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether nothing can be written any more."""
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What is known of the connection."""
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Lets what the client sends wait."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Takes back `pause_reading`."""
        self._transport.resume_reading()


_SIZES: Final = [b"%x\r\n" % size for size in range(4096)]
"""What stands before a chunk, by its size: formatting it costs more than the chunk."""
