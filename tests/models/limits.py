"""Models with little room and little time."""

from __future__ import annotations

from gates import wait_for_gate

from unspool import Run, model


@model("limits/one-slot")
def one_slot(run: Run, gate: str | None = None) -> str:
    """One at a time; waits at its gate."""
    wait_for_gate(run, gate, 1)
    return "through"


@model("limits/short", run_timeout_s=0.3, slots=4)
def short(run: Run, gate: str | None = None) -> str:
    """May take 0.3 seconds."""
    wait_for_gate(run, gate, 1)
    return "through"
