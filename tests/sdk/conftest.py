"""What the scenarios are played in: one server and proxy for all of them, one process for each client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import MODELS
from sdk.adapter import Adapter
from sdk.faults import FaultProxy
from sdk.world import World
from support.gate import Gate
from support.receiver import Receiver
from support.server import Server

KEEP_ALIVE_S = "0.2"


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture(scope="module")
def sdk_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that scenarios may kill and restart: it has the same data ever after."""
    environment = {
        "UNSPOOL_KEEP_ALIVE_S": KEEP_ALIVE_S,
        "UNSPOOL_DRAIN_TIMEOUT_S": "0.1",
        "UNSPOOL_DISCONNECT_GRACE_S": "0.1",
        "UNSPOOL_CANCEL_GRACE_S": "5",
        "UNSPOOL_KEY_REQUESTS_PER_MINUTE": "0",
        "UNSPOOL_WEBHOOK_ALLOW_HTTP": "1",
        "UNSPOOL_WEBHOOK_ALLOW_HOSTS": "127.0.0.1",
    }
    server = Server(MODELS / "sdk.py", tmp_path_factory.mktemp("sdk"), environment)
    try:
        yield server.start().wait_until_ready()
    finally:
        server.close()


@pytest.fixture(scope="module")
def proxy(sdk_server: Server) -> Iterator[FaultProxy]:
    proxy = FaultProxy(lambda: sdk_server.url)
    yield proxy
    proxy.close()


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Adapter]]:
    """The process of each client. One that a test has left in disorder is replaced."""
    folder = tmp_path_factory.mktemp("adapters")
    running: dict[str, Adapter] = {}

    def get(name: str) -> Adapter:
        if name not in running or not running[name].running:
            running[name] = Adapter(name, folder)
        return running[name]

    yield get
    for adapter in running.values():
        adapter.kill()


@pytest.fixture
def world(
    sdk_server: Server,
    proxy: FaultProxy,
    adapters: Callable[[str], Adapter],
    client: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Iterator[World]:
    """A place to play one scenario in, with the client that the test's module says (`client`)."""
    gate = Gate(tmp_path / "gate")
    adapter = adapters(client)
    failed = request.session.testsfailed
    try:
        yield World(sdk_server, proxy, adapter, gate)
    finally:
        gate.open()
        if request.session.testsfailed > failed:
            adapter.kill()
