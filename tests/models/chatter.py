"""A model that talks in every way Python knows."""

from __future__ import annotations

import logging
import sys
import threading
import warnings

from tqdm import tqdm

from unspool import Run, model


@model("chatter/all", slots=2)
def chatter(run: Run):
    """`print`, stderr, `logging`, `warnings` and `run.log`, then one output."""
    print("from print")
    print("from stderr", file=sys.stderr)
    logging.getLogger("chatter").debug("from debug")
    logging.getLogger("chatter").info("from info")
    logging.getLogger("chatter").error("from error")
    warnings.warn("from warnings", UserWarning, stacklevel=1)
    run.log("from run.log", level="warning")
    yield "done"


@model("chatter/bar", slots=2)
def bar(steps: int = 5) -> int:
    """A tqdm bar somewhere below."""
    return sum(1 for _ in tqdm(range(steps), desc="denoise", mininterval=0))


@model("chatter/thread", slots=2)
def thread(run: Run) -> str:
    """Speaks from a thread of its own."""
    speaker = threading.Thread(target=run.log, args=["from a thread"])
    speaker.start()
    speaker.join()
    return "done"
