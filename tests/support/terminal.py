"""The command line as people and scripts use it: in a terminal of its own, or with pipes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import pexpect
import pyte

from support.server import Server

DEADLINE_S = 60.0
COLUMNS, LINES = 100, 30

_FOREIGN = ("UNSPOOL_", "NO_COLOR", "FORCE_COLOR", "COLORTERM", "TTY_", "COLUMNS", "LINES", "PY_COLORS")


def environment(server: Server | None = None, **more: str) -> dict[str, str]:
    """What a command sees: nothing of whoever runs the tests, and the server by its two variables."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    ours = {"UNSPOOL_URL": server.url, "UNSPOOL_API_KEY": server.key} if server is not None else {}
    return {**inherited, "TERM": "xterm-256color", **ours, **more}


def command(*arguments: str) -> list[str]:
    """The command line that starts `unspool`."""
    return [sys.executable, "-m", "unspool", *arguments]


def unspool(
    server: Server | None,
    *arguments: str,
    cwd: Path | None = None,
    input: str | bytes = b"",
    env: Mapping[str, str] | None = None,
    stdout: int | IO[Any] = subprocess.PIPE,
) -> Done:
    """Runs a command to its end, with pipes."""
    done = subprocess.run(
        command(*arguments),
        cwd=cwd,
        env=environment(server, **(env or {})),
        input=input.encode() if isinstance(input, str) else input,
        stdout=stdout,
        stderr=subprocess.PIPE,
        timeout=DEADLINE_S,
        check=False,
    )
    return Done(done.returncode, (done.stdout or b"").decode(), done.stderr.decode())


def begin(server: Server | None, *arguments: str, cwd: Path | None = None, **more: Any) -> subprocess.Popen[str]:
    """Starts a command with pipes, and returns while it runs."""
    return subprocess.Popen(
        command(*arguments),
        cwd=cwd,
        env=environment(server),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        **more,
    )


class Done:
    """How a command ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    def __repr__(self) -> str:
        return f"Done({self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err})"


class Terminal:
    """A command in a terminal: what is on its screen, what it has ever written, and the keys."""

    def __init__(
        self, server: Server | None, *arguments: str, cwd: Path | None = None, shell: str | None = None, **env: str
    ) -> None:
        """Starts it.

        Args:
            shell: a command line for `sh` in place of arguments; `unspool` in it is the command.
        """
        argv: Sequence[str] = command(*arguments)
        if shell is not None:
            argv = ["/bin/sh", "-c", shell.replace("unspool ", f"{sys.executable} -m unspool ")]
        self._screen = pyte.Screen(COLUMNS, LINES)
        self._stream = pyte.ByteStream(self._screen)
        self.written = b""
        self._process = pexpect.spawn(
            argv[0],
            list(argv[1:]),
            cwd=cwd,
            env=environment(server, **env),
            dimensions=(LINES, COLUMNS),
            timeout=DEADLINE_S,
        )

    @property
    def screen(self) -> str:
        """What is to be seen now."""
        return "\n".join(line.rstrip() for line in self._screen.display).strip()

    def press(self, keys: str) -> None:
        self._process.send(keys)

    def wait_for(self, *texts: str) -> str:
        """Waits until all of these are on the screen at once, and returns the screen."""
        deadline = time.monotonic() + DEADLINE_S
        while not all(text in self.screen for text in texts):
            assert time.monotonic() < deadline, f"{texts} did not appear together:\n{self.screen}"
            assert self._read(), f"it ended before {texts} appeared together:\n{self.screen}"
        return self.screen

    def end(self) -> int:
        """Waits for the end and returns the exit code."""
        deadline = time.monotonic() + DEADLINE_S
        while self._read():
            assert time.monotonic() < deadline, f"it did not end:\n{self.screen}"
        self._process.close()
        code = self._process.exitstatus
        assert code is not None, f"it was ended by signal {self._process.signalstatus}"
        return int(code)

    def close(self) -> None:
        self._process.close(force=True)

    def _read(self) -> bool:
        """Takes in what was written meanwhile; returns whether there may be more."""
        try:
            data = self._process.read_nonblocking(65_536, timeout=0.2)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.written += data
        self._stream.feed(data)
        return True


OpenTerminal = Callable[..., Terminal]
"""Opens one with the arguments of `Terminal`; it is closed after the test."""
