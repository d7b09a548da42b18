"""One server on `tests/models/clients.py` for all clients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.server import Server

MODELS = Path(__file__).parents[1] / "models"


@pytest.fixture(scope="package")
def clients_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    webhooks_here = {"UNSPOOL_WEBHOOK_ALLOW_HTTP": "1", "UNSPOOL_WEBHOOK_ALLOW_HOSTS": "127.0.0.1"}
    server = Server(MODELS / "clients.py", tmp_path_factory.mktemp("clients-server"), webhooks_here)
    try:
        yield server.start().wait_until_ready()
    finally:
        server.close()


@pytest.fixture
def server(clients_server: Server) -> Server:
    return clients_server


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A file to upload. What is in it does not matter, its name does: it has what needs care in a URL."""
    file = tmp_path / "My cat (1).png"
    file.write_bytes(b"\x89PNG\r\n" + bytes(range(256)) * 40)
    return file
