"""The models' side of `support.gate`. No model is in here; a file that is served finds its neighbours by name."""

from __future__ import annotations

import time
from pathlib import Path

from unspool import Run


def wait_for_gate(run: Run, gate: str | None, count: int) -> None:
    """Passes when `count` were let through, when there is no gate, or with `Cancelled`."""
    if gate is None:
        return
    leave_card(Path(gate + ".visitor"), run.id)
    while size_of(Path(gate), count) < count:
        run.check()
        time.sleep(0.002)


def leave_card(card: Path, id: str) -> None:
    """Tells the test who waits at its gate: whole, or not at all."""
    if not card.exists():
        unfinished = card.with_suffix(f".{id}")
        unfinished.write_text(id)
        unfinished.rename(card)


def size_of(gate: Path, when_gone: int) -> int:
    """How many were let through; a gate that is gone is open."""
    try:
        return gate.stat().st_size
    except FileNotFoundError:
        return when_gone
