"""Models that say which GPUs their process sees."""

from __future__ import annotations

import os

from gates import wait_for_gate

from unspool import Run, model

AT_IMPORT = os.environ.get("CUDA_VISIBLE_DEVICES")
"""What a library would have seen that looks for GPUs when it is imported."""


def seen(run: Run, gate: str | None = None) -> list[str | int | None]:
    """What this process sees, what it saw at first, and who it is."""
    wait_for_gate(run, gate, 1)
    return [os.environ.get("CUDA_VISIBLE_DEVICES"), AT_IMPORT, os.getpid()]


@model("placed/first", device="cuda:1")
def first(run: Run) -> list[str | int | None]:
    return seen(run)


@model("placed/cpu", device="cpu")
def on_cpu(run: Run) -> list[str | int | None]:
    return seen(run)


@model("placed/spread", device=["cuda:0", "cuda:2"], replicas=3)
def spread(run: Run, gate: str | None = None) -> list[str | int | None]:
    return seen(run, gate)


@model("placed/all", device="cuda")
def everywhere(run: Run) -> list[str | int | None]:
    return seen(run)


@model("placed/same", device="cuda:1")
def same(run: Run) -> list[str | int | None]:
    return seen(run)


@model("placed/anywhere")
def anywhere(run: Run) -> list[str | int | None]:
    return seen(run)
