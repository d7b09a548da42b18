"""The one rule for things a test needs and a machine may lack."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest


def missing(what: str, remedy: str) -> NoReturn:
    """On a laptop the test is skipped, with a plain message; where CI=true it fails."""
    message = f"{what} is missing. {remedy}"
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(f"{message} (CI=true, so nothing may be missing.)", pytrace=False)
    pytest.skip(message)


def program(name: str, remedy: str) -> str:
    """The path of a program."""
    return shutil.which(name) or missing(f"The program {name!r}", remedy)


def folder(path: Path, remedy: str) -> Path:
    """A folder that some installation step makes."""
    return path if path.is_dir() else missing(f"The folder {path.name}", remedy)
