"""How parts of a spool tell that there may be something new. Part of their contracts."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self

from unspool.types import Cursor


class Tail(Protocol):
    """A reader that has seen everything there is, and takes what is new without being woken."""

    @property
    def after(self) -> Cursor:
        """The last event that it has seen."""
        ...

    def take(self, attempt: int, n: int, piece: bytes) -> bool:
        """Offers what is new. If it is taken, `after` is its end. `False` wakes the waiter.

        Args:
            attempt: of the last event of what is new, as `n`.
            piece: all of it, as it stands on the wire.
        """
        ...


class Watch(Protocol):
    """Wake-ups about one thing, for one waiter. Use it as a context manager, or close it."""

    async def wait(self, timeout_s: float, tail: Tail | None = None) -> bool:
        """Returns `True` at the next wake-up, or at once if there was one since the last wait; `False` after
        `timeout_s` seconds without any news.

        Args:
            tail: where this is cheaper, it is fed with new batches in place of a wake-up. An implementation need not.
        """
        ...

    def close(self) -> None:
        """No more wake-ups. Closing twice is allowed."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...
