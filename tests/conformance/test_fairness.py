"""Fairness: owners take turns in each queue, and none has more waiting or running than it may."""

import asyncio
import json

import pytest

from unspool.errors import QueueFull, UnknownPrediction
from unspool.spool.base import Claim, Spool
from unspool.spool.keys import UNLIMITED, Limits
from unspool.states import Status

from .kit import DONE, LONG_S, Backend, claim_next, claimed, log, settle, submission, submit


def limit(spool: Spool, **of_alice: int) -> None:
    """Limits alice; bob may do what he likes."""
    spool.limits = lambda owner: Limits(**of_alice) if owner == "alice" else UNLIMITED


async def ids(spool: Spool, **free_slots: int) -> list[str]:
    return [id for id, _ in await claimed(spool, **free_slots)]


async def test_one_job_does_not_wait_for_another_owner_s_many(spool: Spool):
    await submit(spool, *(f"a{n}" for n in range(100)), owner="alice")
    await submit(spool, "b", owner="bob")
    assert await ids(spool, m=1) == ["a0"]
    assert await ids(spool, m=1) == ["b"]
    assert await ids(spool, m=2) == ["a1", "a2"]


async def test_owners_take_turns_within_one_claim(spool: Spool):
    await submit(spool, "a0", "a1", "a2", owner="alice")
    await submit(spool, "b0", "b1", owner="bob")
    await submit(spool, "c0", owner="carol")
    assert await ids(spool, m=6) == ["a0", "b0", "c0", "a1", "b1", "a2"]


async def test_each_model_has_turns_of_its_own(spool: Spool):
    await submit(spool, "am0", "am1", owner="alice", model="m")
    await submit(spool, "bm0", owner="bob", model="m")
    await submit(spool, "bn0", "bn1", owner="bob", model="n")
    await submit(spool, "an0", owner="alice", model="n")
    assert await ids(spool, m=2) == ["am0", "bm0"]
    assert await ids(spool, n=2) == ["bn0", "an0"]


async def test_lost_ones_of_all_owners_come_first(spool: Spool):
    await submit(spool, "a0", "a1", owner="alice")
    await submit(spool, "b0", owner="bob")
    running = [Claim(*claim) for claim in await claimed(spool, m=3)]
    await submit(spool, "c0", owner="carol")
    for claim in running:
        await spool.lose(*claim, "it crashed")
    assert sorted(await ids(spool, m=3)) == ["a0", "a1", "b0"]
    assert await ids(spool, m=3) == ["c0"]


async def test_who_has_as_many_running_as_it_may_is_passed_over_and_waits_its_turn(spool: Spool):
    limit(spool, max_running=2)
    await submit(spool, *(f"a{n}" for n in range(5)), owner="alice")
    await submit(spool, "b0", "b1", owner="bob")
    assert await ids(spool, m=9) == ["a0", "b0", "a1", "b1"]
    assert await ids(spool, m=9) == []
    await spool.finish("a0", 1, Status.COMPLETED, DONE)
    await submit(spool, "b2", owner="bob")
    assert await ids(spool, m=9) == ["a2", "b2"], "its place was kept"


async def test_what_runs_is_counted_over_all_models(spool: Spool):
    limit(spool, max_running=1)
    await submit(spool, "m0", model="m")
    await submit(spool, "n0", model="n")
    assert await ids(spool, m=1, n=1) == ["m0"]
    await spool.finish("m0", 1, Status.COMPLETED, DONE)
    assert await ids(spool, m=1, n=1) == ["n0"]


async def test_the_end_of_a_run_wakes_whoever_may_now_start_another(spool: Spool):
    limit(spool, max_running=1)
    await submit(spool, "m0", model="m")
    await submit(spool, "n0", model="n")
    assert await ids(spool, m=1, n=1) == ["m0"]
    with spool.watch_work() as work:
        while await work.wait(0):
            pass
        waiting = asyncio.ensure_future(work.wait(LONG_S))
        await spool.finish("m0", 1, Status.COMPLETED, DONE)
        assert await waiting
    assert await ids(spool, n=1) == ["n0"]


@pytest.mark.parametrize("how", ["cancelled", "lost", "lost for good", "lease"])
async def test_however_a_run_ends_its_place_is_free(spool: Spool, backend: Backend, how: str):
    limit(spool, max_running=1)
    await submit(spool, "a0", max_attempts=1 if how == "lost for good" else 2)
    await submit(spool, "a1")
    claim = await claim_next(spool)
    assert await ids(spool, m=1) == []
    if how == "cancelled":
        await spool.cancel("a0")
        await spool.finish(*claim, Status.CANCELLED, DONE)
    elif how == "lease":
        await settle(backend, spool)
    else:
        await spool.lose(*claim, "it crashed")
    expected = ["a1"] if how in {"cancelled", "lost for good"} else ["a0"]
    assert await ids(spool, m=5) == expected


async def test_who_has_as_many_waiting_as_it_may_is_refused(spool: Spool):
    limit(spool, max_waiting=2)
    await submit(spool, "a0", model="m")
    await submit(spool, "a1", model="n")
    with pytest.raises(QueueFull, match="2 predictions waiting"):
        await submit(spool, "a2")
    with pytest.raises(UnknownPrediction):
        await spool.get("a2")
    await submit(spool, "b0", "b1", "b2", owner="bob")
    assert await ids(spool, m=1) == ["a0"]
    await submit(spool, "a2")
    with pytest.raises(QueueFull):
        await submit(spool, "a3")
    await spool.cancel("a1")
    await submit(spool, "a3")


async def test_submits_at_once_do_not_pass_the_limit_together(spool: Spool):
    limit(spool, max_waiting=3)
    results = await asyncio.gather(*(submit(spool, f"a{n}") for n in range(9)), return_exceptions=True)
    assert [type(result) for result in results].count(QueueFull) == 6
    assert len(await spool.unfinished()) == 3


async def test_a_repeated_key_is_answered_also_when_the_queue_is_full(spool: Spool):
    limit(spool, max_waiting=1)
    await submit(spool, "a0", idempotency_key="k", fingerprint=b"f")
    again = await spool.submit(submission("a1", idempotency_key="k", fingerprint=b"f"))
    assert (again.prediction.id, again.new) == ("a0", False)


async def test_what_waits_and_runs_is_counted_again_after_a_restart(lasting: Backend):
    spool = await lasting.open()
    await submit(spool, "a0", "a1", "a2")
    await claim_next(spool)
    spool = await lasting.crash()
    limit(spool, max_waiting=3, max_running=1)
    with pytest.raises(QueueFull):
        await submit(spool, "a3")
    assert await ids(spool, m=5) == ["a0"]
    await submit(spool, "a3")
    assert await ids(spool, m=5) == []
    await spool.finish("a0", 2, Status.COMPLETED, DONE)
    assert await ids(spool, m=5) == ["a1"]


async def test_queue_positions_know_of_turns(spool: Spool):
    await submit(spool, "a0", "a1", "a2", owner="alice")
    await submit(spool, "b0", "b1", owner="bob")
    positions = {
        id: json.loads((await log(spool, id))[0][1])["queue_position"] for id in ("a0", "a1", "a2", "b0", "b1")
    }
    assert positions == {"a0": 0, "a1": 1, "a2": 2, "b0": 1, "b1": 3}
