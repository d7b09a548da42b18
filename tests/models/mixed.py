"""Models of every temper in one server."""

from __future__ import annotations

from basic import count, echo, fail, steps
from crash import crash_at

__all__ = ["count", "crash_at", "echo", "fail", "steps"]
