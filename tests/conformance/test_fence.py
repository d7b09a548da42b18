"""Every operation on a running attempt × every way not to be one: refused by name, and nothing is changed."""

from collections.abc import Awaitable, Callable

import pytest

from unspool.errors import StaleAttempt, UnknownPrediction
from unspool.spool.base import Claim, Spool
from unspool.states import Status
from unspool.types import Prediction

from .kit import DONE, FAILED, LEASE_S, A, B, Backend, claim_next, ended, log, settle, start, submit


async def append(spool: Spool, claim: Claim) -> None:
    with pytest.raises(StaleAttempt):
        await spool.append(*claim, [B])


async def finish(spool: Spool, claim: Claim) -> None:
    with pytest.raises(StaleAttempt):
        await spool.finish(*claim, Status.FAILED, FAILED)


async def lose(spool: Spool, claim: Claim) -> None:
    with pytest.raises(StaleAttempt):
        await spool.lose(*claim, "it crashed")


async def lose_uncounted(spool: Spool, claim: Claim) -> None:
    with pytest.raises(StaleAttempt):
        await spool.lose(*claim, "the server stops", counted=False)


async def renew(spool: Spool, claim: Claim) -> None:
    assert await spool.renew([claim]) == [claim]


async def unknown(spool: Spool, backend: Backend) -> Claim:
    return Claim("unheard-of", 1)


async def not_begun(spool: Spool, backend: Backend) -> Claim:
    await submit(spool, "p")
    return Claim("p", 1)


async def attempt_zero_of_one_that_waits(spool: Spool, backend: Backend) -> Claim:
    await submit(spool, "p")
    return Claim("p", 0)


async def attempt_zero_of_one_that_runs(spool: Spool, backend: Backend) -> Claim:
    await start(spool)
    return Claim("p", 0)


async def ahead_of_the_one_that_runs(spool: Spool, backend: Backend) -> Claim:
    await start(spool)
    return Claim("p", 2)


async def waiting_after_a_loss(spool: Spool, backend: Backend) -> Claim:
    claim = await start(spool)
    await spool.append(*claim, [A])
    await spool.lose(*claim, "it crashed")
    return claim


async def next_one_after_a_loss(spool: Spool, backend: Backend) -> Claim:
    await waiting_after_a_loss(spool, backend)
    return Claim("p", 2)


async def overtaken(spool: Spool, backend: Backend) -> Claim:
    claim = await waiting_after_a_loss(spool, backend)
    await claim_next(spool)
    return claim


async def overtaken_by_one_that_finished(spool: Spool, backend: Backend) -> Claim:
    claim = await waiting_after_a_loss(spool, backend)
    await spool.finish(*await claim_next(spool), Status.COMPLETED, DONE)
    return claim


async def lease_ran_out(spool: Spool, backend: Backend) -> Claim:
    claim = await start(spool)
    await settle(backend, spool)
    return claim


async def overtaken_because_the_lease_ran_out(spool: Spool, backend: Backend) -> Claim:
    claim = await start(spool)
    backend.clock.advance(LEASE_S + 1)
    await claim_next(spool)
    return claim


async def lost_for_good(spool: Spool, backend: Backend) -> Claim:
    claim = await start(spool, max_attempts=1)
    await spool.lose(*claim, "it crashed")
    return claim


async def attempt_of_the_final_error(spool: Spool, backend: Backend) -> Claim:
    await lost_for_good(spool, backend)
    return Claim("p", 2)


async def completed(spool: Spool, backend: Backend) -> Claim:
    claim = await start(spool)
    await spool.append(*claim, [A])
    await spool.finish(*claim, Status.COMPLETED, DONE)
    return claim


async def failed(spool: Spool, backend: Backend) -> Claim:
    claim = await start(spool)
    await spool.finish(*claim, Status.FAILED, FAILED)
    return claim


async def cancelled_in_the_queue(spool: Spool, backend: Backend) -> Claim:
    await submit(spool, "p")
    await spool.cancel("p")
    return Claim("p", 0)


async def cancelled_after_a_loss(spool: Spool, backend: Backend) -> Claim:
    claim = await waiting_after_a_loss(spool, backend)
    await spool.cancel("p")
    return claim


async def timed_out_in_the_queue(spool: Spool, backend: Backend) -> Claim:
    await submit(spool, "p", start_timeout_s=5)
    backend.clock.advance(6)
    await spool.claim({})
    await ended(spool)
    return Claim("p", 0)


Operation = Callable[[Spool, Claim], Awaitable[None]]
Way = Callable[[Spool, Backend], Awaitable[Claim]]

OPERATIONS: list[Operation] = [append, finish, lose, lose_uncounted, renew]
WAYS: list[Way] = [
    unknown,
    not_begun,
    attempt_zero_of_one_that_waits,
    attempt_zero_of_one_that_runs,
    ahead_of_the_one_that_runs,
    waiting_after_a_loss,
    next_one_after_a_loss,
    overtaken,
    overtaken_by_one_that_finished,
    lease_ran_out,
    overtaken_because_the_lease_ran_out,
    lost_for_good,
    attempt_of_the_final_error,
    completed,
    failed,
    cancelled_in_the_queue,
    cancelled_after_a_loss,
    timed_out_in_the_queue,
]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_a_stale_attempt_is_refused_and_changes_nothing(
    spool: Spool, backend: Backend, way: Way, operation: Operation
):
    claim = await way(spool, backend)
    before = await everything(spool)
    await operation(spool, claim)
    assert await everything(spool) == before
    backend.clock.advance(LEASE_S / 2)
    assert await spool.claim({}) == []
    assert await everything(spool) == before, "it had an effect that only a later claim shows"


async def everything(spool: Spool) -> tuple[Prediction, list[tuple[str, bytes]], list[Claim]] | None:
    """All that can be known of the prediction of these tests, if it exists."""
    try:
        return await spool.get("p"), await log(spool), await spool.cancellations()
    except UnknownPrediction:
        return None


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
async def test_the_attempt_that_overtook_goes_on_undisturbed(spool: Spool, backend: Backend, operation: Operation):
    stale = await overtaken(spool, backend)
    await operation(spool, stale)
    running = Claim("p", 2)
    assert await spool.renew([running]) == []
    await spool.append(*running, [B])
    await spool.finish(*running, Status.COMPLETED, DONE)
    assert (await log(spool))[-2:] == [("2-2", B), ("2-3", DONE)]


async def test_a_stale_renewal_does_not_keep_the_running_attempt_alive(spool: Spool, backend: Backend):
    stale = await overtaken(spool, backend)
    backend.clock.advance(LEASE_S - 1)
    assert await spool.renew([stale]) == [stale]
    backend.clock.advance(2)
    await spool.claim({})
    assert await spool.renew([Claim("p", 2)]) == [Claim("p", 2)]


async def test_renew_names_the_stale_ones_and_extends_the_others(spool: Spool, backend: Backend):
    gone, one, two = await start(spool, "gone"), await start(spool, "one"), await start(spool, "two")
    await spool.finish(*gone, Status.COMPLETED, DONE)
    backend.clock.advance(LEASE_S - 1)
    stale = await spool.renew([one, gone, two, Claim("unheard-of", 1)])
    assert sorted(stale) == [gone, Claim("unheard-of", 1)]
    backend.clock.advance(LEASE_S - 1)
    await spool.claim({})
    await spool.append(*one, [A])
    await spool.append(*two, [A])
