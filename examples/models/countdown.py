"""The smallest model worth watching: text, progress and the time that is left.

unspool serve examples/models/countdown.py
"""

import time
from collections.abc import Iterator

from unspool import Run, model


@model("acme/countdown", slots=4)
def countdown(run: Run, start: int = 10) -> Iterator[str]:
    """Counts down, one line at a time."""
    for n in run.track(range(start)):
        time.sleep(0.2)
        yield f"{start - n}\n"
