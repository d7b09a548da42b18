"""Pages of documentation as programs. An HTML comment before a fenced block says what to do with it:

`<!-- test: file NAME -->`   the block is the content of this file
`<!-- test: server -->`      the block's one command starts a server, which serves until the next one or the end; what
                             stands before its last `&&` (an installation) is left out
`<!-- test: start PORT -->`  the block's one command starts another program that listens on this port until the end; the
                             lines under it are what it prints first
`<!-- test: run -->`         each `$ ` line is run by bash, one session per block; the lines under it are what it prints
`<!-- test: python -->`      the block is a whole Python program. Lines in the comment after `test: python` come first:
                             what a reader knows from the text around it
`<!-- test: cell -->`        the block is a cell of a notebook; a page has one notebook, with a kernel of its own
`<!-- test: shown -->`       the block is what the cell above it shows in the end
`<!-- from: FILE -->`        it is a piece of this file of the repository, as it stands there

In expected output `...` stands for anything, within a line or for whole lines. A block without a comment is only read.
A page's server has a port of its own: `127.0.0.1:8080` in what follows it means that server. So has each program that
is started: its port, wherever it stands in what follows, means that program's.
"""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import indent
from typing import NamedTuple

CODE = {"bash", "console", "html", "javascript", "js", "jsx", "mjs", "py", "python", "sh", "ts", "tsx", "typescript"}
"""Languages of blocks that a reader runs."""

_COMMAND = re.compile(r"(\$ |[A-Z_]+=\S+ \w|(curl|docker|npm|npx|node|pip|python3?|sqlite3|unspool|uvicorn) )")

_KIND = "file|server|start|run|python|cell|shown"
_MARK = rf"<!-- (?:test: (?P<kind>{_KIND})(?: (?!-->)(?P<argument>\S+))?|from: (?P<source>\S+))"
_BLOCK = re.compile(
    rf"(?:{_MARK}(?:\n(?P<before>(?:(?!-->).)*)| )-->\n+)?^```(?P<language>\w*)\n(?P<content>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


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
    marked = [
        Block(m["kind"], m["argument"] or "", (m["before"] or "") + m["content"], text.count("\n", 0, m.start()) + 1)
        for m in _BLOCK.finditer(text)
        if m["kind"]
    ]
    assert len(marked) == text.count("<!-- test: "), f"{page.name}: a `test` comment without a fenced block below it"
    return marked


def untested(page: Path) -> list[Block]:
    """Blocks of code that no comment puts under test; their kind is the language, if they have one."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(m["language"], "", m["content"], text.count("\n", 0, m.start()) + 1)
        for m in _BLOCK.finditer(text)
        if not m["kind"] and not m["source"]
        if m["language"] in CODE or (not m["language"] and _COMMAND.match(m["content"]))
    ]


def excerpts(page: Path) -> list[Block]:
    """Blocks that show a piece of a file; their argument is the file."""
    text = page.read_text(encoding="utf-8")
    shown = [
        Block("from", m["source"], m["content"], text.count("\n", 0, m.start()) + 1)
        for m in _BLOCK.finditer(text)
        if m["source"]
    ]
    assert len(shown) == text.count("<!-- from: "), f"{page.name}: a `from` comment without a fenced block below it"
    return shown


def holds(source: str, block: Block) -> bool:
    """Whether the block is a piece of the source, however deep it is indented there."""
    return any(indent(block.content, " " * width) in source for width in (0, 4, 8))


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
