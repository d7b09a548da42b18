"""A web server of someone else: what input files are fetched from."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Reply = Callable[[BaseHTTPRequestHandler], None]


class Origin:
    """Answers each path with what was set for it; 404 otherwise. Reached by the name `localhost`."""

    def __init__(self) -> None:
        self._replies: dict[str, Reply] = {}
        self.asked: list[str] = []
        """The paths of all requests."""
        self.hanging = threading.Event()
        """Set once a request waits for `release`."""
        self.release = threading.Event()
        origin = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                origin.asked.append(self.path)
                origin._replies.get(self.path.partition("?")[0], lambda handler: handler.send_error(404))(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://localhost:{self.port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def serve(self, path: str, body: bytes, **headers: str) -> str:
        """Returns the URL."""

        def reply(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(200)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                if value:
                    handler.send_header(name.replace("_", "-"), value)
            handler.end_headers()
            handler.wfile.write(body)

        self._replies[path] = reply
        return self.url + path

    def redirect(self, path: str, to: str) -> str:
        """Returns the URL."""

        def reply(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(302)
            handler.send_header("Location", to)
            handler.send_header("Content-Length", "0")
            handler.end_headers()

        self._replies[path] = reply
        return self.url + path

    def hang(self, path: str) -> str:
        """Sends the beginning of a file, and then nothing until `release`. Returns the URL."""

        def reply(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(200)
            handler.send_header("Content-Length", "1000")
            handler.end_headers()
            handler.wfile.write(b"x" * 10)
            handler.wfile.flush()
            self.hanging.set()
            self.release.wait(60)

        self._replies[path] = reply
        return self.url + path

    def close(self) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()
