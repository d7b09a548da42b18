"""The life of a prediction as one table. Everything that decides a status is in this file.

The words are those of the wire; Python, SQL and JSON spell them the same.
"""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """What a prediction is doing (`wire.md` §2)."""

    CREATED = "created"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"

    @property
    def terminal(self) -> bool:
        """Whether nothing can happen to it any more."""
        return self in TERMINAL


class Change(StrEnum):
    """What can happen to a prediction."""

    CLAIM = "claim"
    """A host takes it: the next attempt begins."""
    LOSE = "lose"
    """Its attempt ended with its process; it waits for the next one."""
    COMPLETE = "complete"
    FAIL = "fail"
    CANCEL = "cancel"
    TIME_OUT = "time_out"


TRANSITIONS: dict[tuple[Status, Change], Status] = {
    (Status.CREATED, Change.CLAIM): Status.PROCESSING,
    (Status.CREATED, Change.CANCEL): Status.CANCELLED,
    (Status.CREATED, Change.TIME_OUT): Status.TIMEOUT,
    (Status.PROCESSING, Change.CLAIM): Status.PROCESSING,
    (Status.PROCESSING, Change.LOSE): Status.PROCESSING,
    (Status.PROCESSING, Change.COMPLETE): Status.COMPLETED,
    (Status.PROCESSING, Change.FAIL): Status.FAILED,
    (Status.PROCESSING, Change.CANCEL): Status.CANCELLED,
    (Status.PROCESSING, Change.TIME_OUT): Status.TIMEOUT,
}

TERMINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.TIMEOUT})

ENDINGS: dict[Status, Change] = {
    Status.COMPLETED: Change.COMPLETE,
    Status.FAILED: Change.FAIL,
    Status.CANCELLED: Change.CANCEL,
    Status.TIMEOUT: Change.TIME_OUT,
}
"""The change that leads to each terminal status."""


class IllegalChange(ValueError):
    """The table has no such transition: a bug in the caller, never the fault of a client."""


def after(status: Status, change: Change) -> Status:
    """The status that follows.

    Raises:
        IllegalChange: this cannot happen to a prediction in that status.
    """
    try:
        return TRANSITIONS[status, change]
    except KeyError:
        raise IllegalChange(f"{change} cannot happen to a prediction that is {status}") from None
