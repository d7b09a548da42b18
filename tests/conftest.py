"""Fixtures for every test: servers that are real processes, clients that check each byte, gates for models."""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from support.client import Client
from support.gate import Gate
from support.server import Server

MODELS = Path(__file__).parent / "models"

_servers = pytest.StashKey[list[tuple[Server, int]]]()
"""The servers of the running test, each with the length of its log when the test began."""

MakeServer = Callable[..., Server]


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that starts the tests in the background has it ignored, and so would every program that a test interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-screenshots", action="store_true", help="makes the pictures in docs/images/ anew")


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server on `tests/models/basic.py` for all tests that leave it as it was."""
    server = Server(MODELS / "basic.py", tmp_path_factory.mktemp("shared-server"))
    try:
        yield server.start().wait_until_ready()
    finally:
        server.close()


@pytest.fixture
def server(shared_server: Server, request: pytest.FixtureRequest) -> Server:
    """The shared server. Tests that kill, stop or configure one use `make_server`."""
    _watch(request, shared_server)
    return shared_server


@pytest.fixture
def make_server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[MakeServer]:
    """Starts a server of the test's own: `make_server(file_or_source, UNSPOOL_SYNC_WAIT_S="1")`.

    The file is a path, the name of a file in `tests/models/`, or the source of models itself. It returns when all
    models are loaded; with `ready=False`, as soon as requests are answered.
    """
    made: list[Server] = []

    def make(models: Path | str, /, *, ready: bool = True, **environment: str) -> Server:
        server = Server(_model_file(models, tmp_path, len(made)), tmp_path / f"data-{len(made)}", environment)
        made.append(server)
        _watch(request, server)
        server.start()
        return server.wait_until_ready() if ready else server

    yield make
    for server in made:
        server.close()


@pytest.fixture
def client(server: Server) -> Client:
    """A client of the shared server."""
    return server.client()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A gate for one prediction. It opens when the test has ended, so that nothing of the test's stays behind it."""
    gate = Gate(tmp_path / "gate")
    yield gate
    gate.open()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that fails shows what its servers have said meanwhile."""
    report = yield
    if report.failed:
        for server, begin in item.stash.get(_servers, []):
            lines = server.log.splitlines(keepends=True)[begin:]
            report.sections.append((f"log of unspool {' '.join(server.arguments)}", "".join(lines[-200:])))
    return report


def _watch(request: pytest.FixtureRequest, server: Server) -> None:
    request.node.stash.setdefault(_servers, []).append((server, server.lines))


def _model_file(models: Path | str, folder: Path, number: int) -> Path:
    if isinstance(models, str) and "\n" in models:
        file = folder / f"models_{number}.py"
        file.write_text(models, encoding="utf-8")
        return file
    return MODELS / models
