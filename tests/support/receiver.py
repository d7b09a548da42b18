"""A receiver of webhooks: a real HTTP server that keeps all it gets and answers as it is told."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import msgspec

DEADLINE_S = 60.0


class Received(NamedTuple):
    """A request that came in."""

    path: str
    headers: Mapping[str, str]
    """By name in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Told(NamedTuple):
    """How to answer one request."""

    status: int = 200
    headers: Mapping[str, str] = {}
    body: bytes = b""
    hold: bool = False
    """Wait until the receiver is released or closed."""


class Receiver:
    """Answers 200 to everything; `tell` says how to answer the next requests for a path instead."""

    def __init__(self, port: int = 0) -> None:
        self.received: list[Received] = []
        self._told: dict[str, list[Told]] = {}
        self._choose: Callable[[Received], Told] | None = None
        self._changed = threading.Condition()
        self._released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.02], daemon=True)
        self._thread.start()

    def url(self, path: str = "/hook", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self._server.server_port}{path}"

    def tell(self, path: str, *answers: Told) -> None:
        """The next answers to requests for a path."""
        self._told.setdefault(path, []).extend(answers)

    def choose(self, answer: Callable[[Received], Told]) -> None:
        """Answers everything as this function says."""
        self._choose = answer

    def release(self) -> None:
        """Lets go of everybody who is held."""
        self._released.set()

    def wait(self, path: str = "/hook", count: int = 1, deadline_s: float = DEADLINE_S) -> list[Received]:
        """Waits for so many requests for a path and returns all that came."""
        deadline = time.monotonic() + deadline_s
        with self._changed:
            while len(found := self.at(path)) < count:
                left = deadline - time.monotonic()
                assert left > 0, f"{path} got {len(found)} requests within {deadline_s:.0f} s, and not {count}"
                self._changed.wait(left)
        return found

    def at(self, path: str) -> list[Received]:
        """What has come for a path so far."""
        return [one for one in self.received if one.path == path]

    def close(self) -> None:
        self.release()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(DEADLINE_S)

    def _take(self, one: Received) -> Told:
        with self._changed:
            self.received.append(one)
            self._changed.notify_all()
            if self._choose is not None:
                return self._choose(one)
            told = self._told.get(one.path)
            return told.pop(0) if told else Told()

    def _handler(receiver) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                told = receiver._take(Received(self.path, headers, body))
                if told.hold:
                    receiver._released.wait(DEADLINE_S)
                try:
                    self._answer(told)
                except OSError:
                    self.close_connection = True

            def _answer(self, told: Told) -> None:
                self.send_response(told.status)
                for name, value in told.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(told.body)))
                self.end_headers()
                self.wfile.write(told.body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])
