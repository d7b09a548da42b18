"""A model that says much."""

from __future__ import annotations

from gates import wait_for_gate

from unspool import Run, model


@model("flood/text", slots=4)
def flood(run: Run, n: int, size: int, gate: str | None = None, pause_after: int = 0):
    """Says `n` pieces of so many letters.

    Args:
        gate: path of a `support.gate.Gate`: after `pause_after` pieces it waits until one was let through.
    """
    for i in range(n):
        if i == pause_after:
            wait_for_gate(run, gate, 1)
        yield f"{i:08d}".ljust(size, "x")
