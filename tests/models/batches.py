"""Batched models. Each says what was in its call, so that tests see who shared one."""

from __future__ import annotations

import asyncio
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from gates import leave_card, size_of
from pydantic import BaseModel, Field
from tqdm import tqdm

from unspool import Cancelled, File, ModelError, Run, model

Does = Literal["echo", "fail", "return-error", "bad-output", "short", "text", "nothing"]
LONG_MS = 60_000
"""Such a batch begins when it is full, and a test that waits for the time is past its deadline."""


class Input(BaseModel):
    """One prediction."""

    text: Annotated[str, Field(min_length=1)]
    does: Does = "echo"
    gate: str | None = None


def wait(runs: Sequence[Run], gate: str | None) -> None:
    """Passes when the gate is open, or with `Cancelled` when nobody of them is left."""
    if gate is not None:
        leave_card(Path(gate + ".visitor"), runs[0].id)
        while size_of(Path(gate), 1) < 1:
            runs[0].check()
            time.sleep(0.002)


def result(one: Input, count: int) -> Any:
    if one.does == "return-error":
        return ModelError(f"Not {one.text}.")
    if one.does == "bad-output":
        return object()
    return [one.text.upper(), count]


@model("batch/sync", batch=3, batch_wait_ms=LONG_MS)
def sync(inputs: list[Input], runs: list[Run]) -> Any:
    """Waits for a full batch."""
    for run in runs:
        run.progress(10, stage="begun")
        run.log(f"for {run.id} only")
    print("a line of the call")
    warnings.warn("a warning of the call", stacklevel=1)
    wait(runs, inputs[0].gate)
    for one in inputs:
        if one.does == "fail":
            raise ValueError(f"cannot do {one.text}")
    for run in runs:
        run.report(usage={"shared_by": len(runs)})
    if inputs[0].does in ("short", "text", "nothing"):
        return {"short": ["only one"], "text": "abc", "nothing": None}[inputs[0].does]
    return [result(one, len(inputs)) for one in inputs]


@model("batch/async", batch=3, batch_wait_ms=LONG_MS)
async def asynchronous(inputs: list[Input], runs: list[Run]) -> Any:
    """The same in the event loop."""
    for run in runs:
        run.progress(10, stage="begun")
    gate = inputs[0].gate
    while gate is not None and size_of(Path(gate), 1) < 1:
        await asyncio.sleep(0.002)
    for one in inputs:
        if one.does == "fail":
            raise ValueError(f"cannot do {one.text}")
    return [result(one, len(inputs)) for one in inputs]


@model("batch/pieces", batch=3, batch_wait_ms=LONG_MS)
def stream(text: list[str], n: list[Annotated[int, Field(default=3, ge=0)]], gate: list[str], runs: list[Run]) -> Any:
    """Yields a piece for each until the longest is done, then returns how many there were."""
    try:
        for step in range(max(n)):
            if step == 1:
                wait(runs, gate[0])
            yield [
                ModelError("No more.") if t == "fails" and step else t if step < k else None
                for t, k in zip(text, n, strict=True)
            ]
    except Cancelled:
        Path(gate[0] + ".stopped").touch()
        raise
    return [len(text)] * len(text)


@model("batch/async-pieces", batch=3, batch_wait_ms=LONG_MS)
async def async_stream(text: list[str], n: list[int], gate: list[str]) -> Any:
    """The same in the event loop."""
    try:
        for step in range(max(n)):
            while step == 1 and size_of(Path(gate[0]), 1) < 1:
                await asyncio.sleep(0.002)
            yield [t if step < k else None for t, k in zip(text, n, strict=True)]
    finally:
        Path(gate[0] + ".stopped").touch()


@dataclass
class Picture:
    """A dataclass as the inputs, with a file in it."""

    image: File
    name: str = "picture"


@model("batch/files", batch=2, batch_wait_ms=LONG_MS)
def files(inputs: list[Picture], runs: list[Run]) -> list[File]:
    """Gives every file back, with the other's added."""
    everything = b"+".join(one.image.read_bytes() for one in inputs)
    for one, run in zip(inputs, runs, strict=True):
        (run.folder / "out.txt").write_bytes(one.image.read_bytes() + b" of " + everything)
    return [File(run.folder / "out.txt") for run in runs]


@model("batch/class", batch=4, batch_wait_ms=0)
class Holder:
    """A class, with a wait so short that a lonely prediction goes at once."""

    def setup(self) -> None:
        self.calls = 0

    def __call__(self, text: list[str]) -> list[str]:
        self.calls += 1
        return [f"{one} in call {self.calls} of {len(text)}" for one in text]


@model("batch/short-wait", batch=100, batch_wait_ms=50, slots=2)
def short_wait(inputs: list[Input], runs: list[Run]) -> list[int]:
    """Never full. Two calls at once."""
    wait(runs, inputs[0].gate)
    return [len(inputs)] * len(inputs)


@model("batch/gathers", batch=4, batch_wait_ms=1_000)
def gathers(inputs: list[Input], runs: list[Run]) -> list[int]:
    """One call at a time, so that the others gather before it."""
    wait(runs, inputs[0].gate)
    return [len(inputs)] * len(inputs)


@model("batch/bar", batch=2, batch_wait_ms=LONG_MS)
def bar(text: list[str]) -> list[str]:
    """A bar of the call, in code that knows nothing of runs."""
    for _ in tqdm(range(4), desc="denoise", mininterval=0):
        time.sleep(0.002)
    return text


@model("batch/spin", batch=2, batch_wait_ms=LONG_MS)
def spin(text: list[str], runs: list[Run]) -> list[str]:
    """Never stops by itself."""
    for run in runs:
        run.progress(1, stage="begun")
    while True:
        pass


@model("batch/swallow", batch=2, batch_wait_ms=LONG_MS)
def swallow(text: list[str], runs: list[Run]) -> list[str]:
    """Does not even stop when it is told to."""
    for run in runs:
        run.progress(1, stage="begun")
    while True:
        try:
            time.sleep(0.01)
        except BaseException:
            continue


@model("batch/dies", batch=2, batch_wait_ms=LONG_MS)
def dies(text: list[str], runs: list[Run]) -> list[str]:
    """Takes its process with it, the first time."""
    import os
    import signal

    if runs[0].attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return text
