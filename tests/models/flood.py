"""A model that says much."""

from __future__ import annotations

import time

from gates import wait_for_gate

from unspool import Run, model


@model("flood/log", slots=4)
def flood(run: Run, lines: int, size: int, gate: str | None = None) -> str:
    """Logs so many lines of so many letters: no part of its output, so its last event is small.

    Not as fast as it can, so that the memory of the server shows what it keeps and not what it has not yet stored.

    Args:
        gate: path of a `support.gate.Gate`: it waits until one was let through.
    """
    wait_for_gate(run, gate, 1)
    for number in range(lines):
        run.log(f"{number:08d}".ljust(size, "x"))
        if number * size % 100_000 < size:
            time.sleep(0.005)
    return "done"
