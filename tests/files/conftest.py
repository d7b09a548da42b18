"""One server on `tests/models/files.py` for all tests that leave it as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.server import Server

MODELS = Path(__file__).parents[1] / "models"


@pytest.fixture(scope="package")
def files_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(MODELS / "files.py", tmp_path_factory.mktemp("files-server"))
    try:
        yield server.start().wait_until_ready()
    finally:
        server.close()


@pytest.fixture
def server(files_server: Server) -> Server:
    return files_server
