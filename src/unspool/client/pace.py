"""When to try again, and when no more. Pure: the time and the dice are given.

What is tried again is safe to be tried again: reading, cancelling, and submits, which carry an `Idempotency-Key`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Literal

import msgspec

from unspool.client.errors import ApiError

STATUSES_TO_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
MAX_TRIES_OF_500 = 3
"""A server that fails at a request fails at it again, as a rule."""
UNREACHED_S = 3.0
"""A server that was never reached and refuses connections is not running: say so soon."""
REQUEST_GIVE_UP_S = 60.0


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """How long the SDK waits for what, in seconds. The defaults are made for the internet."""

    timeout_s: float = 30.0
    """For the answer to a request that is no stream, and for a connection."""
    stall_timeout_s: float = 40.0
    """A stream in which no byte comes for so long is dead: the server sends something every 15 s."""
    first_event_timeout_s: float = 10.0
    """A new stream that brings nothing for so long is held back by something in between."""
    streams_before_polling: int = 2
    """So many streams in a row that brought nothing, and the log is read by long polling."""
    poll_wait_s: float = 30.0
    """How long one of these polls may be held, 0 to 60."""
    backoff_s: float | None = None
    """The first pause between two tries; None: as long as the server says (`retry:`), or 0.5."""
    max_backoff_s: float = 15.0
    give_up_s: float = 300.0
    """How long a stream is tried for while nothing at all answers; other requests at most 60."""
    follow_by: Literal["auto", "stream", "poll"] = "auto"


class Patience:
    """Counts what failed in a row.

    Args:
        give_up_s: how long it may go on.
    """

    def __init__(self, timing: Timing, give_up_s: float, dice: Callable[[], float] = random.random) -> None:
        self._timing = timing
        self._give_up_s = give_up_s
        self._dice = dice
        self._failures = 0
        self._since: float | None = None
        self.base_s = 0.5 if timing.backoff_s is None else timing.backoff_s

    def hint(self, retry_ms: int) -> None:
        """The server says how long to wait; what the user says counts more."""
        if self._timing.backoff_s is None:
            self.base_s = min(max(retry_ms / 1000, 0.01), self._timing.max_backoff_s)

    def worked(self) -> None:
        """There was an answer."""
        self._failures = 0
        self._since = None

    def soon(self) -> float:
        """The pause after a connection that was good and has ended: short, but not the same for everybody."""
        return self._dice() * self.base_s / 10

    def failed(self, now: float, *, at_least_s: float = 0, give_up_s: float | None = None) -> float | None:
        """How long to wait before the next try; None: give up."""
        if self._since is None:
            self._since = now
        pause_s = min(self.base_s * 2.0 ** min(self._failures, 30), self._timing.max_backoff_s)
        pause_s = max(pause_s * (0.5 + self._dice() / 2), at_least_s)
        self._failures += 1
        limit_s = self._give_up_s if give_up_s is None else min(give_up_s, self._give_up_s)
        return pause_s if now + pause_s <= self._since + limit_s else None

    def refused(self, now: float, error: ApiError) -> float | None:
        """The same after an answer that said no."""
        if error.status not in STATUSES_TO_TRY_AGAIN:
            return None
        if error.status == 500 and self._failures + 1 >= MAX_TRIES_OF_500:
            return None
        return self.failed(now, at_least_s=error.retry_after_s or 0)


def retry_after_s(value: str) -> float | None:
    """What `Retry-After` says, in seconds from now: a number or a date; None for anything else."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None
