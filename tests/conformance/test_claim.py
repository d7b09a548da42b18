"""`claim`: the longest waiting first, at most so many per model, and nobody else gets the same attempt."""

import asyncio
from itertools import chain

import pytest

from unspool.spool.base import Spool
from unspool.states import Status
from unspool.types import Prediction

from .kit import DONE, STARTED_1, Backend, claim_next, claimed, log, shown, start, submit


async def test_a_claim_begins_the_first_attempt(spool: Spool, backend: Backend):
    created_at_ns = backend.clock.now_ns
    await submit(spool, "p")
    backend.clock.advance(5)
    (prediction,) = await spool.claim({"m": 1})
    assert prediction == Prediction(
        id="p",
        model="m",
        owner="alice",
        input=b'{"n":1}',
        status=Status.PROCESSING,
        attempt=1,
        failures=0,
        max_attempts=2,
        run_timeout_s=None,
        start_timeout_s=None,
        on_disconnect="continue",
        base64_output=False,
        cancel_requested=False,
        created_at_ns=created_at_ns,
        started_at_ns=created_at_ns + 5_000_000_000,
        finished_at_ns=None,
        terminal=None,
    )
    assert await spool.get("p") == prediction


async def test_the_log_of_a_claimed_prediction_shows_the_first_event_of_its_attempt(spool: Spool):
    await submit(spool, "p")
    await claimed(spool, m=1)
    await shown(spool, "p", "1-1")
    assert (await log(spool))[-1] == ("1-1", STARTED_1)


async def test_the_longest_waiting_is_claimed_first(spool: Spool):
    """Also when all were submitted in the same nanosecond."""
    await submit(spool, "c", "a", "d", "b")
    order = [await claimed(spool, m=1) for _ in range(4)]
    assert order == [[("c", 1)], [("a", 1)], [("d", 1)], [("b", 1)]]


async def test_one_claim_returns_several_in_the_order_in_which_they_waited(spool: Spool):
    await submit(spool, "c", "a", "b")
    assert await claimed(spool, m=3) == [("c", 1), ("a", 1), ("b", 1)]


async def test_the_queue_goes_by_arrival_even_if_the_clock_is_set_back(spool: Spool, backend: Backend):
    await submit(spool, "first")
    backend.clock.advance(-3600)
    await submit(spool, "second")
    assert await claimed(spool, m=2) == [("first", 1), ("second", 1)]


@pytest.mark.parametrize("free", [0, 1, 2, 3, 4])
async def test_a_claim_takes_at_most_so_many(spool: Spool, free: int):
    await submit(spool, "a", "b", "c")
    assert len(await claimed(spool, m=free)) == min(free, 3)


async def test_a_claim_counts_each_model_by_itself(spool: Spool):
    await submit(spool, "m1", "m2", "m3", model="m")
    await submit(spool, "n1", "n2", model="n")
    await submit(spool, "o1", model="o")
    taken = await claimed(spool, m=2, n=1, unheard_of=5)
    assert sorted(taken) == [("m1", 1), ("m2", 1), ("n1", 1)]
    assert sorted(await claimed(spool, m=5, n=5)) == [("m3", 1), ("n2", 1)]
    assert await claimed(spool, o=1) == [("o1", 1)]


async def test_nothing_waits_then_nothing_is_claimed(spool: Spool):
    assert await spool.claim({"m": 3}) == []
    assert await spool.claim({}) == []


async def test_what_runs_is_not_claimed_again(spool: Spool):
    await start(spool)
    assert await spool.claim({"m": 1}) == []


async def test_what_has_ended_is_not_claimed_again(spool: Spool):
    claim = await start(spool)
    await spool.finish(*claim, Status.COMPLETED, DONE)
    assert await spool.claim({"m": 1}) == []


async def test_what_was_cancelled_in_the_queue_is_passed_over(spool: Spool):
    await submit(spool, "a", "b", "c")
    await spool.cancel("a")
    await spool.cancel("b")
    assert await claimed(spool, m=1) == [("c", 1)]


async def test_claims_at_once_never_return_the_same_attempt(spool: Spool):
    ids = [f"p{n}" for n in range(20)]
    await submit(spool, *ids)
    results = await asyncio.gather(*(claimed(spool, m=3) for _ in range(10)))
    assert all(len(result) <= 3 for result in results)
    assert sorted(chain(*results)) == sorted((each, 1) for each in ids)


async def test_claims_and_submits_at_once_lose_nothing(spool: Spool):
    steps = [step for n in range(10) for step in (submit(spool, f"p{n}"), claimed(spool, m=1))]
    taken = [result for result in await asyncio.gather(*steps) if result]
    taken.append(await claimed(spool, m=20))
    assert sorted(chain(*taken)) == sorted((f"p{n}", 1) for n in range(10))
    for n in range(10):
        await shown(spool, f"p{n}", "1-1")
        events = await log(spool, f"p{n}")
        assert events[0][0] == "0-1"
        assert events[-1] == ("1-1", STARTED_1)


async def test_a_lost_one_goes_ahead_of_those_that_have_had_no_attempt(spool: Spool):
    lost = await start(spool, "lost")
    await submit(spool, "a", "b")
    await spool.lose(*lost, "it crashed")
    assert await claimed(spool, m=2) == [("lost", 2), ("a", 1)]


async def test_each_attempt_has_its_own_start(spool: Spool, backend: Backend):
    first = await start(spool)
    began_ns = backend.clock.now_ns
    backend.clock.advance(7)
    await spool.lose(*first, "it crashed")
    backend.clock.advance(3)
    assert await claim_next(spool) == ("p", 2)
    prediction = await spool.get("p")
    assert (prediction.created_at_ns, prediction.started_at_ns) == (began_ns, began_ns + 10_000_000_000)
    assert prediction.attempt == 2
