"""The proxies of `deploy/` in front of a real server: their files as they stand, but for addresses and times."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from support.client import Client
from support.server import Server
from support.services import program
from support.waiting import wait_until

DEPLOY = Path(__file__).parents[2] / "deploy"


class Proxy:
    """A proxy process on a free port of 127.0.0.1."""

    def __init__(self, kind: str, server: Server, folder: Path, changes: Mapping[str, str] | None = None) -> None:
        """Starts it and returns when it takes connections.

        Args:
            kind: `nginx` or `caddy`.
            changes: what to replace in its file; each must be there.
        """
        self._clients: list[Client] = []
        self._key = server.key
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        folder.mkdir()
        write = _nginx if kind == "nginx" else _caddy
        command = write(folder, urlsplit(server.url).netloc, port, changes or {})
        environment = {**os.environ, "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
        self._said = (folder / "said").open("wb")
        self._process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=self._said, stderr=self._said
        )
        wait_until(lambda: self._process.poll() is not None or _listens(port), f"{kind} listened", 20)
        assert self._process.poll() is None, (folder / "said").read_text()

    def client(self) -> Client:
        """A client that goes through the proxy. It is closed with it."""
        client = Client(self.url, self._key)
        self._clients.append(client)
        return client

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self._process.terminate()
        self._process.wait(20)
        self._said.close()


def _nginx(folder: Path, upstream: str, port: int, changes: Mapping[str, str]) -> list[str]:
    nginx = program("nginx", "On Debian and Ubuntu: apt-get install nginx-light")
    text = (DEPLOY / "nginx.conf").read_text()
    (folder / "unspool.conf").write_text(
        _changed(text, {"127.0.0.1:8080": upstream, "listen 80;": f"listen 127.0.0.1:{port};", **changes})
    )
    temporary = "\n".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main = folder / "main.conf"
    main.write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log stderr warn;\n"
        f"events {{ worker_connections 512; }}\n"
        f"http {{ access_log off; {temporary}\ninclude {folder}/unspool.conf; }}\n"
    )
    return [nginx, "-p", str(folder), "-e", "stderr", "-c", str(main)]


def _caddy(folder: Path, upstream: str, port: int, changes: Mapping[str, str]) -> list[str]:
    caddy = program("caddy", "On Debian and Ubuntu: apt-get install caddy")
    text = (DEPLOY / "Caddyfile").read_text()
    site = {"127.0.0.1:8080": upstream, "unspool.example.com {": f"http://127.0.0.1:{port} {{\n\tbind 127.0.0.1"}
    file = folder / "Caddyfile"
    file.write_text("{\n\tadmin off\n\tauto_https off\n}\n" + _changed(text, {**site, **changes}))
    return [caddy, "run", "--config", str(file), "--adapter", "caddyfile"]


def _changed(text: str, changes: Mapping[str, str]) -> str:
    for old, new in changes.items():
        assert text.count(old) == 1, f"{old!r} is there {text.count(old)} times"
        text = text.replace(old, new)
    return text


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
