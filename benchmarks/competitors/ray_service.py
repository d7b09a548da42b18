"""Ray Serve: a Starlette `StreamingResponse` over an async generator, as its guide "Streaming responses" has it.

Usage: `ray_service.py PORT`; prints "Listening" when it serves.
Endpoints: POST /burst, /first, /paced with `{"count": n}`.
With BENCH_WORKER_CORE set, the replica runs on that core and everything else of Ray where it was started.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import events
import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import StreamingResponse


@serve.deployment(max_ongoing_requests=4000, ray_actor_options={"num_cpus": 0})
class Bench:
    def __init__(self) -> None:
        core = os.environ.get("BENCH_WORKER_CORE")
        if core:
            for thread in Path("/proc/self/task").iterdir():
                os.sched_setaffinity(int(thread.name), {int(core)})

    async def __call__(self, request: Request) -> StreamingResponse:
        count = (await request.json())["count"]
        paced = request.url.path.endswith("/paced")
        return StreamingResponse(self.paced(count) if paced else self.burst(count), media_type="text/event-stream")

    async def burst(self, count: int) -> AsyncIterator[str]:
        for event in events.burst(count):
            yield event

    async def paced(self, count: int) -> AsyncIterator[str]:
        for n, due in enumerate(events.due_times(count), 1):
            await asyncio.sleep((due - time.monotonic_ns()) / 1e9)
            yield events.event(n, f"@{due}")
        yield events.COMPLETE


def main() -> None:
    here = str(Path(__file__).parent)
    environment = {"PYTHONPATH": here, "BENCH_WORKER_CORE": os.environ.get("BENCH_WORKER_CORE", "")}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": environment})
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Bench.bind())
    print("Listening", flush=True)
    signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    main()
