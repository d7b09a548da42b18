"""Models whose runs share a worker: some behave, some do not stop, some clean up."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Literal

from gates import size_of, wait_for_gate

from unspool import Run, model


@model("neighbours/sync", slots=3)
def sync(run: Run, does: Literal["count", "spin", "swallow"] = "count", n: int = 3, gate: str | None = None):
    """Counts, waits and counts; or never stops."""
    yield "started "
    while does == "spin":
        pass
    while does == "swallow":
        try:
            time.sleep(0.01)
        except BaseException:
            continue
    wait_for_gate(run, gate, 1)
    for i in range(1, n + 1):
        yield f"{i} "


@model("neighbours/async", slots=3)
async def asynchronous(does: Literal["count", "block", "swallow"] = "count", n: int = 3, gate: str | None = None):
    """The same on an event loop, which one of them may block."""
    yield "started "
    if does == "block":
        time.sleep(10_000)
    while does == "swallow":
        try:
            await asyncio.sleep(0.01)
        except BaseException:
            continue
    while gate is not None and size_of(Path(gate), 1) < 1:
        await asyncio.sleep(0.005)
    for i in range(1, n + 1):
        yield f"{i} "


@model("cleanup/function", slots=4)
def function(run: Run, marker: str) -> None:
    """Leaves a file when it is stopped, as all of these."""
    try:
        run.output("started")
        while True:
            time.sleep(0.005)
    finally:
        Path(marker).touch()


@model("cleanup/generator", slots=4)
def generator(marker: str):
    """Is stopped where it yields."""
    try:
        while True:
            yield "started"
            time.sleep(0.005)
    finally:
        Path(marker).touch()


@model("cleanup/async", slots=4)
async def cleanup_async(run: Run, marker: str) -> None:
    """Is stopped where it awaits."""
    try:
        run.output("started")
        await asyncio.Event().wait()
    finally:
        Path(marker).touch()


@model("cleanup/async-generator", slots=4)
async def async_generator(marker: str):
    """Is stopped where it awaits, inside a generator."""
    try:
        yield "started"
        await asyncio.Event().wait()
    finally:
        Path(marker).touch()
