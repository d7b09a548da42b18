"""The models that the benchmarks serve: they cost next to nothing, so what is measured is the way to the viewer."""

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from unspool import model

PERIOD_NS = 20_000_000
PHASES = 20
"""Paced streams are due at this many different moments of each period, evenly spread."""


def pin_to_core(core: int) -> None:
    """Keeps this process, with the threads that it has and will have, on one core."""
    for thread in Path("/proc/self/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})


if "BENCH_WORKER_CORE" in os.environ:
    pin_to_core(int(os.environ["BENCH_WORKER_CORE"]))


@model("bench/burst", slots=64)
def burst(prompt: str = "", count: int = 200) -> Iterator[str]:
    """Says `count` things as fast as it can."""
    for n in range(count):
        yield f"token {n} "


class Phase:
    """One moment in each period at which its streams are due. However many they are, they share one timer."""

    def __init__(self, offset_ns: int) -> None:
        self._due_ns = (time.monotonic_ns() // PERIOD_NS + 1) * PERIOD_NS + offset_ns
        self._tick: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._timer = asyncio.create_task(self._run())

    @property
    def next_due_ns(self) -> int:
        """The next moment, CLOCK_MONOTONIC in nanoseconds."""
        return self._due_ns

    async def until(self, due_ns: int) -> None:
        """Returns when that moment has come; at once if it has passed."""
        while self._due_ns <= due_ns:
            await self._tick

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(max(0, self._due_ns - time.monotonic_ns()) / 1e9)
            self._due_ns += PERIOD_NS
            ticked, self._tick = self._tick, asyncio.get_running_loop().create_future()
            ticked.set_result(None)


_phases: list[Phase] = []
_streams = itertools.count()


@model("bench/paced", slots=1000)
async def paced(prompt: str = "", count: int = 250) -> AsyncIterator[str]:
    """Emits `count` events, 50 a second; each says when it was due (`@` and CLOCK_MONOTONIC in nanoseconds).

    The first of them was due at no time: the load client looks at the first `@` of an event, and `complete`, which
    repeats the whole text, would count as seconds late.
    """
    if not _phases:
        _phases.extend(Phase(i * PERIOD_NS // PHASES) for i in range(PHASES))
    phase = _phases[next(_streams) % PHASES]
    yield "@0"
    first = phase.next_due_ns
    for due_ns in range(first, first + (count - 1) * PERIOD_NS, PERIOD_NS):
        await phase.until(due_ns)
        yield f"@{due_ns}"
