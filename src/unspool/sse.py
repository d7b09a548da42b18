"""Server-Sent Events as bytes (`wire.md` §3). Pure functions: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Sequence

PREAMBLE = b"retry: 1000\n\n"
"""Opens every stream: how many milliseconds a browser waits before it comes back."""

KEEP_ALIVE = b": keep-alive\n\n"
"""A comment that readers skip; it keeps proxies and watchdogs content."""


def frames(attempt: int, first: int, events: Sequence[bytes]) -> bytes:
    """The bytes of consecutive events of one attempt, numbered from `first`.

    Args:
        events: each one JSON object without line breaks.
    """
    ids = range(first, first + len(events))
    return b"".join([b"id: %d-%d\ndata: %b\n\n" % (attempt, n, event) for n, event in zip(ids, events, strict=True)])
