"""Loops inside of loops: bars that a library shows within a loop of your own, and each moves the one percentage.

pip install tqdm
unspool serve examples/models/nested_bars.py
"""

import time
from typing import Annotated

from pydantic import Field
from tqdm import tqdm

from unspool import Run, model


def draw(steps: int) -> float:
    """Stands for a library that shows a bar for each picture."""
    noise = 1.0
    for _ in tqdm(range(steps), desc="denoise", leave=False):
        time.sleep(0.02)
        noise *= 0.8
    return round(noise, 4)


@model("acme/nested-bars")
def pictures(
    run: Run, count: Annotated[int, Field(ge=1, le=10)] = 3, steps: Annotated[int, Field(ge=1, le=100)] = 20
) -> list[float]:
    """Draws several pictures, one after another."""
    return [draw(steps) for _ in run.track(range(count), stage="picture")]
