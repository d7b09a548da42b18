"""Commands against one server for all tests that leave it as it was, and terminals to run them in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.server import Server
from support.terminal import OpenTerminal, Terminal

MODELS = Path(__file__).parents[1] / "models"


@pytest.fixture(scope="session")
def commands_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on `tests/models/commands.py`."""
    settings = {"UNSPOOL_WEBHOOK_ALLOW_HTTP": "1", "UNSPOOL_WEBHOOK_ALLOW_HOSTS": "127.0.0.1"}
    server = Server(MODELS / "commands.py", tmp_path_factory.mktemp("commands-server"), settings)
    try:
        yield server.start().wait_until_ready()
    finally:
        server.close()


@pytest.fixture
def server(commands_server: Server) -> Server:
    """The server of the tests of commands."""
    return commands_server


@pytest.fixture
def open_terminal() -> Iterator[OpenTerminal]:
    """Opens terminals, and closes them after the test."""
    opened: list[Terminal] = []

    def open(*arguments: object, **more: object) -> Terminal:
        opened.append(Terminal(*arguments, **more))  # type: ignore[arg-type]
        return opened[-1]

    yield open
    for terminal in opened:
        terminal.close()
