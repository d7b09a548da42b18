"""Models whose authors trace what they do, with OpenTelemetry and no knowledge of Unspool."""

from __future__ import annotations

import os
import signal

from gates import wait_for_gate
from opentelemetry import trace

from unspool import ModelError, Run, model

tracer = trace.get_tracer("author")


@model("traced/sync", slots=2)
def in_a_thread(run: Run, gate: str | None = None):
    with tracer.start_as_current_span("denoise"):
        yield "a"
    wait_for_gate(run, gate, 1)


@model("traced/async", slots=2)
async def in_the_loop():
    with tracer.start_as_current_span("denoise"):
        yield "a"


@model("traced/fails")
def fails() -> None:
    raise ModelError("No picture today.")


@model("traced/dies")
def dies(run: Run) -> str:
    if run.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


@model("traced/batch", batch=1)
def batch(runs: list[Run]) -> list[str]:
    with tracer.start_as_current_span("denoise"):
        return ["a"]
