"""How much one API key may ask at once: requests in a minute, and open streams. Plain memory, for one process."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from unspool.errors import RateLimited
from unspool.spool.keys import Limits

VIEWERS_RETRY_S = 5
_ROUNDING = 1e-6
"""Who has waited as long as it was told is let in, whatever the floating point says."""


class Pace:
    """A bucket per owner: it holds the requests of a minute, and fills up again as fast as they may be made.

    So a key that was silent may ask for a whole minute's worth at once, and from then on evenly.
    """

    def __init__(self, limits: Callable[[str], Limits], clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}
        """What is left, and when that was so."""

    def count(self, owner: str) -> None:
        """Takes one request out of the bucket.

        Raises:
            RateLimited: it is empty. Its `retry_after_s` is when it will not be.
        """
        per_minute = self._limits(owner).requests_per_minute
        if not per_minute:
            return
        now = self._clock()
        left, at = self._buckets.get(owner, (per_minute, now))
        left = min(per_minute, left + (now - at) * per_minute / 60)
        if left < 1 - _ROUNDING:
            wait_s = math.ceil((1 - left) * 60 / per_minute)
            raise RateLimited(
                f"Your API key may make {per_minute} requests in a minute. Ask again in {wait_s} s, and follow"
                " predictions by their streams instead of polling often.",
                retry_after_s=wait_s,
            )
        self._buckets[owner] = left - 1, now


class Seats:
    """How many streams each owner has open."""

    def __init__(self, limits: Callable[[str], Limits]) -> None:
        self._limits = limits
        self._taken: Counter[str] = Counter()

    def check(self, owner: str) -> None:
        """Raises:
        RateLimited: the owner has as many open as it may.
        """
        limit = self._limits(owner).max_viewers
        if 0 < limit <= self._taken[owner]:
            raise RateLimited(
                f"Your API key's predictions have {limit} open streams, which is as many as they may. Close some, or"
                " read this prediction's events by polling.",
                retry_after_s=VIEWERS_RETRY_S,
            )

    @contextmanager
    def taken(self, owner: str) -> Iterator[None]:
        """One more is open meanwhile."""
        self._taken[owner] += 1
        try:
            yield
        finally:
            self._taken[owner] -= 1
            if not self._taken[owner]:
                del self._taken[owner]
