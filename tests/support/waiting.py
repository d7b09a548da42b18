"""Waiting with a deadline for what gives no signal of its own."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(claim: Callable[[], object], sentence: str, deadline_s: float = 10.0) -> None:
    """Waits for something that gives no signal of its own. Prefer a signal: a log line, an event, an exit."""
    deadline = time.monotonic() + deadline_s
    while not claim():
        assert time.monotonic() < deadline, f"after {deadline_s:.0f} s it was still not so that {sentence}"
        time.sleep(0.02)
