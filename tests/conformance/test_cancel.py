"""`cancel`: at once for what waits, a mark for what runs, nothing for what has ended."""

import asyncio

import pytest

from unspool.errors import UnknownPrediction
from unspool.spool.base import Claim, Spool
from unspool.states import Status

from .kit import DONE, LEASE_S, A, Backend, claim_next, cursors, ended, log, start, submit, terminal, turn


async def test_what_waits_is_cancelled_at_once(spool: Spool, backend: Backend):
    await submit(spool, "p")
    backend.clock.advance(3)
    answer = await spool.cancel("p")
    assert answer.status is Status.CANCELLED
    assert answer == await spool.get("p")
    assert (answer.attempt, answer.finished_at_ns) == (0, backend.clock.now_ns)


async def test_its_terminal_event_is_on_attempt_zero(spool: Spool):
    await submit(spool, "p")
    await spool.cancel("p")
    cursor, error = await terminal(spool)
    assert cursor == "0-2"
    assert (error["type"], error["id"], error["status"]) == ("error", "p", "cancelled")


async def test_what_waits_after_a_loss_is_cancelled_on_its_next_attempt_number(spool: Spool):
    claim = await start(spool)
    await spool.append(*claim, [A])
    await spool.lose(*claim, "it crashed")
    answer = await spool.cancel("p")
    assert answer.status is Status.CANCELLED
    cursor, error = await terminal(spool)
    assert cursor == "2-1"
    assert error["status"] == "cancelled"
    assert await cursors(spool) == ["0-1", "1-1", "1-2", "2-1"]
    assert await spool.claim({"m": 1}) == []


async def test_what_runs_is_marked_and_goes_on(spool: Spool):
    claim = await start(spool)
    answer = await spool.cancel("p")
    assert (answer.status, answer.cancel_requested, answer.terminal) == (Status.PROCESSING, True, None)
    assert answer == await spool.get("p")
    assert await spool.renew([claim]) == []


async def test_whoever_runs_it_learns_of_it_for_as_long_as_it_runs(spool: Spool, backend: Backend):
    claim = await start(spool)
    await start(spool, "other")
    assert await spool.cancellations() == []
    await spool.cancel("p")
    assert await spool.cancellations() == [Claim("p", 1)]
    backend.clock.advance(LEASE_S - 1)
    assert await spool.cancellations() == [Claim("p", 1)]
    await spool.finish(*claim, Status.CANCELLED, DONE)
    assert await spool.cancellations() == []


async def test_the_status_is_cancelled_when_the_run_has_stopped(spool: Spool):
    claim = await start(spool)
    await spool.cancel("p")
    await spool.finish(*claim, Status.CANCELLED, DONE)
    assert (await spool.get("p")).status is Status.CANCELLED
    assert (await log(spool))[-1] == ("1-2", DONE)


async def test_several_cancellations_are_all_told(spool: Spool):
    for each in ("a", "b", "c"):
        await start(spool, each)
    await spool.cancel("c")
    await spool.cancel("a")
    assert sorted(await spool.cancellations()) == [Claim("a", 1), Claim("c", 1)]


async def test_a_cancelled_run_that_is_lost_ends_as_cancelled(spool: Spool):
    """It would wait for its next attempt, and what waits and is cancelled has no next attempt."""
    claim = await start(spool, max_attempts=5)
    await spool.cancel("p")
    await spool.lose(*claim, "it crashed")
    assert await spool.cancellations() == []
    cursor, error = await terminal(spool)
    assert (cursor, error["status"]) == ("2-1", "cancelled")
    assert await spool.claim({"m": 1}) == []


async def test_a_cancelled_run_whose_lease_runs_out_ends_as_cancelled(spool: Spool, backend: Backend):
    await start(spool, max_attempts=5)
    await spool.cancel("p")
    backend.clock.advance(LEASE_S + 1)
    assert await spool.claim({"m": 1}) == []
    await ended(spool)
    cursor, error = await terminal(spool)
    assert (cursor, error["status"]) == ("2-1", "cancelled")


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED, Status.TIMEOUT, Status.CANCELLED])
async def test_what_has_ended_stays_as_it_is(spool: Spool, status: Status):
    claim = await start(spool)
    await spool.finish(*claim, status, DONE)
    ended, events = await spool.get("p"), await log(spool)
    assert await spool.cancel("p") == ended
    assert await spool.get("p") == ended
    assert await log(spool) == events
    assert await spool.cancellations() == []


async def test_asking_twice_changes_nothing(spool: Spool, backend: Backend):
    await submit(spool, "waits")
    claim = await start(spool, "runs", model="n")
    for each in ("waits", "runs"):
        first, events = await spool.cancel(each), await log(spool, each)
        backend.clock.advance(1)
        assert await spool.cancel(each) == first
        assert await log(spool, each) == events
    assert await spool.cancellations() == [claim]


async def test_asking_at_once_from_many_sides_ends_it_once(spool: Spool):
    await submit(spool, "p")
    answers = await asyncio.gather(*(spool.cancel("p") for _ in range(10)))
    assert {answer.status for answer in answers} == {Status.CANCELLED}
    assert (await terminal(spool))[0] == "0-2"


async def test_a_cancel_and_a_claim_at_once_agree_on_who_was_first(spool: Spool):
    await submit(spool, "p")
    answer, taken = await asyncio.gather(spool.cancel("p"), spool.claim({"m": 1}))
    if taken:
        assert (answer.status, await spool.cancellations()) == (Status.PROCESSING, [Claim("p", 1)])
    else:
        assert (answer.status, await spool.cancellations()) == (Status.CANCELLED, [])
        assert (await terminal(spool))[0] == "0-2"


async def test_a_cancel_and_a_finish_at_once_leave_one_terminal_event(spool: Spool):
    claim = await start(spool)
    await asyncio.gather(spool.cancel("p"), spool.finish(*claim, Status.COMPLETED, DONE))
    assert (await terminal(spool))[0] == "1-2"
    assert (await spool.get("p")).status is Status.COMPLETED
    assert await spool.cancellations() == []


@pytest.mark.parametrize("first", ["cancel", "finish", "lose"])
async def test_a_caller_that_gives_up_takes_no_other_with_it(spool: Spool, first: str):
    claim = await start(spool, "runs", max_attempts=1)
    await submit(spool, "waits")
    deeds = {
        "cancel": ("waits", Status.CANCELLED, lambda: spool.cancel("waits")),
        "finish": ("runs", Status.COMPLETED, lambda: spool.finish(*claim, Status.COMPLETED, DONE)),
        "lose": ("runs", Status.FAILED, lambda: spool.lose(*claim, "it crashed")),
    }
    each, status, deed = deeds[first]
    gives_up = asyncio.create_task(deed())
    await turn()
    stays = asyncio.create_task(spool.cancel(each))
    await turn()
    gives_up.cancel()
    assert (await stays).status is status
    assert (await spool.get(each)).status is status


async def test_the_next_in_the_queue_is_not_held_up(spool: Spool):
    await submit(spool, "a", "b")
    await spool.cancel("a")
    assert await claim_next(spool) == ("b", 1)


async def test_an_id_that_was_never_submitted_is_unknown(spool: Spool):
    with pytest.raises(UnknownPrediction):
        await spool.cancel("p")
