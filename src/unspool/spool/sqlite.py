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

A submit that finds a slot free is written as a run that has begun: its claim, which follows at once, needs no
transaction of its own. If it is not claimed after all, that is taken back.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final

import msgspec
import structlog

from unspool import events as event
from unspool import states
from unspool.errors import BadCursor, IdempotencyMismatch, SpoolUnavailable, StaleAttempt, UnknownPrediction
from unspool.events import TaskCode
from unspool.observer import Observer, Origin, origin
from unspool.spool.archive import Archive
from unspool.spool.base import Claim, Submitted
from unspool.spool.deliveries import target_of
from unspool.spool.keys import UNLIMITED, Keys, Limits
from unspool.spool.live import PAGE_BYTES, LocalWatch, Log, News
from unspool.spool.queue import Queues
from unspool.spool.record import (
    Ending,
    Entry,
    Row,
    Said,
    State,
    decode_journal,
    encode_journal,
    entry_of,
    prediction_of,
    replay,
    size_of,
)
from unspool.spool.sqlite_archive import SqliteArchive
from unspool.spool.sqlite_deliveries import SqliteDeliveries
from unspool.spool.sqlite_file import (
    ANY_PART_AFTER,
    IDEMPOTENT,
    LAST_PART,
    LAST_PARTS,
    ONE,
    PART_BEFORE,
    PARTS_AFTER,
    UNFINISHED,
    SqliteFile,
    Transaction,
)
from unspool.spool.sqlite_keys import SqliteKeys
from unspool.states import Change, Status
from unspool.types import Batch, Cursor, ModelInfo, Page, Prediction, Spoken, Submission

FLUSH_INTERVAL_S = 0.02
FLUSH_AFTER = 4
"""An event is handed to the writer thread in the fourth flush after it was appended (the contract allows 0.1 s).

So each flush takes a part of those that talk, with several events of each: one flush for all of them would be a
pause that their viewers notice, and one event at a time would cost more.
"""
RECENT_BYTES = 8 * 1024 * 1024
"""Finished logs that stay in memory for late readers, all together. More of them would be more memory than the
processor has at hand, and each new run would be written over what it has long forgotten."""
LIVE_BYTES = 1024 * 1024
"""A running log larger than this in memory lets go of what is on disk."""
JOURNAL_ROWS = 1_000
"""A running prediction that pins the journal for so many rows is written to its own parts."""
IDEMPOTENCY_NS: Final = 24 * 3600 * 10**9
RETRY_S = 0.5
_CUT_EVERY_ROWS = 64
_NEXT_OUTPUT = b"\n" + event.OUTPUT_PREFIX
_SHARE_AT_LEAST = 64
"""So many predictions are never too many for one flush."""

_log = structlog.get_logger("unspool.spool")


class _Commit:
    """One transaction, and what follows once it is durable."""

    def __init__(self) -> None:
        self.submitted: list[Entry] = []
        self.ending: list[Entry] = []
        self.then: list[Callable[[], None]] = []
        self.transaction = Transaction()


class SqliteSpool:
    """See `unspool.spool.base.Spool` for what each method promises."""

    @classmethod
    async def open(
        cls,
        path: str,
        *,
        lease_s: float = 30.0,
        clock: Callable[[], int] = time.time_ns,
        observer: Observer | None = None,
    ) -> SqliteSpool:
        """Opens the file, making it if needed; `:memory:` for a spool that forgets.

        Args:
            clock: the time in nanoseconds since the Unix epoch.
            observer: is told what happens to predictions.

        Raises:
            SpoolUnavailable: another server has the file open, or it cannot be read or written.
        """
        spool = cls(SqliteFile(path), lease_s, clock, observer or Observer())
        await spool._recover()
        return spool

    def __init__(self, file: SqliteFile, lease_s: float, clock: Callable[[], int], observer: Observer) -> None:
        self.lease_s = lease_s
        self._observer = observer
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._news = News()
        self._file = file
        self.deliveries = SqliteDeliveries(file)
        self._entries: dict[str, Entry] = {}
        """Everything unfinished, by id."""
        self._recent: OrderedDict[str, Entry] = OrderedDict()
        self._recent_bytes = 0
        self.archive: Archive = SqliteArchive(file, self._entries, self._forget)
        self._running: dict[str, Entry] = {}
        self._speaking: dict[str, Log] = {}
        """Their logs: what is said goes there without a touch of the record."""
        self._cancelling: dict[str, Entry] = {}
        self.keys: Keys = SqliteKeys(file, clock)
        self.limits: Callable[[str], Limits] = lambda owner: UNLIMITED
        self._queues: Queues[Entry] = Queues(lambda owner: self.limits(owner))
        self._spare: dict[str, int] = {}
        """How many slots of each model found nothing to do at the last claim."""
        self._promised: list[Entry] = []
        """Stored since then, with a row that says that they run."""
        self._idempotent: dict[tuple[str, str], Entry] = {}
        self._start_deadlines: list[tuple[int, str]] = []
        self._earliest_lease_ns = 0
        self._work_watches: set[LocalWatch] = set()
        self._next_seq = 1
        self._next_journal_id = 1

        self._pending = _Commit()
        self._changed: dict[Entry, None] = {}
        """Whose state the journal does not have yet."""
        self._talking: deque[dict[Entry, None]] = deque({} for _ in range(FLUSH_AFTER))
        """Who has events that the journal does not have yet, by the flush since the oldest of them. Written only when
        they are due: most short runs finish before that, and then go straight into their part."""
        self._due: dict[Entry, None] = {}
        """Of these, who is written with the next commit."""
        self._committing = False
        self._urgent = False
        self._timer: asyncio.TimerHandle | None = None
        self._idle: asyncio.Future[None] | None = None
        self._failing: SpoolUnavailable | None = None
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
        return Submitted(await asyncio.shield(entry.stored), new=True)

    def _enter(self, submission: Submission) -> Entry:
        self._queues.check_room(submission.owner)
        entry = Entry(self._next_seq, submission, self._clock(), self._news)
        self._next_seq += 1
        position = self._queues.put(entry)
        entry.created_event = event.created(submission.id, position)
        entry.stored = self._loop.create_future()
        entry.origin = origin.get()
        if submission.idempotency_key is not None:
            self._idempotent[submission.owner, submission.idempotency_key] = entry
        self._pending.submitted.append(entry)
        self._commit_soon()
        return entry

    def _stored(self, entry: Entry) -> None:
        self._entries[entry.submission.id] = entry
        entry.log.append(0, entry.created_event, saved=True)
        prediction = entry.prediction()
        self._observer.submitted(prediction, entry.origin)
        self._may_be_claimed(entry)
        if entry.promised_at_ns is not None:
            self._promised.append(entry)
        if entry.stored is not None and not entry.stored.done():
            entry.stored.set_result(prediction)
        entry.stored, entry.origin = None, Origin()

    def _may_be_claimed(self, entry: Entry) -> None:
        self._queues.may_be_taken(entry)
        if entry.submission.start_timeout_s is not None:
            deadline = entry.created_at_ns + int(entry.submission.start_timeout_s * 1e9)
            heapq.heappush(self._start_deadlines, (deadline, entry.submission.id))
        self._wake_work()

    async def _find_idempotent(self, submission: Submission) -> Prediction | None:
        key = (submission.owner, submission.idempotency_key or "")
        if key not in self._idempotent:
            row = await self._file.query(IDEMPOTENT, *key, self._clock() - IDEMPOTENCY_NS)
            if row and key not in self._idempotent:
                self._check_fingerprint(row[0][1], submission)
                with suppress(UnknownPrediction):  # it was deleted meanwhile
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
        self._spare.clear()
        for model, slots in free_slots.items():
            while slots > 0 and (entry := self._queues.take(model)):
                claimed.append(self._begin(entry, now))
                slots -= 1
            self._spare[model] = slots
            self._tell_positions(model)
        self._take_back_promises()
        return claimed

    def _promise(self, entry: Entry, now: int) -> None:
        """Lets its row say that it runs, if a slot waits for it: one transaction does for the submit and the claim."""
        if self._queues.waits(entry.model) <= self._spare.get(entry.model, 0):
            entry.promised_at_ns = now

    def _take_back_promises(self) -> None:
        for entry in self._promised:
            if entry.promised_at_ns is not None and entry.queued:
                entry.promised_at_ns = None
                self._changed[entry] = None
                self._commit_later()
        self._promised.clear()

    def _begin(self, entry: Entry, now: int) -> Prediction:
        entry.status = states.after(entry.status, Change.CLAIM)
        entry.attempt += 1
        entry.running = True
        entry.started_at_ns = now
        entry.lease_until_ns = now + int(self.lease_s * 1e9)
        self._earliest_lease_ns = min(self._earliest_lease_ns or entry.lease_until_ns, entry.lease_until_ns)
        self._running[entry.submission.id] = entry
        self._speaking[entry.submission.id] = entry.log
        if entry.promised_at_ns is None:
            self._show_when_durable(entry)
        entry.promised_at_ns = None
        self._say(entry, entry.attempt, [event.started(entry.attempt)])
        prediction = entry.prediction()
        entry.log.ear = lambda packed, _: self._hear_output(entry.log, prediction, packed)
        self._observer.claimed(prediction)
        return prediction

    def _hear_output(self, log: Log, prediction: Prediction, packed: bytes) -> None:
        if packed.startswith(event.OUTPUT_PREFIX) or _NEXT_OUTPUT in packed:
            log.ear = None
            self._observer.first_output(prediction)

    def _say(self, entry: Entry, attempt: int, said: Sequence[bytes]) -> None:
        """Adds events that may become durable a little later."""
        entry.say(attempt, said)
        if entry.talking is None:
            self._talks(entry)
        self._commit_later()

    def _talks(self, entry: Entry) -> None:
        """Notes it for the latest flush; for an earlier one if that would have more than its share to write."""
        share = _SHARE_AT_LEAST + len(self._running) // FLUSH_AFTER
        entry.talking = next((some for some in reversed(self._talking) if len(some) < share), self._talking[-1])
        entry.talking[entry] = None

    def _show_when_durable(self, entry: Entry, *, urgent: bool = True) -> None:
        """What is said from now on is seen only after the next commit."""
        entry.log.shut()
        self._pending.then.append(entry.log.open)
        self._changed[entry] = None
        if urgent:
            self._commit_soon()
        else:
            self._commit_later()

    def _tell_positions(self, model: str) -> None:
        for entry, position in self._queues.moved(model):
            if entry.attempt == 0 and entry.claimable:
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
                self._queues.remove(entry)
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
        if events:
            self._say(entry, attempt, events)

    async def append_all(self, spoken: Iterable[Spoken]) -> list[Claim]:
        """See `Spool.append_all`."""
        speaking, stale = self._speaking, []
        for id, attempt, packed, count in spoken:
            log = speaking.get(id)
            if log is None or log.attempt != attempt:
                stale.append(Claim(id, attempt))
            elif log.say(packed, count):
                entry = self._running[id]
                if entry.talking is None:
                    self._talks(entry)
        if self._timer is None and self._talking[-1]:
            self._commit_later()
        return stale

    async def finish(self, id: str, attempt: int, status: Status, terminal: bytes) -> None:
        """See `Spool.finish`."""
        entry = self._hold(id, attempt)
        await asyncio.shield(self._end(entry, attempt, status, terminal))

    def _hold(self, id: str, attempt: int) -> Entry:
        """The running attempt, which from now on does not run."""
        entry = self._running.get(id)
        if entry is None or entry.attempt != attempt:
            raise StaleAttempt(f"attempt {attempt} of {id} is not running")
        self._runs_no_more(entry)
        return entry

    def _runs_no_more(self, entry: Entry) -> None:
        self._running.pop(entry.submission.id, None)
        self._speaking.pop(entry.submission.id, None)
        self._cancelling.pop(entry.submission.id, None)
        entry.running = False
        if self._queues.ended(entry):
            self._wake_work()

    def _end(self, entry: Entry, attempt: int, status: Status, terminal: bytes) -> asyncio.Future[None]:
        """Writes the terminal event; readers, and `get`, learn of it when it is durable."""
        states.after(entry.status, states.ENDINGS[status])
        entry.ending = Ending(status, terminal, self._clock())
        entry.promised_at_ns = None
        entry.log.shut()
        entry.log.append(attempt, terminal, saved=True)
        entry.ended = ended = self._loop.create_future()
        self._pending.ending.append(entry)
        self._pending.then.append(lambda: self._ended(entry, ended))
        self._changed.pop(entry, None)
        if entry.talking is not None:
            del entry.talking[entry]
            entry.talking = None
        self._commit_soon()
        return ended

    def _ended(self, entry: Entry, ended: asyncio.Future[None]) -> None:
        assert entry.ending is not None
        id = entry.submission.id
        entry.status, entry.terminal = entry.ending.status, entry.ending.terminal
        entry.finished_at_ns = entry.ending.finished_at_ns
        entry.pin = None
        entry.log.done = True
        entry.log.open()
        del self._entries[id]
        self._forget_key(entry)
        self._remember(entry)
        entry.ended = entry.log.ear = None
        if not ended.done():
            ended.set_result(None)
        self._observer.ended(entry.prediction())

    def _forget_key(self, entry: Entry) -> None:
        key = (entry.submission.owner, entry.submission.idempotency_key or "")
        if self._idempotent.get(key) is entry:
            del self._idempotent[key]

    def _remember(self, entry: Entry) -> None:
        self._recent[entry.submission.id] = entry
        self._recent_bytes += size_of(entry)
        while self._recent_bytes > RECENT_BYTES and len(self._recent) > 1:
            _, oldest = self._recent.popitem(last=False)
            self._recent_bytes -= size_of(oldest)

    def _forget(self, id: str) -> None:
        entry = self._recent.pop(id, None)
        if entry is not None:
            self._recent_bytes -= size_of(entry)

    async def lose(self, id: str, attempt: int, cause: str, *, counted: bool = True) -> None:
        """See `Spool.lose`."""
        entry = self._running.get(id)
        if entry is None or entry.attempt != attempt:
            raise StaleAttempt(f"attempt {attempt} of {id} is not running")
        ended = self._lose(entry, cause, counted=counted)
        if ended is not None:
            await asyncio.shield(ended)

    def _lose(self, entry: Entry, cause: str, *, counted: bool) -> asyncio.Future[None] | None:
        """Queues it again, or ends it and returns the future of that."""
        self._runs_no_more(entry)
        entry.status = states.after(entry.status, Change.LOSE)
        entry.failures += counted
        entry.lost_attempt, entry.log.ear = entry.attempt, None
        self._observer.lost(entry.prediction(), cause)
        if entry.cancel_requested:
            cancelled = event.cancelled(entry.submission.id)
            return self._end(entry, entry.attempt + 1, Status.CANCELLED, cancelled)
        if entry.failures >= entry.submission.max_attempts:
            times = "once" if entry.failures == 1 else f"{entry.failures} times"
            message = f"The worker was lost {times}. Last cause: {cause}"
            terminal = event.error(entry.submission.id, message, TaskCode.INTERNAL, Status.FAILED)
            return self._end(entry, entry.attempt + 1, Status.FAILED, terminal)
        self._queues.put_again(entry)
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
            self._queues.remove(entry)
            next_attempt = entry.attempt + 1 if entry.attempt else 0
            await asyncio.shield(self._end(entry, next_attempt, Status.CANCELLED, event.cancelled(id)))
        elif entry.running and id not in self._cancelling:
            self._cancelling[id] = entry
            self._changed[entry] = None
            self._wake_work()
            await self._durable()
        elif entry.ended is not None:
            await asyncio.shield(entry.ended)
        return entry.prediction()

    async def cancellations(self) -> list[Claim]:
        """See `Spool.cancellations`."""
        return [Claim(id, entry.attempt) for id, entry in self._cancelling.items()]

    def _wake_work(self) -> None:
        for watch in self._work_watches:
            watch.wake()

    # Readers

    async def get(self, id: str) -> Prediction:
        """See `Spool.get`."""
        entry = self._entries.get(id) or self._recent.get(id)
        if entry is not None:
            return entry.prediction()
        return prediction_of(await self._row(id))

    async def _row(self, id: str) -> Row:
        rows: list[Row] = await self._file.query(ONE, id)
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
        stored = [batch.until(floor) for batch in page.batches if (batch.attempt, batch.first) <= floor]
        if not stored:
            raise SpoolUnavailable(f"The log of {id} has no events after {after}, though it had.")
        return Page(stored, done=False, more=True)

    async def _read_finished(self, row: Row, after: Cursor, limit: int) -> Page:
        end = Cursor(row["terminal_attempt"], row["terminal_n"])
        if after > end:
            raise _never_issued(after)
        page = await self._read_parts(row["seq"], row["created_event"], after, limit)
        if after.attempt == 0 and end.attempt > 0 and after.n > 1:
            await self._check_before_first_attempt(row["seq"], after)
        seen = page.batches[-1].last if page.batches else after
        room = limit - sum(batch.count for batch in page.batches)
        rest = await self._file.query(ANY_PART_AFTER, row["seq"], *seen) if room > 0 else [True]
        if room > 0 and not rest:
            if seen < end:
                page.batches.append(Batch(end.attempt, end.n, row["terminal"]))
            return Page(page.batches, done=True)
        return Page(page.batches, done=False, more=True)

    async def _check_before_first_attempt(self, seq: int, after: Cursor) -> None:
        rows = await self._file.query("SELECT max(last) FROM parts WHERE seq = ? AND attempt = 0", seq)
        if after.n > (rows[0][0] or 1):
            raise _never_issued(after)

    async def _read_parts(self, seq: int, created_event: bytes, after: Cursor, limit: int) -> Page:
        """What the file has of a log, but for the terminal event."""
        found: list[Batch] = []
        if after < (0, 1):
            found.append(Batch(0, 1, created_event))
            after = Cursor(0, 1)
        room, room_bytes = limit - len(found), PAGE_BYTES
        while room > 0 and room_bytes > 0:
            rows = await self._file.query(PARTS_AFTER, seq, *after)
            if not rows:
                break
            attempt, first, packed = rows[0]
            stored = Batch(attempt, first, packed, packed.count(b"\n") + 1)
            batch = stored.after(after).head(room).head_bytes(room_bytes)
            found.append(batch)
            room -= batch.count
            room_bytes -= batch.size
            after = batch.last
        return Page(found, done=False)

    async def last_progress(self, id: str) -> bytes | None:
        """See `Spool.last_progress`."""
        entry = self._entries.get(id) or self._recent.get(id)
        found = entry.log.last_progress() if entry is not None else None
        if found is not None:
            return found
        seq = entry.seq if entry is not None else (await self._row(id))["seq"]
        part = await self._file.query(LAST_PART, seq)
        while part:
            attempt, last, packed = part[0]
            for said in reversed(packed.split(b"\n")):
                if said.startswith(event.PROGRESS_PREFIX):
                    return bytes(said)
            part = await self._file.query(PART_BEFORE, seq, attempt, last)
        return None

    async def unfinished(self) -> list[Prediction]:
        """See `Spool.unfinished`."""
        return [entry.prediction() for entry in sorted(self._entries.values(), key=lambda entry: entry.seq)]

    async def waiting(self) -> dict[str, int]:
        """See `Spool.waiting`."""
        return self._queues.waiting()

    def listen(self, id: str, at: Cursor, heard: Callable[[Cursor], None]) -> bool:
        """See `Spool.listen`."""
        entry = self._running.get(id)
        if entry is None or entry.log.ear is not None or entry.log.last != at:
            return False

        def hear(_: bytes, last: Cursor) -> None:
            entry.log.ear = None
            heard(last)

        entry.log.ear = hear
        return True

    def watch(self, id: str) -> LocalWatch:
        """See `Spool.watch`."""
        entry = self._entries.get(id)
        if entry is None:
            return LocalWatch()
        return entry.log.watch()

    def watch_work(self) -> LocalWatch:
        """See `Spool.watch_work`."""
        watch = LocalWatch(on_close=self._work_watches.discard)
        self._work_watches.add(watch)
        return watch

    # What a whole installation shares

    async def announce(self, models: Sequence[ModelInfo]) -> None:
        """See `Spool.announce`."""
        rows = [(info.id, msgspec.json.encode(info)) for info in models]
        await self._file.replace_models(rows)

    async def models(self) -> list[ModelInfo]:
        """See `Spool.models`."""
        rows = await self._file.query("SELECT info FROM models ORDER BY id")
        return [msgspec.json.decode(row[0], type=ModelInfo) for row in rows]

    async def secret(self) -> bytes:
        """See `Spool.secret`."""
        return await self._file.secret()

    # Durability

    def _check_writable(self) -> None:
        if self._closed:
            raise SpoolUnavailable("The spool is closed.")
        if self._failing is not None:
            raise SpoolUnavailable(f"{self._failing} Nothing was accepted.")

    def _commit_soon(self) -> None:
        """At the end of this turn of the loop, or as soon as the transaction under way is done."""
        if self._urgent:
            return
        self._urgent = True
        if not self._committing:
            self._loop.call_soon(self._commit)

    def _commit_later(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(FLUSH_INTERVAL_S, self._commit_on_time)

    def _commit_on_time(self) -> None:
        self._timer = None
        self._age()
        if self._due or self._changed:
            self._commit_soon()
        if any(self._talking):
            self._commit_later()

    def _age(self) -> None:
        """Who has waited for enough flushes is due."""
        for entry in self._talking.popleft():
            self._due[entry] = None
            entry.talking = self._due
        self._talking.append({})

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
        commit, self._pending = self._pending, _Commit()
        self._pack(commit)
        self._write(commit)

    def _write(self, commit: _Commit) -> None:
        began = time.perf_counter()
        written = self._file.commit(commit.transaction)
        written.add_done_callback(lambda done: self._committed(commit, done, time.perf_counter() - began))

    def _pack(self, commit: _Commit) -> None:
        transaction = commit.transaction
        transaction.sync = bool(commit.submitted or commit.ending or commit.then or self._changed)
        now = self._clock()
        for entry in commit.submitted:
            self._promise(entry, now)
            transaction.predictions.append(entry.row())
        for entry in commit.ending:
            transaction.outcomes.append((entry.seq, *entry.outcome()))
            transaction.parts += entry.take_parts()
            self._pack_delivery(entry, commit)
        records: list[State | Said] = []
        for entry in self._changed:
            entry.pin = entry.pin or self._next_journal_id
            records.append(entry.state())
            if entry.attempt == 0:
                entry.move_unjournaled(records)
        self._changed.clear()
        # Into the journal; or, when it would pin too much of that or is too large for memory, into its own parts.
        for entry in self._due:
            entry.talking = None
            entry.log.seal()
            if entry.log.bytes < LIVE_BYTES and not self._pins_much(entry):
                entry.pin = entry.pin or self._next_journal_id
                entry.move_unjournaled(records)
            else:
                self._pack_into_parts(entry, commit, records)
        self._due.clear()
        if records:
            if self._next_journal_id % _CUT_EVERY_ROWS == 0:
                self._unpin_silent(commit, records)
                transaction.cut_journal_below = self._journal_floor()
            transaction.journal, transaction.journal_id = encode_journal(records), self._next_journal_id
            self._next_journal_id += 1

    def _pack_delivery(self, entry: Entry, commit: _Commit) -> None:
        url, ending = entry.submission.webhook_url, entry.ending
        if url is not None and ending is not None:
            commit.transaction.deliveries.append((entry.submission.id, target_of(url), ending.finished_at_ns))
            commit.then.append(self.deliveries.wake)

    def _pins_much(self, entry: Entry) -> bool:
        return entry.pin is not None and self._next_journal_id - entry.pin > JOURNAL_ROWS

    def _unpin_silent(self, commit: _Commit, records: list[State | Said]) -> None:
        """A running prediction that says nothing must not keep the journal from being cut."""
        for entry in self._entries.values():
            if entry.ending is None and self._pins_much(entry):
                self._pack_into_parts(entry, commit, records)

    def _pack_into_parts(self, entry: Entry, commit: _Commit, records: list[State | Said]) -> None:
        until = Cursor(entry.log.attempt, entry.log.n)
        commit.transaction.parts += entry.take_parts()
        commit.then.append(lambda: entry.log.let_go(until))
        entry.pin = self._next_journal_id
        records.append(entry.state())

    def _journal_floor(self) -> int:
        pins = (entry.pin for entry in self._entries.values() if entry.pin is not None)
        return min(pins, default=self._next_journal_id)

    def _committed(self, commit: _Commit, done: asyncio.Future[None], seconds: float) -> None:
        if self._closed:
            return
        error = done.exception()
        if isinstance(error, SpoolUnavailable):
            self._commit_failed(commit, error)
            return
        if error is not None:
            raise error
        self._observer.committed(seconds)
        if self._failing is not None:
            _log.info("the spool can write again")
            self._failing = None
            self._wake_work()
        self._committing = False
        for entry in commit.submitted:
            self._stored(entry)
        for callback in commit.then:
            callback()
        if self._urgent:
            self._commit()
        elif self._changed or any(self._talking):
            self._commit_later()
        elif self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def _commit_failed(self, commit: _Commit, error: SpoolUnavailable) -> None:
        """Refuses what was about to be accepted; keeps the rest and tries again until the file can be written."""
        if self._failing is None:
            what = "the spool cannot write; it refuses new predictions and tries again"
            _log.error(what, error=str(error), path=self._file.path)
        self._failing = error
        self._observer.commit_failed()
        for entry in commit.submitted:
            self._queues.remove(entry)
            self._forget_key(entry)
            if entry.stored is not None and not entry.stored.done():
                entry.stored.set_exception(SpoolUnavailable(f"{error} Nothing was accepted."))
                entry.stored.exception()
        commit.submitted, commit.transaction.predictions = [], []
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)
        self._loop.call_later(RETRY_S, self._retry, commit)

    def _retry(self, commit: _Commit) -> None:
        if not self._closed:
            self._write(commit)

    # Opening and closing

    async def _recover(self) -> None:
        """Brings back what was unfinished. Attempts that ran have lost their process with ours."""
        try:
            await self._file.open()
        except BaseException:
            self._file.abandon()
            raise
        self._next_seq = (await self._file.query("SELECT coalesce(max(seq), 0) + 1 FROM predictions"))[0][0]
        entries = {}
        for row in await self._file.query(UNFINISHED):
            entries[row["seq"]] = entry = entry_of(row, self._news)
            self._entries[entry.submission.id] = entry
        for row in await self._file.query(LAST_PARTS):
            if row["seq"] in entries:
                entries[row["seq"]].log.restore(Cursor(row["attempt"], row["last"]))
        for row in await self._file.query("SELECT id, data FROM journal ORDER BY id"):
            self._next_journal_id = row["id"] + 1
            for record in decode_journal(row["data"]):
                self._next_seq = max(self._next_seq, record.seq + 1)  # of a deleted one: its lines are no other's
                if record.seq in entries:
                    replay(record, entries[record.seq], row["id"])
        for entry in entries.values():
            self._resume(entry)

    def _resume(self, entry: Entry) -> None:
        key = entry.submission.idempotency_key
        if key is not None:
            self._idempotent[entry.submission.owner, key] = entry
        if entry.attempt:
            entry.status = Status.PROCESSING
        entry.claimable = True
        if entry.running:
            self._queues.runs(entry)
            self._lose(entry, "The server stopped during the run.", counted=True)
        elif entry.cancel_requested:
            next_attempt = entry.attempt + 1 if entry.attempt else 0
            self._end(entry, next_attempt, Status.CANCELLED, event.cancelled(entry.submission.id))
        elif entry.attempt:
            self._queues.put_again(entry)
        else:
            self._queues.put(entry)
            self._may_be_claimed(entry)

    async def close(self) -> None:
        """See `Spool.close`."""
        if self._closed:
            return
        while self._failing is None and self._has_to_write():
            self._take_back_promises()
            for _ in range(FLUSH_AFTER):
                self._age()
            self._commit_soon()
            self._idle = self._loop.create_future()
            await self._idle
        self._stop()
        await self._file.close()

    def _has_to_write(self) -> bool:
        return bool(self._committing or self._urgent or self._changed or self._promised or any(self._talking))

    def abandon(self) -> None:
        """Lets go of the file as kill -9 would: nothing that is not durable by now will be. For tests."""
        self._stop()
        self._file.abandon()

    def _stop(self) -> None:
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for entry in self._entries.values():
            entry.log.wake(self._loop.time())
            if entry.ended is not None and not entry.ended.done():
                entry.ended.set_exception(SpoolUnavailable("The spool was closed before this was durable."))
                entry.ended.exception()
        self._wake_work()


def _never_issued(cursor: Cursor) -> BadCursor:
    return BadCursor(f"No event {cursor} was ever sent. Resume with the id of the last event that you received.")
