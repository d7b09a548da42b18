"""A few of the models of `basic.py`, for servers of a test's own: each model is a process that must start."""

from __future__ import annotations

from basic import count, echo, whoami

__all__ = ["count", "echo", "whoami"]
