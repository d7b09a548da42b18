"""Server-Sent Events as bytes (`wire.md` §3). Pure functions: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

PREAMBLE = b"retry: 1000\n\n"
"""Opens every stream: how many milliseconds a browser waits before it comes back."""

KEEP_ALIVE = b": keep-alive\n\n"
"""A comment that readers skip; it keeps proxies and watchdogs content."""

_PREPARED_HEADS = 4_096
_PREPARED_ATTEMPTS = 2


def frame(attempt: int, n: int, event: bytes) -> bytes:
    """The bytes of one event."""
    if n < _PREPARED_HEADS and attempt <= _PREPARED_ATTEMPTS:
        return _prepared_alone(attempt)[n] + event + b"\n\n"
    return b"id: %d-%d\ndata: %b\n\n" % (attempt, n, event)


def frames(attempt: int, first: int, events: Sequence[bytes]) -> bytes:
    """The bytes of consecutive events of one attempt, numbered from `first`.

    Args:
        events: each one JSON object without line breaks.
    """
    if len(events) == 1:
        return frame(attempt, first, events[0])
    interleaved: list[bytes] = [b""] * (2 * len(events))
    interleaved[0::2] = _heads(attempt, first, len(events))
    interleaved[1::2] = events
    interleaved[0] = interleaved[0][2:]
    interleaved.append(b"\n\n")
    return b"".join(interleaved)


def _heads(attempt: int, first: int, count: int) -> list[bytes]:
    """What stands before each event: the end of the one before it, the id line, and the start of the data line.

    Formatting it anew costs seven times as much as joining everything else, so the usual ones are made once.
    """
    end = first + count
    if attempt <= _PREPARED_ATTEMPTS and end <= _PREPARED_HEADS:
        return _prepared(attempt)[first:end]
    return [_head(attempt, n) for n in range(first, end)]


def _head(attempt: int, n: int) -> bytes:
    return b"\n\nid: %d-%d\ndata: " % (attempt, n)


@cache
def _prepared(attempt: int) -> list[bytes]:
    return [_head(attempt, n) for n in range(_PREPARED_HEADS)]


@cache
def _prepared_alone(attempt: int) -> list[bytes]:
    return [head[2:] for head in _prepared(attempt)]
