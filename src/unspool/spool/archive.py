"""The contract of a spool's archive: looking through predictions, and letting go of them.

It belongs to the same store as the spool, `spool.archive`, and keeps these promises beside the spool's own:

1. What has been deleted is gone for every reader: `get`, `read` and `last_progress` raise `UnknownPrediction`, no list
   shows it, its idempotency key is free, and nothing of it comes back after a crash.
2. Only what has ended can be deleted. An unfinished prediction is left as it is.
3. What was used stays counted: `usage` tells the same before and after a delete.
4. Every method works in pieces that are small for the store, so that none of them holds up a submit or a stream.

Any method may raise `SpoolUnavailable`; then nothing was changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple, Protocol

import msgspec

from unspool.states import Status
from unspool.types import Prediction


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which predictions of an owner are looked for; `None` looks for all."""

    owner: str
    model: str | None = None
    status: Status | None = None
    created_from_ns: int | None = None
    """Created at this time or later, in nanoseconds since the Unix epoch."""
    created_before_ns: int | None = None
    """Created before this time."""
    ids: tuple[str, ...] | None = None
    """One of these."""
    charged: bool = False
    """Only those that cost something: completed ones of a model with a price."""


class Listing(NamedTuple):
    """One page of what was found."""

    predictions: list[Prediction]
    total: int
    """How many there are on all pages together."""


class Usage(NamedTuple):
    """What an owner has used of one model on one day (UTC), counted by when predictions were created."""

    day: date
    model: str
    requests: int
    completed: int
    cost: float
    """In USD: the prices of the completed ones, each as it was when the prediction was made."""
    last_created_at_ns: int


class Archive(Protocol):
    """All predictions, finished and unfinished. All methods are called from the spool's event loop."""

    async def find(self, wanted: Filter, *, offset: int, limit: int, oldest_first: bool = False) -> Listing:
        """A page of the predictions that fit, the newest first; unfinished ones as they stand now."""
        ...

    async def delete(self, ids: Sequence[str]) -> list[str]:
        """Deletes those of these predictions that have ended, with everything that the store has of them.

        Returns the ids of those that were deleted. It survives a crash when this returns.
        """
        ...

    async def expired(self, finished_before_ns: int, limit: int) -> list[str]:
        """The ids of predictions that ended before a time, at most so many, the first to end first."""
        ...

    async def usage(self, owner: str, first: date, last: date) -> list[Usage]:
        """What an owner has used from the first day to the last one inclusive, by day and model."""
        ...
