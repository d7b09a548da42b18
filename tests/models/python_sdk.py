"""Models for the Python SDK in the hands of its users."""

from __future__ import annotations

import hashlib
from typing import Any

from gates import wait_for_gate

from unspool import File, ModelError, Run, model


@model("py/count", slots=64)
def count(run: Run, n: int = 3, gate: str | None = None):
    """Says `1 2 3 …`; with a gate, the i-th number waits until i were let through."""
    for i in run.track(range(1, n + 1), total=n, stage="count"):
        wait_for_gate(run, gate, i)
        yield f"{i} "


@model("py/long", slots=4)
def long(size: int) -> str:
    """One long text."""
    return "世" * size


@model("py/read", slots=4)
def read(files: list[File], one: File | None = None) -> list[dict[str, Any]]:
    """Tells what it was given."""
    given = [*files, *([one] if one else [])]
    return [{"name": file.filename, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()} for file in given]


@model("py/options")
def options(timeout_s: float, idempotency_key: str) -> str:
    """Its inputs are called like options of the SDK."""
    return f"{timeout_s} {idempotency_key}"


@model("py/fail")
def fail() -> str:
    """Fails."""
    raise ModelError("The picture could not be made.")
