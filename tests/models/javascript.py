"""The models of the tests in `js/test/`."""

from __future__ import annotations

import hashlib
import time
from typing import Any

from gates import wait_for_gate

from unspool import File, ModelError, Run, model


@model("js/count", slots=32)
def count(run: Run, n: int = 3, gate: str | None = None, interval_s: float = 0):
    """Says `1 2 3 …`.

    Args:
        gate: path of a `support.gate.Gate`; the i-th number waits until i were let through.
    """
    for i in run.track(range(1, n + 1)):
        wait_for_gate(run, gate, i)
        if interval_s:
            time.sleep(interval_s)
        yield f"{i} "


@model("js/fail", slots=4)
def fail(run: Run):
    """Says a little, then fails."""
    yield "a little"
    raise ModelError("The picture could not be made.")


@model("js/still", slots=4, streams=False)
def still(prompt: str) -> str:
    """Does not stream."""
    return prompt


@model("js/facts", slots=4)
def facts(file: File, others: list[File] = []) -> list[dict[str, Any]]:  # noqa: B006
    """Tells what files it was given."""
    return [
        {
            "filename": given.filename,
            "content_type": given.content_type,
            "sha256": hashlib.sha256(given.path.read_bytes()).hexdigest(),
        }
        for given in [file, *others]
    ]
