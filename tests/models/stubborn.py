"""Models that do not want to stop. Each says `started` and then stays."""

from __future__ import annotations

import ctypes
import time

from unspool import Run, model


@model("stubborn/spin")
def spin():
    """A loop without a call in it."""
    yield "started"
    while True:
        pass


@model("stubborn/block")
def block(hold_gil: bool = False):
    """A C call that does not return; holding the interpreter lock, not even a signal handler can run."""
    yield "started"
    time.sleep(0.1)  # whoever holds the lock at once is not even heard
    library = ctypes.PyDLL(None) if hold_gil else ctypes.CDLL(None)
    while True:
        library.sleep(1000)


@model("stubborn/swallow")
def swallow(run: Run):
    """Takes every exception for something to go on after."""
    yield "started"
    while True:
        try:
            while True:
                run.check()
                time.sleep(0.005)
        except BaseException:
            continue


@model("stubborn/cooperative")
def cooperative(run: Run, cleanup_s: float = 0):
    """The opposite: stops when asked to, and cleans up."""
    yield "started"
    try:
        while not run.cancelled:
            time.sleep(0.002)
        run.check()
    finally:
        time.sleep(cleanup_s)


@model("stubborn/async-forever", slots=4)
async def async_forever():
    """Waits for something that never comes."""
    import asyncio

    yield "started"
    await asyncio.Event().wait()
