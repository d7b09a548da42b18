"""A model that says much."""

from __future__ import annotations

from gates import wait_for_gate

from unspool import Run, model


@model("flood/log", slots=4)
def flood(run: Run, lines: int, size: int, gate: str | None = None) -> str:
    """Logs so many lines of so many letters, which are no part of its output.

    Args:
        gate: path of a `support.gate.Gate`: it waits until one was let through.
    """
    wait_for_gate(run, gate, 1)
    for number in range(lines):
        run.log(f"{number:08d}".ljust(size, "x"))
    return "done"
