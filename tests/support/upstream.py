"""A server of chat completions that does what a test wants: what an upstream of `engines/openai.py` may do wrong."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

DEADLINE_S = 60


class Call:
    """One request, and how to answer it."""

    def __init__(self, handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        self._handler = handler
        self.path = handler.path
        self.client = handler.client_address
        """The other end of the connection."""
        self.headers = handler.headers
        self.body = body
        self.gone = threading.Event()
        """Set once the client has closed the connection; for replies that `wait_until_gone`."""

    def json(self, status: int, body: Any, **headers: str) -> None:
        """A whole answer."""
        self.whole(status, json.dumps(body).encode(), "application/json", **headers)

    def whole(self, status: int, body: bytes, content_type: str, **headers: str) -> None:
        self._handler.send_response(status)
        said = {"Content-Type": content_type, "Content-Length": str(len(body)), **headers}
        for name, value in said.items():
            self._handler.send_header(name.replace("_", "-"), value)
        self._handler.end_headers()
        self._handler.wfile.write(body)

    def begin(self, content_type: str = "text/event-stream") -> None:
        """The head of a stream, in chunks of any size."""
        self._handler.send_response(200)
        self._handler.send_header("Content-Type", content_type)
        self._handler.send_header("Transfer-Encoding", "chunked")
        self._handler.end_headers()

    def raw(self, data: bytes) -> None:
        """One HTTP chunk."""
        self._handler.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def event(self, data: Any) -> None:
        self.raw(event(data))

    def say(self, *pieces: str, **more: Any) -> None:
        """Pieces of text."""
        for piece in pieces:
            self.event(chunk({"content": piece}, **more))

    def finish(self, reason: str = "stop", usage: Mapping[str, Any] | None = None) -> None:
        """The end as it should be."""
        self.event(chunk({}, finish_reason=reason))
        if usage is not None:
            self.event({"choices": [], "usage": usage})
        self.raw(b"data: [DONE]\n\n")
        self.raw(b"")

    def cut(self) -> None:
        """Closes the connection in the middle."""
        self._handler.close_connection = True

    def wait_until_gone(self) -> None:
        """Says nothing more until the client has left."""
        self._handler.connection.settimeout(DEADLINE_S)
        try:
            left = self._handler.connection.recv(1) == b""
        except ConnectionResetError:
            left = True
        if left:
            self.gone.set()
        self._handler.close_connection = True


Reply = Callable[[Call], None]


def event(data: Any) -> bytes:
    return b"data: " + json.dumps(data, ensure_ascii=False).encode() + b"\n\n"


def chunk(delta: dict[str, Any], *, index: int = 0, finish_reason: str | None = None) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "finish_reason": finish_reason}
    return {"object": "chat.completion.chunk", "choices": [choice]}


class Upstream:
    """Answers its requests one after the other with the replies that were set; the last of them again and again."""

    def __init__(self) -> None:
        self._replies: list[Reply] = []
        self._lock = threading.Lock()
        self.calls: list[Call] = []
        """Every request so far."""
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                call = Call(self, body)
                try:
                    upstream._next(call)(call)
                except ConnectionError:
                    call.gone.set()

            def log_message(self, *_: object) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """Clients leave in the middle; what else goes wrong here fails the test that waits for an answer."""

        self._server = Quiet(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.netloc = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.netloc}/v1"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def replies(self, *replies: Reply) -> None:
        """What the next requests get, from now on."""
        self._replies = list(replies)
        self.calls.clear()

    def _next(self, call: Call) -> Reply:
        with self._lock:
            self.calls.append(call)
            return self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
