"""A model that says words, and may die over them."""

from __future__ import annotations

import os
import signal

from gates import wait_for_gate

from unspool import Run, model


@model("say/words", slots=8)
def words(run: Run, prompt: str = "one two three", gate: str | None = None, newline: bool = False):
    """Says its prompt, word by word.

    Args:
        gate: path of a `support.gate.Gate`; the n-th word waits until n were let through.
    """
    for n, word in enumerate(prompt.split(), start=1):
        wait_for_gate(run, gate, n)
        yield word + ("\n" if newline else " ")


@model("say/again", slots=2)
def again(run: Run, gate: str | None = None):
    """Says something, dies, and says something else in the second attempt."""
    yield f"attempt {run.attempt} says "
    yield "this\n"
    wait_for_gate(run, gate, run.attempt)
    if run.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
