"""What goes wrong between a client and its server, and the proxy that makes it so.

A fault is data: on which requests, how many times, and what. The proxy stands in front of a real server and speaks HTTP
by hand, so that a fault can be anywhere, inside a character too. Every answer has a connection of its own.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
import threading
import time
import zlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit

from support.stream import KEEP_ALIVE, PREAMBLE

How = Literal["reset", "close", "clean"]
"""RST; FIN in the middle of the answer; or the answer's regular end, though the stream is not at its end."""
Kind = Literal["submit", "stream", "events", "other"]

QUICK_PREAMBLE = b"retry: 0010\n\n"
"""Ten milliseconds, in as many bytes, so that a suite of reconnects does not wait for a second each time."""


@dataclass
class Request:
    """A request as the client made it."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    at: float = field(default_factory=time.monotonic)

    @property
    def kind(self) -> Kind:
        path = urlsplit(self.target).path
        if re.fullmatch(r"/api/v[23]/predictions/[^/]+/(stream|events)", path):
            return "stream" if path.endswith("/stream") else "events"
        reserved = ("predictions", "models", "model", "media", "upload", "webhook", "account", "balance", "health")
        first = path.removeprefix("/api/v3/").partition("/")[0]
        return "submit" if self.method == "POST" and first not in reserved else "other"

    def wants_stream(self) -> bool:
        """Whether the answer is a stream."""
        return self.kind == "stream" or (self.kind == "submit" and bool(json.loads(self.body).get("stream")))


@dataclass
class Answer:
    """What the server answers, its body decoded from the chunks."""

    status: int
    headers: list[tuple[str, str]]
    body: AsyncIterator[bytes]


class Exchange:
    """One request, on its way through the proxy."""

    def __init__(self, proxy: FaultProxy, request: Request, writer: asyncio.StreamWriter) -> None:
        self.proxy = proxy
        self.request = request
        self._writer = writer
        self._upstream: asyncio.StreamWriter | None = None
        self._chunked = False

    async def ask(self) -> Answer:
        """The server's answer.

        Raises:
            OSError: the server is away.
        """
        address = urlsplit(self.proxy.upstream())
        reader, self._upstream = await asyncio.open_connection(address.hostname, address.port, limit=1 << 20)
        answer = await _ask(reader, self._upstream, self.request)
        if ("content-type", "text/event-stream; charset=utf-8") in answer.headers:
            answer.body = self._watched(answer.body)
        return answer

    async def _watched(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        first = True
        async for piece in body:
            yield piece.replace(PREAMBLE, QUICK_PREAMBLE, 1) if first else piece
            first = False
            if piece == KEEP_ALIVE:
                self.proxy.count_keep_alive()

    def close(self) -> None:
        """Lets go of both sides."""
        self._writer.close()
        if self._upstream is not None:
            self._upstream.close()

    async def head(self, answer: Answer, extra: Mapping[str, str] | None = None) -> None:
        """Sends the status and headers on."""
        names = {name for name, _ in answer.headers}
        self._chunked = "content-length" not in names and answer.status != 204
        headers = [(name, value) for name, value in answer.headers if name not in ("transfer-encoding", "connection")]
        headers += [("connection", "close"), *(extra or {}).items()]
        if self._chunked:
            headers.append(("transfer-encoding", "chunked"))
        lines = [f"HTTP/1.1 {answer.status} Whatever", *(f"{name}: {value}" for name, value in headers)]
        await self.raw("\r\n".join([*lines, "", ""]).encode("latin-1"))

    async def piece(self, data: bytes) -> None:
        """Sends bytes of the body on, as one HTTP chunk in one packet."""
        if data:
            await self.raw(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    async def end(self) -> None:
        """The answer's regular end."""
        if self._chunked:
            await self.raw(b"0\r\n\r\n")
        self._writer.close()

    async def cut(self, how: How) -> None:
        """Ends it otherwise."""
        if how == "clean":
            await self.end()
        elif how == "close":
            self._writer.close()
        else:
            reset(self._writer)

    async def say(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """An answer of the proxy's own."""
        own = [*headers.items(), ("content-length", str(len(body)))]
        await self.head(Answer(status, own, _nothing()))
        await self.piece(body)
        await self.end()

    async def relay(self, answer: Answer, change: Callable[[bytes], bytes] = lambda piece: piece) -> None:
        """Sends an answer on, changed or not."""
        await self.head(answer)
        async for piece in answer.body:
            await self.piece(change(piece))
        await self.end()

    async def raw(self, data: bytes) -> None:
        """Any bytes."""
        self._writer.write(data)
        await self._writer.drain()


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


# The faults


@dataclass(frozen=True, kw_only=True)
class Fault:
    """By itself it changes nothing: it lets so many requests pass.

    Args:
        on: kinds of requests; `open` is every request that is answered with a stream.
        times: so often; `None` is always.
    """

    on: Literal["submit", "stream", "events", "open", "any"] = "open"
    times: int | None = 1

    def matches(self, request: Request) -> bool:
        return self.on == "any" or self.on == request.kind or (self.on == "open" and request.wants_stream())

    async def play(self, exchange: Exchange) -> None:
        await exchange.relay(await exchange.ask())


Passes = Fault


@dataclass(frozen=True, kw_only=True)
class Cut(Fault):
    """The connection is lost after so many bytes of the body."""

    after: int
    how: How = "reset"

    async def play(self, exchange: Exchange) -> None:
        answer = await exchange.ask()
        await exchange.head(answer)
        left = self.after
        if left == 0:
            return await exchange.cut(self.how)
        async for piece in answer.body:
            await exchange.piece(piece[:left])
            left -= len(piece)
            if left <= 0:
                return await exchange.cut(self.how)
        return await exchange.end()


@dataclass(frozen=True, kw_only=True)
class CutAfterEvents(Fault):
    """The connection is lost after so many events, and some bytes of the next one."""

    count: int
    spare: int = 0
    how: How = "reset"

    async def play(self, exchange: Exchange) -> None:
        answer = await exchange.ask()
        await exchange.head(answer)
        left = self.count
        async for block in blocks(answer.body):
            if block.startswith(b"id:"):
                if left == 0:
                    await exchange.piece(block[: self.spare])
                    return await exchange.cut(self.how)
                left -= 1
            await exchange.piece(block)
        return await exchange.end()


@dataclass(frozen=True, kw_only=True)
class CutAfterTime(Fault):
    """No answer takes longer than this, as behind a load balancer with a limit."""

    seconds: float
    how: How = "close"

    async def play(self, exchange: Exchange) -> None:
        try:
            async with asyncio.timeout(self.seconds):
                await super().play(exchange)
        except TimeoutError:
            await exchange.cut(self.how)


@dataclass(frozen=True, kw_only=True)
class HangsUp(Fault):
    """The request is read and never reaches the server."""

    how: How = "reset"

    async def play(self, exchange: Exchange) -> None:
        await exchange.cut("close" if self.how == "clean" else self.how)


@dataclass(frozen=True, kw_only=True)
class LosesAnswer(Fault):
    """The server has done what was asked, and its answer is lost on the way back, but for this much of a head."""

    head: bytes = b""

    async def play(self, exchange: Exchange) -> None:
        answer = await exchange.ask()
        if exchange.request.wants_stream():
            await anext(answer.body)
        else:
            async for _ in answer.body:
                pass
        await exchange.raw(self.head)
        await exchange.cut("close")


@dataclass(frozen=True, kw_only=True)
class Answers(Fault):
    """The proxy answers by itself."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | Mapping[str, Any] = ""

    async def play(self, exchange: Exchange) -> None:
        if isinstance(self.body, str):
            await exchange.say(self.status, {"content-type": "text/html", **self.headers}, self.body.encode())
        else:
            body = {"code": self.status, "message": "Said by the proxy.", "data": None, **self.body}
            await exchange.say(
                self.status, {"content-type": "application/json", **self.headers}, json.dumps(body).encode()
            )


@dataclass(frozen=True, kw_only=True)
class Split(Fault):
    """The body comes in pieces of so many bytes."""

    size: int = 1

    async def play(self, exchange: Exchange) -> None:
        answer = await exchange.ask()
        await exchange.head(answer)
        async for piece in answer.body:
            for at in range(0, len(piece), self.size):
                await exchange.piece(piece[at : at + self.size])
                await asyncio.sleep(0)
        await exchange.end()


@dataclass(frozen=True, kw_only=True)
class Rewrites(Fault):
    """Each block of the stream (an event, a comment) goes out as something else."""

    rewrite: Callable[[bytes], bytes]
    size: int | None = None
    """The pieces that it goes out in."""

    async def play(self, exchange: Exchange) -> None:
        answer = await exchange.ask()
        await exchange.head(answer)
        async for block in blocks(answer.body):
            data = self.rewrite(block)
            size = self.size or len(data) or 1
            for at in range(0, len(data), size):
                await exchange.piece(data[at : at + size])
        await exchange.end()


@dataclass(frozen=True, kw_only=True)
class Delays(Fault):
    """Each event comes so much later."""

    seconds: float

    async def play(self, exchange: Exchange) -> None:
        answer = await exchange.ask()
        await exchange.head(answer)
        async for block in blocks(answer.body):
            await asyncio.sleep(self.seconds)
            await exchange.piece(block)
        await exchange.end()


@dataclass(frozen=True, kw_only=True)
class Drops(Fault):
    """Events are taken out, and everything else goes on as if nothing were."""

    cursors: Sequence[str]

    async def play(self, exchange: Exchange) -> None:
        answer = await exchange.ask()
        await exchange.head(answer)
        heads = tuple(f"id: {cursor}\n".encode() for cursor in self.cursors)
        async for block in blocks(answer.body):
            if not block.startswith(heads):
                await exchange.piece(block)
        await exchange.end()


@dataclass(frozen=True, kw_only=True)
class EatsKeepAlives(Fault):
    """Comments do not come through."""

    async def play(self, exchange: Exchange) -> None:
        await exchange.relay(await exchange.ask(), lambda piece: b"" if piece == KEEP_ALIVE else piece)


@dataclass(frozen=True, kw_only=True)
class GoesDead(Fault):
    """After so many bytes nothing comes any more, and nobody says so."""

    after: int

    async def play(self, exchange: Exchange) -> None:
        answer = await exchange.ask()
        await exchange.head(answer)
        left = self.after
        async for piece in answer.body:
            await exchange.piece(piece[: max(left, 0)])
            left -= len(piece)
        await asyncio.sleep(3600)


@dataclass(frozen=True, kw_only=True)
class Buffers(Fault):
    """The whole body is gathered before any of it goes on; with `head`, so are status and headers."""

    head: bool = False

    async def play(self, exchange: Exchange) -> None:
        answer = await exchange.ask()
        if not self.head:
            await exchange.head(answer)
        gathered = b"".join([piece async for piece in answer.body])
        if self.head:
            await exchange.head(answer)
        await exchange.piece(gathered)
        await exchange.end()


@dataclass(frozen=True, kw_only=True)
class Compresses(Fault):
    """gzip, for those who say that they take it; each event flushed."""

    async def play(self, exchange: Exchange) -> None:
        answer = await exchange.ask()
        if "gzip" not in exchange.request.headers.get("accept-encoding", ""):
            return await exchange.relay(answer)
        await exchange.head(answer, {"content-encoding": "gzip"})
        gzip = zlib.compressobj(wbits=31)
        async for piece in answer.body:
            await exchange.piece(gzip.compress(piece) + gzip.flush(zlib.Z_SYNC_FLUSH))
        await exchange.piece(gzip.flush())
        return await exchange.end()


@dataclass(frozen=True, kw_only=True)
class ForgetsCursor(Fault):
    """Whatever cursor the client sends, the stream begins at its start, as from a cache."""

    async def play(self, exchange: Exchange) -> None:
        request = exchange.request
        request.headers.pop("last-event-id", None)
        address = urlsplit(request.target)
        query = [(name, value) for name, value in parse_qsl(address.query) if name != "after"]
        request.target = address._replace(query=urlencode(query)).geturl()
        await super().play(exchange)


async def blocks(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The blocks of a stream, each with its blank line."""
    rest = b""
    async for piece in body:
        rest += piece
        while (end := rest.find(b"\n\n")) >= 0:
            yield rest[: end + 2]
            rest = rest[end + 2 :]
    if rest:
        yield rest


# The proxy


class FaultProxy:
    """Listens on a port of its own, which it keeps however often its server is restarted.

    Args:
        upstream: tells the server's URL, each time it is asked.
    """

    def __init__(self, upstream: Callable[[], str]) -> None:
        self.upstream = upstream
        self.requests: list[Request] = []
        """What was asked since `play`, the oldest first."""
        self.keep_alives = 0
        """How many the server has sent since `play`."""
        self.away: Fault = HangsUp()
        """What is done while the server is away."""
        self._script: list[list[Any]] = []
        self._open: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._port = 0
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._do(self._listen())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def play(self, faults: Sequence[Fault], away: Fault | None = None) -> None:
        """From now on these faults, in this order: each request meets the first that is for it and is not used up."""
        self._do(self._play(faults, away or HangsUp()))

    def asked(self, kind: Kind) -> list[Request]:
        """The requests of a kind since `play`."""
        return [request for request in self.requests if request.kind == kind]

    def refuse(self, seconds: float) -> None:
        """Nothing listens for so long, and what was open is lost."""
        self._do(self._refuse(seconds))

    def close(self) -> None:
        self._do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def count_keep_alive(self) -> None:
        self.keep_alives += 1

    def _do(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    async def _play(self, faults: Sequence[Fault], away: Fault) -> None:
        await self._hang_up()
        self._script = [[fault, fault.times] for fault in faults]
        self.away, self.requests, self.keep_alives = away, [], 0

    async def _listen(self) -> None:
        deadline = self._loop.time() + 20
        while self._server is None:
            try:
                self._server = await asyncio.start_server(self._take, "127.0.0.1", self._port)
            except OSError:
                if self._loop.time() > deadline:
                    raise
                await asyncio.sleep(0.05)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self._server = None
        await self._hang_up()

    async def _hang_up(self) -> None:
        open = list(self._open)
        for task in open:
            task.cancel()
        if open:
            await asyncio.wait(open)
        for _ in range(3):  # transports close in the loop's next rounds
            await asyncio.sleep(0)

    async def _refuse(self, seconds: float) -> None:
        await self._stop()
        self._loop.call_later(seconds, lambda: setattr(self, "_again", self._loop.create_task(self._listen())))

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        writer.transport.set_write_buffer_limits(0)
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await self._serve(reader, writer)
        except asyncio.CancelledError:
            reset(writer)
        except (OSError, EOFError):
            writer.close()
        finally:
            self._open.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await _read_request(reader)
        if request is None:
            return writer.close()
        self.requests.append(request)
        exchange = Exchange(self, request, writer)
        playing = asyncio.ensure_future(self._exchange(self._next(request), exchange, writer))
        leaving = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait([playing, leaving], return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            playing.cancel()
            await asyncio.wait([playing, leaving])
            exchange.close()
        return playing.result() if not playing.cancelled() else None

    def _next(self, request: Request) -> Fault:
        for line in self._script:
            fault, left = line
            if left != 0 and fault.matches(request):
                line[1] = None if left is None else left - 1
                return fault
        return Passes()

    async def _exchange(self, fault: Fault, exchange: Exchange, writer: asyncio.StreamWriter) -> None:
        try:
            await fault.play(exchange)
        except ConnectionRefusedError:
            await self.away.play(exchange)
        except (OSError, EOFError):
            reset(writer)


def reset(writer: asyncio.StreamWriter) -> None:
    """RST in place of FIN."""
    raw = writer.get_extra_info("socket")
    with suppress(OSError):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _read_request(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    if headers.pop("transfer-encoding", "") == "chunked":
        body = b"".join([piece async for piece in _chunks(reader)])
        headers["content-length"] = str(len(body))
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, target, headers, body)


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: Request) -> Answer:
    headers = {**request.headers, "connection": "close"}
    lines = [f"{request.method} {request.target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + request.body)
    head = await reader.readuntil(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    pairs = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in rest if line)]
    return Answer(int(first.split(" ")[1]), pairs, _body(reader, dict(pairs)))


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> AsyncIterator[bytes]:
    if headers.get("transfer-encoding") == "chunked":
        async for piece in _chunks(reader):
            yield piece
    else:
        yield await reader.readexactly(int(headers.get("content-length", "0")))


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while True:
        size = int(await reader.readuntil(b"\r\n"), 16)
        data = (await reader.readexactly(size + 2))[:size]
        if not data:
            return
        yield data
