"""What runs said, on its way to the host: whatever has gathered goes in one write.

    loop        what is said in the event loop's thread leaves at the end of its turn: no other thread has to run first
    writer      sends what other threads say; and what the loop has said, when a turn of it lasts long, or when the host
                does not take it at once
    slots       a slot's thread whose run has ended sends that itself: the writer may have to wait until all of them
                had a turn

Knows what frames are made of, and nothing of models.
"""

from __future__ import annotations

import asyncio
import os
import queue
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from unspool.types import Spoken
from unspool.worker.files import Key
from unspool.worker.protocol import Finished, Turn, encode

MAX_UNSENT_EVENTS = 100_000
"""A model that is so far ahead of its host waits."""
TURN_BYTES = 1024 * 1024
"""More than this goes to the host in several frames."""
LONG_TURN_S = 0.005
"""When a turn of the event loop lasts longer, what it has said does not wait for its end."""

_SEND: Final = "send"
_WATCH: Final = "watch"


class Outbox:
    """The sending end of the events channel. When the host is gone, the process ends.

    Args:
        out: a blocking socket.
    """

    def __init__(self, out: socket.socket) -> None:
        self._out = out
        self._said: deque[tuple[Key, bytes | Finished]] = deque()
        self._sending = threading.Lock()
        self._rest = b""
        """What the socket did not take of a frame that has begun. Under the lock."""
        self._orders: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread_id = -1
        self._turn = 0
        """Counts the turns of the loop in which something was said."""
        self._in_turn = False
        """Something was said in this turn of the loop."""
        self._watched = False
        """The writer looks at the loop's turns."""

    def start(self) -> None:
        """Sends from now on."""
        threading.Thread(target=self._write, name="writer", daemon=True).start()

    def use(self, loop: asyncio.AbstractEventLoop) -> None:
        """Runs speak in this event loop, in this thread."""
        self._loop, self._loop_thread_id = loop, threading.get_ident()

    def emitter(self, key: Key) -> Callable[[bytes], None]:
        """What takes the events of a run, from any thread."""
        said, orders = self._said, self._orders

        def emit(event: bytes) -> None:
            while len(said) > MAX_UNSENT_EVENTS:
                time.sleep(0.001)
            said.append((key, event))
            if orders.empty():
                orders.put(_SEND)

        def emit_in_loop(event: bytes) -> None:
            if threading.get_ident() != self._loop_thread_id:
                emit(event)
                return
            while len(said) > MAX_UNSENT_EVENTS:
                time.sleep(0.001)
            said.append((key, event))
            if not self._in_turn:
                self._begin_turn()

        return emit if self._loop is None else emit_in_loop

    def say(self, key: Key, what: bytes | Finished) -> None:
        """One thing that a run says, from any thread."""
        self._said.append((key, what))
        if threading.get_ident() != self._loop_thread_id:
            self._orders.put(_SEND)
        elif not self._in_turn:
            self._begin_turn()

    def send_one_frame(self) -> None:
        """For a slot: sends from its thread, unless another is sending. The writer was told, and sends the rest."""
        self._send(wait=False)

    # In the loop

    def _begin_turn(self) -> None:
        assert self._loop is not None
        self._in_turn = True
        self._loop.call_soon(self._end_turn)
        if not self._watched:
            self._watched = True
            self._orders.put(_WATCH)

    def _end_turn(self) -> None:
        """Sends without waiting: other runs must not be kept by a host that is slow."""
        self._in_turn = False
        self._turn += 1
        if not self._sending.acquire(blocking=False):
            self._orders.put(_SEND)
            return
        try:
            if not self._rest and (said := self._next_said()):
                frame = encode(_turn_of(said))
                self._rest = frame[self._taken_at_once(frame) :]
        except OSError:
            os._exit(0)
        finally:
            self._sending.release()
        if self._rest or self._said:
            self._orders.put(_SEND)

    def _taken_at_once(self, frame: bytes) -> int:
        try:
            return self._out.send(frame, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0

    # The writer

    def _write(self) -> None:
        while True:
            if self._orders.get() == _SEND:
                self._send()
            else:
                self._watch()

    def _watch(self) -> None:
        """Until the loop falls silent: sends what was said in a turn that lasts."""
        while self._watched:
            turn = self._turn
            try:
                self._orders.get(timeout=LONG_TURN_S)
                self._send()
            except queue.Empty:
                if turn != self._turn:
                    continue
                if self._said:
                    self._send()
                elif not self._in_turn:
                    self._watched = False
                    self._watched = self._in_turn  # it may have begun to speak just now, and not have asked for this
        self._send()  # a thread that found an order, this one, has given none of its own

    def _send(self, *, wait: bool = True) -> None:
        """Sends all that waits; without `wait` one frame at most, and nothing while another thread is sending."""
        if not self._sending.acquire(blocking=wait):
            return
        try:
            if self._rest:
                self._out.sendall(self._rest)
                self._rest = b""
            while said := self._next_said():
                self._out.sendall(encode(_turn_of(said)))
                if not wait:
                    break
        except OSError:
            os._exit(0)
        finally:
            self._sending.release()

    def _next_said(self) -> list[tuple[Key, bytes | Finished]]:
        """What waits, but for so much that a frame stays small beside what it may be."""
        said: list[tuple[Key, bytes | Finished]] = []
        size = 0
        for _ in range(len(self._said)):
            said.append(self._said.popleft())
            what = said[-1][1]
            size += len(what) if isinstance(what, bytes) else 0
            if size > TURN_BYTES:
                break
        return said


def _turn_of(said: list[tuple[Key, bytes | Finished]]) -> Turn:
    by_run: dict[Key, list[bytes]] = {}
    finished: list[Finished] = []
    for key, what in said:
        if isinstance(what, bytes):
            by_run.setdefault(key, []).append(what)
        else:
            finished.append(what)
    return Turn([Spoken.of(id, attempt, some) for (id, attempt), some in by_run.items()], finished)
