"""HTTP by hand: a socket, the bytes of a request, and what came back down to the single HTTP chunk."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from support.client import DEADLINE_S


class Raw:
    """One connection. `begin` reads the status line and headers; then `body`, or `chunks` one by one."""

    def __init__(self, base_url: str, *, deadline_s: float = DEADLINE_S, receive_buffer: int | None = None) -> None:
        """Connects.

        Args:
            receive_buffer: size of the socket's receive buffer, for readers that are meant to be slow.
        """
        address = urlsplit(base_url)
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(deadline_s)
        self.socket.connect((address.hostname or "", address.port or 80))
        self.status = 0
        self.headers: dict[str, str] = {}
        self._rest = b""

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> Raw:
        """Any bytes."""
        self.socket.sendall(data)
        return self

    def request(self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Raw:
        """A whole request. Nothing is encoded or checked; `Host` is added if it is not given."""
        lines = [f"{method} {target} HTTP/1.1"]
        given = dict(headers or {})
        if not any(name.lower() == "host" for name in given):
            given["Host"] = "test"
        if body and "Transfer-Encoding" not in given:
            given.setdefault("Content-Length", str(len(body)))
        lines += [f"{name}: {value}" for name, value in given.items()]
        return self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    def begin(self) -> Raw:
        """Reads status and headers."""
        while b"\r\n\r\n" not in self._rest:
            self._more()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(status_line.split(" ")[1])
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return self

    def body(self) -> bytes:
        """The whole body, however it is framed."""
        if self.headers.get("transfer-encoding") == "chunked":
            return b"".join(self.chunks())
        return self._take(int(self.headers.get("content-length", "0")))

    def json(self) -> Any:
        """The whole body as JSON."""
        return json.loads(self.body())

    def chunks(self) -> Iterator[bytes]:
        """The HTTP chunks, each as the server made it."""
        while True:
            while b"\r\n" not in self._rest:
                self._more()
            size, _, self._rest = self._rest.partition(b"\r\n")
            data = self._take(int(size, 16))
            assert self._take(2) == b"\r\n"
            if not data:
                return
            yield data

    def _take(self, count: int) -> bytes:
        while len(self._rest) < count:
            self._more()
        data, self._rest = self._rest[:count], self._rest[count:]
        return data

    def _more(self) -> None:
        data = self.socket.recv(1 << 16)
        if not data:
            raise EOFError(f"the server closed the connection; unread was {self._rest[:200]!r}")
        self._rest += data
