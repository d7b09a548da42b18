"""The deliverer from inside: what it tells of outcomes, how it shares its places, and what our own mistakes cost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from support.receiver import Receiver, Told
from unspool.config import Settings
from unspool.spool.deliveries import Delivery, Due
from unspool.spool.sqlite import SqliteSpool
from unspool.spool.sqlite_deliveries import SqliteDeliveries
from unspool.states import Status
from unspool.types import Prediction, Submission
from unspool.views import Views
from unspool.webhooks import Deliverer

DEADLINE_S = 30


class Mistaken(Views):
    """Fails as a bug would, so many times."""

    mistakes = 1

    async def with_input(self, prediction: Prediction, base_url: str) -> dict[str, Any]:
        if self.mistakes:
            self.mistakes -= 1
            raise RuntimeError("a bug")
        return await super().with_input(prediction, base_url)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


def run(test: Any) -> None:
    asyncio.run(asyncio.wait_for(test, DEADLINE_S))


@asynccontextmanager
async def delivering(
    on_outcome: Callable[[str], None] = lambda outcome: None, views: type[Views] = Views, **settings: Any
) -> AsyncIterator[SqliteSpool]:
    """A spool whose webhooks are being sent."""
    asked = {
        "webhook_allow_http": True,
        "webhook_allow_hosts": ["127.0.0.1"],
        "webhook_retry_delays_s": [0.01, 0.01],
        **settings,
    }
    spool = await SqliteSpool.open(":memory:")
    deliverer = Deliverer(spool, views(spool, str.upper), Settings(**asked), on_outcome=on_outcome)
    task = asyncio.create_task(deliverer.run())
    try:
        yield spool
    finally:
        task.cancel()
        await asyncio.wait([task])
        await spool.close()


async def end(spool: SqliteSpool, id: str, url: str) -> None:
    await spool.submit(Submission(id=id, model="m", owner="alice", input=b"{}", webhook_url=url))
    (claimed,) = await spool.claim({"m": 1})
    await spool.finish(
        id, claimed.attempt, Status.COMPLETED, b'{"type":"complete","id":"%b","outputs":[]}' % id.encode()
    )


async def settled(spool: SqliteSpool, id: str) -> Delivery:
    while (delivery := await spool.deliveries.get(id)) is None or delivery.state == "pending":
        await asyncio.sleep(0.005)
    return delivery


def test_every_outcome_is_told(receiver: Receiver) -> None:
    async def test() -> None:
        outcomes: list[str] = []
        async with delivering(outcomes.append) as spool:
            receiver.tell("/hook", Told(500), Told(200), Told(404))
            await end(spool, "a", receiver.url())
            await settled(spool, "a")
            await end(spool, "b", receiver.url())
            await settled(spool, "b")
            while len(outcomes) < 3:
                await asyncio.sleep(0.005)
        assert outcomes == ["retried", "delivered", "failed"]

    run(test())


@pytest.mark.parametrize("turns", range(8))
def test_it_ends_when_it_is_told_to_just_as_there_is_news(turns: int) -> None:
    """So many turns of the loop after the news: one of them is the one in which it hears of both."""

    async def test() -> None:
        spool = await SqliteSpool.open(":memory:")
        task = asyncio.create_task(Deliverer(spool, Views(spool, str.upper), Settings()).run())
        await asyncio.sleep(0.05)  # it waits for news by now, or does not: either way it has to end
        spool.deliveries.wake()
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await spool.close()

    run(test())


def test_what_was_settled_while_the_spool_was_asked_is_not_sent_again(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        settled_one, asks = asyncio.Event(), SqliteDeliveries.due

        async def answers_late(owed: SqliteDeliveries, target: str, now_ns: int, limit: int) -> list[Due]:
            due = await asks(owed, target, now_ns, limit)
            if len(due) == 2:
                receiver.release()
                await settled_one.wait()
            return due

        monkeypatch.setattr(SqliteDeliveries, "due", answers_late)
        receiver.tell("/hook", Told(hold=True))
        async with delivering(lambda outcome: settled_one.set()) as spool:
            await end(spool, "a", receiver.url())
            await asyncio.to_thread(receiver.wait)
            await end(spool, "b", receiver.url())
            await settled(spool, "b")
        assert [one.json["id"] for one in receiver.at("/hook")] == ["a", "b"]

    run(test())


def test_a_mistake_of_ours_costs_one_try(receiver: Receiver) -> None:
    async def test() -> None:
        async with delivering(views=Mistaken) as spool:
            await end(spool, "a", receiver.url())
            delivery = await settled(spool, "a")
        assert delivery.state == "delivered"
        assert [(one.http_status, one.error) for one in delivery.tries] == [
            (None, "The server failed to send this."),
            (200, ""),
        ]

    run(test())


def test_no_more_are_sent_at_once_than_are_allowed(receiver: Receiver) -> None:
    """One place for each target: what came first is answered before the next one is sent."""

    async def test() -> None:
        async with delivering(webhook_concurrency_per_host=1) as spool:
            receiver.tell("/hook", Told(hold=True))
            for number in range(5):
                await end(spool, str(number), receiver.url())
            await asyncio.to_thread(receiver.wait)
            other = Receiver()
            try:
                await end(spool, "other", other.url())
                await settled(spool, "other")
            finally:
                other.close()
            assert len(receiver.at("/hook")) == 1
            receiver.release()
            for number in range(5):
                assert (await settled(spool, str(number))).state == "delivered"

    run(test())


def test_what_waits_is_in_the_spool_and_not_in_memory(receiver: Receiver) -> None:
    async def test() -> None:
        async with delivering(webhook_concurrency=3) as spool:
            receiver.choose(lambda one: Told(hold=True))
            for number in range(50):
                await end(spool, str(number), receiver.url())
            await asyncio.to_thread(receiver.wait, count=3)
            sending = [task for task in asyncio.all_tasks() if "_deliver" in repr(task.get_coro())]
            assert len(sending) == 3
            receiver.release()

    run(test())
