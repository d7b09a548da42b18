"""Models whose progress comes from tqdm bars, alone and inside of each other."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from gates import wait_for_gate
from tqdm import tqdm as bar

from unspool import Run, model

tqdm = partial(bar, mininterval=0)


@model("bars/nested", slots=2)
def nested(outer: int = 4, inner: int = 5, depth: int = 1) -> int:
    """As a library would: the inner bars go when they are done."""

    def loop(level: int) -> int:
        bars = tqdm(range(inner if level else outer), desc=f"level {level}", leave=level == 0)
        return sum(loop(level + 1) if level < depth else 1 for _ in bars)

    return loop(0)


@model("bars/tracked")
def tracked(run: Run, outer: int = 4, inner: int = 5) -> int:
    """Bars of a library inside of a loop of the author."""
    return sum(1 for _ in run.track(range(outer), stage="picture") for _ in tqdm(range(inner), desc="denoise"))


@model("bars/threads")
def threads(outer: int = 2, inner: int = 5) -> int:
    """Each step is done by four threads, with a bar each, which begin together."""
    begin = threading.Barrier(4)

    def work(number: int) -> int:
        own = tqdm(total=inner, desc=f"thread {number}")
        begin.wait()
        for _ in range(inner):
            own.update()
        own.close()
        return inner

    with ThreadPoolExecutor(4) as pool:
        return sum(sum(pool.map(work, range(4))) for _ in tqdm(range(outer), desc="all"))


@model("bars/sequence")
def sequence() -> None:
    """One short bar, then a long one."""
    for _ in tqdm(range(2), desc="load"):
        time.sleep(0.02)
    for _ in tqdm(range(4), desc="draw"):
        time.sleep(0.09)


@model("bars/gate", slots=2)
def gated(run: Run, gate: str | None = None, steps: int = 3) -> int:
    """Waits at the gate before its first step, and then minds nothing but its bar."""
    for step in tqdm(range(steps), desc="wait"):
        if step == 0:
            wait_for_gate(run, gate, 1)
        time.sleep(0.001)
    return steps


@model("bars/silent")
def silent() -> int:
    """A bar that is switched off."""
    return sum(1 for _ in tqdm(range(3), disable=True))
