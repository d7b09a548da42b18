"""Models with every mistake that an author can make while a prediction runs."""

from __future__ import annotations

import asyncio
import os
from typing import Any, Literal

from unspool import Run, model


@model("mistakes/not-json", slots=2)
def not_json(run: Run, where: Literal["return", "yield", "in a list", "async"]) -> Any:
    """Outputs what has no JSON."""
    if where == "yield":
        run.output(object())
    return [1, object()] if where == "in a list" else object()


@model("mistakes/raises", slots=2)
def raises(kind: Literal["exit", "interrupt", "stop-iteration", "recursion", "group", "empty", "cancelled"]) -> None:
    """Raises what a careless `except Exception` would not catch."""
    if kind == "exit":
        raise SystemExit(3)
    if kind == "interrupt":
        raise KeyboardInterrupt
    if kind == "stop-iteration":
        raise StopIteration("stop")
    if kind == "recursion":
        raises(kind)
    if kind == "group":
        raise BaseExceptionGroup("many", [ValueError("one"), KeyboardInterrupt()])
    if kind == "cancelled":
        raise asyncio.CancelledError
    raise RuntimeError


@model("mistakes/pid")
def pid() -> int:
    """Its process."""
    return os.getpid()


@model("mistakes/strange")
def strange() -> list[Any]:
    """Text and numbers that JSON has no words for."""
    return [
        "half a pair \ud83d, a null \x00, a line \u2028 break",
        {"nan": float("nan"), "inf": float("inf"), "big": 2**70, "tuple": (1, 2), "keys": {1: 2}},
    ]


@model("mistakes/leaks")
def leaks() -> None:
    """Puts a secret of its environment into an exception."""
    raise RuntimeError(f"cannot log in with {os.environ['TEST_PASSWORD']}")


@model("mistakes/curious")
def curious() -> bool:
    """Whether the server's API key is in its environment."""
    return "UNSPOOL_API_KEY" in os.environ
