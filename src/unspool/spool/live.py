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
_NEWEST = 16
"""Batches by which a reader may be behind and still be fed; beyond them it reads."""
_EVENT_OVERHEAD_BYTES = 100
"""What an event costs in memory beside its text, roughly."""


class News:
    """The logs in which something has become visible in this turn of the loop.

    Their readers are woken together at its end: whatever several appends of one turn brought is then one page, and
    goes to each viewer's socket in one write.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._logs: list[Log] = []

    def add(self, log: Log) -> None:
        """Wakes the readers of this log soon."""
        logs = self._logs
        if not logs:
            self._loop.call_soon(self._tell)
        logs.append(log)

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
        if tail is not None and log is not None and not log.done and self._waits():
            news = log.newest(tail.after)
            if news and tail.take(news[-1], b"".join([batch.frames() for batch in news])):
                self.level = tail
                return
        self.rouse()

    def rouse(self) -> None:
        """Lets the waiter look again; kept for the next wait if nobody waits."""
        self.level = None
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
            self.level = tail
        try:
            return await self._waiter
        finally:
            self._waiter = self._tail = self.level = None

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
            self.level = None
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

    While the gate is shut (`shut`), what is appended is held back from readers; `open` releases it. The gate is shut
    for as long as something must become durable before the events behind it may be seen.
    """

    __slots__ = (
        "_fresh",
        "_gate",
        "_held",
        "_news",
        "_waking",
        "attempt",
        "batches",
        "bytes",
        "done",
        "floor",
        "n",
        "queue_n",
        "told_at",
        "watches",
    )

    def __init__(self, news: News | None = None) -> None:
        self._news = news
        self._waking = False
        self.batches: list[Batch] = []
        self._fresh: list[bytes] = []
        """What has become visible since the readers were last woken, as it stands on the wire."""
        self.watches: tuple[LocalWatch, ...] = ()
        """Mostly one: a tuple lies closest together, which counts where thousands of logs are gone through."""
        self.told_at = 0.0
        """When its readers were last woken or fed, in the loop's time."""
        self.attempt = 0
        self.n = 0
        """Number of the newest event of the newest attempt, seen by readers or not."""
        self.queue_n = 0
        """Number of the last event of attempt 0."""
        self.bytes = 0
        """What `batches` costs in memory, roughly."""
        self.floor = START
        """Events up to here have been let go of; they are in storage."""
        self.done = False
        """The last event that readers see is the terminal one."""
        self._held: list[Batch] = []
        self._gate = 0

    @property
    def last(self) -> Cursor:
        """The newest event that readers see."""
        return self.batches[-1].last if self.batches else self.floor

    def append(self, attempt: int, packed: bytes, count: int = 1) -> Batch:
        """Numbers the events and adds them; readers see them, and are woken, now or when the gate opens.

        Args:
            packed: the events, with a line break between each two.
        """
        if attempt != self.attempt:
            self.attempt, self.n = attempt, 0
        n = self.n
        batch = Batch(attempt, n + 1, packed, count)
        self.n = n + count
        if self._gate or attempt == 0:
            self._hold_or_show(batch)
        else:  # what `_show` does, for the one that is called for each event
            self.batches.append(batch)
            self.bytes += len(packed) + _EVENT_OVERHEAD_BYTES * count
            if self.watches:
                made = sse.frame(attempt, n + 1, packed) if count == 1 else batch.frames()
                self._fresh.append(made)
                if not self._waking:
                    self._wake_soon()
        return batch

    def watch(self) -> LocalWatch:
        """A new wake-up for what comes."""
        watch = LocalWatch(self, on_close=self._unwatch)
        self.watches = (*self.watches, watch)
        return watch

    def _unwatch(self, watch: LocalWatch) -> None:
        self.watches = tuple(other for other in self.watches if other is not watch)

    def _hold_or_show(self, batch: Batch) -> None:
        if self._gate:
            self._held.append(batch)
        else:
            self._show(batch)
            self._wake_soon()

    def _show(self, batch: Batch) -> None:
        self.batches.append(batch)
        if self.watches:
            self._fresh.append(batch.frames())
        if batch.attempt == 0:
            self.queue_n = batch.last.n
        self.bytes += _cost(batch)

    def restore(self, floor: Cursor) -> None:
        """Begins anew, as the log whose events up to `floor` are in storage."""
        self.batches.clear()
        self.bytes = 0
        self.floor = floor
        self.attempt, self.n = floor
        if floor.attempt == 0:
            self.queue_n = floor.n

    def shut(self) -> None:
        """Holds back what is appended from now on. Counts: as many `open` are needed."""
        self._gate += 1

    def open(self) -> None:
        """Takes back one `shut`; with the last one readers see what was held, and are woken."""
        self._gate -= 1
        if self._gate == 0 and self._held:
            for batch in self._held:
                self._show(batch)
            self._held.clear()
            self._wake_soon()

    def _wake_soon(self) -> None:
        if self._news is None:
            self.wake(asyncio.get_running_loop().time())
        elif not self._waking:
            self._waking = True
            self._news.add(self)

    def wake(self, now: float) -> None:
        """Everyone who waits looks again, or is fed.

        Args:
            now: in the loop's time.
        """
        self._waking = False
        self.told_at = now
        fresh, self._fresh = self._fresh, []
        feed = bool(fresh) and not self.done
        piece = fresh[0] if len(fresh) == 1 else b"".join(fresh)
        for watch in self.watches:
            level = watch.level
            if level is None:
                watch.wake()
            elif not (feed and level.take(self.batches[-1], piece)):
                watch.rouse()

    def seen_by(self, tail: Tail) -> bool:
        """Whether the tail has seen everything that is visible, and nothing of what its readers will be woken for."""
        return not self._fresh and tail.after == self.last

    def newest(self, after: Cursor) -> list[Batch]:
        """What comes after the cursor, if that begins with one of the last batches; otherwise nothing.

        A reader that has fallen a little behind must not cost more than one that has not, or it stays behind.
        """
        attempt, n = after
        found: list[Batch] = []
        for batch in reversed(self.batches):
            found.append(batch)
            if batch.first == n + 1 and batch.attempt == attempt:
                found.reverse()
                return found
            if len(found) == _NEWEST:
                break
        return []

    def read(self, after: Cursor, limit: int) -> Page:
        """What readers see after a cursor that is not below the floor, at most `limit` events."""
        newest = self.newest(after)
        if len(newest) == 1 and newest[0].size <= PAGE_BYTES and newest[0].count <= limit:
            return Page(newest, self.done)
        if after >= self.last:
            return Page([], self.done)
        index = bisect_right(self.batches, after, key=_start) - 1
        if index < 0:
            index = 0
        elif self.batches[index].last <= after:
            index += 1
        found, room, room_bytes = [], limit, PAGE_BYTES
        while room > 0 and room_bytes > 0 and index < len(self.batches):
            batch = self.batches[index].after(after).head(room).head_bytes(room_bytes)
            found.append(batch)
            room -= batch.count
            room_bytes -= batch.size
            index += batch.last == self.batches[index].last
            after = batch.last
        at_end = found[-1].last == self.last
        return Page(found, self.done and at_end, more=not at_end)

    def last_progress(self) -> bytes | None:
        """The newest `progress` event in memory that readers see."""
        for batch in reversed(self.batches):
            for event in reversed(batch.events):
                if event.startswith(PROGRESS_PREFIX):
                    return event
        return None

    def let_go(self, until: Cursor) -> None:
        """Frees what storage has: all batches that end at or before `until`."""
        count = 0
        while count < len(self.batches) and self.batches[count].last <= until:
            batch = self.batches[count]
            self.bytes -= _cost(batch)
            self.floor = batch.last
            count += 1
        del self.batches[:count]


def _cost(batch: Batch) -> int:
    """What it costs in memory, in bytes, roughly."""
    return len(batch.packed) + _EVENT_OVERHEAD_BYTES * batch.count


def _start(batch: Batch) -> Cursor:
    return Cursor(batch.attempt, batch.first)
