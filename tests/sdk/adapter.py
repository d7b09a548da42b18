"""A client under test: its adapter's process, and what it answers (`README.md`, The adapter protocol)."""

from __future__ import annotations

import itertools
import json
import os
import queue
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from support.services import missing, program

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
DEADLINE_S = 60.0

PYTHON = ("python_sync", "python_async", "naive")
CLIENTS = ("python_sync", "python_async", "js")


class Call:
    """A command that was given."""

    def __init__(self, adapter: Adapter, number: int, command: dict[str, Any]) -> None:
        self._adapter = adapter
        self.number = number
        self.command = command
        self.answers: queue.Queue[dict[str, Any]] = queue.Queue()

    def poll(self, seconds: float) -> dict[str, Any] | None:
        """The next answer, if one comes in so many seconds."""
        try:
            return self.answers.get(timeout=seconds)
        except queue.Empty:
            assert self._adapter.running, f"the adapter ended. Its last words:\n{self._adapter.said}"
            return None

    def last(self) -> dict[str, Any]:
        """The answer that ends the call."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            answer = self.poll(0.5)
            if answer is not None and "event" not in answer:
                return answer
        raise AssertionError(f"no answer to {self.command}. The adapter said:\n{self._adapter.said}")

    def result(self) -> Any:
        """What it answers with when all is well."""
        answer = self.last()
        assert "result" in answer, f"{self.command}: {answer}"
        return answer["result"]

    def error(self) -> dict[str, Any]:
        """What it answers with when the client raises."""
        answer = self.last()
        assert "error" in answer, f"{self.command} raised nothing: {answer}"
        return dict(answer["error"])


class Adapter:
    """A running adapter."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self._numbers = itertools.count(1)
        self._calls: dict[int, Call] = {}
        self._errors = folder / f"{name}.stderr"
        path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                _command(name),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=folder,
                env={**os.environ, "PYTHONPATH": path},
                encoding="utf-8",
            )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def call(self, do: str, **fields: Any) -> Call:
        """Gives it a command."""
        number = next(self._numbers)
        command = {"call": number, "do": do, **fields}
        call = self._calls[number] = Call(self, number, command)
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return call

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def said(self) -> str:
        """What it wrote to stderr."""
        return self._errors.read_text("utf-8", "replace")[-4000:]

    def close(self) -> None:
        """Ends it: by the end of its stdin, as the protocol says."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} was still there 10 s after the end of its stdin") from None
        finally:
            self.kill()

    def kill(self) -> None:
        """Ends it at once."""
        self._process.kill()
        self._process.wait()
        self._listener.join(10)
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                answer = json.loads(line)
                self._calls[answer["call"]].answers.put(answer)


def _command(name: str) -> list[str]:
    if name in PYTHON:
        file = HERE / "adapters" / f"{name}.py"
        return [sys.executable, str(_there(file, "It comes with the Python client."))]
    node = program("node", "On Debian and Ubuntu: apt-get install nodejs")
    _there(ROOT / "js" / "dist" / "index.js", "In js/: npm ci && npm run build")
    return [node, str(_there(HERE / "adapters" / "js.mjs", "It comes with the JavaScript client."))]


def _there(file: Path, remedy: str) -> Path:
    return file if file.is_file() else missing(f"The file {file.relative_to(ROOT)}", remedy)
