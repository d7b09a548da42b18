"""Pages of documentation as programs. An HTML comment before a fenced block says what to do with it:

`<!-- test: file NAME -->`   the block is the content of this file
`<!-- test: server -->`      the block's one command starts a server, which serves until the next one or the end; what
                             stands before its last `&&` (an installation) is left out
`<!-- test: run -->`         each `$ ` line is run by bash, one session per block; the lines under it are what it prints

In expected output `...` stands for anything, within a line or for whole lines. A block without a comment is only read.
A page's server has a port of its own: `127.0.0.1:8080` in what follows it means that server.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

_BLOCK = re.compile(r"<!-- test: (file|server|run)(?: (\S+))? -->\n+```\w*\n(.*?)```", re.DOTALL)


class Block(NamedTuple):
    """A marked block, in the order of the page."""

    kind: str
    argument: str
    content: str
    line: int


class Command(NamedTuple):
    """A command and what it should print."""

    text: str
    expected: str


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    marked = [Block(m[1], m[2] or "", m[3], text.count("\n", 0, m.start()) + 1) for m in _BLOCK.finditer(text)]
    assert len(marked) == text.count("<!-- test: "), f"{page.name}: a `test` comment without a fenced block below it"
    return marked


def commands(block: Block) -> list[Command]:
    """The commands of a block. A line that ends with a backslash goes on in the next one."""
    found: list[Command] = []
    continued = False
    for line in block.content.splitlines(keepends=True):
        if continued:
            found[-1] = Command(found[-1].text + line, "")
        elif line.startswith("$ "):
            found.append(Command(line[2:], ""))
        else:
            assert found, f"line {block.line}: output before the first command"
            found[-1] = Command(found[-1].text, found[-1].expected + line)
        continued = line.endswith("\\\n") and not found[-1].expected
    return found


def matches(expected: str, printed: str) -> bool:
    """Whether the output is what the page says; a page that shows none promises none."""
    parts = [re.escape(part) for part in expected.strip().split("...")]
    return not expected.strip() or re.fullmatch(".*?".join(parts), printed.strip(), re.DOTALL) is not None
