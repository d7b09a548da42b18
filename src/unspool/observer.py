"""What happens here, told to whoever counts, logs or traces it.

The spool, the host and the edge call these hooks; an observer answers those that it cares about. Nothing depends on
what it does: an observer that raises is logged and changes nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from contextvars import ContextVar
from typing import Any, Final, NamedTuple

import structlog

from unspool.types import Prediction

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
"""How an ASGI application sends."""
Push = Callable[[bytes], bool]
"""Writes a piece of a streamed body at once and returns `True`; or does nothing and returns `False`, when its socket
does not take it now or the server knows no such way. Only between two `send` that each have more to come."""


def never(piece: bytes) -> bool:
    """Pushes nothing."""
    return False


class Outlet(NamedTuple):
    """Where a stream's answer goes."""

    send: Send
    push: Push = never
    abort: Callable[[], None] = lambda: None
    """Ends the connection without waiting for what its socket has not taken."""


_log = structlog.get_logger("unspool.observer")


class Origin(NamedTuple):
    """The request that something happens for."""

    request_id: str = ""
    """The `X-Request-Id` of its answer."""
    headers: Sequence[tuple[bytes, bytes]] = ()
    """As ASGI has them: names in lower case."""


_NO_ORIGIN = Origin()
origin: Final[ContextVar[Origin]] = ContextVar("origin", default=_NO_ORIGIN)


class Observer:
    """The hooks. All are called in the event loop and must return at once; here, none does anything."""

    def submitted(self, prediction: Prediction, asked: Origin) -> None:
        """A new prediction is durable; nothing else has happened to it yet."""

    def claimed(self, prediction: Prediction) -> None:
        """Its next attempt begins."""

    def first_output(self, prediction: Prediction) -> None:
        """The host has the first piece of an attempt's output. `prediction` is the record of when that began."""

    def lost(self, prediction: Prediction, cause: str) -> None:
        """The attempt `prediction.attempt` ended with its process."""

    def ended(self, prediction: Prediction) -> None:
        """Its terminal event is durable."""

    def committed(self, seconds: float) -> None:
        """A transaction is durable, so long after it was handed to the writer thread."""

    def commit_failed(self) -> None:
        """A transaction could not be written. It will be tried again."""

    def worker_ready(self, model: str, seconds: float) -> None:
        """A worker has loaded its model, in so many seconds."""

    def worker_ended(self, model: str, *, loaded: bool) -> None:
        """A worker's process has ended, and not because the server stops; `loaded` if its model was ready."""

    def viewer_joined(self, *, resumed: bool) -> None:
        """A stream was opened; `resumed` if from a cursor."""

    def viewer_left(self, outlet: Outlet, *, dropped: bool) -> None:
        """A stream was closed; `dropped` if its reader took nothing for too long. `outlet` is what `stream` gave."""

    def delivered(self, outcome: str) -> None:
        """A webhook was tried; `outcome` is one of a few words."""

    def stream(self, id: str, outlet: Outlet) -> Outlet:
        """Where a stream of the prediction should go: to `outlet`, or to something around it."""
        return outlet

    def traceparent(self, id: str) -> str:
        """The running attempt as a W3C `traceparent`, for its worker; empty if it is not traced."""
        return ""


class Observers(Observer):
    """Several observers as one. A hook calls those that have something to do there, and costs nothing if none has."""

    def __init__(self, *observers: Observer) -> None:
        for name in vars(Observer):
            hooks = [getattr(one, name) for one in observers if _overrides(one, name)]
            if name.startswith("_") or not hooks:
                continue
            if name in ("stream", "traceparent"):
                setattr(self, name, hooks[0])
            else:
                setattr(self, name, _to_all(hooks))


def _overrides(observer: Observer, name: str) -> bool:
    return getattr(type(observer), name) is not getattr(Observer, name)


def _to_all(hooks: list[Callable[..., None]]) -> Callable[..., None]:
    def tell(*what: Any, **how: Any) -> None:
        for hook in hooks:
            try:
                hook(*what, **how)
            except Exception:
                _log.exception("an observer failed")

    return tell
