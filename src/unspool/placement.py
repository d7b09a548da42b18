"""Which GPUs each replica of a model sees.

Decided by the host before a worker starts, in the only way that holds for every library: `CUDA_VISIBLE_DEVICES`, which
CUDA reads once in the life of a process. No library of CUDA is loaded for it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from unspool.errors import ModelFileError
from unspool.types import ModelInfo

VISIBLE = "CUDA_VISIBLE_DEVICES"
ASK_TIMEOUT_S = 30.0
"""How long `nvidia-smi` may take: after a start of the machine it wakes the driver."""

_DRIVER = Path("/proc/driver/nvidia/gpus")


def place(models: Sequence[ModelInfo]) -> dict[str, list[Mapping[str, str]]]:
    """For each replica of each model the variables by which its workers differ from this process.

    GPUs are dealt out to the replicas one by one; where there are fewer GPUs than replicas, they go round again.

    Raises:
        ModelFileError: a device is not there.
    """
    ask = any(name.startswith("cuda") for info in models for name in info.device)
    gpus = visible_gpus() if ask else []
    return {info.id: _of_replicas(info, gpus) for info in models}


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, in CUDA's order, each as `CUDA_VISIBLE_DEVICES` names it."""
    listed, there = os.environ.get(VISIBLE), _count()
    if listed is None:
        return [str(number) for number in range(there or 0)]
    return list(_seen(listed, there))


def _seen(listed: str, there: int | None) -> Iterator[str]:
    """CUDA ends the list at the first name that means nothing, as in "0,-1,1"."""
    for name in map(str.strip, listed.split(",")):
        is_number = name.isascii() and name.isdigit() and (there is None or int(name) < there)
        if not is_number and not name.startswith(("GPU-", "MIG-")):
            return
        yield name


def _count() -> int | None:
    """How many GPUs the machine has; `None` if nobody tells."""
    program = shutil.which("nvidia-smi")
    if program is not None:
        try:
            said = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=ASK_TIMEOUT_S, check=True)  # noqa: S603
        except (OSError, subprocess.SubprocessError):
            return None
        return sum(line.startswith("GPU ") for line in said.stdout.splitlines())
    return len(list(_DRIVER.iterdir())) if _DRIVER.is_dir() else None


def _of_replicas(info: ModelInfo, gpus: Sequence[str]) -> list[Mapping[str, str]]:
    if not info.device or info.device == ("mps",):
        if info.device and sys.platform != "darwin":
            raise ModelFileError(f"model {info.id!r}: device 'mps' is there on macOS only")
        return [{}] * info.replicas
    if info.device == ("cpu",):
        return [{VISIBLE: ""}] * info.replicas
    declared = _declared(info, gpus)
    dealt = [declared[turn :: info.replicas] or [declared[turn % len(declared)]] for turn in range(info.replicas)]
    return [{} if seen == list(gpus) else {VISIBLE: ",".join(seen)} for seen in dealt]


def _declared(info: ModelInfo, gpus: Sequence[str]) -> list[str]:
    """The GPUs that a model may use, by the names that the server knows them by.

    Raises:
        ModelFileError: one of them is not there.
    """
    known = {f"cuda:{number}": name for number, name in enumerate(gpus)}
    missing = [device for device in info.device if device not in known and not (device == "cuda" and known)]
    if missing:
        there = ", ".join(known) or "no GPU"
        limit = f" (CUDA_VISIBLE_DEVICES is {os.environ[VISIBLE]!r})" if VISIBLE in os.environ else ""
        raise ModelFileError(
            f"model {info.id!r}: device {missing[0]!r} is not there; this server sees {there}{limit}. "
            "Give the model another device, or set CUDA_VISIBLE_DEVICES for the server."
        )
    return list(gpus) if info.device == ("cuda",) else [known[device] for device in info.device]
