"""`finish`: one terminal event, the last of the log, and nothing can happen after it."""

import asyncio

import pytest

from unspool.errors import StaleAttempt
from unspool.spool.base import Spool
from unspool.states import Status

from .kit import DONE, FAILED, LEASE_S, STARTED_1, A, B, Backend, claim_next, claimed, log, start, submit, terminal


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.TIMEOUT])
async def test_a_prediction_ends_with_the_status_it_was_given(spool: Spool, backend: Backend, status: Status):
    claim = await start(spool)
    running = await spool.get("p")
    backend.clock.advance(9)
    await spool.finish(*claim, status, DONE)
    ended = await spool.get("p")
    assert (ended.status, ended.terminal, ended.finished_at_ns) == (status, DONE, backend.clock.now_ns)
    assert (ended.attempt, ended.failures, ended.started_at_ns) == (1, 0, running.started_at_ns)


async def test_the_terminal_event_is_the_last_of_the_log(spool: Spool):
    claim = await start(spool)
    await spool.append(*claim, [A, B])
    await spool.finish(*claim, Status.COMPLETED, DONE)
    assert (await log(spool))[1:] == [("1-1", STARTED_1), ("1-2", A), ("1-3", B), ("1-4", DONE)]
    assert (await terminal(spool))[0] == "1-4"


async def test_a_second_attempt_ends_the_prediction_in_its_own_name(spool: Spool):
    first = await start(spool)
    await spool.append(*first, [A])
    await spool.lose(*first, "it crashed")
    await spool.finish(*await claim_next(spool), Status.COMPLETED, DONE)
    assert (await log(spool))[-1] == ("2-2", DONE)
    ended = await spool.get("p")
    assert (ended.status, ended.attempt, ended.failures) == (Status.COMPLETED, 2, 1)


async def test_of_several_finishes_at_once_one_wins(spool: Spool):
    claim = await start(spool)
    endings = [(Status.COMPLETED, DONE), (Status.FAILED, FAILED)] * 3
    results = await asyncio.gather(*(spool.finish(*claim, *ending) for ending in endings), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["NoneType"] + ["StaleAttempt"] * 5
    status, event = endings[results.index(None)]
    assert (await spool.get("p")).status is status
    assert (await log(spool))[1:] == [("1-1", STARTED_1), ("1-2", event)]


async def test_of_a_finish_and_a_loss_at_once_one_wins(spool: Spool):
    claim = await start(spool, max_attempts=1)
    results = await asyncio.gather(
        spool.finish(*claim, Status.COMPLETED, DONE), spool.lose(*claim, "it crashed"), return_exceptions=True
    )
    assert sorted(type(result).__name__ for result in results) == ["NoneType", "StaleAttempt"]
    assert (await terminal(spool))[0] in {"1-2", "2-1"}


async def test_no_event_comes_behind_the_terminal_one(spool: Spool):
    """Not even one whose append was already on its way."""
    claim = await start(spool)
    results = await asyncio.gather(
        spool.append(*claim, [A]),
        spool.finish(*claim, Status.COMPLETED, DONE),
        spool.append(*claim, [B]),
        return_exceptions=True,
    )
    assert all(result is None or isinstance(result, StaleAttempt) for result in results)
    assert (await log(spool))[-1][1] == DONE
    await terminal(spool)


async def test_a_run_that_ends_at_once_shows_its_whole_log(spool: Spool):
    """Before anybody has seen its claim."""
    await submit(spool, "p")
    (claim,) = await claimed(spool, m=1)
    await spool.append(*claim, [A])
    await spool.finish(*claim, Status.COMPLETED, DONE)
    assert (await log(spool))[1:] == [("1-1", STARTED_1), ("1-2", A), ("1-3", DONE)]


async def test_the_lease_ends_with_the_prediction(spool: Spool, backend: Backend):
    claim = await start(spool)
    await spool.finish(*claim, Status.COMPLETED, DONE)
    ended = await spool.get("p")
    backend.clock.advance(LEASE_S * 10)
    assert await spool.claim({"m": 1}) == []
    assert await spool.get("p") == ended


async def test_a_cancelled_run_may_still_complete(spool: Spool):
    """The cancellation came too late; what the model made is not thrown away."""
    claim = await start(spool)
    await spool.cancel("p")
    await spool.finish(*claim, Status.COMPLETED, DONE)
    assert (await spool.get("p")).status is Status.COMPLETED
    assert await spool.cancellations() == []


async def test_others_go_on(spool: Spool):
    one, two = await start(spool, "one"), await start(spool, "two")
    await submit(spool, "three")
    await spool.finish(*one, Status.COMPLETED, DONE)
    await spool.append(*two, [A])
    assert await log(spool, "two", after="1-1") == [("1-2", A)]
    assert [prediction.id for prediction in await spool.unfinished()] == ["two", "three"]
