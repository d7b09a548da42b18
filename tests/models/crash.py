"""A model whose process dies under it."""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Literal

from gates import wait_for_gate

from unspool import Run, model


def die(how: str) -> None:
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "segfault":
        ctypes.string_at(0)
    else:
        os._exit(3)


@model("crash/at", slots=4)
def crash_at(
    run: Run,
    k: int = 3,
    n: int = 6,
    attempts: int = 1,
    how: Literal["kill", "segfault", "exit"] = "kill",
    gate: str | None = None,
):
    """Counts to `n`; in each of the first `attempts` attempts its process dies after `k` outputs.

    Args:
        gate: path of a `support.gate.Gate`: it dies when one was let through. Without it the last words before a death
            may be lost with the process, for it does not wait until they were sent.
    """
    for i in range(1, n + 1):
        if i > k and run.attempt <= attempts:
            wait_for_gate(run, gate, 1)
            die(how)
        yield f"{i} "


@model("crash/three-attempts", max_attempts=3)
def three_attempts(run: Run, attempts: int = 3):
    """The same with three attempts to spend."""
    yield f"attempt {run.attempt} "
    if run.attempt <= attempts:
        die("exit")
