"""What `spool/deliveries.py` promises: a webhook is owed from the very step that ends its prediction, until settled."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from unspool.spool.base import Spool
from unspool.spool.deliveries import Due, Try, target_of
from unspool.states import Status

from .kit import DONE, LONG_S, Backend, start, submission, turn

HOOK = "https://hook.example/path?a=b"
TARGET = "hook.example:443"
SECOND_NS = 10**9


async def end(spool: Spool, id: str = "p", url: str | None = HOOK) -> None:
    claim = await start(spool, id, webhook_url=url)
    await spool.finish(id, claim.attempt, Status.COMPLETED, DONE)


async def due(spool: Spool, now_ns: int, target: str = TARGET, limit: int = 100) -> list[Due]:
    return await spool.deliveries.due(target, now_ns, limit)


def tried(now_ns: int, **changes: Any) -> Try:
    facts = {
        "started_at_ns": now_ns,
        "duration_ns": 5,
        "http_status": 500,
        "error": "it answered 500",
        "answer": b"no \xff",
        "next_try_at_ns": None,
    }
    return Try(**{**facts, **changes})


async def test_a_prediction_that_ended_owes_its_webhook_at_once(spool: Spool, backend: Backend) -> None:
    await end(spool)
    assert await spool.deliveries.targets() == [(TARGET, backend.clock())]
    assert await due(spool, backend.clock()) == [("p", 0, 1)]
    delivery = await spool.deliveries.get("p")
    assert delivery is not None
    assert (delivery.state, delivery.next_try_at_ns, delivery.tries) == ("pending", backend.clock(), [])


async def test_one_that_goes_on_owes_nothing_yet(spool: Spool) -> None:
    await start(spool, "p", webhook_url=HOOK)
    assert await spool.deliveries.targets() == []
    assert await spool.deliveries.get("p") is None


async def test_one_without_a_webhook_owes_nothing(spool: Spool) -> None:
    await end(spool, url=None)
    assert await spool.deliveries.targets() == []
    assert await spool.deliveries.get("p") is None


async def test_the_webhook_is_part_of_the_record(spool: Spool, backend: Backend) -> None:
    await spool.submit(submission("p", webhook_url=HOOK, base_url="https://unspool.example"))
    prediction = await spool.get("p")
    assert (prediction.webhook_url, prediction.base_url) == (HOOK, "https://unspool.example")


async def test_every_way_to_end_owes_the_webhook(spool: Spool, backend: Backend) -> None:
    await end(spool, "finished")
    await spool.submit(submission("cancelled", "other", webhook_url=HOOK))
    await spool.cancel("cancelled")
    lost = await start(spool, "lost", webhook_url=HOOK, max_attempts=1)
    await spool.lose(lost.id, lost.attempt, "it died")
    await spool.submit(submission("late", "nobody", webhook_url=HOOK, start_timeout_s=1))
    backend.clock.advance(2)
    await spool.claim({})
    while (await spool.get("late")).status is not Status.TIMEOUT:
        await turn()
    assert {one.id for one in await due(spool, backend.clock())} == {"finished", "cancelled", "lost", "late"}


async def test_it_is_owed_after_a_crash_right_behind_the_end(lasting: Backend) -> None:
    await end(await lasting.open())
    spool = await lasting.crash()
    assert [one.id for one in await due(spool, lasting.clock())] == ["p"]
    prediction = await spool.get("p")
    assert (prediction.status, prediction.webhook_url) == (Status.COMPLETED, HOOK)


async def test_one_that_was_running_in_a_crash_owes_it_when_it_ends(lasting: Backend) -> None:
    await start(await lasting.open(), "p", webhook_url=HOOK, max_attempts=1)
    spool = await lasting.crash()
    while not (await spool.get("p")).status.terminal:
        await turn()
    assert [one.id for one in await due(spool, lasting.clock())] == ["p"]


async def test_what_was_being_sent_in_a_crash_is_still_due(lasting: Backend) -> None:
    spool = await lasting.open()
    await end(spool)
    sent = await due(spool, lasting.clock())
    assert await due(await lasting.crash(), lasting.clock()) == sent


async def test_a_try_that_failed_moves_it_to_the_next_one(spool: Spool, backend: Backend) -> None:
    await end(spool)
    (first,) = await due(spool, backend.clock())
    later_ns = backend.clock() + 5 * SECOND_NS
    one = tried(backend.clock(), next_try_at_ns=later_ns)
    await spool.deliveries.record(first, [one], "pending")
    assert await due(spool, later_ns - 1) == []
    assert await due(spool, later_ns) == [("p", 1, 1)]
    assert await spool.deliveries.targets() == [(TARGET, later_ns)]
    delivery = await spool.deliveries.get("p")
    assert delivery is not None
    assert (delivery.state, delivery.tries) == ("pending", [one])


@pytest.mark.parametrize("state", ["delivered", "failed"])
async def test_a_settled_one_is_never_due(spool: Spool, backend: Backend, state: Any) -> None:
    await end(spool)
    (first,) = await due(spool, backend.clock())
    tries = [tried(backend.clock()), tried(backend.clock() + 1, http_status=None, answer=b"")]
    await spool.deliveries.record(first, tries, state)
    assert await due(spool, backend.clock() + 10**18) == []
    assert await spool.deliveries.targets() == []
    delivery = await spool.deliveries.get("p")
    assert delivery is not None
    assert (delivery.state, delivery.next_try_at_ns, delivery.tries) == (state, None, tries)


async def test_tries_outlive_a_crash(lasting: Backend) -> None:
    spool = await lasting.open()
    await end(spool)
    (first,) = await due(spool, lasting.clock())
    await spool.deliveries.record(first, [tried(lasting.clock())], "failed")
    delivery = await (await lasting.crash()).deliveries.get("p")
    assert delivery is not None
    assert (delivery.state, delivery.tries) == ("failed", [tried(lasting.clock())])


async def test_many_tries_at_once_are_all_recorded(spool: Spool, backend: Backend) -> None:
    for number in range(20):
        await end(spool, f"p{number}")
    owed = await due(spool, backend.clock())
    await asyncio.gather(*(spool.deliveries.record(one, [tried(7)], "delivered") for one in owed))
    for one in owed:
        delivery = await spool.deliveries.get(one.id)
        assert delivery is not None
        assert (delivery.state, delivery.tries) == ("delivered", [tried(7)])


async def test_sending_again_makes_it_due_with_all_tries_before_it(spool: Spool, backend: Backend) -> None:
    await end(spool)
    (first,) = await due(spool, backend.clock())
    await spool.deliveries.record(first, [tried(1)], "failed")
    backend.clock.advance(60)
    assert await spool.deliveries.send_again("p", backend.clock())
    assert await due(spool, backend.clock()) == [("p", 0, 2)]
    (again,) = await due(spool, backend.clock())
    await spool.deliveries.record(again, [tried(2)], "delivered")
    delivery = await spool.deliveries.get("p")
    assert delivery is not None
    assert [one.started_at_ns for one in delivery.tries] == [1, 2]


async def test_asking_to_send_again_during_a_try_is_not_forgotten(spool: Spool, backend: Backend) -> None:
    await end(spool)
    (first,) = await due(spool, backend.clock())
    await spool.deliveries.send_again("p", backend.clock())
    await spool.deliveries.record(first, [tried(1)], "delivered")
    assert await due(spool, backend.clock()) == [("p", 0, 2)]
    delivery = await spool.deliveries.get("p")
    assert delivery is not None
    assert (delivery.state, len(delivery.tries)) == ("pending", 1)


async def test_nothing_can_be_sent_again_that_is_not_owed(spool: Spool) -> None:
    await start(spool, "p", webhook_url=HOOK)
    assert not await spool.deliveries.send_again("p", 1)
    assert not await spool.deliveries.send_again("nobody", 1)


async def test_a_deleted_one_is_gone_with_its_tries(spool: Spool, backend: Backend) -> None:
    await end(spool, "p")
    await end(spool, "q")
    (first, second) = await due(spool, backend.clock())
    await spool.deliveries.record(first, [tried(1)], "failed")
    await spool.deliveries.delete([first.id])
    await spool.deliveries.record(first, [tried(2)], "delivered")
    assert await spool.deliveries.get(first.id) is None
    assert await due(spool, backend.clock()) == [second]


async def test_targets_are_told_apart_and_each_is_served_its_longest_due_first(spool: Spool, backend: Backend) -> None:
    began_ns = backend.clock()
    for number in range(6):
        await end(spool, f"p{number}", f"https://{'ab'[number % 2]}.example:8443/{number}")
        backend.clock.advance(1)
    targets = await spool.deliveries.targets()
    assert sorted(targets) == [("a.example:8443", began_ns), ("b.example:8443", began_ns + SECOND_NS)]
    owed = await due(spool, backend.clock(), "b.example:8443", limit=2)
    assert [one.id for one in owed] == ["p1", "p3"]


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://Hook.Example/a", "hook.example:443"),
        ("http://hook.example/a", "hook.example:80"),
        ("https://hook.example:8443/b?c=d", "hook.example:8443"),
        ("https://[2606:4700::1]/", "2606:4700::1:443"),
    ],
)
def test_a_target_is_a_host_and_a_port(url: str, target: str) -> None:
    assert target_of(url) == target


async def test_whoever_watches_is_woken_by_an_end_and_by_sending_again(spool: Spool, backend: Backend) -> None:
    with spool.deliveries.watch() as watch:
        await end(spool)
        assert await watch.wait(LONG_S)
        await spool.deliveries.send_again("p", backend.clock())
        assert await watch.wait(LONG_S)


async def test_an_owner_has_one_secret_for_ever(lasting: Backend) -> None:
    spool = await lasting.open()
    made = await spool.deliveries.secrets("alice", 1)
    assert made.current.startswith("whsec_")
    assert len(made.current) == 70
    assert (made.previous, made.previous_until_ns) == (None, None)
    assert await spool.deliveries.secrets("bob", 1) != made
    assert await (await lasting.crash()).deliveries.secrets("alice", 2) == made


async def test_after_a_rotation_both_are_good_until_the_overlap_is_over(lasting: Backend) -> None:
    spool = await lasting.open()
    old = (await spool.deliveries.secrets("alice", 1)).current
    rotated = await spool.deliveries.rotate("alice", 1, previous_until_ns=10)
    assert rotated.current != old
    assert rotated[1:] == (old, 10)
    spool = await lasting.crash()
    assert await spool.deliveries.secrets("alice", 9) == rotated
    assert await spool.deliveries.secrets("alice", 10) == (rotated.current, None, None)


async def test_a_second_rotation_ends_the_first_secret(spool: Spool) -> None:
    await spool.deliveries.rotate("alice", 1, 100)
    second = (await spool.deliveries.secrets("alice", 2)).current
    third = await spool.deliveries.rotate("alice", 2, 100)
    assert third.previous == second
