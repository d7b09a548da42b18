"""Follows the pages of `support.pages`: writes their files, starts their programs, runs their commands."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from support.pages import Block, commands, matches
from support.receiver import free_port
from support.server import KEY, Server
from support.services import folder as installed
from support.services import program
from support.waiting import wait_until

DEADLINE_S = 150

_FOREIGN = ("XDG_", "WAVESPEED_", "FORCE_COLOR")


_ROOT = Path(__file__).parents[2]
_NODE_MODULES = _ROOT / "tests" / "e2e" / "js" / "node_modules"
_JS_SDK = _ROOT / "src" / "unspool" / "playground" / "unspool.js"


def install_node_modules(folder: Path) -> None:
    """What JavaScript programs of the pages import: Express, and this project's own SDK, as it is bundled."""
    program("node", "Install Node.js.")
    modules = folder / "node_modules"
    sdk = modules / "unspool"
    sdk.mkdir(parents=True)
    (modules / "express").symlink_to(installed(_NODE_MODULES, "Run scripts/install.") / "express")
    (sdk / "package.json").write_text('{"name": "unspool", "type": "module", "exports": "./index.js"}')
    (sdk / "index.js").write_bytes(_JS_SDK.read_bytes())


class Started(NamedTuple):
    """A program of a page that goes on."""

    process: subprocess.Popen[bytes]
    said: Path
    expected: str
    line: int

    @property
    def printed(self) -> str:
        return self.said.read_text(encoding="utf-8", errors="replace")


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
        self._started: list[Started] = []
        self._ports: dict[str, str] = {}

    def read(self, page: Iterable[Block]) -> None:
        """Follows the whole page, and waits for what its programs should have printed in the end."""
        whole = list(page)
        self._ports = {block.argument: str(free_port()) for block in whole if block.kind == "start"}
        for block in whole:
            self.follow(block)
        self._notebook([block for block in whole if block.kind in ("cell", "shown")])
        for started in self._started:
            self._has_printed(started)

    def follow(self, block: Block) -> None:
        match block.kind:
            case "file":
                (self.folder / block.argument).write_text(self._here(block.content), encoding="utf-8")
            case "server":
                self._serve(block)
            case "start":
                self._start(block)
            case "run":
                self._run(block)
            case "python":
                self._python(block)

    def address(self, port: str) -> str:
        """Where the program is that the page has on this port."""
        return f"http://127.0.0.1:{self._ports[port]}"

    def close(self) -> None:
        if self.server is not None:
            self.server.close()
        for started in self._started:
            if started.process.poll() is None:
                os.killpg(started.process.pid, signal.SIGKILL)
            started.process.wait()

    def _serve(self, block: Block) -> None:
        if self.server is not None:
            self.server.close()
        (command,) = commands(block)
        words = shlex.split(self._here(command.text).rsplit("&&")[-1])
        settings = {}
        while "=" in words[0]:
            name, settings[name] = words.pop(0).split("=", 1)
        name, *arguments = words
        assert name == "unspool", f"line {block.line}: this is not a server: {command.text}"
        self.server = Server(None, self.folder / "unspool-data", settings, arguments=arguments, folder=self.folder)
        self.server.start().wait_until_ready(DEADLINE_S)

    def _start(self, block: Block) -> None:
        (command,) = commands(block)
        said = self.folder.with_name(f"said-{len(self._started)}")
        with said.open("wb") as output:
            process = subprocess.Popen(
                [program("bash", "Install bash."), "-c", self._here(command.text.rsplit("&&")[-1])],
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        started = Started(process, said, command.expected, block.line)
        self._started.append(started)
        port = int(self._ports[block.argument])
        wait_until(lambda: process.poll() is not None or _listens(port), f"{command.text} listened", DEADLINE_S)
        assert process.poll() is None, f"line {block.line}: it has ended:\n{started.printed}"

    def _has_printed(self, started: Started) -> None:
        expected = self._here(started.expected)
        what = f"line {started.line} said this:\n{expected}"
        try:
            wait_until(lambda: matches(expected.rstrip() + "...", started.printed), what, DEADLINE_S)
        except AssertionError as error:
            raise AssertionError(f"{error}\nIt has said this:\n{started.printed}") from None

    def _run(self, block: Block) -> None:
        mark = "--- end of a command ---"
        asked = commands(block)
        script = "set -e\n" + "".join(f"{self._here(command.text)}\necho; echo '{mark}'\n" for command in asked)
        printed = self._finish(block, [program("bash", "Install bash."), "-c", script])
        for command, text in zip(asked, printed.split(mark), strict=False):
            expected = self._here(command.expected)
            assert matches(expected, text), f"line {block.line}: not this, as the page says:\n{expected}\n{printed}"

    def _python(self, block: Block) -> None:
        file = self.folder / f"line_{block.line}.py"
        file.write_text(self._here(block.content), encoding="utf-8")
        self._finish(block, [sys.executable, str(file)])

    def _notebook(self, cells: list[Block]) -> None:
        """Runs all cells of the page, and compares what they show with what the page says."""
        if not cells:
            return
        program = Path(__file__).with_name("notebook.py")
        file = self.folder / "cells.json"
        sources = [self._here(block.content) for block in cells if block.kind == "cell"]
        file.write_text(json.dumps(sources), encoding="utf-8")
        shown = json.loads(self._finish(cells[0], [sys.executable, str(program), str(file)]))
        above = -1
        for block in cells:
            above += block.kind == "cell"
            if block.kind == "shown":
                assert matches(self._here(block.content), shown[above]), f"line {block.line}: not this:\n{shown[above]}"

    def _finish(self, block: Block, command: list[str]) -> str:
        """Runs a program to its end and returns what it printed on stdout."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=DEADLINE_S,
            check=False,
        )
        log = self.server.tail() if self.server is not None else ""
        what = f"{command[-1]}\n{done.stdout}\n{done.stderr}\n{log}"
        assert done.returncode == 0, f"line {block.line}: status {done.returncode}:\n{what}"
        return done.stdout

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
        if self.server is not None:
            text = text.replace("http://127.0.0.1:8080", self.server.url)
        for port, own in self._ports.items():
            text = re.sub(rf"\b{port}\b", own, text)
        return text


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
