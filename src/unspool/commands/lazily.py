"""Commands whose modules are imported only when they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group


class LateGroup(TyperGroup):
    """Stands for a group of commands. Only its name and help are known until somebody asks for more.

    Args:
        load: imports the group.
    """

    def __init__(self, name: str, help: str, load: Callable[[], typer.Typer], **attrs: Any) -> None:
        super().__init__(name=name, help=help, **attrs)
        self.load = load

    def make_context(self, *args: Any, **extra: Any) -> Any:
        """The context of the group itself: from here on it is the one that acts."""
        return get_group(self.load()).make_context(*args, **extra)


class LateEpilog(TyperCommand):
    """A command whose epilog is made when its help is shown: its `epilog` is the function that makes it."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Shows the help."""
        if callable(self.epilog):
            self.epilog = self.epilog()
        super().format_help(ctx, formatter)
