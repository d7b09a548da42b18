"""The facts that every part of Unspool speaks about: cursors, batches of events, predictions, models.

Owns their shapes and nothing else. Knows no storage, no process and no HTTP.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Literal, NamedTuple

import msgspec

from unspool import sse
from unspool.states import Status

_CURSOR = re.compile(r"(0|[1-9][0-9]{0,8})-([1-9][0-9]{0,17})", re.ASCII)


class Cursor(NamedTuple):
    """Where a reader stands: the last event it has seen, as attempt and n (`wire.md` §3, The cursor).

    Order is by attempt, then n, which is the order of the tuple. `START` is before the first event.
    """

    attempt: int
    n: int

    def __str__(self) -> str:
        return f"{self.attempt}-{self.n}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Reads `{attempt}-{n}`.

        Raises:
            ValueError: the text is not a cursor in its one canonical spelling.
        """
        match = _CURSOR.fullmatch(text)
        if match is None:
            raise ValueError(f"{text[:40]!r} is not a cursor such as '1-17'")
        return cls(int(match[1]), int(match[2]))


START = Cursor(0, 0)
_cursor = tuple.__new__


class Batch(msgspec.Struct, gc=False, eq=False):
    """Consecutive events of one attempt: number `first`, `first + 1`, …, each as its JSON bytes.

    What a worker had ready in one turn stays one batch on its whole way, so the bytes for the socket are built once for
    all viewers; those of an event alone once for all that follow it live, and once more for all that read it later.

    Out of the garbage collector's sight: a live log has very many of them, and none can be part of a cycle. For the
    same reason the events are one piece of bytes and no sequence, which the collector would have to look at.
    """

    attempt: int
    first: int
    packed: bytes
    """The events, with a line break between each two: none of them has one in itself."""
    count: int = 1
    """How many these are."""
    _sse: bytes | None = None

    @classmethod
    def of(cls, attempt: int, first: int, events: Sequence[bytes]) -> Batch:
        """The batch of these events."""
        return cls(attempt, first, b"\n".join(events), len(events))

    @property
    def events(self) -> list[bytes]:
        """Each event as its JSON bytes."""
        return self.packed.split(b"\n") if self.count else []

    @property
    def last(self) -> Cursor:
        """The cursor of the last event of this batch.

        Made anew each time: kept, it would be one object more for the garbage collector per event.
        """
        return _cursor(Cursor, (self.attempt, self.first + self.count - 1))

    @property
    def size(self) -> int:
        """Bytes of JSON in all events together."""
        return len(self.packed) - self.count + 1 if self.count else 0

    @property
    def sse(self) -> bytes:
        """All events as they stand on the wire, cursors included. Kept for the next reader."""
        if self._sse is None:
            self._sse = sse.frames(self.attempt, self.first, self.events)
        return self._sse

    def frames(self) -> bytes:
        """The same; but of an event alone it is not kept, since that costs more memory than it saves time."""
        if self.count == 1 and self._sse is None:
            return sse.frame(self.attempt, self.first, self.packed)
        return self.sse

    def after(self, cursor: Cursor) -> Batch:
        """The part of this batch that a reader at `cursor` has not seen: this very object if that is all of it."""
        if cursor < (self.attempt, self.first):
            return self
        seen = cursor.n - self.first + 1
        return Batch.of(self.attempt, self.first + seen, self.events[seen:])

    def until(self, cursor: Cursor) -> Batch:
        """The part of this batch up to and with `cursor`, which must not lie before it."""
        return self if self.last <= cursor else self.head(cursor.n - self.first + 1)

    def head(self, limit: int) -> Batch:
        """At most the first `limit` events."""
        return self if self.count <= limit else Batch.of(self.attempt, self.first, self.events[:limit])

    def head_bytes(self, limit: int) -> Batch:
        """The first events, together at most `limit` bytes of JSON; but always one."""
        if self.size <= limit:
            return self
        sizes = accumulate(map(len, self.events))
        return self.head(max(1, sum(1 for size in sizes if size <= limit)))

    def cursors(self) -> list[tuple[Cursor, bytes]]:
        """Every event beside its cursor."""
        return [(Cursor(self.attempt, self.first + i), event) for i, event in enumerate(self.events)]

    def __repr__(self) -> str:
        return f"Batch({self.attempt}-{self.first}…{self.last}, {self.count} events)"


class Spoken(NamedTuple):
    """What a running attempt adds to its log, in the one piece of bytes in which it travels.

    A tuple, since it is taken apart where a host hears of it: that costs less than asking for each part by name.
    """

    id: str
    """The prediction."""
    attempt: int
    """Its attempt that says this."""
    packed: bytes
    """The events, each one JSON object of `wire.md` §3, none of them terminal, with a line break between each two."""
    number: int
    """How many these are, one at least."""

    @classmethod
    def of(cls, id: str, attempt: int, events: Sequence[bytes]) -> Spoken:
        """These events."""
        return cls(id, attempt, events[0] if len(events) == 1 else b"\n".join(events), len(events))


class Page(NamedTuple):
    """What one read of a log returned."""

    batches: list[Batch]
    """In cursor order; never an empty batch."""
    done: bool
    """The last of these events (or the cursor itself, if there are none) is the terminal event."""
    more: bool = False
    """There may be more to read at once: the page ends where a limit was reached, not where the log does."""


OnDisconnect = Literal["continue", "cancel"]


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asks for: everything `submit` needs to make a prediction."""

    id: str
    model: str
    owner: str
    """Who may see it: the id of the API key it came with."""
    input: bytes
    """The model's inputs, a JSON object, already valid against the model's schema."""
    max_attempts: int = 2
    run_timeout_s: float | None = None
    """How long one attempt may run."""
    start_timeout_s: float | None = None
    """How long it may wait for its first attempt."""
    on_disconnect: OnDisconnect = "continue"
    base64_output: bool = False
    webhook_url: str | None = None
    """Where to send the prediction when it has ended."""
    base_url: str = ""
    """How its client reached this server: the base of URLs in what is sent later."""
    price: float = 0
    """What it costs in USD if it completes."""
    idempotency_key: str | None = None
    fingerprint: bytes = b""
    """Digest of what a repeated `idempotency_key` has to repeat: model, inputs and options."""


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """A prediction as its record stands at one moment. Times are nanoseconds since the Unix epoch."""

    id: str
    model: str
    owner: str
    input: bytes
    status: Status
    attempt: int
    """The newest attempt; 0 before the first."""
    failures: int
    """How many attempts ended with their process."""
    max_attempts: int
    run_timeout_s: float | None
    start_timeout_s: float | None
    on_disconnect: OnDisconnect
    base64_output: bool
    webhook_url: str | None = None
    base_url: str = ""
    price: float = 0
    """What it costs in USD if it completes, as its model's price was when it was made."""
    cancel_requested: bool
    created_at_ns: int
    started_at_ns: int | None
    """When the newest attempt began."""
    finished_at_ns: int | None
    terminal: bytes | None
    """The terminal event's JSON: outputs, error, code, timings are read from it and stored nowhere else."""


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker says of a model, and everything the HTTP side knows about it."""

    id: str
    schema: dict[str, Any]
    """JSON schema of the inputs: an object with `properties` and `required`."""
    streams: tuple[str, ...]
    """Which of `progress`, `log`, `output` it emits; empty if it refuses to stream."""
    readme: str
    slots: int
    """How many predictions one worker takes at once."""
    replicas: int
    max_attempts: int
    run_timeout_s: float | None
    category: str = "other"
    """What it makes of what, as `text-to-image`; clients show and filter by it."""
    price: float = 0
    """Of one completed prediction, in USD."""
    device: tuple[str, ...] = ()
    """Where its workers compute, as its author said it; empty if they see what the server sees."""
    idle_unload_s: float | None = None
    """A worker that had nothing to do for so long is ended until it is needed."""
