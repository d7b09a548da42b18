"""The contract of a spool: the store that owns predictions, their logs and the wake-ups.

Everything else in Unspool may die; what is true is what the spool says. Each implementation keeps the promises
below, and `tests/conformance/` proves them for all alike.

1. Durability. When `submit` or `finish` has returned, its effect survives kill -9 of every process here. Events of a
   running attempt may become durable up to 100 ms after `append` returned. Events of attempt 0 and terminal events
   are durable before any reader sees them.
2. Fencing. `append`, `renew`, `finish` and `lose` of an attempt that was overtaken or has ended raise `StaleAttempt`
   (`renew` names it in its answer) and change nothing. A prediction has at most one terminal event, and it is the
   last event of its log.
3. Order. `read` returns events in cursor order, without a gap inside an attempt. An event that a reader has seen is
   never followed, to any reader, by a different event with the same cursor. An attempt that lost its process is never
   continued: whatever comes next, a restart or the final error, belongs to the next attempt number. That is what
   makes the 100 ms of promise 1 safe.
4. Leases. A claim holds for `lease_s` and as long as it is renewed. When the lease runs out the attempt is lost. A
   lost attempt is followed by the next one, until `max_attempts` attempts were lost; then the prediction ends with
   one `error`, written by whoever notices (any `claim`).
5. Fairness. Of each model's waiting predictions those that lost an attempt are claimed before those that have had none.
   Among both, owners take turns: who waits gets one claim in each round, however much others have waiting. Within one
   owner the longest waiting goes first. An owner that has `max_running` predictions running is passed over and keeps
   its place; when one of them ends, whoever waits for work is woken.
6. Wake-ups. `watch` and `watch_work` may lose a wake-up or give one too many: they say "look again", `read` and
   `claim` are the truth. A wake-up between two waits is kept.

Any method may raise `SpoolUnavailable` when the store cannot keep what it was given or cannot answer now; then
nothing was changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from unspool.spool.archive import Archive
from unspool.spool.deliveries import Deliveries
from unspool.spool.keys import Keys, Limits
from unspool.spool.watch import Watch
from unspool.states import Status
from unspool.types import Cursor, ModelInfo, Page, Prediction, Spoken, Submission


class Claim(NamedTuple):
    """A running attempt, as its host refers to it."""

    id: str
    attempt: int


class Submitted(NamedTuple):
    """What `submit` made, or what an earlier `submit` with the same idempotency key had made."""

    prediction: Prediction
    new: bool


class Spool(Protocol):
    """The store of predictions and their logs. All methods are called from one event loop."""

    lease_s: float
    """How long a claim holds without being renewed, in seconds."""
    keys: Keys
    """The API keys, in the same store."""
    limits: Callable[[str], Limits]
    """What an owner may have waiting and running. Whoever opened the spool may set it; until then all is unlimited."""

    @property
    def deliveries(self) -> Deliveries:
        """The webhooks that are owed. Whatever ends a prediction makes its delivery due in the same step."""
        ...

    @property
    def archive(self) -> Archive:
        """Looks through predictions, and lets go of them."""
        ...

    # A prediction's life, in the order in which it happens

    async def submit(self, submission: Submission) -> Submitted:
        """Makes the prediction and its first event (`created`, with its queue position), in one atomic step.

        With an `idempotency_key` that the same owner used within 24 hours: returns that prediction, `new=False`.

        The queue position is how many are to be claimed before it, if nobody else comes: never less than that, and
        at most one of each other owner more.

        Raises:
            QueueFull: the owner has `max_waiting` predictions waiting.
            IdempotencyMismatch: the key was used with another fingerprint.
        """
        ...

    async def claim(self, free_slots: Mapping[str, int]) -> list[Prediction]:
        """Begins the next attempt of waiting predictions, in the order of promise 5, at most so many per model.

        Each returned prediction is `processing` with its new attempt number, and its log begins the attempt with its
        first event; readers see it, and are woken, once the claim is durable. No two claims return the same attempt
        of what readers have seen. A claim that leaves slots free may make submits that follow durable together with
        their first attempt: a crash before it is claimed costs such a prediction that attempt. Before looking, it does
        what time demands: attempts whose lease ran out are lost, and predictions that waited longer than their
        `start_timeout_s` end with `timeout`.
        """
        ...

    async def renew(self, claims: Iterable[Claim]) -> list[Claim]:
        """Extends the leases of these attempts to `lease_s` from now. Returns the stale ones, which were not."""
        ...

    async def append(self, id: str, attempt: int, events: Sequence[bytes]) -> None:
        """Adds events, in this order, to the log of a running attempt and wakes its readers.

        Args:
            events: each one JSON object of `wire.md` §3, without line breaks, none of them terminal.

        Raises:
            StaleAttempt: the attempt is not running.
        """
        ...

    async def append_all(self, spoken: Iterable[Spoken]) -> list[Claim]:
        """Does what `append` does for each, in this order. Returns the stale attempts, whose events were not added."""
        ...

    async def finish(self, id: str, attempt: int, status: Status, terminal: bytes) -> None:
        """Ends the prediction: its terminal event, its status and the end of its lease, in one atomic step.

        Raises:
            StaleAttempt: the attempt is not running. A second finish is one.
        """
        ...

    async def lose(self, id: str, attempt: int, cause: str, *, counted: bool = True) -> None:
        """The attempt is over without an outcome: its process has died or was taken away.

        The prediction waits for its next attempt, ahead of those that have none yet, or, when this was the last that
        `max_attempts` allows, ends with an `error` that tells `cause`.

        Args:
            counted: false when nobody is to blame, as when the server is being shut down.

        Raises:
            StaleAttempt: the attempt is not running.
        """
        ...

    async def cancel(self, id: str) -> Prediction:
        """Asks for the end. One that waits is `cancelled` when this returns; one that runs is marked, and whoever
        runs it learns of it from `cancellations`; the mark is durable when this returns, and an attempt that is lost
        with it ends as `cancelled`. One that has ended stays as it is. Asking twice changes nothing.

        Raises:
            UnknownPrediction: there is none of that id.
        """
        ...

    async def cancellations(self) -> list[Claim]:
        """The running attempts whose cancellation was asked for, for as long as they run."""
        ...

    # Readers

    async def get(self, id: str) -> Prediction:
        """The prediction as it stands.

        Raises:
            UnknownPrediction: there is none of that id.
        """
        ...

    async def read(self, id: str, after: Cursor, limit: int) -> Page:
        """The events after a cursor; an empty page when there are none yet.

        A page has at most `limit` events and about 64 KB, so that a slow reader holds little; `more` says to read on.

        A cursor of an attempt that was lost may lie past what is left of that attempt: it is followed by the next
        attempt.

        Raises:
            UnknownPrediction: there is none of that id.
            BadCursor: no event with this cursor was ever shown.
        """
        ...

    async def last_progress(self, id: str) -> bytes | None:
        """The newest `progress` event of a prediction that readers can see.

        Raises:
            UnknownPrediction: there is none of that id.
        """
        ...

    async def unfinished(self) -> list[Prediction]:
        """All predictions without a terminal event, the oldest first."""
        ...

    async def waiting(self) -> dict[str, int]:
        """How many predictions wait for an attempt, by model. Models for which none waits may be left out."""
        ...

    def listen(self, id: str, at: Cursor, heard: Callable[[Cursor], None]) -> bool:
        """For measurements: calls `heard` once, with the cursor of the next event that is appended, at that moment.

        Returns whether it will: only for a prediction that runs, and for a reader who stands at its newest event.
        """
        ...

    def watch(self, id: str) -> Watch:
        """Wakes its waiter when there may be something new to `read` about a prediction."""
        ...

    def watch_work(self) -> Watch:
        """Wakes its waiter when `claim` or `cancellations` may have something new to tell."""
        ...

    # What a whole installation shares

    async def announce(self, models: Sequence[ModelInfo]) -> None:
        """Says which models are served; replaces what this node said before, and outlives it."""
        ...

    async def models(self) -> list[ModelInfo]:
        """The models that were announced, by id."""
        ...

    async def secret(self) -> bytes:
        """Thirty-two random bytes, the same for ever and on every node. Signs what clients carry back to us."""
        ...

    async def close(self) -> None:
        """Makes everything durable and lets go of the store. Readers that still wait are woken."""
        ...
