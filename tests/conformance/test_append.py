"""`append`: events keep their bytes and their order, and are numbered from the attempt's first event on."""

import asyncio

from unspool.spool.base import Spool
from unspool.states import Status

from .kit import DONE, STARTED_1, STARTED_2, A, B, C, claim_next, claimed, log, shown, start, submit


async def test_events_follow_the_first_event_of_their_attempt(spool: Spool):
    claim = await start(spool)
    await spool.append(*claim, [A, B])
    await spool.append(*claim, [C])
    assert (await log(spool))[1:] == [("1-1", STARTED_1), ("1-2", A), ("1-3", B), ("1-4", C)]


async def test_events_are_seen_as_soon_as_append_has_returned(spool: Spool):
    claim = await start(spool)
    for n in range(2, 50):
        await spool.append(*claim, [A])
        assert (await log(spool, after="1-1"))[-1] == (f"1-{n}", A)


async def test_what_is_said_before_readers_see_the_claim_is_seen_behind_it(spool: Spool):
    await submit(spool, "p")
    (claim,) = await claimed(spool, m=1)
    await spool.append(*claim, [A])
    await spool.append(*claim, [B, C])
    await shown(spool, "p", "1-4")
    assert (await log(spool))[1:] == [("1-1", STARTED_1), ("1-2", A), ("1-3", B), ("1-4", C)]


async def test_equal_events_stay_separate(spool: Spool):
    claim = await start(spool)
    await spool.append(*claim, [A, A])
    await spool.append(*claim, [A])
    assert (await log(spool, after="1-1")) == [("1-2", A), ("1-3", A), ("1-4", A)]


async def test_events_may_be_large_and_many(spool: Spool):
    claim = await start(spool)
    large = b'{"type":"output","output":"%b","index":0}' % (b"x" * 300_000)
    many = [b'{"type":"output","output":"%d","index":0}' % n for n in range(3_000)]
    await spool.append(*claim, many)
    await spool.append(*claim, [large])
    await spool.finish(*claim, Status.COMPLETED, DONE)
    events = await log(spool, after="1-1")
    assert [event for _, event in events] == [*many, large, DONE]
    assert events[-1][0] == "1-3003"


async def test_predictions_that_run_side_by_side_do_not_mix(spool: Spool):
    one, two = await start(spool, "one"), await start(spool, "two")

    async def say(claim: tuple[str, int], letter: bytes) -> None:
        for n in range(30):
            await spool.append(*claim, [b'{"type":"output","output":"%b%d","index":0}' % (letter, n)])

    await asyncio.gather(say(one, b"x"), say(two, b"y"))
    for claim, letter in ((one, b"x"), (two, b"y")):
        assert await log(spool, claim.id, after="1-1") == [
            (f"1-{n + 2}", b'{"type":"output","output":"%b%d","index":0}' % (letter, n)) for n in range(30)
        ]


async def test_the_next_attempt_is_numbered_anew_behind_what_the_lost_one_said(spool: Spool):
    first = await start(spool)
    await spool.append(*first, [A, B])
    await spool.lose(*first, "it crashed")
    second = await claim_next(spool)
    await spool.append(*second, [C])
    assert (await log(spool))[1:] == [("1-1", STARTED_1), ("1-2", A), ("1-3", B), ("2-1", STARTED_2), ("2-2", C)]


async def test_a_run_whose_cancellation_was_asked_for_may_go_on_speaking(spool: Spool):
    claim = await start(spool)
    await spool.cancel("p")
    await spool.append(*claim, [A])
    assert (await log(spool))[-1] == ("1-2", A)
