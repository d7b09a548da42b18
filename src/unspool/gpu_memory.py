"""GPU memory of workers for `/metrics`, as NVIDIA's driver counts it.

Asked of `nvidia-smi`, which comes with the driver, and only when somebody scrapes. Where it is missing or does not know
our processes by their ids (in a container without the host's process ids), there are no figures.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from unspool.metrics import WorkerState

ASK_TIMEOUT_S: Final = 5.0
_QUERY: Final = ("--query-compute-apps=pid,used_gpu_memory", "--format=csv,noheader,nounits")
_MIB: Final = 1024 * 1024


class GpuMemory(Collector):
    """Shows what it was told last.

    Args:
        workers: where each worker stands.
    """

    def __init__(self, workers: Callable[[], Iterable[WorkerState]]) -> None:
        self._workers = workers
        self._bytes: Counter[int] = Counter()
        """By process, on all GPUs together."""

    async def refresh(self) -> None:
        """Asks the driver."""
        program = shutil.which("nvidia-smi")
        if program is None:
            return
        asking = await asyncio.create_subprocess_exec(
            program, *_QUERY, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        said = b""
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                said, _ = await asking.communicate()
        except TimeoutError:
            asking.kill()
            await asking.wait()
        self._bytes = used_bytes(said.decode(errors="replace"))

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """See `Collector.collect`."""
        name, what = "unspool_worker_gpu_memory_bytes", "Memory of a worker on all GPUs together."
        shown = GaugeMetricFamily(name, what, labels=["model", "replica"])
        for worker in self._workers():
            if worker.pid is not None and worker.pid in self._bytes:
                shown.add_metric([worker.model, str(worker.replica)], self._bytes[worker.pid])
        yield shown


def used_bytes(table: str) -> Counter[int]:
    """What `nvidia-smi` prints, a line for each process on each GPU, by process. What it does not know is left out."""
    used: Counter[int] = Counter()
    for line in table.splitlines():
        pid, _, mib = line.partition(",")
        with suppress(ValueError):
            used[int(pid)] += int(mib) * _MIB
    return used
