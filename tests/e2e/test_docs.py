"""The documentation does what it says: its commands are run, its tables are compared with the code."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.pages import Block, blocks, commands, matches
from support.server import KEY, Server
from support.services import program
from unspool.config import Settings

ROOT = Path(__file__).parents[2]
DEADLINE_S = 90


class Reader:
    """Someone who follows a page to the letter, in an empty folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server: Server | None = None

    def follow(self, block: Block) -> None:
        match block.kind:
            case "file":
                (self.folder / block.argument).write_text(block.content, encoding="utf-8")
            case "server":
                self._serve(block)
            case "run":
                self._run(block)

    def close(self) -> None:
        if self.server is not None:
            self.server.close()

    def _serve(self, block: Block) -> None:
        self.close()
        (command,) = commands(block)
        name, *arguments = shlex.split(command.text.rsplit("&&")[-1])
        assert name == "unspool", f"line {block.line}: this is not a server: {command.text}"
        self.server = Server(None, self.folder / "unspool-data", arguments=arguments, folder=self.folder)
        self.server.start().wait_until_ready()

    def _run(self, block: Block) -> None:
        mark = "--- end of a command ---"
        asked = commands(block)
        script = "set -e\n" + "".join(f"{self._here(command.text)}\necho; echo '{mark}'\n" for command in asked)
        done = subprocess.run(
            [program("bash", "Install bash."), "-c", script],
            cwd=self.folder,
            env={**os.environ, "UNSPOOL_API_KEY": KEY, "PATH": f"{self._commands()}:{os.environ['PATH']}"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=DEADLINE_S,
            check=False,
        )
        log = self.server.tail() if self.server is not None else ""
        what = f"line {block.line}:\n{script}\n{done.stdout}\n{done.stderr}\n{log}"
        assert done.returncode == 0, f"status {done.returncode}, {what}"
        for command, printed in zip(asked, done.stdout.split(mark), strict=False):
            expected = self._here(command.expected)
            assert matches(expected, printed), f"not this, as the page says:\n{expected}\n{what}"

    def _commands(self) -> Path:
        """A folder with the `unspool` of this very environment."""
        folder = self.folder.with_name("bin")
        if not folder.exists():
            folder.mkdir()
            (folder / "unspool").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m unspool "$@"\n')
            (folder / "unspool").chmod(0o755)
        return folder

    def _here(self, text: str) -> str:
        return text.replace("http://127.0.0.1:8080", self.server.url) if self.server is not None else text


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    folder = tmp_path / "reader"
    folder.mkdir()
    reader = Reader(folder)
    yield reader
    reader.close()


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md", "docs/keys-and-limits.md"])
def test_whoever_follows_a_page_sees_what_it_says(page: str, reader: Reader) -> None:
    program("curl", "Install curl.")
    for block in blocks(ROOT / page):
        reader.follow(block)


def test_the_generated_parts_of_the_pages_are_those_of_the_code() -> None:
    done = subprocess.run([sys.executable, ROOT / "scripts" / "docs", "--check"], capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr


def test_the_help_of_serve_lists_every_setting() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "unspool", "serve", "--help"],
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
        capture_output=True,
        encoding="utf-8",
        check=True,
        timeout=DEADLINE_S,
    )
    listed = set(re.findall(r"UNSPOOL_[A-Z0-9_]+", done.stdout))
    assert listed == {f"UNSPOOL_{name.upper()}" for name in Settings.model_fields}


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").glob("*.md")), ids=lambda p: p.name)
def test_every_link_between_pages_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []
