"""Events and Ctrl-C in one queue, so that a question can be asked while the stream goes on underneath."""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unspool.client import Event, Stream

MAX_WAITING = 1_000
"""So many events wait for a terminal or pipe that is slow; then the stream is not read on."""


class Interrupt:
    """Somebody pressed Ctrl-C."""


class _End:
    """The stream has ended."""


class Watching:
    """Reads a stream in a thread of its own and hands out its events, and Ctrl-C among them.

    The first Ctrl-C is an item like any other. The next one raises `KeyboardInterrupt` wherever the program is then.

    Args:
        open: makes the stream; called in the thread.
    """

    def __init__(self, open: Callable[[], Stream]) -> None:
        self.stream: Stream | None = None
        self._open = open
        # Its `put` may be called by a signal handler that has interrupted another `put` or `get` of the same thread.
        self._items: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._room = threading.BoundedSemaphore(MAX_WAITING)

    @property
    def behind(self) -> bool:
        """Whether more items are waiting."""
        return not self._items.empty()

    def items(self) -> Iterator[Event | Interrupt]:
        """Every event until the stream ends, and an `Interrupt` when Ctrl-C is pressed for the first time.

        Raises:
            SdkError: what reading the stream raises.
        """
        with self._interrupts():
            threading.Thread(target=self._read, daemon=True).start()
            while not isinstance(item := self._items.get(), _End):
                if isinstance(item, BaseException):
                    raise item
                if not isinstance(item, Interrupt):
                    self._room.release()
                yield item

    def _read(self) -> None:
        try:
            stream = self._open()
            stream.open()
            self.stream = stream
            for event in stream:
                self._room.acquire()
                self._items.put(event)
        except BaseException as error:
            self._items.put(error)
        else:
            self._items.put(_End())

    @contextmanager
    def _interrupts(self) -> Iterator[None]:
        def first(number: int, frame: FrameType | None) -> None:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._items.put(Interrupt())

        before = signal.getsignal(signal.SIGINT)
        if before is signal.SIG_IGN:  # started in the background of a script
            yield
            return
        signal.signal(signal.SIGINT, first)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
