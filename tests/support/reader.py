"""Follows the pages of `support.pages`: writes their files, starts their servers, runs their commands."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from support.pages import Block, commands, matches
from support.server import KEY, Server
from support.services import program

DEADLINE_S = 90

_FOREIGN = ("XDG_", "WAVESPEED_", "FORCE_COLOR")


class Reader:
    """Someone who follows a page to the letter, in an empty folder."""

    def __init__(self, folder: Path, programs: Sequence[Path] = ()) -> None:
        """Begins.

        Args:
            programs: folders with what the page takes for installed.
        """
        self.folder = folder
        self._programs = programs
        self.server: Server | None = None

    def follow(self, block: Block) -> None:
        match block.kind:
            case "file":
                (self.folder / block.argument).write_text(self._here(block.content), encoding="utf-8")
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
            env=self._environment(),
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

    def _environment(self) -> dict[str, str]:
        """With a home of its own, so that commands neither use nor change the settings of whoever runs the tests."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
        path = ":".join(map(str, [self._commands(), *self._programs, os.environ["PATH"]]))
        known = {"HOME": str(self.folder), "PATH": path, "UNSPOOL_API_KEY": KEY, "PYTHONUNBUFFERED": "1"}
        if self.server is not None:
            known["UNSPOOL_URL"] = self.server.url
        return {**inherited, **known}

    def _commands(self) -> Path:
        """A folder with the `unspool` and the Python of this very environment."""
        folder = self.folder.with_name("bin")
        if not folder.exists():
            folder.mkdir()
            for name, more in (("unspool", " -m unspool"), ("python", ""), ("python3", "")):
                (folder / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)}{more} "$@"\n')
                (folder / name).chmod(0o755)
        return folder

    def _here(self, text: str) -> str:
        return text.replace("http://127.0.0.1:8080", self.server.url) if self.server is not None else text
