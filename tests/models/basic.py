"""The models of most tests. Small, quick, and each the simplest that can show one thing."""

from __future__ import annotations

import os
import time
from typing import Annotated

from gates import wait_for_gate
from pydantic import Field

from unspool import ModelError, Run, model


@model("test/echo", slots=4)
def echo(prompt: str, repeat: Annotated[int, Field(ge=1, le=100)] = 1) -> list[str]:
    """Returns its prompt. Streams no output."""
    return [prompt] * repeat


@model("test/count", slots=32)
def count(run: Run, n: Annotated[int, Field(ge=0, le=1_000_000)] = 3, interval_s: float = 0, gate: str | None = None):
    """Says `1 2 3 …`, one number at a time, as fast as it may.

    Args:
        n: has an end, since tests that try whatever comes to mind would fill the memory with a run that has none.
        gate: path of a `support.gate.Gate`; the i-th number waits until i were let through.
    """
    for i in range(1, n + 1):
        wait_for_gate(run, gate, i)
        if interval_s:
            time.sleep(interval_s)
        yield f"{i} "


@model("test/steps", slots=4)
def steps(run: Run, steps: int = 4) -> dict[str, int]:
    """Progress, a line of log, and one output that is not text."""
    for step in range(1, steps + 1):
        run.progress(100 * step / steps, stage="count", step=step, steps=steps)
    run.log("almost there")
    run.report(usage={"steps": steps}, timings={"counting": 1.5})
    return {"steps": steps}


@model("test/parts", slots=4)
def parts(run: Run) -> None:
    """Two texts, their pieces interleaved, and a part that is not text."""
    for left, right in zip("left", "RIGHT", strict=False):
        run.output(left, 0)
        run.output(right, 1)
    run.output({"kind": "part"})


@model("test/fail", slots=4)
def fail(message: str = "The picture could not be made.", crash: bool = False):
    """Says a little, then fails: on purpose, or by a mistake that clients must not see in detail."""
    yield "a little"
    if crash:
        raise RuntimeError("/secret/path: " + message)
    raise ModelError(message)


@model("test/whoami", slots=4)
def whoami(run: Run) -> dict[str, int]:
    """Its process and attempt."""
    return {"pid": os.getpid(), "attempt": run.attempt}


@model("test/no-stream", slots=4, streams=False)
def no_stream(prompt: str = "x") -> str:
    """Declares that it does not stream."""
    return prompt


@model("single")
def single(text: str = "one segment") -> str:
    """A model id of one segment."""
    return text
