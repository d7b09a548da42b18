"""What is written where: results to stdout, everything else to stderr; colour and moving parts on terminals only."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

PIPE_WIDTH = 100_000
"""Nothing is wrapped or cut where nobody looks at it."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@cache
def out() -> Console:
    """The console of the standard output, for tables and pages."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)


@cache
def err() -> Console:
    """The console of the standard error, for whatever is not a result."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else PIPE_WIDTH)


def print_table(table: RenderableType) -> None:
    """A table on the standard output; where it is piped to, without the blanks that fill up its last column."""
    console = out()
    if console.is_terminal:
        console.print(table)
        return
    with console.capture() as captured:
        console.print(table)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def can_ask() -> bool:
    """Whether somebody is there to answer a question."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def print_json(value: Mapping[str, Any]) -> None:
    """One object on one line of the standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def harmless(text: str) -> str:
    """Text that a model made, without the characters that would command a terminal."""
    return _CONTROL.sub("", text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """The same, on one line."""
    return " ".join(harmless(text).split())


def forget_stdout() -> None:
    """Nobody reads the standard output any more: what is still in its buffer goes nowhere, in silence."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
