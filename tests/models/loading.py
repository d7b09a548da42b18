"""Models that are hard to load, beside one that is not."""

from __future__ import annotations

import os
import time
from pathlib import Path

from unspool import model
from unspool.model import current_run


@model("load/fine")
def fine(text: str = "fine") -> str:
    """Loads at once."""
    return text


@model("load/slow")
class Slow:
    """Loads when the file named by TEST_LOAD_GATE is gone; reports progress meanwhile."""

    def setup(self) -> None:
        gate = Path(os.environ["TEST_LOAD_GATE"])
        setup = current_run.get()
        assert setup is not None
        setup.progress(0, step=1, steps=2)
        while gate.exists():
            time.sleep(0.002)

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
