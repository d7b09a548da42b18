"""What is in motion: the live log of a prediction, and the wake-ups.

Plain memory, no storage: an implementation of the spool decides what is durable and when it may be seen.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable
from types import TracebackType
from typing import Self

from unspool import sse
from unspool.events import PROGRESS_PREFIX
from unspool.spool.watch import Tail
from unspool.types import START, Batch, Cursor, Page

PAGE_BYTES = 64 * 1024
"""A page holds about so much, however many events were asked for."""
PUSH_BYTES = 16 * 1024
"""What comes in one turn of the loop is pushed to those who follow; more than this they read."""
_CATCH_UP = 100
"""Events that a reader may be behind and still be fed."""
_LOGS_AT_ONCE = 100
"""Readers of so many logs are woken while what was touched to append to them is still in the processor's cache."""
_EVENT_OVERHEAD_BYTES = 100
"""What an event costs in memory beside its text, roughly."""


class News:
    """The logs in which something has become visible in this turn of the loop.

    Their readers are woken together at its end, or sooner when there are many: whatever several appends brought until
    then is one page, and goes to each viewer's socket in one write.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._logs: list[Log] = []
        self._soon = False

    def add(self, log: Log) -> None:
        """Wakes the readers of this log soon."""
        logs = self._logs
        logs.append(log)
        if len(logs) >= _LOGS_AT_ONCE:
            self._tell()
        elif not self._soon:
            self._soon = True
            self._loop.call_soon(self._tell_rest)

    def _tell_rest(self) -> None:
        self._soon = False
        self._tell()

    def _tell(self) -> None:
        logs, self._logs = self._logs, []
        now = self._loop.time()
        for log in logs:
            try:
                log.wake(now)
            except Exception as error:  # one viewer's trouble is not that of the others
                self._loop.call_exception_handler({"message": "a log's readers could not be woken", "exception": error})


class LocalWatch:
    """A wake-up inside one event loop. One waiter at a time.

    The time-out is one lazy timer: it looks at the deadline when it fires, instead of being set anew for each wait,
    which would cost more than the wake-up itself.

    Args:
        log: what a tail is fed from.
        on_close: told when nobody listens any more.
    """

    __slots__ = (
        "_closed",
        "_deadline",
        "_log",
        "_loop",
        "_on_close",
        "_tail",
        "_timeout_s",
        "_timer",
        "_waiter",
        "_woken",
        "level",
    )

    def __init__(self, log: Log | None = None, on_close: Callable[[LocalWatch], None] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._log = log
        self._on_close = on_close
        self._waiter: asyncio.Future[bool] | None = None
        self._tail: Tail | None = None
        self._timeout_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        self._woken = False
        self._closed = False
        self.level: Tail | None = None
        """The tail, while it waits and has seen all that is visible but for what its log holds as fresh."""

    def wake(self) -> None:
        """Feeds the tail, or lets the waiter look again; kept for the next wait if nobody waits."""
        tail, log = self._tail, self._log
        if tail is not None and log is not None and not log.done and self._waits() and tail.after >= log.floor:
            news = log.read(tail.after, _CATCH_UP)
            if news.batches and not news.more:
                pieces = b"".join([batch.frames() for batch in news.batches])
                if len(pieces) <= PUSH_BYTES and tail.take(*news.batches[-1].last, pieces):
                    self._set_level(tail)
                    return
        self.rouse()

    def _set_level(self, level: Tail | None) -> None:
        if level is not self.level:
            self.level = level
            if self._log is not None:
                self._log.look_who_is_level()

    def rouse(self) -> None:
        """Lets the waiter look again; kept for the next wait if nobody waits."""
        self._set_level(None)
        if self._waiter is None:
            self._woken = True
        elif not self._waiter.done():
            self._waiter.set_result(True)

    def _waits(self) -> bool:
        return self._waiter is not None and not self._waiter.done()

    async def wait(self, timeout_s: float, tail: Tail | None = None) -> bool:
        """See `Watch.wait`."""
        if self._woken or self._closed:
            self._woken = False
            return True
        self._timeout_s = timeout_s
        self._deadline = self._loop.time() + timeout_s
        if self._timer is None or self._timer.when() > self._deadline:
            self._arm(timeout_s)
        self._tail = tail
        self._waiter = self._loop.create_future()
        if tail is not None and self._log is not None and self._log.seen_by(tail):
            self._set_level(tail)
        try:
            return await self._waiter
        finally:
            self._waiter = self._tail = None
            self._set_level(None)

    def _arm(self, delay_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(delay_s, self._expire)

    def _expire(self) -> None:
        self._timer = None
        if self._waiter is None or self._waiter.done():
            return
        fed_at = 0.0 if self._log is None else self._log.told_at
        remaining_s = max(self._deadline, fed_at + self._timeout_s) - self._loop.time()
        if remaining_s > 0.001:
            self._arm(remaining_s)
        else:
            self._set_level(None)
            self._waiter.set_result(False)

    def close(self) -> None:
        """See `Watch.close`."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._on_close is not None:
            self._on_close(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class Log:
    """The events of one prediction that are in memory, and who waits for more.

    What a run says is gathered as it came, and becomes a batch when somebody looks (`seal`): most of it is pushed to
    those who follow, and nobody else asks for it before it is written down together with what came next.

    While the gate is shut (`shut`), what is added is held back from readers; `open` releases it. The gate is shut for
    as long as something must become durable before the events behind it may be seen.
    """

    __slots__ = (
        "_add_news",
        "_batches",
        "_fresh",
        "_gate",
        "_gathered",
        "_held",
        "_only",
        "_sealed_n",
        "_shown_attempt",
        "_shown_n",
        "_waking",
        "attempt",
        "bytes",
        "done",
        "ear",
        "floor",
        "n",
        "queue_n",
        "told_at",
        "unsaved",
        "watches",
    )

    def __init__(self, news: News | None = None) -> None:
        self._add_news: Callable[[Log], None] = _wake_now if news is None else news.add
        self._waking = False
        self._batches: list[Batch] = []
        """What readers see, but for what is gathered."""
        self._gathered: list[bytes] = []
        """What readers see after the batches: events of the newest attempt."""
        self._shown_attempt, self._shown_n = START
        """The newest event that readers see."""
        self._sealed_n = 0
        """The newest one in `_batches`, a number of the same attempt."""
        self._fresh = b""
        """What has become visible since the readers were last woken, as it stands on the wire; or, if it is more than
        can be pushed, the beginning of it."""
        self.unsaved: list[Batch] = []
        """What storage was not given yet; its keeper takes it from here."""
        self.watches: tuple[LocalWatch, ...] = ()
        self._only: Tail | None = None
        """The tail of the only watch, while it has seen everything."""
        self.ear: Callable[[bytes, Cursor], None] | None = None
        """Called with what a run says and its last cursor, until it takes itself away. For measurements."""
        self.told_at = 0.0
        """When its readers were last woken or fed, in the loop's time."""
        self.attempt = 0
        self.n = 0
        """Number of the newest event of the newest attempt, seen by readers or not."""
        self.queue_n = 0
        """Number of the last event of attempt 0."""
        self.bytes = 0
        """What the sealed events cost in memory, roughly."""
        self.floor = START
        """Events up to here have been let go of; they are in storage."""
        self.done = False
        """The last event that readers see is the terminal one."""
        self._held: list[Batch] = []
        self._gate = 0

    @property
    def last(self) -> Cursor:
        """The newest event that readers see."""
        return Cursor(self._shown_attempt, self._shown_n)

    def say(self, packed: bytes, count: int) -> bool:
        """Numbers events of the newest attempt and adds them; readers see them, and are woken soon, or when the gate
        opens. Returns whether storage may not know yet that there is something to be saved.

        This is done for each event of each run: it touches as little memory as it can.

        Args:
            packed: the events, with a line break between each two.
        """
        if self._gate:
            self.append(self.attempt, packed, count)
            return True
        before = self.n
        self.n = self._shown_n = n = before + count
        gathered = self._gathered
        quiet = not gathered
        gathered.append(packed)
        if self.watches:
            if count == 1:
                frames = sse.frame(self.attempt, n, packed)
            else:
                frames = sse.frames(self.attempt, before + 1, packed.split(b"\n"))
            fresh = self._fresh
            if not fresh:
                self._fresh = frames
            elif len(fresh) <= PUSH_BYTES:
                self._fresh = fresh + frames
            if not self._waking:
                self._waking = True
                add_news = self._add_news
                add_news(self)
        if self.ear is not None:
            self.ear(packed, Cursor(self.attempt, n))
        return quiet

    def append(self, attempt: int, packed: bytes, count: int = 1, *, saved: bool = False) -> None:
        """Numbers the events and adds them; readers see them, and are woken, now or when the gate opens.

        Args:
            packed: the events, with a line break between each two.
            saved: storage gets them in another way, and they are none that a run has said.
        """
        self.seal()
        if attempt != self.attempt:
            self.attempt, self.n = attempt, 0
        batch = Batch(attempt, self.n + 1, packed, count)
        self.n += count
        if not saved:
            self.unsaved.append(batch)
        if self._gate:
            self._held.append(batch)
        else:
            self._show(batch)
            self._wake_soon()
        if self.ear is not None and not saved:
            self.ear(packed, batch.last)

    def seal(self) -> None:
        """Makes what is gathered a batch."""
        gathered = self._gathered
        if not gathered:
            return
        packed = gathered[0] if len(gathered) == 1 else b"\n".join(gathered)
        batch = Batch(self._shown_attempt, self._sealed_n + 1, packed, self._shown_n - self._sealed_n)
        gathered.clear()
        self._sealed_n = self._shown_n
        self._batches.append(batch)
        self.unsaved.append(batch)
        self.bytes += _cost(batch)

    def _show(self, batch: Batch) -> None:
        self._batches.append(batch)
        self.bytes += _cost(batch)
        self._shown_attempt, self._shown_n = batch.last
        self._sealed_n = self._shown_n
        if self.watches and len(self._fresh) <= PUSH_BYTES:
            self._fresh += batch.frames()
        if batch.attempt == 0:
            self.queue_n = self._shown_n

    def restore(self, floor: Cursor) -> None:
        """Begins anew, as the log whose events up to `floor` are in storage."""
        self._batches.clear()
        self._gathered.clear()
        self.unsaved.clear()
        self.bytes = 0
        self.floor = floor
        self.attempt, self.n = self._shown_attempt, self._shown_n = floor
        self._sealed_n = self._shown_n
        if floor.attempt == 0:
            self.queue_n = floor.n

    def shut(self) -> None:
        """Holds back what is added from now on. Counts: as many `open` are needed."""
        self._gate += 1

    def open(self) -> None:
        """Takes back one `shut`; with the last one readers see what was held, and are woken."""
        self._gate -= 1
        if self._gate == 0 and self._held:
            self.seal()
            for batch in self._held:
                self._show(batch)
            self._held.clear()
            self._wake_soon()

    # Readers

    def watch(self) -> LocalWatch:
        """A new wake-up for what comes."""
        watch = LocalWatch(self, on_close=self._unwatch)
        self.watches = (*self.watches, watch)
        self.look_who_is_level()
        return watch

    def _unwatch(self, watch: LocalWatch) -> None:
        self.watches = tuple(other for other in self.watches if other is not watch)
        self.look_who_is_level()

    def look_who_is_level(self) -> None:
        """To be called when a watch has become level, or is so no more."""
        self._only = self.watches[0].level if len(self.watches) == 1 else None

    def _wake_soon(self) -> None:
        if not self._waking:
            self._waking = True
            self._add_news(self)

    def wake(self, now: float) -> None:
        """Everyone who waits looks again, or is fed.

        Args:
            now: in the loop's time.
        """
        self._waking = False
        self.told_at = now
        fresh, self._fresh = self._fresh, b""
        feed = bool(fresh) and len(fresh) <= PUSH_BYTES and not self.done
        only = self._only
        if only is not None and feed and only.take(self._shown_attempt, self._shown_n, fresh):
            return
        for watch in self.watches:
            level = watch.level
            if level is None:
                watch.wake()
            elif only is not None or not (feed and level.take(self._shown_attempt, self._shown_n, fresh)):
                watch.rouse()

    def seen_by(self, tail: Tail) -> bool:
        """Whether the tail has seen everything that is visible, and nothing of what its readers will be woken for."""
        return not self._fresh and tail.after == self.last

    def read(self, after: Cursor, limit: int) -> Page:
        """What readers see after a cursor that is not below the floor, at most `limit` events."""
        self.seal()
        if after >= self.last:
            return Page([], self.done)
        batches = self._batches
        newest = batches[-1]
        if after >= (newest.attempt, newest.first - 1):  # mostly: a reader who is a little behind costs little
            if after < (newest.attempt, newest.first) and newest.count <= limit and len(newest.packed) <= PAGE_BYTES:
                return Page([newest], self.done)
            index = len(batches) - 1
        else:
            index = max(0, bisect_right(batches, after, key=_start) - 1)
            if batches[index].last <= after:
                index += 1
        found, room, room_bytes = [], limit, PAGE_BYTES
        while room > 0 and room_bytes > 0 and index < len(batches):
            batch = batches[index].after(after).head(room).head_bytes(room_bytes)
            found.append(batch)
            room -= batch.count
            room_bytes -= batch.size
            index += batch.last == batches[index].last
            after = batch.last
        at_end = found[-1].last == self.last
        return Page(found, self.done and at_end, more=not at_end)

    def last_progress(self) -> bytes | None:
        """The newest `progress` event in memory that readers see."""
        self.seal()
        for batch in reversed(self._batches):
            for event in reversed(batch.events):
                if event.startswith(PROGRESS_PREFIX):
                    return event
        return None

    def let_go(self, until: Cursor) -> None:
        """Frees what storage has: all batches that end at or before `until`."""
        count = 0
        while count < len(self._batches) and self._batches[count].last <= until:
            batch = self._batches[count]
            self.bytes -= _cost(batch)
            self.floor = batch.last
            count += 1
        del self._batches[:count]


def _wake_now(log: Log) -> None:
    log.wake(asyncio.get_running_loop().time())


def _cost(batch: Batch) -> int:
    """What it costs in memory, in bytes, roughly."""
    return len(batch.packed) + _EVENT_OVERHEAD_BYTES * batch.count


def _start(batch: Batch) -> Cursor:
    return Cursor(batch.attempt, batch.first)
