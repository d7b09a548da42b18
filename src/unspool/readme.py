"""Where the text of a model's README comes from: what its author gave, or the docstring."""

from __future__ import annotations

import inspect
import os
import sys
from pathlib import Path

from unspool.errors import ModelFileError

MAX_README_BYTES = 200_000
_PACKAGE = __name__.partition(".")[0]

Readme = str | os.PathLike[str]
"""Markdown, or a file of it. A relative path counts from the folder of the file that declares the model."""


def text_of(id: str, readme: Readme | None, target: object) -> str:
    """The README of a model.

    A `README.md` that happens to lie beside a model file is not taken: one file may declare several models, and a
    project's own README is not always meant for those who call its models.

    Raises:
        ModelFileError: the file cannot be read, or is too long.
    """
    if not isinstance(readme, os.PathLike):
        return inspect.cleandoc(readme or inspect.getdoc(target) or "")
    path = _declaring_folder() / Path(readme).expanduser()
    try:
        size = path.stat().st_size
        if size > MAX_README_BYTES:
            raise ModelFileError(f"model {id!r}: {path} has {size} bytes; a README can have {MAX_README_BYTES}")
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelFileError(f"model {id!r}: its README {path} cannot be read: {error}") from error


def _declaring_folder() -> Path:
    """The folder of the nearest caller that is not Unspool itself, as `warnings` finds whom it warns."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE:
        frame = frame.f_back
    file = frame.f_globals.get("__file__")
    return Path(file).absolute().parent if file else Path.cwd()
