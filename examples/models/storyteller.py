"""An async model: one process tells many stories at once, since it waits more than it computes.

unspool serve examples/models/storyteller.py
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Literal

from pydantic import Field

from unspool import model

OPENINGS = {
    "sea": "The boat had no name, and nobody in the harbour remembered who had built it.",
    "city": "On the night the lights went out, the trams kept running.",
    "forest": "Every tree on the hill leaned north, away from the house.",
}


@model("acme/storyteller", slots=64)
async def storyteller(
    place: Literal["sea", "city", "forest"] = "sea",
    words_per_second: Annotated[float, Field(gt=0, le=100, description="how fast it speaks")] = 8,
) -> AsyncIterator[str]:
    """Tells the beginning of a story, word by word."""
    for word in OPENINGS[place].split():
        await asyncio.sleep(1 / words_per_second)
        yield word + " "
