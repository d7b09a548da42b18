"""BentoML: an async generator that yields text, as its guide "Stream responses" has it.

Started by `run.py` as `bentoml serve bentoml_service:Bench`.
Endpoints: POST /burst, /first, /paced with `{"count": n}`.
"""

import asyncio
import time
from collections.abc import AsyncGenerator

import bentoml
import events


@bentoml.service(workers=1, traffic={"timeout": 120, "max_concurrency": 4000})
class Bench:
    @bentoml.api
    async def burst(self, count: int = events.BURST_EVENTS) -> AsyncGenerator[str, None]:
        for event in events.burst(count):
            yield event

    @bentoml.api
    async def first(self, count: int = 1) -> AsyncGenerator[str, None]:
        for event in events.burst(count):
            yield event

    @bentoml.api
    async def paced(self, count: int = 50) -> AsyncGenerator[str, None]:
        for n, due in enumerate(events.due_times(count), 1):
            await asyncio.sleep((due - time.monotonic_ns()) / 1e9)
            yield events.event(n, f"@{due}")
        yield events.COMPLETE
