"""The parent's end of a worker: starts the process, speaks the protocol, says when and why it ended.

Knows nothing of models' replicas, queues or the spool: that is the host's.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import cast

import structlog

from unspool.errors import UnspoolError
from unspool.types import ModelInfo
from unspool.worker.protocol import (
    BadFile,
    Described,
    Frame,
    Heartbeat,
    Load,
    LoadFailed,
    Loading,
    Ready,
    Shutdown,
    Splitter,
    Start,
    Stop,
    ToHost,
    Turn,
    encode,
    to_host_decoder,
)

MAX_UNREAD = 1_000
"""When the host is behind by more `Spoken` and `Finished` of one worker than these, the rest waits in its socket."""
LAST_WORDS_S = 1.0
"""How long what a dead worker has said may take to arrive."""

KEPT_FROM_WORKERS = {"UNSPOOL_API_KEY"}
"""Variables that a model has no business with."""

_log = structlog.get_logger("unspool.worker")


class WorkerGone(UnspoolError):
    """The process has ended, or could not become what it should. The message says why, fit for clients."""


class WorkerProcess:
    """A worker, as its parent sees it.

    Args:
        on_said: receives what the runs said, turn by turn; turns that came together are received together.
        on_loading: receives the progress of `setup` as finished event bytes. Both may be replaced until `load`.
        environment: variables of the process, beside those of ours.
    """

    def __init__(
        self,
        file: str,
        on_said: Callable[[list[Turn]], Awaitable[None]],
        on_loading: Callable[[bytes], None],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._file = file
        inherited = {name: value for name, value in os.environ.items() if name not in KEPT_FROM_WORKERS}
        self._environment = {**inherited, **(environment or {})}
        self.on_said = on_said
        self.on_loading = on_loading
        self._loop = asyncio.get_running_loop()
        self._described: asyncio.Future[list[ModelInfo]] = self._loop.create_future()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._process: asyncio.subprocess.Process
        self._control: asyncio.Transport
        self._events: _Inbox
        self._cause: str | None = None
        self.heard_at = self._loop.time()
        """When the process last gave a sign of life, in the loop's time."""
        self.bad_file: str | None = None
        """What is wrong with the model file, for its author."""

    @property
    def pid(self) -> int:
        """The process's id, which is that of its process group, too."""
        return self._process.pid

    async def start(self) -> None:
        """Starts the process.

        Raises:
            WorkerGone: the system does not let us.
        """
        control, control_of_child = socket.socketpair()
        out, out_of_child = socket.socketpair()
        with control_of_child, out_of_child:
            _, protocol = await self._loop.connect_accepted_socket(lambda: _Control(self._take), control)
            self._control = cast(asyncio.Transport, protocol.transport)
            _, self._events = await self._loop.connect_accepted_socket(_Inbox, out)
            descriptors = (control_of_child.fileno(), out_of_child.fileno())
            try:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "unspool.worker.process",
                    self._file,
                    *map(str, descriptors),
                    str(os.getpid()),
                    pass_fds=descriptors,
                    env=self._environment,
                    stdin=asyncio.subprocess.DEVNULL,
                    start_new_session=True,
                )
            except OSError as error:
                self._control.close()
                self._events.close()
                raise WorkerGone(f"The worker process could not be started: {error.strerror}.") from error

    async def described(self) -> list[ModelInfo]:
        """The models of the file, once it is imported.

        Raises:
            WorkerGone: the process died over it; `bad_file` is set if the file is to blame.
        """
        return await asyncio.shield(self._described)

    async def load(self, model: str) -> None:
        """Becomes that model; returns when it is ready to run predictions.

        Raises:
            WorkerGone: loading failed, or the process died over it.
        """
        self._send(Load(model))
        await asyncio.shield(self._ready)

    async def relay(self) -> str:
        """Passes on what the worker says until it is gone, and returns why it is."""
        relaying = asyncio.ensure_future(self._events.relay(self))
        code = await self._process.wait()
        await asyncio.wait([relaying], timeout=LAST_WORDS_S)
        relaying.cancel()
        self._cause = self._cause or _explain(code)
        for waiting in (self._described, self._ready):
            if not waiting.done():
                waiting.set_exception(WorkerGone(self._cause))
                waiting.exception()
        self._control.close()
        self._events.close()
        return self._cause

    def run(self, id: str, attempt: int, input: bytes, base64_output: bool = False, traceparent: str = "") -> None:
        """Starts a run in a free slot."""
        self._send(Start(id, attempt, input, base64_output, traceparent))

    def stop(self, order: Stop) -> None:
        """Asks a run to end."""
        self._send(order)

    def shut_down(self) -> None:
        """Asks the process to leave, whatever it does."""
        self._send(Shutdown())

    def kill(self, how: signal.Signals, cause: str | None = None) -> None:
        """Signals the process and everything that it has started."""
        self._cause = self._cause or cause
        with suppress(ProcessLookupError):
            os.killpg(self.pid, how)

    def _send(self, message: Frame) -> None:
        if not self._control.is_closing():
            self._control.write(encode(message))

    def _take(self, message: ToHost) -> None:
        self.heard_at = self._loop.time()
        match message:
            case Heartbeat():
                pass
            case Loading(event):
                self.on_loading(event)
            case Ready() if not self._ready.done():
                self._ready.set_result(None)
            case Described(models) if not self._described.done():
                self._described.set_result(models)
            case LoadFailed(cause, detail):
                _log.error("a model failed to load", pid=self.pid, cause=cause, detail=detail)
                self._cause = cause
            case BadFile(cause):
                self.bad_file = cause
                self._cause = "The model file cannot be imported."


class _Control(asyncio.Protocol):
    """Frames of the control channel, one by one."""

    transport: asyncio.BaseTransport

    def __init__(self, take: Callable[[ToHost], None]) -> None:
        self._take = take
        self._splitter = Splitter()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        for frame in self._splitter.feed(data):
            self._take(to_host_decoder.decode(frame))


class _Inbox(asyncio.Protocol):
    """Frames of the events channel. All that came in one turn of the loop are handled together."""

    def __init__(self) -> None:
        self._splitter = Splitter()
        self._said: list[Turn] = []
        self._unread = 0
        self._news: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport
        self._ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        for frame in self._splitter.feed(data):
            turn = cast(Turn, to_host_decoder.decode(frame))
            self._said.append(turn)
            self._unread += len(turn.events) + len(turn.finished)
        if self._unread > MAX_UNREAD:
            self._transport.pause_reading()
        self._tell()

    def connection_lost(self, error: Exception | None) -> None:
        self._ended = True
        self._tell()

    def _tell(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    async def relay(self, worker: WorkerProcess) -> None:
        """Hands over every frame until the other end is gone."""
        loop = asyncio.get_running_loop()
        while True:
            said, self._said, self._unread = self._said, [], 0
            if said:
                await worker.on_said(said)
            if self._said:
                continue
            if self._ended:
                return
            if not self._transport.is_reading():
                self._transport.resume_reading()
            self._news = loop.create_future()
            await self._news

    def close(self) -> None:
        """Lets go of the socket."""
        self._transport.close()


def _explain(code: int) -> str:
    if code >= 0:
        return f"The worker process ended with exit code {code}."
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"The worker process was killed by {name}."
