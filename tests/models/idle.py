"""A model that is unloaded when nobody uses it, beside one that stays."""

from __future__ import annotations

import os
import time
from pathlib import Path

from gates import size_of

from unspool import model
from unspool.model import current_run

STEPS = 3


@model("idle/rests", idle_unload_s=0.3, slots=2)
class Rests:
    """Counts its loads in the file at TEST_LOADS. From the second one on it waits at the gate TEST_LOAD_GATE."""

    def setup(self) -> None:
        setup = current_run.get()
        assert setup is not None
        loads = Path(os.environ["TEST_LOADS"])
        with loads.open("ab") as file:
            file.write(b".")
        gate = Path(os.environ["TEST_LOAD_GATE"])
        if loads.stat().st_size > 1:
            for step in range(1, STEPS + 1):
                setup.progress(0, step=step, steps=STEPS)
            while size_of(gate, 1) < 1:
                if size_of(gate.with_suffix(".die"), 0):
                    os._exit(7)
                time.sleep(0.002)

    def __call__(self) -> int:
        return os.getpid()


@model("idle/stays")
def stays() -> int:
    """Is used as seldom, and stays."""
    return os.getpid()
