"""A network between a client and a server that a test can cut and mend."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from urllib.parse import urlsplit

_CHUNK_BYTES = 65_536


class Relay:
    """Passes on whatever comes to its own address on 127.0.0.1, until it is cut."""

    def __init__(self, url: str) -> None:
        """Returns when it takes connections.

        Args:
            url: the server's.
        """
        target = urlsplit(url)
        self._target = (target.hostname or "127.0.0.1", target.port or 80)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._is_cut = False
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Ends every connection, and every new one at once."""
        with self._lock:
            self._is_cut = True
            for one in self._open:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Takes connections again."""
        with self._lock:
            self._is_cut = False

    def close(self) -> None:
        self.cut()
        # A thread that waits in accept() holds the socket; shutting it down wakes it.
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._pass_on, args=[client], daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError), socket.create_connection(self._target) as server:
            pair = {client: server, server: client}
            with self._lock:
                if self._is_cut:
                    return
                self._open.update(pair)
            try:
                _shovel(pair)
            finally:
                with self._lock:
                    self._open.difference_update(pair)


def _shovel(pair: dict[socket.socket, socket.socket]) -> None:
    """Until one of them ends."""
    with selectors.DefaultSelector() as ready:
        for one in pair:
            ready.register(one, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                source = key.fileobj
                assert isinstance(source, socket.socket)
                content = source.recv(_CHUNK_BYTES)
                if not content:
                    return
                pair[source].sendall(content)
