"""Models with one slot, and with many, to see who runs when."""

from __future__ import annotations

from gates import wait_for_gate

from unspool import Run, model


@model("keys/one-slot")
def one_slot(run: Run, gate: str | None = None) -> str:
    """One at a time; waits at its gate."""
    wait_for_gate(run, gate, 1)
    return "through"


@model("keys/slots", slots=8)
def slots(run: Run, gate: str | None = None) -> str:
    """Eight at a time; waits at its gate."""
    wait_for_gate(run, gate, 1)
    return "through"
