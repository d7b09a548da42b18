"""Every shape that a model may have: function or class; plain, generator, async, async generator.

The `meet` models show concurrency without a clock: each call waits until `parties` of them are inside at once, so
they end well only if that many slots really run together.
"""

from __future__ import annotations

import asyncio
import threading

from unspool import Run, model

DEADLINE_S = 20
SLOTS = 4


class Meeting:
    """A meeting point for calls in threads and on event loops alike."""

    def __init__(self) -> None:
        self._inside = 0
        self._changed = threading.Condition()

    def wait(self, parties: int) -> None:
        with self._changed:
            self._inside += 1
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: self._inside >= parties, DEADLINE_S):
                raise TimeoutError(f"{self._inside} calls were inside at once, not {parties}")

    async def wait_async(self, parties: int) -> None:
        self._inside += 1
        async with asyncio.timeout(DEADLINE_S):
            while self._inside < parties:
                await asyncio.sleep(0.005)


meeting = Meeting()


@model("shape/function", slots=SLOTS)
def function(parties: int = 1) -> str:
    """A plain function."""
    meeting.wait(parties)
    return "met"


@model("shape/generator", slots=SLOTS)
def generator(parties: int = 1):
    """A generator."""
    yield "m"
    meeting.wait(parties)
    yield "et"


@model("shape/async", slots=SLOTS)
async def asynchronous(parties: int = 1) -> str:
    """An async function."""
    await meeting.wait_async(parties)
    return "met"


@model("shape/async-generator", slots=SLOTS)
async def async_generator(parties: int = 1):
    """An async generator."""
    yield "m"
    await meeting.wait_async(parties)
    yield "et"


@model("shape/class", slots=SLOTS)
class Plain:
    """A class: `setup` once per process, `__call__` once per prediction."""

    def setup(self) -> None:
        self.loaded = "met"

    def __call__(self, run: Run, parties: int = 1) -> str:
        meeting.wait(parties)
        run.log(f"{run.id} uses what setup has loaded")
        return self.loaded


@model("shape/class-async-generator", slots=SLOTS)
class AsyncGenerator:
    """A class whose `setup` and `__call__` are async."""

    async def setup(self) -> None:
        await asyncio.sleep(0)
        self.pieces = ["m", "et"]

    async def __call__(self, parties: int = 1):
        yield self.pieces[0]
        await meeting.wait_async(parties)
        yield self.pieces[1]
