"""What the suite is written with: a clock moved by hand, a backend to open, short names for what every test does."""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from unspool.spool.base import Claim, Spool
from unspool.types import START, Cursor, Page, Submission

LEASE_S = 30.0
"""Every spool of the suite is opened with this lease."""
LONG_S = 3600
"""Longer than any test may take: whoever waits so long was not woken."""

A = b'{"type":"output","output":"a","index":0}'
B = b'{"type":"output","output":"b","index":0}'
C = b'{"type":"log","message":"\xc3\xa4 \xf0\x9f\x90\x88","level":"info","timestamp":"2030-01-01T00:00:00Z"}'
DONE = b'{"type":"complete","id":"p","outputs":["ab"]}'
FAILED = b'{"type":"error","id":"p","error":"no","code":1403,"status":"failed"}'
STARTED_1 = b'{"type":"progress","percentage":0,"status":"processing","attempt":1}'
STARTED_2 = b'{"type":"progress","percentage":0,"status":"processing","attempt":2}'


async def turn() -> None:
    """Lets everybody else have a turn."""
    await asyncio.sleep(0)


class Clock:
    """Nanoseconds since the epoch. It stands still until a test moves it."""

    def __init__(self) -> None:
        self.now_ns = 2_000_000_000 * 10**9

    def __call__(self) -> int:
        return self.now_ns

    def advance(self, seconds: float) -> None:
        self.now_ns += round(seconds * 10**9)


class Backend(ABC):
    """One implementation of the contract, with the data of one test.

    To prove another one, subclass this and add the class to `BACKENDS` in `conftest.py`, or name it in the
    environment: `UNSPOOL_TEST_BACKEND=package.module:ClassName`.
    """

    lasting: ClassVar[bool]
    """Its data outlive the process that wrote them; tests that reopen or kill are for such backends only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Clock()
        self.spool: Spool | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """What `open_spool` takes, for tests that open these data in a process of their own."""

    @abstractmethod
    async def connect(self) -> Spool:
        """A spool on these data, with `LEASE_S` and this clock."""

    @abstractmethod
    async def abandon(self, spool: Spool) -> None:
        """Does to `spool` what kill -9 of its process would: nothing is flushed, nothing is said."""

    async def open(self) -> Spool:
        self.spool = await self.connect()
        return self.spool

    async def close(self) -> None:
        if self.spool is not None:
            await self.spool.close()
            self.spool = None

    async def reopen(self) -> Spool:
        await self.close()
        return await self.open()

    async def crash(self) -> Spool:
        assert self.spool is not None
        await self.abandon(self.spool)
        return await self.open()


def submission(id: str = "p", model: str = "m", **changes: Any) -> Submission:
    return Submission(**{"id": id, "model": model, "owner": "alice", "input": b'{"n":1}', **changes})


async def submit(spool: Spool, *ids: str, **changes: Any) -> None:
    """Submits predictions in this order."""
    for each in ids:
        await spool.submit(submission(each, **changes))


async def start(spool: Spool, id: str = "p", **changes: Any) -> Claim:
    """Submits a prediction and claims it. Nothing else of its model may wait."""
    await submit(spool, id, **changes)
    return await claim_next(spool, changes.get("model", "m"))


async def claim_next(spool: Spool, model: str = "m") -> Claim:
    """Claims the one prediction that is next, and waits until readers see it."""
    (prediction,) = await spool.claim({model: 1})
    await shown(spool, prediction.id, f"{prediction.attempt}-1")
    return Claim(prediction.id, prediction.attempt)


async def claimed(spool: Spool, **free_slots: int) -> list[tuple[str, int]]:
    """What a claim returned, as (id, attempt)."""
    return [(prediction.id, prediction.attempt) for prediction in await spool.claim(free_slots)]


async def settle(backend: Backend, spool: Spool) -> None:
    """Lets every lease run out and somebody notice."""
    backend.clock.advance(LEASE_S + 1)
    await spool.claim({})


async def shown(spool: Spool, id: str, cursor: str) -> None:
    """Waits, as a reader does, for an event that a claim has caused: a claim need not wait until it is seen."""
    wanted = Cursor.parse(cursor)
    at = Cursor(wanted.attempt - 1, 1)
    with spool.watch(id) as watch:
        while at < wanted:
            page = await spool.read(id, at, 1000)
            if page.batches:
                at = page.batches[-1].last
            else:
                await watch.wait(LONG_S)


async def ended(spool: Spool, id: str = "p") -> None:
    """Waits, as a reader does, for the end that a claim has caused."""
    with spool.watch(id) as watch:
        while not (await spool.get(id)).status.terminal:
            await watch.wait(LONG_S)


async def log(spool: Spool, id: str = "p", after: str = "", limit: int = 1000) -> list[tuple[str, bytes]]:
    """All events after a cursor, as (cursor, event), read page by page."""
    found: list[tuple[str, bytes]] = []
    at = Cursor.parse(after) if after else START
    while True:
        page = await spool.read(id, at, limit)
        events = flat(page, at, limit)
        found += [(str(cursor), event) for cursor, event in events]
        if page.done or not events:
            return found
        at = events[-1][0]


def flat(page: Page, after: Cursor, limit: int) -> list[tuple[Cursor, bytes]]:
    """The events of a page, after a look at its form: no empty batch, not too many events, in order, without a gap."""
    assert all(batch.events for batch in page.batches), "a page holds no empty batch"
    events = [pair for batch in page.batches for pair in batch.cursors()]
    assert len(events) <= limit, "a page holds at most `limit` events"
    at = after
    for cursor, _ in events:
        assert follows(cursor, at), f"{cursor} does not follow {at}"
        at = cursor
    return events


def follows(cursor: Cursor, before: Cursor) -> bool:
    """Whether an event may be the next one that a reader sees: n + 1, or the first one of a later attempt."""
    if cursor.attempt == before.attempt:
        return cursor.n == before.n + 1
    return cursor.attempt > before.attempt and cursor.n == 1


async def cursors(spool: Spool, id: str = "p") -> list[str]:
    return [cursor for cursor, _ in await log(spool, id)]


async def terminal(spool: Spool, id: str = "p") -> tuple[str, dict[str, Any]]:
    """The last event of a log, which must be terminal and the only such one, with its cursor."""
    events = [(cursor, event, json.loads(event)) for cursor, event in await log(spool, id)]
    ends = [(cursor, event, fields) for cursor, event, fields in events if fields["type"] in {"complete", "error"}]
    assert len(ends) == 1, f"{id} has {len(ends)} terminal events"
    assert ends[0] == events[-1], "the terminal event is the last"
    cursor, event, fields = ends[0]
    prediction = await spool.get(id)
    assert prediction.terminal == event
    assert prediction.status.terminal
    page = await spool.read(id, Cursor.parse(cursor), 1)
    assert (page.batches, page.done) == ([], True)
    return cursor, fields
