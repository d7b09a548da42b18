"""A model that tells what the garbage collector of its worker sees."""

from __future__ import annotations

import gc
import weakref

from unspool import model


class Weights:
    """Part of a cycle, as modules of torch mostly are."""

    def __init__(self) -> None:
        self.owner = self


@model("test/collected")
class Collected:
    """Replaces its weights."""

    def setup(self) -> None:
        """Loads them."""
        self.weights = Weights()

    def __call__(self) -> dict[str, int | bool]:
        """How many objects the collector leaves alone, and whether the weights are gone once they are replaced."""
        old = weakref.ref(self.weights)
        self.weights = Weights()
        gc.collect()
        return {"left_alone": gc.get_freeze_count(), "gone": old() is None}
