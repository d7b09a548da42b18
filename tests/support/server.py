"""A real server: the process that a user starts, on a model file, with all its workers."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil

from support.client import Client
from support.waiting import wait_until

KEY = "test-key-0123456789"
START_DEADLINE_S = 60.0
STOP_DEADLINE_S = 30.0

_PROGRAM = [sys.executable, "-m", "unspool"]
_LISTENING = re.compile(r"Listening on (http://127\.0\.0\.1:\d+)")


class Server:
    """`unspool serve FILE` on a free port. Whatever it prints is kept and shown when a test fails."""

    def __init__(
        self,
        file: Path | None,
        data_dir: Path,
        environment: dict[str, str] | None = None,
        *,
        arguments: Sequence[str] | None = None,
        folder: Path | None = None,
    ) -> None:
        """Prepares it; `start` starts it.

        Args:
            arguments: another command line than `serve FILE`.
            folder: the working directory.
        """
        self.arguments = ["serve", str(file)] if arguments is None else list(arguments)
        self.data_dir = data_dir
        self.key = KEY
        self.url = ""
        self._folder = folder
        self._environment = {"UNSPOOL_API_KEY": KEY, **(environment or {})}
        self._log: list[str] = []
        self._changed = threading.Condition()
        self._families: list[psutil.Process] = []
        self._clients: list[Client] = []
        self._process: subprocess.Popen[str] | None = None

    # Life

    def start(self, port: int = 0) -> Server:
        """Starts the process and returns when it takes requests; models may still be loading. Port 0 is a free one."""
        settings = {name for name in os.environ if name.startswith("UNSPOOL_")} - {"UNSPOOL_CACHE_DIR"}
        inherited = {name: value for name, value in os.environ.items() if name not in settings}
        begun = len(self._log)
        self._process = subprocess.Popen(
            [*_PROGRAM, *self.arguments, "--port", str(port), "--data-dir", str(self.data_dir)],
            cwd=self._folder,
            env={**inherited, **self._environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        threading.Thread(target=self._collect, args=[self._process], daemon=True).start()
        self.url = self.wait_for_log(_LISTENING, START_DEADLINE_S, begun)[1]
        return self

    def kill(self) -> None:
        """kill -9 of the server. Its workers are on their own."""
        self._remember_workers()
        self._running.kill()
        self._running.wait(STOP_DEADLINE_S)

    def interrupt(self) -> None:
        """Sends SIGTERM and does not wait."""
        self._remember_workers()
        self._running.terminate()

    def terminate(self) -> int:
        """Sends SIGTERM, waits for the end and returns the exit status."""
        self.interrupt()
        return self.wait()

    def wait(self) -> int:
        """Waits for the end of a server that was told to stop."""
        try:
            return self._running.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the server was still there {STOP_DEADLINE_S:.0f} s after SIGTERM") from None

    def restart(self, *, same_port: bool = False) -> Server:
        """A new process on the same data folder. The old one must have ended, or is killed. The port is another,
        unless the same is asked for: for a client that knows only that address, as a page does.
        """
        if self.running:
            self.kill()
        return self.start(urlsplit(self.url).port or 0 if same_port else 0)

    def close(self) -> None:
        """Ends whatever of it still lives, without asserting anything."""
        for client in self._clients:
            client.close()
        if self.running:
            self._remember_workers()
            self._running.kill()
            self._running.wait()
        for process in self._families:
            if process.is_running():
                process.kill()

    # What is known of it

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._running.pid

    def worker_pids(self) -> list[int]:
        """The processes that this server has started and that still live, the oldest first."""
        children = psutil.Process(self.pid).children(recursive=True)
        return [child.pid for child in sorted(children, key=lambda child: child.create_time()) if alive(child.pid)]

    def memory_bytes(self) -> int:
        """Resident memory of the server process alone."""
        return int(psutil.Process(self.pid).memory_info().rss)

    def client(self) -> Client:
        """A client with the server's key. It is closed with the server."""
        client = Client(self.url, self.key)
        self._clients.append(client)
        return client

    @property
    def log(self) -> str:
        """All that the server and its workers have printed."""
        with self._changed:
            return "".join(self._log)

    def wait_until_ready(self, deadline_s: float = 60.0) -> Server:
        """Waits until every model is loaded."""
        with httpx.Client(base_url=self.url) as http:
            wait_until(lambda: http.get("/health/ready").status_code == 200, "all models were loaded", deadline_s)
        return self

    def wait_for_log(self, pattern: str | re.Pattern[str], deadline_s: float = 60.0, begin: int = 0) -> re.Match[str]:
        """Waits for a line that matches.

        Args:
            begin: how many lines of the log to pass over.
        """
        deadline = time.monotonic() + deadline_s
        with self._changed:
            while True:
                for line in self._log[begin:]:
                    if match := re.search(pattern, line):
                        return match
                begin = max(begin, len(self._log))
                left = deadline - time.monotonic()
                assert self._running.poll() is None, f"the server ended before it said {pattern!r}:\n{self.tail()}"
                assert left > 0, f"the server did not say {pattern!r} within {deadline_s:.0f} s:\n{self.tail()}"
                self._changed.wait(min(left, 0.5))

    def tail(self, lines: int = 80) -> str:
        """The end of the log."""
        return "".join(self._log[-lines:])

    @property
    def lines(self) -> int:
        """How many lines the log has now."""
        return len(self._log)

    # Inside

    @property
    def _running(self) -> subprocess.Popen[str]:
        assert self._process is not None, "the server was not started"
        return self._process

    def _collect(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as output:
            for line in output:
                with self._changed:
                    self._log.append(line)
                    self._changed.notify_all()

    def _remember_workers(self) -> None:
        if self.running:
            self._families += psutil.Process(self.pid).children(recursive=True)


def alive(pid: int) -> bool:
    """Whether the process exists and is not a zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until_gone(pids: Iterable[int], deadline_s: float = 10.0) -> None:
    """Waits for the end of processes."""
    processes = []
    for pid in pids:
        try:
            processes.append(psutil.Process(pid))
        except psutil.NoSuchProcess:
            continue
    left = [process for process in psutil.wait_procs(processes, deadline_s)[1] if alive(process.pid)]
    assert not left, f"still there after {deadline_s:.0f} s: {left}"


def kill9(pid: int) -> None:
    """kill -9 of one process."""
    os.kill(pid, signal.SIGKILL)
