"""What a worker has to know to handle files. It travels in the environment of its process."""

from __future__ import annotations

import os
from collections.abc import Mapping

import msgspec

VARIABLE = "UNSPOOL_WORKER_FILES"


class WorkerFiles(msgspec.Struct, frozen=True, kw_only=True):
    """Where files are kept, how they are told, and how much is allowed."""

    storage_url: str
    base_url: str
    """URLs of files begin with it: `{base_url}/files/{name}`."""
    scratch_dir: str
    """Folder for the folders of runs."""
    retention_s: float
    fetch_allow_http: bool
    fetch_allow_hosts: list[str]
    fetch_timeout_s: float
    max_input_bytes: int
    max_base64_output_bytes: int

    def environment(self) -> dict[str, str]:
        """The variable that tells it to a worker."""
        return {VARIABLE: msgspec.json.encode(self).decode()}


def from_environment(environment: Mapping[str, str] = os.environ) -> WorkerFiles | None:
    """What the parent process has told, if it has."""
    text = environment.get(VARIABLE)
    return None if text is None else msgspec.json.decode(text, type=WorkerFiles)
