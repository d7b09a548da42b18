"""What time demands: leases that run out, attempts that are used up, predictions that nobody began."""

import pytest

from unspool.errors import StaleAttempt
from unspool.spool.base import Claim, Spool
from unspool.states import Status

from .kit import (
    LEASE_S,
    STARTED_2,
    A,
    Backend,
    claim_next,
    claimed,
    cursors,
    ended,
    log,
    settle,
    shown,
    start,
    submit,
    terminal,
)


async def test_a_spool_says_how_long_its_leases_are(spool: Spool):
    assert spool.lease_s == LEASE_S


async def test_a_claim_holds_for_its_lease(spool: Spool, backend: Backend):
    claim = await start(spool)
    backend.clock.advance(LEASE_S - 0.001)
    assert await claimed(spool, m=1) == []
    await spool.append(*claim, [A])


async def test_when_the_lease_has_run_out_the_next_attempt_may_begin(spool: Spool, backend: Backend):
    claim = await start(spool)
    await spool.append(*claim, [A])
    backend.clock.advance(LEASE_S + 0.001)
    assert await claimed(spool, m=1) == [("p", 2)]
    await shown(spool, "p", "2-1")
    assert (await log(spool))[2:] == [("1-2", A), ("2-1", STARTED_2)]
    assert (await spool.get("p")).failures == 1


async def test_any_claim_notices(spool: Spool, backend: Backend):
    """Even one that has no room for this model."""
    claim = await start(spool)
    backend.clock.advance(LEASE_S + 1)
    await spool.claim({"other": 1})
    with pytest.raises(StaleAttempt):
        await spool.append(*claim, [A])
    assert (await spool.get("p")).status is Status.PROCESSING


async def test_a_renewed_claim_holds_for_another_lease(spool: Spool, backend: Backend):
    claim = await start(spool)
    for _ in range(5):
        backend.clock.advance(LEASE_S - 1)
        assert await spool.renew([claim]) == []
        assert await spool.claim({"m": 1}) == []
    backend.clock.advance(LEASE_S + 1)
    assert await claimed(spool, m=1) == [("p", 2)]


async def test_a_renewal_counts_from_the_moment_it_is_made(spool: Spool, backend: Backend):
    """Renewing twice in one moment does not hold for two leases."""
    claim = await start(spool)
    await spool.renew([claim])
    await spool.renew([claim, claim])
    backend.clock.advance(LEASE_S + 1)
    assert await claimed(spool, m=1) == [("p", 2)]


async def test_speaking_does_not_renew(spool: Spool, backend: Backend):
    """Only `renew` does: a lease says that somebody is responsible, not that a model has much to say."""
    claim = await start(spool)
    backend.clock.advance(LEASE_S - 1)
    await spool.append(*claim, [A])
    backend.clock.advance(2)
    assert await claimed(spool, m=1) == [("p", 2)]


async def test_nothing_to_renew_is_no_error(spool: Spool):
    assert await spool.renew([]) == []


async def test_each_lease_runs_out_by_itself(spool: Spool, backend: Backend):
    await start(spool, "early")
    backend.clock.advance(20)
    late = await start(spool, "late")
    backend.clock.advance(20)
    assert await claimed(spool, m=5) == [("early", 2)]
    await spool.append(*late, [A])


async def test_when_the_last_attempt_is_lost_the_prediction_ends_with_an_error_that_tells_the_cause(
    spool: Spool, backend: Backend
):
    for attempt in (1, 2):
        claim = await start(spool) if attempt == 1 else await claim_next(spool)
        assert claim == ("p", attempt)
        backend.clock.advance(1)
        await spool.lose(*claim, f"signal 11 in attempt {attempt}")
    cursor, error = await terminal(spool)
    assert cursor == "3-1"
    assert (error["type"], error["id"], error["status"]) == ("error", "p", "failed")
    assert "signal 11 in attempt 2" in error["error"]
    prediction = await spool.get("p")
    assert (prediction.status, prediction.failures) == (Status.FAILED, 2)
    assert prediction.finished_at_ns == backend.clock.now_ns
    assert await cursors(spool) == ["0-1", "1-1", "2-1", "3-1"]
    assert await spool.claim({"m": 1}) == []


@pytest.mark.parametrize("max_attempts", [1, 2, 3])
async def test_leases_that_run_out_use_up_the_attempts(spool: Spool, backend: Backend, max_attempts: int):
    await submit(spool, "p", max_attempts=max_attempts)
    for attempt in range(1, max_attempts + 1):
        assert await claimed(spool, m=1) == [("p", attempt)]
        backend.clock.advance(LEASE_S + 1)
    assert await claimed(spool, m=1) == []
    await ended(spool)
    cursor, error = await terminal(spool)
    assert cursor == f"{max_attempts + 1}-1"
    assert (error["type"], error["status"]) == ("error", "failed")


async def test_the_final_error_is_written_once_whoever_notices(spool: Spool, backend: Backend):
    await start(spool, max_attempts=1)
    for _ in range(3):
        await settle(backend, spool)
    await ended(spool)
    assert (await terminal(spool))[0] == "2-1"
    assert await cursors(spool) == ["0-1", "1-1", "2-1"]


async def test_a_loss_that_nobody_is_to_blame_for_uses_up_no_attempt(spool: Spool):
    claim = await start(spool, max_attempts=1)
    for attempt in (1, 2, 3):
        assert claim == ("p", attempt)
        await spool.lose(*claim, "the server stops", counted=False)
        prediction = await spool.get("p")
        assert (prediction.status, prediction.failures) == (Status.PROCESSING, 0)
        claim = await claim_next(spool)
    await spool.lose(*claim, "it crashed")
    assert (await terminal(spool))[0] == "5-1"
    assert (await spool.get("p")).failures == 1


async def test_a_lost_one_waits_as_processing(spool: Spool):
    claim = await start(spool)
    await spool.lose(*claim, "it crashed")
    prediction = await spool.get("p")
    assert (prediction.status, prediction.attempt, prediction.failures) == (Status.PROCESSING, 1, 1)
    assert (prediction.finished_at_ns, prediction.terminal) == (None, None)
    assert [waiting.id for waiting in await spool.unfinished()] == ["p"]


async def test_one_that_waited_too_long_for_its_first_attempt_ends_with_timeout(spool: Spool, backend: Backend):
    await submit(spool, "p", start_timeout_s=60)
    backend.clock.advance(60.001)
    assert await spool.claim({"m": 1}) == []
    await ended(spool)
    cursor, error = await terminal(spool)
    assert cursor == "0-2"
    assert (error["type"], error["id"], error["status"], error["code"]) == ("error", "p", "timeout", 5004)
    prediction = await spool.get("p")
    assert (prediction.status, prediction.attempt) == (Status.TIMEOUT, 0)
    assert prediction.finished_at_ns == backend.clock.now_ns


async def test_one_that_waited_not_quite_too_long_is_claimed(spool: Spool, backend: Backend):
    await submit(spool, "p", start_timeout_s=60)
    backend.clock.advance(59.999)
    assert await claimed(spool, m=1) == [("p", 1)]


async def test_a_claim_without_room_ends_what_waited_too_long(spool: Spool, backend: Backend):
    await submit(spool, "p", start_timeout_s=60)
    backend.clock.advance(61)
    assert await spool.claim({}) == []
    await ended(spool)
    assert (await spool.get("p")).status is Status.TIMEOUT


async def test_the_others_in_the_queue_keep_waiting(spool: Spool, backend: Backend):
    await submit(spool, "patient")
    await submit(spool, "hasty", start_timeout_s=5)
    await submit(spool, "hurried", start_timeout_s=50)
    backend.clock.advance(10)
    assert await claimed(spool, m=5) == [("patient", 1), ("hurried", 1)]
    await ended(spool, "hasty")
    assert (await terminal(spool, "hasty"))[1]["status"] == "timeout"


async def test_the_start_timeout_says_nothing_of_later_attempts(spool: Spool, backend: Backend):
    claim = await start(spool, start_timeout_s=5)
    backend.clock.advance(4)
    await spool.lose(*claim, "it crashed")
    backend.clock.advance(100)
    assert await claimed(spool, m=1) == [("p", 2)]


async def test_the_start_timeout_does_not_limit_a_run(spool: Spool, backend: Backend):
    claim = await start(spool, start_timeout_s=5)
    backend.clock.advance(10)
    assert await spool.claim({"m": 1}) == []
    await spool.append(*claim, [A])


async def test_a_loss_that_time_brought_goes_ahead_of_those_that_have_had_no_attempt(spool: Spool, backend: Backend):
    await start(spool, "lost")
    await submit(spool, "a", "b")
    backend.clock.advance(LEASE_S + 1)
    assert await claimed(spool, m=2) == [("lost", 2), ("a", 1)]
    assert await spool.renew([Claim("lost", 1)]) == [Claim("lost", 1)]
