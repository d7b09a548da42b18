"""Models that are hard to load, beside one that is not."""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path

from gates import size_of, wait_for_gate

from unspool import Run, model
from unspool.model import current_run

LOAD_STEPS = 1_000


@model("load/fine")
def fine(text: str = "fine") -> str:
    """Loads at once."""
    return text


@model("load/slow", slots=4)
class Slow:
    """Loads when the gate at TEST_LOAD_GATE is open; takes a step of its loading for each that was let through."""

    def setup(self) -> None:
        gate = Path(os.environ["TEST_LOAD_GATE"])
        setup = current_run.get()
        assert setup is not None
        done = 0
        while (step := size_of(gate, when_gone=LOAD_STEPS)) < LOAD_STEPS:
            if step > done:
                setup.progress(0, step=step, steps=LOAD_STEPS)
                done = step
            time.sleep(0.002)

    def __call__(self, run: Run, gate: str | None = None) -> str:
        wait_for_gate(run, gate, 1)
        return "loaded"


@model("load/third-time")
class ThirdTime:
    """Loads at the third attempt; counts them in the file at TEST_LOADS."""

    def setup(self) -> None:
        with Path(os.environ["TEST_LOADS"]).open("ab") as loads:
            loads.write(b".")
            if loads.tell() < 3:
                raise ConnectionError("the weights are not reachable yet")

    def __call__(self) -> str:
        return "loaded"


@model("load/raises")
class Raises:
    """Its weights are not there."""

    def setup(self) -> None:
        raise FileNotFoundError("no weights at /models/missing.gguf")

    def __call__(self) -> str:
        return "never"


@model("load/dies")
class Dies:
    """Its process dies while it loads."""

    def setup(self) -> None:
        os._exit(9)

    def __call__(self) -> str:
        return "never"


@model("load/segfaults")
class Segfaults:
    """A broken library ends its process while it loads."""

    def setup(self) -> None:
        ctypes.string_at(0)

    def __call__(self) -> str:
        return "never"
