"""A prediction in memory: its record, its log, and what of both the file does not have yet.

Turns them into rows and journal lines, and back. Knows no driver.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import msgspec

from unspool.observer import Origin
from unspool.spool.live import Log, News
from unspool.spool.queue import Waiting
from unspool.states import Status
from unspool.types import Batch, Cursor, Prediction, Submission

PART_BYTES = 256 * 1024
"""More than this of one attempt goes into several rows."""

_NO_ORIGIN = Origin()

Row = Mapping[str, Any]
"""A row of `predictions`, by column name."""

COLUMNS = (
    "seq, id, model, owner, input, max_attempts, run_timeout_s, start_timeout_s, on_disconnect, base64_output,"
    " price, idempotency_key, fingerprint, created_at_ns, created_event, status, attempt, failures, cancel_requested,"
    " started_at_ns, finished_at_ns, terminal, terminal_attempt, terminal_n, webhook_url, base_url"
)


OUTCOME = (
    "status",
    "attempt",
    "failures",
    "cancel_requested",
    "started_at_ns",
    "finished_at_ns",
    "terminal",
    "terminal_attempt",
    "terminal_n",
)
"""The columns that change when a prediction ends."""


class State(msgspec.Struct, array_like=True, tag="s"):
    """Journal: how an unfinished prediction stands."""

    seq: int
    attempt: int
    failures: int
    lost_attempt: int
    running: bool
    cancel_requested: bool
    started_at_ns: int | None


class Said(msgspec.Struct, array_like=True, tag="e"):
    """Journal: events that were added to a log, with a line break between each two."""

    seq: int
    attempt: int
    first: int
    packed: bytes
    count: int


encode_journal = msgspec.msgpack.Encoder().encode
decode_journal = msgspec.msgpack.Decoder(list[State | Said]).decode


class Ending(msgspec.Struct, frozen=True):
    """The outcome of a prediction, while it is being made durable."""

    status: Status
    terminal: bytes
    finished_at_ns: int


class Entry(Waiting):
    """A prediction in memory: its record, its log, and what of both the file does not have yet."""

    __slots__ = (
        "attempt",
        "cancel_requested",
        "created_at_ns",
        "created_event",
        "ended",
        "ending",
        "failures",
        "finished_at_ns",
        "journaled",
        "lease_until_ns",
        "log",
        "lost_attempt",
        "origin",
        "pin",
        "promised_at_ns",
        "running",
        "seq",
        "started_at_ns",
        "status",
        "stored",
        "submission",
        "talking",
        "terminal",
    )

    def __init__(self, seq: int, submission: Submission, created_at_ns: int, news: News | None = None) -> None:
        super().__init__(submission.model, submission.owner)
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
        self.ending: Ending | None = None
        self.ended: asyncio.Future[None] | None = None
        """While its outcome is being made durable."""
        self.log = Log(news)
        self.journaled = 0
        """How many batches the journal has of those that are in no part yet (`log.unsaved`)."""
        self.pin: int | None = None
        """The first journal row that this prediction would need after a crash."""
        self.promised_at_ns: int | None = None
        """When its row said that attempt 1 runs, while that has not begun yet."""
        self.talking: dict[Entry, None] | None = None
        """Where the spool has noted it, while it has events that the journal does not have."""
        self.origin = _NO_ORIGIN
        """Until it is durable: the request that asked for it."""
        self.stored: asyncio.Future[Prediction] | None = None
        """While its submit is being made durable."""

    def prediction(self) -> Prediction:
        """The record as others see it now."""
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
            webhook_url=asked.webhook_url,
            base_url=asked.base_url,
            price=asked.price,
            cancel_requested=self.cancel_requested,
            created_at_ns=self.created_at_ns,
            started_at_ns=self.started_at_ns,
            finished_at_ns=self.finished_at_ns,
            terminal=self.terminal,
        )

    def row(self) -> tuple[Any, ...]:
        """Its row, in the order of `COLUMNS`."""
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
            asked.price,
            asked.idempotency_key,
            asked.fingerprint,
            self.created_at_ns,
            self.created_event,
            *self.outcome(),
            asked.webhook_url,
            asked.base_url,
        )

    def outcome(self) -> tuple[Any, ...]:
        """The columns that change after the submit."""
        if self.promised_at_ns is not None:
            return (self.status, 1, 0, False, self.promised_at_ns, None, None, None, None)
        if self.ending is None:
            done: tuple[Any, ...] = (None, None, None, None)
        else:
            done = (self.ending.finished_at_ns, self.ending.terminal, self.log.attempt, self.log.n)
        status = self.ending.status if self.ending else self.status
        return (status, self.attempt, self.failures, self.cancel_requested, self.started_at_ns, *done)

    def state(self) -> State:
        """Its line for the journal."""
        return State(
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
        beginning = (self.lost_attempt + 1, 0)  # of the attempt that follows, which they may not see yet
        return cursor <= self.log.last or cursor.attempt <= self.lost_attempt or cursor == beginning

    def say(self, attempt: int, said: Sequence[bytes]) -> None:
        """Adds events that the file does not have yet."""
        self.log.append(attempt, b"\n".join(said), len(said))

    def move_unjournaled(self, records: list[State | Said]) -> None:
        """Adds to `records` the events that the journal does not have."""
        self.log.seal()
        seq, unsaved = self.seq, self.log.unsaved
        fresh = unsaved[self.journaled :] if self.journaled else unsaved
        if len(fresh) > 1 and fresh[0].attempt == fresh[-1].attempt:
            first, last = fresh[0], fresh[-1]
            packed = b"\n".join([batch.packed for batch in fresh])
            records.append(Said(seq, first.attempt, first.first, packed, last.first + last.count - first.first))
        else:
            records += [Said(seq, batch.attempt, batch.first, batch.packed, batch.count) for batch in fresh]
        self.journaled = len(unsaved)

    def take_parts(self) -> list[tuple[Any, ...]]:
        """Everything that is in no part yet as rows of `parts`, as a rule one for each attempt."""
        self.log.seal()
        unsaved, self.log.unsaved, self.journaled = self.log.unsaved, [], 0
        if unsaved and unsaved[0].attempt == unsaved[-1].attempt:  # they are in order: all of them
            return self._rows(unsaved)
        grouped = groupby(unsaved, key=lambda batch: batch.attempt)
        return [row for _, group in grouped for row in self._rows(list(group))]

    def _rows(self, group: list[Batch]) -> list[tuple[Any, ...]]:
        """Consecutive batches of one attempt; in several rows when it is much, since readers read whole rows."""
        attempt, first = group[0].attempt, group[0].first
        packed = b"\n".join([batch.packed for batch in group])
        if len(packed) <= PART_BYTES:
            return [(self.seq, attempt, group[-1].last.n, first, packed)]
        said = packed.split(b"\n")
        count = max(1, len(said) * PART_BYTES // len(packed))
        return [
            (self.seq, attempt, first + at + len(some) - 1, first + at, b"\n".join(some))
            for at in range(0, len(said), count)
            for some in [said[at : at + count]]
        ]


def _submission(row: Row) -> Submission:
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
        webhook_url=row["webhook_url"],
        base_url=row["base_url"],
        price=row["price"],
        idempotency_key=row["idempotency_key"],
        fingerprint=row["fingerprint"],
    )


def entry_of(row: Row, news: News) -> Entry:
    """An unfinished prediction as its submit left it; the journal says how it went on."""
    entry = Entry(row["seq"], _submission(row), row["created_at_ns"], news)
    entry.created_event = row["created_event"]
    entry.log.append(0, entry.created_event, saved=True)
    entry.attempt, entry.started_at_ns = row["attempt"], row["started_at_ns"]
    entry.running = entry.attempt > 0
    return entry


def prediction_of(row: Row) -> Prediction:
    """The record of a finished prediction."""
    entry = Entry(row["seq"], _submission(row), row["created_at_ns"])
    entry.status = Status(row["status"])
    entry.attempt, entry.failures = row["attempt"], row["failures"]
    entry.cancel_requested = bool(row["cancel_requested"])
    entry.started_at_ns, entry.finished_at_ns = row["started_at_ns"], row["finished_at_ns"]
    entry.terminal = row["terminal"]
    return entry.prediction()


def replay(record: State | Said, entry: Entry, journal_id: int) -> None:
    """Applies a line of the journal, unless the prediction's parts have it."""
    entry.pin = entry.pin or journal_id
    if isinstance(record, State):
        entry.attempt, entry.failures = record.attempt, record.failures
        entry.lost_attempt, entry.running = record.lost_attempt, record.running
        entry.cancel_requested, entry.started_at_ns = record.cancel_requested, record.started_at_ns
    elif (record.attempt, record.first) > entry.log.last:
        entry.log.append(record.attempt, record.packed, record.count)
        entry.journaled = len(entry.log.unsaved)


def size_of(entry: Entry) -> int:
    """What keeping a finished prediction in memory costs, in bytes, roughly."""
    return 2 * entry.log.bytes + len(entry.submission.input) + 1_000
