"""Models with a category and a price."""

from __future__ import annotations

import time
from contextlib import suppress

from gates import wait_for_gate

from unspool import ModelError, Run, model


@model("shop/paid", slots=4, category="text-to-image", price=0.25)
def paid(prompt: str, fail: bool = False) -> str:
    """Costs a quarter."""
    if fail:
        raise ModelError("no")
    return prompt


@model("shop/free", slots=4)
def free(run: Run, gate: str | None = None):
    """Costs nothing."""
    wait_for_gate(run, gate, 1)
    yield "free"


@model("shop/stubborn", slots=1)
def stubborn(run: Run):
    """Says that it runs, and then does not stop when it is asked to."""
    yield "here"
    while True:
        with suppress(BaseException):
            time.sleep(60)
