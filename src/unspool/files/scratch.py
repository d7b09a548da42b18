"""Folders of runs: one each, removed with the run; what killed workers have left is removed by the next one."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path


class Scratch:
    """The folders of this process's runs, all under `{root}/{pid}`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._own = root / str(os.getpid())

    def folder(self) -> Path:
        """A new, empty folder."""
        self._own.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="run-", dir=self._own))

    def clean(self) -> None:
        """Removes what processes have left that are gone."""
        for left in self._root.glob("*"):
            if not (left.name.isdigit() and _alive(int(left.name)) and left != self._own):
                shutil.rmtree(left, ignore_errors=True)


def remove(folder: Path) -> None:
    """A run's folder with all that is in it."""
    shutil.rmtree(folder, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
