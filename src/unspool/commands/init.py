"""`unspool init`: writes a model file to begin with."""

from __future__ import annotations

import re
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from unspool.commands.exits import ExitCode, fail

_NOT_IN_ID = re.compile(r"[^A-Za-z0-9._-]+")


class Kind(StrEnum):
    """What the model makes."""

    TEXT = "text"
    FILE = "file"


def init(
    file: Annotated[Path, typer.Argument(help="The file to write; its name becomes the model's.")] = Path("model.py"),
    kind: Annotated[Kind, typer.Option(help="What the model makes: text, piece by piece, or a file.")] = Kind.TEXT,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Writes a model file to begin with: it serves as it is, and its comments say what to change.

    The model has typed inputs, reports its progress, and stops when it is cancelled.
    """
    if file.suffix != ".py":
        fail(f"{file} has to end in .py: it is served with `unspool serve {file.with_suffix('.py')}`.", ExitCode.USAGE)
    source = template(kind, model_name(file), str(file))
    try:
        with file.open("w" if force else "x", encoding="utf-8") as opened:
            opened.write(source)
    except FileExistsError:
        fail(f"{file} is there already. Name another file, or write over it with --force.", ExitCode.USAGE)
    except OSError as error:
        fail(f"Cannot write {file}: {error.strerror}.")
    typer.echo(f"Wrote {file}. Next: unspool serve {file}")


def model_name(file: Path) -> str:
    """The last part of a model's id, out of the name of its file."""
    return _NOT_IN_ID.sub("-", file.stem).strip("-._") or "model"


def template(kind: Kind, name: str, file: str) -> str:
    """The model file of that kind, for a model of that name in that file."""
    text = resources.files("unspool.templates").joinpath(f"{kind}.py").read_text(encoding="utf-8")
    text = re.sub(r"unspool serve FILE", f"unspool serve {file}", text)
    return text.replace("acme/NAME", f"acme/{name}")
