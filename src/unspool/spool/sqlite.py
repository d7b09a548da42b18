"""The spool in one SQLite file: the default, for one machine with nothing else to run.

What is unfinished lives in memory; the file is how it comes back. One thread writes, and whatever has gathered while
it was busy goes into its next transaction, so a burst of submits shares one sync to disk.

    predictions   a row each: written by `submit`, completed by `finish` with the terminal event
    parts         the middle of each log, a few packed rows per prediction
    journal       what running predictions did since the last write: one packed row for all of them together

A finished prediction is one row and, as a rule, one part. The journal holds only what its live predictions would
need after a crash, and is cut off behind them.

Two things keep the event loop free. Multi-row statements: SQLite takes the interpreter lock once per statement, so
the number of statements, not of rows, is what a busy loop would make expensive. And claims are not waited for: an
attempt may start before its claim is durable, but its events are held back from readers until it is (promise 3).
"""

from __future__ import annotations

import asyncio
import fcntl
import heapq
import os
import secrets
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from unspool import events as event
from unspool import states
from unspool.errors import BadCursor, IdempotencyMismatch, SpoolUnavailable, StaleAttempt, UnknownPrediction
from unspool.events import TaskCode
from unspool.spool.base import Claim, Submitted
from unspool.spool.live import LocalWatch, Log, Queue, Waiting
from unspool.states import Change, Status
from unspool.types import START, Batch, Cursor, ModelInfo, Page, Prediction, Submission

FLUSH_INTERVAL_S = 0.05
"""Events become durable so long after they were appended, at the latest (the contract allows 0.1)."""
RECENT_BYTES = 32 * 1024 * 1024
"""Finished logs that stay in memory for late readers, all together."""
LIVE_BYTES = 1024 * 1024
"""A running log larger than this in memory lets go of what is on disk."""
JOURNAL_ROWS = 1_000
"""A running prediction that pins the journal for so many rows is written to its own parts."""
IDEMPOTENCY_NS: Final = 24 * 3600 * 10**9
RETRY_S = 0.5

_log = structlog.get_logger("unspool.spool")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS predictions (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    model TEXT NOT NULL,
    owner TEXT NOT NULL,
    input BLOB NOT NULL,
    max_attempts INTEGER NOT NULL,
    run_timeout_s REAL,
    start_timeout_s REAL,
    on_disconnect TEXT NOT NULL,
    base64_output INTEGER NOT NULL,
    idempotency_key TEXT,
    fingerprint BLOB NOT NULL,
    created_at_ns INTEGER NOT NULL,
    created_event BLOB NOT NULL,
    status TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    cancel_requested INTEGER NOT NULL,
    started_at_ns INTEGER,
    finished_at_ns INTEGER,
    terminal BLOB,
    terminal_attempt INTEGER,
    terminal_n INTEGER
);
CREATE INDEX IF NOT EXISTS unfinished ON predictions (seq) WHERE finished_at_ns IS NULL;
CREATE INDEX IF NOT EXISTS by_idempotency_key ON predictions (owner, idempotency_key, seq)
    WHERE idempotency_key IS NOT NULL;
CREATE TABLE IF NOT EXISTS parts (
    seq INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    last INTEGER NOT NULL,
    first INTEGER NOT NULL,
    events BLOB NOT NULL,
    PRIMARY KEY (seq, attempt, last)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS journal (id INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS models (id TEXT PRIMARY KEY, info BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL);
PRAGMA user_version = 1;
"""

_COLUMNS = (
    "seq, id, model, owner, input, max_attempts, run_timeout_s, start_timeout_s, on_disconnect, base64_output,"
    " idempotency_key, fingerprint, created_at_ns, created_event, status, attempt, failures, cancel_requested,"
    " started_at_ns, finished_at_ns, terminal, terminal_attempt, terminal_n"
)


class _State(msgspec.Struct, array_like=True, tag="s"):
    """Journal: how an unfinished prediction stands."""

    seq: int
    attempt: int
    failures: int
    lost_attempt: int
    running: bool
    cancel_requested: bool
    started_at_ns: int | None


class _Said(msgspec.Struct, array_like=True, tag="e"):
    """Journal: events that were added to a log."""

    seq: int
    attempt: int
    first: int
    events: Sequence[bytes]


_journal_encode = msgspec.msgpack.Encoder().encode
_journal_decode = msgspec.msgpack.Decoder(list[_State | _Said]).decode


class _Ending(msgspec.Struct, frozen=True):
    """The outcome of a prediction, while it is being made durable."""

    status: Status
    terminal: bytes
    finished_at_ns: int


class _Entry(Waiting):
    """A prediction in memory: its record, its log, and what of both the file does not have yet."""

    __slots__ = (
        "attempt",
        "cancel_requested",
        "created_at_ns",
        "created_event",
        "ending",
        "failures",
        "finished_at_ns",
        "journaled",
        "lease_until_ns",
        "log",
        "loose",
        "lost_attempt",
        "pin",
        "running",
        "seq",
        "started_at_ns",
        "status",
        "stored",
        "submission",
        "terminal",
    )

    def __init__(self, seq: int, submission: Submission, created_at_ns: int) -> None:
        super().__init__()
        self.seq = seq
        self.submission = submission
        self.created_at_ns = created_at_ns
        self.created_event = b""
        self.status = Status.CREATED
        self.attempt = 0
        self.failures = 0
        self.lost_attempt = 0
        """The newest attempt that was lost; cursors of it may lie past what is left of it."""
        self.running = False
        self.cancel_requested = False
        self.started_at_ns: int | None = None
        self.finished_at_ns: int | None = None
        self.terminal: bytes | None = None
        self.lease_until_ns = 0
        self.ending: _Ending | None = None
        self.log = Log()
        self.loose: list[Batch] = []
        """Batches that are in no part yet."""
        self.journaled = 0
        """How many of `loose` the journal has."""
        self.pin: int | None = None
        """The first journal row that this prediction would need after a crash."""
        self.stored: asyncio.Future[None] | None = None
        """While its submit is being made durable."""

    def prediction(self) -> Prediction:
        asked = self.submission
        return Prediction(
            id=asked.id,
            model=asked.model,
            owner=asked.owner,
            input=asked.input,
            status=self.status,
            attempt=self.attempt,
            failures=self.failures,
            max_attempts=asked.max_attempts,
            run_timeout_s=asked.run_timeout_s,
            start_timeout_s=asked.start_timeout_s,
            on_disconnect=asked.on_disconnect,
            base64_output=asked.base64_output,
            cancel_requested=self.cancel_requested,
            created_at_ns=self.created_at_ns,
            started_at_ns=self.started_at_ns,
            finished_at_ns=self.finished_at_ns,
            terminal=self.terminal,
        )

    def row(self) -> tuple[Any, ...]:
        asked = self.submission
        return (
            self.seq,
            asked.id,
            asked.model,
            asked.owner,
            asked.input,
            asked.max_attempts,
            asked.run_timeout_s,
            asked.start_timeout_s,
            asked.on_disconnect,
            asked.base64_output,
            asked.idempotency_key,
            asked.fingerprint,
            self.created_at_ns,
            self.created_event,
            *self.outcome(),
        )

    def outcome(self) -> tuple[Any, ...]:
        """The columns that change after the submit."""
        if self.ending is None:
            done: tuple[Any, ...] = (None, None, None, None)
        else:
            done = (self.ending.finished_at_ns, self.ending.terminal, self.log.attempt, self.log.n)
        status = self.ending.status if self.ending else self.status
        return (status, self.attempt, self.failures, self.cancel_requested, self.started_at_ns, *done)

    def state(self) -> _State:
        return _State(
            self.seq,
            self.attempt,
            self.failures,
            self.lost_attempt,
            self.running,
            self.cancel_requested,
            self.started_at_ns,
        )

    def issued(self, cursor: Cursor) -> bool:
        """Whether a reader can have seen an event with this cursor."""
        if cursor.attempt == 0:
            return cursor.n <= self.log.queue_n
        return cursor <= self.log.last or cursor.attempt <= self.lost_attempt

    def say(self, attempt: int, said: Sequence[bytes]) -> None:
        """Adds events to the log and to what the file does not have yet."""
        self.loose.append(self.log.append(attempt, said))

    def unjournaled(self) -> list[_Said]:
        fresh = self.loose[self.journaled :]
        self.journaled = len(self.loose)
        return [_Said(self.seq, batch.attempt, batch.first, batch.events) for batch in fresh]

    def take_parts(self) -> list[tuple[Any, ...]]:
        """Everything loose as rows of `parts`, one for each attempt."""
        grouped: list[list[Batch]] = []
        for batch in self.loose:
            if grouped and grouped[-1][0].attempt == batch.attempt:
                grouped[-1].append(batch)
            else:
                grouped.append([batch])
        self.loose, self.journaled = [], 0
        return [
            (
                self.seq,
                group[0].attempt,
                group[-1].last.n,
                group[0].first,
                b"\n".join([one for batch in group for one in batch.events]),
            )
            for group in grouped
        ]


class _Commit:
    """One transaction: what it writes, and what follows once it is durable."""

    def __init__(self) -> None:
        self.inserts: list[_Entry] = []
        self.updates: list[_Entry] = []
        self.insert_rows: list[tuple[Any, ...]] = []
        self.update_rows: list[tuple[Any, ...]] = []
        self.parts: list[tuple[Any, ...]] = []
        self.journal: bytes | None = None
        self.journal_id = 0
        self.cut_journal_below = 0
        self.then: list[Callable[[], None]] = []


class SqliteSpool:
    """See `unspool.spool.base.Spool` for what each method promises."""

    @classmethod
    async def open(cls, path: str, *, lease_s: float = 30.0, clock: Callable[[], int] = time.time_ns) -> SqliteSpool:
        """Opens the file, making it if needed; `:memory:` for a spool that forgets.

        Args:
            clock: the time in nanoseconds since the Unix epoch.

        Raises:
            SpoolUnavailable: another server has the file open, or it cannot be read or written.
        """
        spool = cls(_Database(path), lease_s, clock)
        await spool._recover()
        return spool

    def __init__(self, database: _Database, lease_s: float, clock: Callable[[], int]) -> None:
        self.lease_s = lease_s
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._database = database
        self._entries: dict[str, _Entry] = {}
        """Everything unfinished, by id."""
        self._recent: OrderedDict[str, _Entry] = OrderedDict()
        self._recent_bytes = 0
        self._running: dict[str, _Entry] = {}
        self._cancelling: dict[str, _Entry] = {}
        self._queues: dict[str, Queue[_Entry]] = {}
        self._idempotent: dict[tuple[str, str], _Entry] = {}
        self._start_deadlines: list[tuple[int, str]] = []
        self._earliest_lease_ns = 0
        self._work_watches: set[LocalWatch] = set()
        self._next_seq = 1
        self._next_journal_id = 1

        self._pending = _Commit()
        self._changed: dict[_Entry, None] = {}
        """Whose state or events the journal does not have yet."""
        self._committing = False
        self._urgent = False
        self._timer: asyncio.TimerHandle | None = None
        self._idle: asyncio.Future[None] | None = None
        self._failing: sqlite3.Error | None = None
        self._closed = False

    # A prediction's life

    async def submit(self, submission: Submission) -> Submitted:
        """See `Spool.submit`."""
        self._check_writable()
        if submission.idempotency_key is not None:
            earlier = await self._find_idempotent(submission)
            if earlier is not None:
                return Submitted(earlier, new=False)
        entry = self._enter(submission)
        assert entry.stored is not None
        await asyncio.shield(entry.stored)
        return Submitted(entry.prediction(), new=True)

    def _enter(self, submission: Submission) -> _Entry:
        entry = _Entry(self._next_seq, submission, self._clock())
        self._next_seq += 1
        entry.created_event = event.created(submission.id, len(self._queue(submission.model)))
        entry.stored = self._loop.create_future()
        if submission.idempotency_key is not None:
            self._idempotent[submission.owner, submission.idempotency_key] = entry
        self._pending.inserts.append(entry)
        self._commit_soon()
        return entry

    def _stored(self, entry: _Entry) -> None:
        self._entries[entry.submission.id] = entry
        entry.log.append(0, [entry.created_event])
        self._wait_in_line(entry)
        if entry.stored is not None and not entry.stored.done():
            entry.stored.set_result(None)
        entry.stored = None

    def _wait_in_line(self, entry: _Entry) -> None:
        self._queue(entry.submission.model).put(entry)
        if entry.submission.start_timeout_s is not None:
            deadline = entry.created_at_ns + int(entry.submission.start_timeout_s * 1e9)
            heapq.heappush(self._start_deadlines, (deadline, entry.submission.id))
        self._wake_work()

    async def _find_idempotent(self, submission: Submission) -> Prediction | None:
        key = (submission.owner, submission.idempotency_key or "")
        if key not in self._idempotent:
            row = await self._read(_IDEMPOTENT, (*key, self._clock() - IDEMPOTENCY_NS))
            if row and key not in self._idempotent:
                self._check_fingerprint(row[0][1], submission)
                return await self.get(row[0][0])
        entry = self._idempotent.get(key)
        if entry is None or entry.created_at_ns <= self._clock() - IDEMPOTENCY_NS:
            return None
        self._check_fingerprint(entry.submission.fingerprint, submission)
        if entry.stored is not None:
            await asyncio.shield(entry.stored)
        return entry.prediction()

    @staticmethod
    def _check_fingerprint(known: bytes, submission: Submission) -> None:
        if known != submission.fingerprint:
            raise IdempotencyMismatch(
                "This Idempotency-Key was used for another request in the last 24 hours."
                " Repeat that request exactly, or use a new key."
            )

    async def claim(self, free_slots: Mapping[str, int]) -> list[Prediction]:
        """See `Spool.claim`."""
        now = self._clock()
        self._lose_expired(now)
        self._time_out_waiting(now)
        if self._failing is not None:
            return []
        claimed = []
        for model, slots in free_slots.items():
            queue = self._queues.get(model)
            while queue and slots > 0 and (entry := queue.take()):
                claimed.append(self._begin(entry, now))
                slots -= 1
            if queue:
                self._tell_positions(queue)
        return claimed

    def _begin(self, entry: _Entry, now: int) -> Prediction:
        entry.status = states.after(entry.status, Change.CLAIM)
        entry.attempt += 1
        entry.running = True
        entry.started_at_ns = now
        entry.lease_until_ns = now + int(self.lease_s * 1e9)
        self._earliest_lease_ns = min(self._earliest_lease_ns or entry.lease_until_ns, entry.lease_until_ns)
        self._running[entry.submission.id] = entry
        self._show_when_durable(entry)
        entry.say(entry.attempt, [event.started(entry.attempt)])
        return entry.prediction()

    def _show_when_durable(self, entry: _Entry, *, urgent: bool = True) -> None:
        """What is said from now on is seen only after the next commit."""
        entry.log.shut()
        self._pending.then.append(entry.log.open)
        self._changed[entry] = None
        if urgent:
            self._commit_soon()
        else:
            self._commit_later()

    def _tell_positions(self, queue: Queue[_Entry]) -> None:
        for entry, position in queue.moved():
            if entry.attempt == 0:
                self._show_when_durable(entry, urgent=False)
                told = event.progress(0, status=Status.CREATED, queue_position=position)
                entry.say(0, [told])

    def _lose_expired(self, now: int) -> None:
        if not self._earliest_lease_ns or now < self._earliest_lease_ns:
            return
        for entry in [entry for entry in self._running.values() if entry.lease_until_ns <= now]:
            self._lose(entry, "Its host has not renewed its claim.", counted=True)
        self._earliest_lease_ns = min((entry.lease_until_ns for entry in self._running.values()), default=0)

    def _time_out_waiting(self, now: int) -> None:
        while self._start_deadlines and self._start_deadlines[0][0] <= now:
            entry = self._entries.get(heapq.heappop(self._start_deadlines)[1])
            if entry is not None and entry.queued and entry.attempt == 0:
                self._queue(entry.submission.model).remove(entry)
                message = f"No worker was free within start_timeout ({entry.submission.start_timeout_s:g} s)."
                terminal = event.error(entry.submission.id, message, TaskCode.TIMEOUT, Status.TIMEOUT)
                self._end(entry, 0, Status.TIMEOUT, terminal)

    async def renew(self, claims: Iterable[Claim]) -> list[Claim]:
        """See `Spool.renew`."""
        until = self._clock() + int(self.lease_s * 1e9)
        stale = []
        for claim in claims:
            entry = self._running.get(claim.id)
            if entry is None or entry.attempt != claim.attempt:
                stale.append(claim)
            else:
                entry.lease_until_ns = until
        return stale

    async def append(self, id: str, attempt: int, events: Sequence[bytes]) -> None:
        """See `Spool.append`."""
        entry = self._running.get(id)
        if entry is None or entry.attempt != attempt:
            raise StaleAttempt(f"attempt {attempt} of {id} is not running")
        if not events:
            return
        entry.say(attempt, events)
        self._changed[entry] = None
        self._commit_later()

    async def finish(self, id: str, attempt: int, status: Status, terminal: bytes) -> None:
        """See `Spool.finish`."""
        entry = self._hold(id, attempt)
        await self._end(entry, attempt, status, terminal)

    def _hold(self, id: str, attempt: int) -> _Entry:
        """The running attempt, which from now on does not run."""
        entry = self._running.get(id)
        if entry is None or entry.attempt != attempt:
            raise StaleAttempt(f"attempt {attempt} of {id} is not running")
        del self._running[id]
        self._cancelling.pop(id, None)
        entry.running = False
        return entry

    def _end(self, entry: _Entry, attempt: int, status: Status, terminal: bytes) -> asyncio.Future[None]:
        """Writes the terminal event; readers, and `get`, learn of it when it is durable."""
        states.after(entry.status, states.ENDINGS[status])
        entry.ending = _Ending(status, terminal, self._clock())
        entry.log.shut()
        entry.log.append(attempt, [terminal])
        ended = self._loop.create_future()
        self._pending.updates.append(entry)
        self._pending.then.append(lambda: self._ended(entry, ended))
        self._changed.pop(entry, None)
        self._commit_soon()
        return ended

    def _ended(self, entry: _Entry, ended: asyncio.Future[None]) -> None:
        assert entry.ending is not None
        id = entry.submission.id
        entry.status, entry.terminal = entry.ending.status, entry.ending.terminal
        entry.finished_at_ns = entry.ending.finished_at_ns
        entry.pin = None
        entry.log.done = True
        entry.log.open()
        del self._entries[id]
        if entry.submission.idempotency_key is not None:
            self._idempotent.pop((entry.submission.owner, entry.submission.idempotency_key), None)
        self._remember(entry)
        if not ended.done():
            ended.set_result(None)

    def _remember(self, entry: _Entry) -> None:
        self._recent[entry.submission.id] = entry
        self._recent_bytes += _size(entry)
        while self._recent_bytes > RECENT_BYTES and len(self._recent) > 1:
            _, oldest = self._recent.popitem(last=False)
            self._recent_bytes -= _size(oldest)

    async def lose(self, id: str, attempt: int, cause: str, *, counted: bool = True) -> None:
        """See `Spool.lose`."""
        entry = self._running.get(id)
        if entry is None or entry.attempt != attempt:
            raise StaleAttempt(f"attempt {attempt} of {id} is not running")
        ended = self._lose(entry, cause, counted=counted)
        if ended is not None:
            await ended

    def _lose(self, entry: _Entry, cause: str, *, counted: bool) -> asyncio.Future[None] | None:
        """Queues it again, or ends it and returns the future of that."""
        self._running.pop(entry.submission.id, None)
        self._cancelling.pop(entry.submission.id, None)
        entry.running = False
        entry.status = states.after(entry.status, Change.LOSE)
        entry.failures += counted
        entry.lost_attempt = entry.attempt
        if entry.cancel_requested:
            cancelled = event.cancelled(entry.submission.id)
            return self._end(entry, entry.attempt + 1, Status.CANCELLED, cancelled)
        if entry.failures >= entry.submission.max_attempts:
            times = "once" if entry.failures == 1 else f"{entry.failures} times"
            message = f"The worker was lost {times}. Last cause: {cause}"
            terminal = event.error(entry.submission.id, message, TaskCode.INTERNAL, Status.FAILED)
            return self._end(entry, entry.attempt + 1, Status.FAILED, terminal)
        self._queue(entry.submission.model).put_again(entry)
        self._changed[entry] = None
        self._commit_later()
        self._wake_work()
        return None

    async def cancel(self, id: str) -> Prediction:
        """See `Spool.cancel`."""
        entry = self._entries.get(id)
        if entry is None:
            return await self.get(id)
        entry.cancel_requested = True
        if entry.queued:
            self._queue(entry.submission.model).remove(entry)
            next_attempt = entry.attempt + 1 if entry.attempt else 0
            await self._end(entry, next_attempt, Status.CANCELLED, event.cancelled(id))
        elif entry.running and id not in self._cancelling:
            self._cancelling[id] = entry
            self._changed[entry] = None
            self._wake_work()
            await self._durable()
        return entry.prediction()

    async def cancellations(self) -> list[Claim]:
        """See `Spool.cancellations`."""
        return [Claim(id, entry.attempt) for id, entry in self._cancelling.items()]

    def _queue(self, model: str) -> Queue[_Entry]:
        queue = self._queues.get(model)
        if queue is None:
            queue = self._queues[model] = Queue()
        return queue

    def _wake_work(self) -> None:
        for watch in self._work_watches:
            watch.wake()

    # Readers

    async def get(self, id: str) -> Prediction:
        """See `Spool.get`."""
        entry = self._entries.get(id) or self._recent.get(id)
        if entry is not None:
            return entry.prediction()
        return _prediction(await self._row(id))

    async def _row(self, id: str) -> sqlite3.Row:
        rows = await self._read(f"SELECT {_COLUMNS} FROM predictions WHERE id = ?", (id,))  # noqa: S608
        if not rows or rows[0]["finished_at_ns"] is None:
            raise UnknownPrediction(f"there is no prediction {id}")
        return rows[0]

    async def read(self, id: str, after: Cursor, limit: int) -> Page:
        """See `Spool.read`."""
        entry = self._entries.get(id) or self._recent.get(id)
        if entry is None:
            return await self._read_finished(await self._row(id), after, limit)
        if not entry.issued(after):
            raise _never_issued(after)
        floor = entry.log.floor
        if after >= floor:
            return entry.log.read(after, limit)
        page = await self._read_parts(entry.seq, entry.created_event, after, limit)
        return Page([batch.until(floor) for batch in page.batches if (batch.attempt, batch.first) <= floor], done=False)

    async def _read_finished(self, row: sqlite3.Row, after: Cursor, limit: int) -> Page:
        end = Cursor(row["terminal_attempt"], row["terminal_n"])
        if after > end:
            raise _never_issued(after)
        page = await self._read_parts(row["seq"], row["created_event"], after, limit)
        if after.attempt == 0 and end.attempt > 0 and after.n > 1:
            await self._check_before_first_attempt(row["seq"], after)
        seen = page.batches[-1].last if page.batches else after
        room = limit - sum(len(batch.events) for batch in page.batches)
        rest = await self._read(_ANY_PART_AFTER, (row["seq"], *seen)) if room > 0 else [True]
        if room > 0 and not rest:
            if seen < end:
                page.batches.append(Batch(end.attempt, end.n, [row["terminal"]]))
            return Page(page.batches, done=True)
        return page

    async def _check_before_first_attempt(self, seq: int, after: Cursor) -> None:
        rows = await self._read("SELECT max(last) FROM parts WHERE seq = ? AND attempt = 0", (seq,))
        if after.n > (rows[0][0] or 1):
            raise _never_issued(after)

    async def _read_parts(self, seq: int, created_event: bytes, after: Cursor, limit: int) -> Page:
        """What the file has of a log, but for the terminal event."""
        found: list[Batch] = []
        if after < (0, 1):
            found.append(Batch(0, 1, [created_event]))
        room = limit - len(found)
        while room > 0:
            rows = await self._read(_PARTS_AFTER, (seq, *(found[-1].last if found else after)))
            if not rows:
                break
            attempt, first, packed = rows[0]
            batch = Batch(attempt, first, packed.split(b"\n")).after(after).head(room)
            found.append(batch)
            room -= len(batch.events)
        return Page(found, done=False)

    async def last_progress(self, id: str) -> bytes | None:
        """See `Spool.last_progress`."""
        entry = self._entries.get(id) or self._recent.get(id)
        found = entry.log.last_progress() if entry is not None else None
        if found is not None:
            return found
        seq = entry.seq if entry is not None else (await self._row(id))["seq"]
        for row in await self._read(_PARTS_BACKWARDS, (seq,)):
            for said in reversed(row["events"].split(b"\n")):
                if said.startswith(event.PROGRESS_PREFIX):
                    return bytes(said)
        return None

    async def unfinished(self) -> list[Prediction]:
        """See `Spool.unfinished`."""
        return [entry.prediction() for entry in sorted(self._entries.values(), key=lambda entry: entry.seq)]

    def watch(self, id: str) -> LocalWatch:
        """See `Spool.watch`."""
        entry = self._entries.get(id)
        if entry is None:
            return LocalWatch()
        watch = LocalWatch(on_close=entry.log.watches.discard)
        entry.log.watches.add(watch)
        return watch

    def watch_work(self) -> LocalWatch:
        """See `Spool.watch_work`."""
        watch = LocalWatch(on_close=self._work_watches.discard)
        self._work_watches.add(watch)
        return watch

    # What a whole installation shares

    async def announce(self, models: Sequence[ModelInfo]) -> None:
        """See `Spool.announce`."""
        rows = [(info.id, msgspec.json.encode(info)) for info in models]
        await self._write(lambda connection: _replace_models(connection, rows))

    async def models(self) -> list[ModelInfo]:
        """See `Spool.models`."""
        rows = await self._read("SELECT info FROM models ORDER BY id", ())
        return [msgspec.json.decode(row[0], type=ModelInfo) for row in rows]

    async def secret(self) -> bytes:
        """See `Spool.secret`."""
        return await self._write(_get_or_make_secret)

    # Durability

    def _check_writable(self) -> None:
        if self._closed:
            raise SpoolUnavailable("The spool is closed.")
        if self._failing is not None:
            raise SpoolUnavailable(f"The spool cannot write: {self._failing}. Nothing was accepted.")

    def _commit_soon(self) -> None:
        """At the end of this turn of the loop, or as soon as the transaction under way is done."""
        if self._urgent:
            return
        self._urgent = True
        if not self._committing:
            self._loop.call_soon(self._commit)

    def _commit_later(self) -> None:
        if self._timer is None and not self._urgent:
            self._timer = self._loop.call_later(FLUSH_INTERVAL_S, self._commit_on_time)

    def _commit_on_time(self) -> None:
        self._timer = None
        self._commit_soon()

    def _durable(self) -> asyncio.Future[None]:
        """Done when everything that has happened by now is durable."""
        done: asyncio.Future[None] = self._loop.create_future()
        self._pending.then.append(lambda: None if done.done() else done.set_result(None))
        self._commit_soon()
        return done

    def _commit(self) -> None:
        """Packs everything that the file does not have and hands it to the writer thread."""
        if self._committing or self._closed:
            return
        self._committing, self._urgent = True, False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        commit, self._pending = self._pending, _Commit()
        self._pack(commit)
        future = self._loop.run_in_executor(self._database.writer, self._database.commit, commit)
        future.add_done_callback(lambda done: self._committed(commit, done))

    def _pack(self, commit: _Commit) -> None:
        commit.insert_rows = [entry.row() for entry in commit.inserts]
        for entry in commit.updates:
            commit.update_rows.append((entry.seq, *entry.outcome()))
            commit.parts += entry.take_parts()
        records: list[_State | _Said] = []
        for entry in self._changed:
            if entry.ending is None:
                self._pack_running(entry, commit, records)
        self._changed.clear()
        if records:
            commit.journal, commit.journal_id = _journal_encode(records), self._next_journal_id
            self._next_journal_id += 1
        if commit.journal_id % 64 == 63:
            commit.cut_journal_below = self._journal_floor()

    def _pack_running(self, entry: _Entry, commit: _Commit, records: list[_State | _Said]) -> None:
        """Into the journal; or, when it would pin too much of that or is too large for memory, into its own parts."""
        pinned = entry.pin is not None and self._next_journal_id - entry.pin > JOURNAL_ROWS
        if not pinned and entry.log.bytes < LIVE_BYTES:
            entry.pin = entry.pin or self._next_journal_id
            records.append(entry.state())
            records += entry.unjournaled()
            return
        until = Cursor(entry.log.attempt, entry.log.n)
        commit.parts += entry.take_parts()
        commit.then.append(lambda: entry.log.let_go(until))
        entry.pin = self._next_journal_id
        records.append(entry.state())

    def _journal_floor(self) -> int:
        pins = (entry.pin for entry in self._entries.values() if entry.pin is not None)
        return min(pins, default=self._next_journal_id)

    def _committed(self, commit: _Commit, done: asyncio.Future[None]) -> None:
        if self._closed:
            return
        error = done.exception()
        if isinstance(error, sqlite3.Error):
            self._commit_failed(commit, error)
            return
        if error is not None:
            raise error
        if self._failing is not None:
            _log.info("the spool can write again")
            self._failing = None
            self._wake_work()
        self._committing = False
        for entry in commit.inserts:
            self._stored(entry)
        for callback in commit.then:
            callback()
        if self._urgent:
            self._commit()
        elif self._changed:
            self._commit_later()
        elif self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def _commit_failed(self, commit: _Commit, error: sqlite3.Error) -> None:
        """Refuses what was about to be accepted; keeps the rest and tries again until the file can be written."""
        if self._failing is None:
            _log.error("the spool cannot write; it refuses new predictions and tries again", error=str(error))
        self._failing = error
        for entry in commit.inserts:
            if entry.submission.idempotency_key is not None:
                self._idempotent.pop((entry.submission.owner, entry.submission.idempotency_key), None)
            if entry.stored is not None and not entry.stored.done():
                entry.stored.set_exception(SpoolUnavailable(f"The spool cannot write: {error}. Nothing was accepted."))
                entry.stored.exception()
        commit.inserts, commit.insert_rows = [], []
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)
        self._loop.call_later(RETRY_S, self._retry, commit)

    def _retry(self, commit: _Commit) -> None:
        if self._closed:
            return
        future = self._loop.run_in_executor(self._database.writer, self._database.commit, commit)
        future.add_done_callback(lambda done: self._committed(commit, done))

    async def _read(self, sql: str, parameters: tuple[Any, ...]) -> list[Any]:
        try:
            return await self._loop.run_in_executor(self._database.reader, self._database.query, sql, parameters)
        except (sqlite3.Error, RuntimeError) as error:
            raise SpoolUnavailable(f"The spool cannot be read: {error}") from error

    async def _write(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        try:
            return await self._loop.run_in_executor(self._database.writer, self._database.transact, work)
        except (sqlite3.Error, RuntimeError) as error:
            raise SpoolUnavailable(f"The spool cannot write: {error}") from error

    # Opening and closing

    async def _recover(self) -> None:
        """Brings back what was unfinished. Attempts that ran have lost their process with ours."""
        try:
            await self._loop.run_in_executor(self._database.writer, self._database.open)
        except BaseException:
            self._database.abandon()
            raise
        self._next_seq = (await self._read("SELECT coalesce(max(seq), 0) + 1 FROM predictions", ()))[0][0]
        entries = {}
        for row in await self._read(_UNFINISHED, ()):
            entries[row["seq"]] = entry = _entry(row)
            self._entries[entry.submission.id] = entry
        for row in await self._read(_LAST_PARTS, ()):
            if row["seq"] in entries:
                entries[row["seq"]].log.restore(Cursor(row["attempt"], row["last"]))
        for row in await self._read("SELECT id, data FROM journal ORDER BY id", ()):
            self._next_journal_id = row["id"] + 1
            for record in _journal_decode(row["data"]):
                if record.seq in entries:
                    _replay(record, entries[record.seq], row["id"])
        for entry in entries.values():
            self._resume(entry)

    def _resume(self, entry: _Entry) -> None:
        key = entry.submission.idempotency_key
        if key is not None:
            self._idempotent[entry.submission.owner, key] = entry
        if entry.attempt:
            entry.status = Status.PROCESSING
        if entry.running:
            self._lose(entry, "The server stopped during the run.", counted=True)
        elif entry.cancel_requested:
            next_attempt = entry.attempt + 1 if entry.attempt else 0
            self._end(entry, next_attempt, Status.CANCELLED, event.cancelled(entry.submission.id))
        elif entry.attempt:
            self._queue(entry.submission.model).put_again(entry)
        else:
            self._wait_in_line(entry)

    async def close(self) -> None:
        """See `Spool.close`."""
        if self._closed:
            return
        while self._failing is None and (self._committing or self._urgent or self._changed):
            self._commit_soon()
            self._idle = self._loop.create_future()
            await self._idle
        self._stop()
        await self._loop.run_in_executor(None, self._database.close)

    def abandon(self) -> None:
        """Lets go of the file as kill -9 would: nothing that is not durable by now will be. For tests."""
        self._stop()
        self._database.abandon()

    def _stop(self) -> None:
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for entry in self._entries.values():
            entry.log.wake()
        self._wake_work()


def _size(entry: _Entry) -> int:
    return entry.log.bytes + len(entry.submission.input) + 1_000


def _never_issued(cursor: Cursor) -> BadCursor:
    return BadCursor(f"No event {cursor} was ever sent. Resume with the id of the last event that you received.")


def _submission(row: sqlite3.Row) -> Submission:
    return Submission(
        id=row["id"],
        model=row["model"],
        owner=row["owner"],
        input=row["input"],
        max_attempts=row["max_attempts"],
        run_timeout_s=row["run_timeout_s"],
        start_timeout_s=row["start_timeout_s"],
        on_disconnect=row["on_disconnect"],
        base64_output=bool(row["base64_output"]),
        idempotency_key=row["idempotency_key"],
        fingerprint=row["fingerprint"],
    )


def _entry(row: sqlite3.Row) -> _Entry:
    entry = _Entry(row["seq"], _submission(row), row["created_at_ns"])
    entry.created_event = row["created_event"]
    entry.log.append(0, [entry.created_event])
    return entry


def _prediction(row: sqlite3.Row) -> Prediction:
    entry = _Entry(row["seq"], _submission(row), row["created_at_ns"])
    entry.status = Status(row["status"])
    entry.attempt, entry.failures = row["attempt"], row["failures"]
    entry.cancel_requested = bool(row["cancel_requested"])
    entry.started_at_ns, entry.finished_at_ns = row["started_at_ns"], row["finished_at_ns"]
    entry.terminal = row["terminal"]
    return entry.prediction()


def _replay(record: _State | _Said, entry: _Entry, journal_id: int) -> None:
    """Applies a line of the journal, unless the prediction's parts have it."""
    entry.pin = entry.pin or journal_id
    if isinstance(record, _State):
        entry.attempt, entry.failures = record.attempt, record.failures
        entry.lost_attempt, entry.running = record.lost_attempt, record.running
        entry.cancel_requested, entry.started_at_ns = record.cancel_requested, record.started_at_ns
    elif (record.attempt, record.first) > entry.log.last:
        entry.say(record.attempt, record.events)
        entry.journaled = len(entry.loose)


_IDEMPOTENT = """
SELECT id, fingerprint FROM predictions
WHERE owner = ? AND idempotency_key = ? AND created_at_ns > ? ORDER BY seq DESC LIMIT 1
"""
_PARTS_AFTER = """
SELECT attempt, first, events FROM parts
WHERE seq = ? AND (attempt, last) > (?, ?) ORDER BY attempt, last LIMIT 1
"""
_PARTS_BACKWARDS = "SELECT events FROM parts WHERE seq = ? ORDER BY attempt DESC, last DESC"
_ANY_PART_AFTER = "SELECT 1 FROM parts WHERE seq = ? AND (attempt, last) > (?, ?) LIMIT 1"
_UNFINISHED = f"SELECT {_COLUMNS} FROM predictions WHERE finished_at_ns IS NULL ORDER BY seq"  # noqa: S608
_LAST_PARTS = """
SELECT seq, attempt, max(last) AS last FROM parts
WHERE seq IN (SELECT seq FROM predictions WHERE finished_at_ns IS NULL)
GROUP BY seq, attempt ORDER BY seq, attempt
"""
_OUTCOME = (
    "status, attempt, failures, cancel_requested, started_at_ns, finished_at_ns, terminal, terminal_attempt, terminal_n"
).split(", ")
_UPDATE = "UPDATE predictions SET {} FROM (VALUES {{}}) AS new WHERE predictions.seq = new.column1".format(
    ", ".join(f"{name} = new.column{number}" for number, name in enumerate(_OUTCOME, start=2))
)
_INSERT = f"INSERT INTO predictions ({_COLUMNS}) VALUES {{}}"
_INSERT_PARTS = "INSERT INTO parts (seq, attempt, last, first, events) VALUES {}"


def _replace_models(connection: sqlite3.Connection, rows: list[tuple[str, bytes]]) -> None:
    connection.execute("DELETE FROM models")
    connection.executemany("INSERT INTO models (id, info) VALUES (?, ?)", rows)


def _get_or_make_secret(connection: sqlite3.Connection) -> bytes:
    connection.execute("INSERT OR IGNORE INTO secrets VALUES ('signing', ?)", (secrets.token_bytes(32),))
    value: bytes = connection.execute("SELECT value FROM secrets WHERE name = 'signing'").fetchone()[0]
    return value


class _Database:
    """The file, one connection that writes and one that reads, each in a thread of its own."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._in_memory = path == ":memory:"
        self._lock: int | None = None
        self._connection: sqlite3.Connection | None = None
        self._reading: sqlite3.Connection | None = None
        self.writer = ThreadPoolExecutor(1, "unspool-writer")
        self.reader = self.writer if self._in_memory else ThreadPoolExecutor(1, "unspool-reader")

    def open(self) -> None:
        """Opens, or makes, the file. In the writer's thread."""
        try:
            if not self._in_memory:
                self._acquire_lock()
            self._connection = self._connect()
            self._connection.executescript(_SCHEMA)
            self._reading = self._connection if self._in_memory else self._connect()
        except (sqlite3.Error, OSError) as error:
            raise SpoolUnavailable(f"The spool {self._path} cannot be opened: {error}") from error

    def _acquire_lock(self) -> None:
        Path(self._path).parent.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self._path + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SpoolUnavailable(
                f"Another server uses {self._path}. Stop it, or give this one a --data-dir of its own."
            ) from None

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA busy_timeout = 5000")
        return connection

    def commit(self, commit: _Commit) -> None:
        """One transaction, durable when it returns. In the writer's thread."""

        def write(connection: sqlite3.Connection) -> None:
            _many_rows(connection, _INSERT, commit.insert_rows)
            _many_rows(connection, _UPDATE, commit.update_rows)
            _many_rows(connection, _INSERT_PARTS, commit.parts)
            if commit.journal is not None:
                connection.execute("INSERT INTO journal VALUES (?, ?)", (commit.journal_id, commit.journal))
            if commit.cut_journal_below:
                connection.execute("DELETE FROM journal WHERE id < ?", (commit.cut_journal_below,))

        self.transact(write)

    def transact(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        """Runs `work` in a transaction. In the writer's thread."""
        assert self._connection is not None
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = work(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return result

    def query(self, sql: str, parameters: tuple[Any, ...]) -> list[Any]:
        """In the reader's thread."""
        assert self._reading is not None
        return self._reading.execute(sql, parameters).fetchall()

    def close(self) -> None:
        """Waits for both threads, then closes."""
        self.reader.shutdown()
        self.writer.shutdown()
        self._close_files()

    def abandon(self) -> None:
        """Drops what waits to be written. A transaction under way may still end well: so it is with kill -9."""
        self.reader.shutdown(cancel_futures=True)
        self.writer.shutdown(cancel_futures=True)
        self._close_files()

    def _close_files(self) -> None:
        for connection in (self._reading, self._connection):
            if connection is not None:
                connection.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _many_rows(connection: sqlite3.Connection, sql: str, rows: list[tuple[Any, ...]]) -> None:
    """Executes `sql` with its `{}` replaced by as many rows as a statement may have.

    In powers of two, so that a few statements are prepared again and again.
    """
    at = 0
    while at < len(rows):
        count = min(1 << ((len(rows) - at).bit_length() - 1), 64)
        chunk = rows[at : at + count]
        row = "(" + ", ".join("?" * len(chunk[0])) + ")"
        connection.execute(sql.format(", ".join([row] * count)), [value for one in chunk for value in one])
        at += count
