"""`archive`: lists show what is there as it stands, what was deleted is gone for all, what was used stays counted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, date, datetime
from itertools import product

import pytest

from unspool.errors import StaleAttempt, UnknownPrediction
from unspool.spool.archive import Filter, Usage
from unspool.spool.base import Spool
from unspool.states import Status
from unspool.types import START

from .kit import (
    DONE,
    FAILED,
    LONG_S,
    STARTED_1,
    A,
    B,
    Backend,
    claim_next,
    ended,
    log,
    start,
    submission,
    submit,
)

DAY_S = 24 * 3600


async def completed(spool: Spool, *ids: str, **changes) -> None:
    """Predictions that have run to their end."""
    for id in ids:
        claim = await start(spool, id, **changes)
        await spool.append(*claim, [A, B])
        await spool.finish(*claim, Status.COMPLETED, DONE)


async def failed(spool: Spool, id: str, **changes) -> None:
    claim = await start(spool, id, **changes)
    await spool.finish(*claim, Status.FAILED, FAILED)


async def listed(
    spool: Spool, *, owner: str = "alice", offset: int = 0, limit: int = 100, oldest_first: bool = False, **wanted
) -> list[str]:
    """The ids of a page."""
    found = await spool.archive.find(
        Filter(owner=owner, **wanted), offset=offset, limit=limit, oldest_first=oldest_first
    )
    return [prediction.id for prediction in found.predictions]


def today(backend: Backend) -> date:
    return datetime.fromtimestamp(backend.clock.now_ns / 10**9, UTC).date()


# list


async def test_a_list_is_of_one_owner_and_the_newest_is_first(spool: Spool, backend: Backend):
    for id in ("a", "b", "c"):
        await completed(spool, id)
        backend.clock.advance(1)
    await completed(spool, "other", owner="bob")
    assert await listed(spool) == ["c", "b", "a"]
    assert await listed(spool, oldest_first=True) == ["a", "b", "c"]
    assert await listed(spool, owner="bob") == ["other"]
    assert await listed(spool, owner="nobody") == []


async def test_predictions_of_the_same_moment_are_listed_in_the_order_of_their_submit(spool: Spool):
    await completed(spool, "a", "b")
    await submit(spool, "c", "d")
    assert await listed(spool) == ["d", "c", "b", "a"]


async def test_unfinished_predictions_are_listed_as_they_stand(spool: Spool):
    await completed(spool, "done")
    running = await start(spool, "running")
    await submit(spool, "waiting")
    page = await spool.archive.find(Filter(owner="alice"), offset=0, limit=10)
    assert page.total == 3
    assert [(one.id, one.status) for one in page.predictions] == [
        ("waiting", Status.CREATED),
        ("running", Status.PROCESSING),
        ("done", Status.COMPLETED),
    ]
    assert page.predictions == [await spool.get(id) for id in ("waiting", "running", "done")]
    await spool.finish(*running, Status.COMPLETED, DONE)
    assert await listed(spool, status=Status.COMPLETED) == ["running", "done"]


async def test_pages_are_parts_of_one_order_whatever_has_ended(spool: Spool):
    """Every other one still waits; pages of each size show each of them once."""
    for number in range(7):
        await completed(spool, f"done-{number}", model="fast")
        await submit(spool, f"wait-{number}", model="slow")
    whole = await listed(spool)
    assert len(whole) == 14
    for size in (1, 3, 5, 14, 20):
        pages = [await listed(spool, offset=offset, limit=size) for offset in range(0, 14, size)]
        assert [id for page in pages for id in page] == whole
    assert await listed(spool, offset=14) == []


async def test_filters_are_combined(spool: Spool, backend: Backend):
    times = []
    for number, (model, how) in enumerate(product(("m", "n"), (completed, failed))):
        times.append(backend.clock.now_ns)
        await how(spool, f"{model}-{how.__name__}-{number}", model=model)
        backend.clock.advance(10)
    await submit(spool, "waiting", model="n")
    assert await listed(spool, model="m") == ["m-failed-1", "m-completed-0"]
    assert await listed(spool, status=Status.FAILED) == ["n-failed-3", "m-failed-1"]
    assert await listed(spool, status=Status.FAILED, model="n") == ["n-failed-3"]
    assert await listed(spool, status=Status.CREATED) == ["waiting"]
    assert await listed(spool, status=Status.CREATED, model="m") == []
    assert await listed(spool, created_from_ns=times[2]) == ["waiting", "n-failed-3", "n-completed-2"]
    assert await listed(spool, created_before_ns=times[2]) == ["m-failed-1", "m-completed-0"]
    assert await listed(spool, created_from_ns=times[1], created_before_ns=times[3], status=Status.COMPLETED) == [
        "n-completed-2"
    ]
    assert await listed(spool, ids=("waiting", "m-failed-1", "unknown")) == ["waiting", "m-failed-1"]
    assert await listed(spool, ids=()) == []


async def test_charged_are_the_completed_ones_with_a_price(spool: Spool):
    await completed(spool, "free")
    await completed(spool, "paid", price=0.25)
    await failed(spool, "failed", price=0.25)
    await submit(spool, "waiting", price=0.25)
    page = await spool.archive.find(Filter(owner="alice", charged=True), offset=0, limit=10)
    assert [(one.id, one.price) for one in page.predictions] == [("paid", 0.25)]
    assert page.total == 1


async def test_the_total_counts_all_pages(spool: Spool):
    await completed(spool, "a", "b", "c")
    await submit(spool, "d")
    for offset, wanted, total in ((0, {}, 4), (3, {}, 4), (9, {}, 4), (0, {"status": Status.COMPLETED}, 3)):
        page = await spool.archive.find(Filter(owner="alice", **wanted), offset=offset, limit=2)
        assert page.total == total


async def test_a_list_is_the_same_after_the_store_was_opened_again(lasting: Backend):
    spool = await lasting.open()
    await completed(spool, "a", "b")
    await submit(spool, "c")
    before = await listed(spool)
    assert before == await listed(await lasting.reopen()) == ["c", "b", "a"]


# delete


async def test_what_was_deleted_is_gone_for_every_reader(spool: Spool):
    await completed(spool, "p", "q")
    assert await spool.archive.delete(["p"]) == ["p"]
    for read in (spool.get("p"), spool.read("p", START, 10), spool.last_progress("p"), spool.cancel("p")):
        with pytest.raises(UnknownPrediction):
            await read
    assert await listed(spool) == ["q"]
    assert [event for _, event in await log(spool, "q")][1:] == [STARTED_1, A, B, DONE]
    assert await spool.archive.delete(["p"]) == []


async def test_what_was_deleted_is_gone_after_a_restart_too(lasting: Backend):
    spool = await lasting.open()
    await completed(spool, "p", "q")
    await (await lasting.reopen()).archive.delete(["p"])
    spool = await lasting.crash()
    with pytest.raises(UnknownPrediction):
        await spool.get("p")
    assert await listed(spool) == ["q"]


async def test_a_delete_leaves_what_has_not_ended(spool: Spool):
    await submit(spool, "waiting", model="slow")
    claim = await start(spool, "running")
    await completed(spool, "done", model="n")
    assert await spool.archive.delete(["waiting", "running", "done", "unknown"]) == ["done"]
    assert await listed(spool) == ["running", "waiting"]
    await spool.finish(*claim, Status.COMPLETED, DONE)
    assert await spool.archive.delete(["running"]) == ["running"]


async def test_a_late_writer_does_not_bring_back_what_was_deleted(spool: Spool):
    claim = await start(spool)
    await spool.finish(*claim, Status.COMPLETED, DONE)
    await spool.archive.delete(["p"])
    with pytest.raises(StaleAttempt):
        await spool.append(*claim, [A])
    with pytest.raises(StaleAttempt):
        await spool.finish(*claim, Status.FAILED, FAILED)
    with pytest.raises(UnknownPrediction):
        await spool.get("p")


async def test_the_idempotency_key_of_a_deleted_prediction_is_free(spool: Spool):
    await completed(spool, "p", idempotency_key="k", fingerprint=b"1")
    await spool.archive.delete(["p"])
    made = await spool.submit(submission("again", idempotency_key="k", fingerprint=b"2"))
    assert made.new
    assert made.prediction.id == "again"


async def test_many_are_deleted_in_one_call(spool: Spool):
    ids = [f"p{number}" for number in range(120)]
    await submit(spool, *ids)
    for id in ids:
        await spool.cancel(id)
    assert set(await spool.archive.delete(ids)) == set(ids)
    assert await listed(spool) == []


async def test_submits_go_on_during_a_large_delete(spool: Spool):
    ids = [f"p{number}" for number in range(200)]
    await submit(spool, *ids)
    for id in ids:
        await spool.cancel(id)
    deleting = asyncio.ensure_future(spool.archive.delete(ids))
    await submit(spool, "meanwhile")
    assert not deleting.done(), "the submit did not wait for the whole delete"
    await deleting
    assert await listed(spool) == ["meanwhile"]


async def test_a_new_prediction_has_nothing_of_a_deleted_one(lasting: Backend):
    """Its place in the store may have been the last: whoever comes next must not find what was said there."""
    spool = await lasting.open()
    claim = await start(spool, "old")
    await spool.append(*claim, [A, B])
    await asyncio.sleep(0.2)  # what it said is written behind it
    await spool.finish(*claim, Status.COMPLETED, DONE)
    await spool.archive.delete(["old"])
    spool = await lasting.reopen()
    await submit(spool, "new")
    spool = await lasting.crash()
    prediction = await spool.get("new")
    assert (prediction.status, prediction.attempt) == (Status.CREATED, 0)
    assert [cursor for cursor, _ in await log(spool, "new")] == ["0-1"]
    assert [one.id for one in await spool.claim({"m": 5})] == ["new"]


async def test_a_reader_in_the_middle_of_a_log_learns_that_it_is_gone(spool: Spool):
    await completed(spool, "p")
    page = await spool.read("p", START, 2)
    await spool.archive.delete(["p"])
    with pytest.raises(UnknownPrediction):
        await spool.read("p", page.batches[-1].last, 2)


async def test_one_that_ends_while_it_is_waited_for_can_be_deleted(spool: Spool):
    await submit(spool, "p")
    with spool.watch("p") as watch:
        await spool.cancel("p")
        assert await watch.wait(LONG_S)
    await ended(spool, "p")
    assert await spool.archive.delete(["p"]) == ["p"]


# expired


async def test_expired_are_those_that_ended_long_ago(spool: Spool, backend: Backend):
    begun = backend.clock.now_ns
    claim = await start(spool, "long")
    await submit(spool, "waiting", model="n")
    await completed(spool, "early", model="o")
    backend.clock.advance(10)
    await completed(spool, "late", model="o")
    await spool.finish(*claim, Status.COMPLETED, DONE)
    archive = spool.archive
    assert await archive.expired(begun, 10) == []
    assert await archive.expired(begun + 1, 10) == ["early"]
    assert await archive.expired(backend.clock.now_ns, 10) == ["early"]
    assert set(await archive.expired(backend.clock.now_ns + 1, 10)) == {"early", "late", "long"}
    assert await archive.expired(backend.clock.now_ns + 1, 1) == ["early"]


# usage


async def test_usage_counts_what_was_asked_for_and_what_it_cost(spool: Spool, backend: Backend):
    day = today(backend)
    await completed(spool, "a", "b", price=0.1)
    await failed(spool, "c", price=0.1)
    await completed(spool, "d", model="n")
    await completed(spool, "e", owner="bob", price=5)
    await submit(spool, "f", price=0.1)
    now = backend.clock.now_ns
    assert await spool.archive.usage("alice", day, day) == [
        Usage(day, "m", 4, 2, pytest.approx(0.2), now),
        Usage(day, "n", 1, 1, 0, now),
    ]


async def test_usage_is_told_by_day(spool: Spool, backend: Backend):
    days = []
    for id in ("a", "b", "c"):
        days.append(today(backend))
        await completed(spool, id, price=1)
        backend.clock.advance(DAY_S)
    assert [(one.day, one.cost) for one in await spool.archive.usage("alice", days[0], days[2])] == [
        (day, 1) for day in days
    ]
    assert [one.day for one in await spool.archive.usage("alice", days[1], days[1])] == [days[1]]


async def test_usage_stays_when_predictions_are_deleted(spool: Spool, backend: Backend):
    day = today(backend)
    await completed(spool, "a", "b", "c", price=0.5)
    await failed(spool, "d", model="n", price=0.5)
    before = await spool.archive.usage("alice", day, day)
    await spool.archive.delete(["a"])
    assert await spool.archive.usage("alice", day, day) == before
    await spool.archive.delete(["b", "c", "d"])
    assert await spool.archive.usage("alice", day, day) == before
    await completed(spool, "e", price=0.5)
    after = await spool.archive.usage("alice", day, day)
    assert [(one.requests, one.completed, one.cost) for one in after] == [(4, 4, 2.0), (1, 0, 0.0)]


async def test_the_price_is_that_of_the_time_of_the_submit(lasting: Backend):
    spool = await lasting.open()
    await submit(spool, "p", price=0.75)
    spool = await lasting.reopen()
    assert (await spool.get("p")).price == 0.75
    await spool.finish(*await claim_next(spool), Status.COMPLETED, DONE)
    assert (await (await lasting.reopen()).get("p")).price == 0.75


async def test_the_latest_progress_of_a_long_finished_log_is_found(lasting: Backend):
    progress: Callable[[int], bytes] = lambda at: b'{"type":"progress","percentage":%d}' % at  # noqa: E731
    spool = await lasting.open()
    claim = await start(spool)
    await spool.append(*claim, [progress(7)])
    for _ in range(3):
        await spool.append(*claim, [b'{"type":"output","output":"%b","index":0}' % (b"x" * 3_000)] * 100)
    await spool.finish(*claim, Status.FAILED, FAILED)
    spool = await lasting.reopen()
    assert await spool.last_progress("p") == progress(7)
