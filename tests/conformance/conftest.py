"""The backends that the suite runs against, and how its `async def` tests run. Nothing else constructs a spool."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from unspool.spool.base import Spool
from unspool.spool.sqlite import SqliteSpool

from .kit import LEASE_S, Backend

DEADLINE_S = 120


class SqliteFile(Backend):
    lasting = True

    @property
    def url(self) -> str:
        return f"sqlite:///{self.folder / 'unspool.db'}"

    async def connect(self) -> Spool:
        return await SqliteSpool.open(str(self.folder / "unspool.db"), lease_s=LEASE_S, clock=self.clock)

    async def abandon(self, spool: Spool) -> None:
        assert isinstance(spool, SqliteSpool)
        spool.abandon()


class SqliteMemory(SqliteFile):
    lasting = False

    async def connect(self) -> Spool:
        return await SqliteSpool.open(":memory:", lease_s=LEASE_S, clock=self.clock)


def _named(name: str) -> type[Backend]:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


BACKENDS: list[type[Backend]] = [SqliteFile, SqliteMemory]
if name := os.environ.get("UNSPOOL_TEST_BACKEND"):
    BACKENDS = [_named(name)]


@pytest.fixture(params=BACKENDS, ids=lambda backend: backend.__name__)
def new_backend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Backend]:
    """Makes backends, each with no data yet."""
    return lambda: request.param(tmp_path_factory.mktemp("spool"))


@pytest.fixture
def backend(new_backend: Callable[[], Backend]) -> Backend:
    return new_backend()


@pytest.fixture
def spool(runner: asyncio.Runner, backend: Backend) -> Iterator[Spool]:
    """An open spool of each backend."""
    yield runner.run(backend.open())
    runner.run(backend.close())


@pytest.fixture(params=[each for each in BACKENDS if each.lasting], ids=lambda backend: backend.__name__)
def lasting(request: pytest.FixtureRequest, runner: asyncio.Runner, tmp_path: Path) -> Iterator[Backend]:
    """Each backend that can be reopened and killed. The test opens it."""
    backend = request.param(tmp_path)
    yield backend
    runner.run(backend.close())


@pytest.fixture(autouse=True)
def runner() -> Iterator[asyncio.Runner]:
    """The event loop of one test and of its fixtures."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs `async def` tests on the loop of their fixtures."""
    if not inspect.iscoroutinefunction(pyfuncitem.function):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.function).parameters}
    pyfuncitem.funcargs["runner"].run(_within_deadline(pyfuncitem.function(**arguments)))
    return True


async def _within_deadline(test: Awaitable[None]) -> None:
    try:
        async with asyncio.timeout(DEADLINE_S) as deadline:
            await test
    except TimeoutError:
        if deadline.expired():
            pytest.fail(f"still waiting after {DEADLINE_S} s for something that the contract promises")
        raise
