"""The commands of `unspool` as markdown, by what the command line itself says of them."""

import re
from collections.abc import Iterator
from enum import Enum
from typing import Any

from typer.core import TyperGroup
from typer.main import get_group

from unspool.cli import app
from unspool.commands.exits import MEANINGS
from unspool.commands.lazily import LateGroup


def commands() -> str:
    """Every command with its arguments and options."""
    root = get_group(app)
    return "\n\n".join(
        part for command in root.commands.values() for part in _described(f"unspool {command.name}", command)
    )


def exit_codes() -> str:
    """Every exit code and what it means."""
    rows = [f"| {code:d} | {meaning} |" for code, meaning in MEANINGS.items()]
    return "\n".join(["| code | meaning |", "|---|---|", *rows])


def _described(path: str, command: Any) -> Iterator[str]:
    if isinstance(command, LateGroup):
        command = get_group(command.load())
    if isinstance(command, TyperGroup):
        yield f"### `{path}`\n\n{_prose(command.help)}"
        for one in command.commands.values():
            yield from _described(f"{path} {one.name}", one)
        return
    shown = [param for param in command.params if param.name != "help" and not param.hidden]
    arguments = [param for param in shown if param.param_type_name == "argument"]
    usage = " ".join([path, *(_argument(one) for one in arguments), "[OPTIONS]"])
    rows = [f"| {_name(one)} | {_meaning(one)} |" for one in shown]
    table = ["", "| | |", "|---|---|", *rows] if rows else []
    heading = "####" if path.count(" ") > 1 else "###"
    yield "\n".join([f"{heading} `{usage}`", "", _prose(command.help), *table])


def _argument(param: Any) -> str:
    name = (param.metavar or param.name.upper()).rstrip("…")
    many = "…" if param.nargs == -1 else ""
    return f"{name}{many}" if param.required else f"[{name}{many}]"


def _name(param: Any) -> str:
    if param.param_type_name == "argument":
        return f"`{_argument(param)}`"
    names = ", ".join(f"`{name}`" for name in param.opts)
    return names if param.is_flag else f"{names} `{_value(param)}`"


def _value(param: Any) -> str:
    if isinstance(param.default, Enum):
        return "\\|".join(type(param.default))
    return str(param.metavar or param.name.upper())


def _meaning(param: Any) -> str:
    help = _prose(param.help or "").replace("|", "\\|")
    shown = param.default not in (None, False, "") and "[default" not in help and not isinstance(param.default, list)
    return f"{help} [default: {param.default}]" if shown else help


def _prose(text: str) -> str:
    """Paragraphs, each on one line."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text.strip()))
