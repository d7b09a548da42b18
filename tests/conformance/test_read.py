"""`read` and `unfinished`: the log from any cursor, in pieces of any size, and when it is at its end."""

import asyncio

import pytest

from unspool.errors import BadCursor, UnknownPrediction
from unspool.spool.base import Spool
from unspool.states import Status
from unspool.types import START, Cursor, Page

from .kit import (
    DONE,
    STARTED_1,
    STARTED_2,
    A,
    B,
    Backend,
    C,
    claim_next,
    claimed,
    flat,
    log,
    shown,
    start,
    submit,
)

CREATED = b'{"type":"progress","percentage":0,"id":"p","status":"created","queue_position":0}'
RUNNING = [
    ("0-1", CREATED),
    ("1-1", STARTED_1),
    ("1-2", A),
    ("1-3", B),
    ("1-4", B),
    ("2-1", STARTED_2),
    ("2-2", C),
    ("2-3", A),
]
FINISHED = [*RUNNING, ("2-4", DONE)]


async def run(spool: Spool) -> None:
    """A prediction that lost its first attempt and is in its second: `RUNNING`."""
    first = await start(spool)
    await spool.append(*first, [A, B])
    await spool.append(*first, [B])
    await spool.lose(*first, "it crashed")
    second = await claim_next(spool)
    await spool.append(*second, [C])
    await spool.append(*second, [A])


async def run_to_the_end(spool: Spool) -> None:
    """The same prediction after its end: `FINISHED`."""
    await run(spool)
    await spool.finish("p", 2, Status.COMPLETED, DONE)


async def test_the_whole_log_is_read_from_the_start(spool: Spool):
    await run_to_the_end(spool)
    page = await spool.read("p", START, 1000)
    assert [(str(cursor), event) for cursor, event in flat(page, START, 1000)] == FINISHED
    assert page.done


@pytest.mark.parametrize(("make", "expected"), [(run, RUNNING), (run_to_the_end, FINISHED)])
async def test_pages_of_any_size_from_any_cursor_make_up_the_whole(spool: Spool, make, expected):
    await make(spool)
    for seen in range(len(expected) + 1):
        after = expected[seen - 1][0] if seen else ""
        for limit in range(1, len(expected) + 2):
            assert await log(spool, after=after, limit=limit) == expected[seen:], f"after {after!r} by {limit}"


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 8, 9, 10])
async def test_a_page_holds_as_much_as_it_may(spool: Spool, limit: int):
    """A short page would make a reader believe that it is at the tail."""
    await run_to_the_end(spool)
    page = await spool.read("p", START, limit)
    assert len(flat(page, START, limit)) == min(limit, 9)


async def test_a_page_is_done_when_its_last_event_is_the_terminal_one(spool: Spool):
    await run_to_the_end(spool)
    for limit in range(1, 11):
        page = await spool.read("p", START, limit)
        assert page.done == (limit >= 9), f"{limit} of 9 events"


async def test_a_page_is_done_when_its_cursor_is_the_terminal_event(spool: Spool):
    await run_to_the_end(spool)
    assert await spool.read("p", Cursor(2, 4), 10) == Page([], done=True)


async def test_a_page_at_the_tail_of_what_goes_on_is_empty_and_not_done(spool: Spool):
    await submit(spool, "p")
    assert await spool.read("p", Cursor(0, 1), 10) == Page([], done=False)
    claim = await claim_next(spool)
    assert await spool.read("p", Cursor(1, 1), 10) == Page([], done=False)
    await spool.append(*claim, [A])
    assert await spool.read("p", Cursor(1, 2), 10) == Page([], done=False)
    await spool.lose(*claim, "it crashed")
    assert await spool.read("p", Cursor(1, 2), 10) == Page([], done=False)


async def test_no_page_before_the_end_is_done(spool: Spool):
    await run(spool)
    assert not (await spool.read("p", START, 1000)).done


async def test_what_ended_in_the_queue_is_done_too(spool: Spool):
    await submit(spool, "p")
    await spool.cancel("p")
    assert (await spool.read("p", START, 2)).done
    assert not (await spool.read("p", START, 1)).done
    assert await spool.read("p", Cursor(0, 2), 1) == Page([], done=True)


async def test_a_cursor_past_the_rest_of_a_lost_attempt_is_followed_by_the_next_attempt(spool: Spool):
    await run(spool)
    for n in (4, 5, 6, 1_000_000):
        assert await log(spool, after=f"1-{n}") == RUNNING[5:]
        assert await log(spool, after=f"1-{n}", limit=1) == RUNNING[5:]
    await spool.finish("p", 2, Status.COMPLETED, DONE)
    for n in (4, 5, 6, 1_000_000):
        assert await log(spool, after=f"1-{n}") == FINISHED[5:]


async def test_a_cursor_past_the_rest_of_a_lost_attempt_waits_for_the_next_one(spool: Spool):
    claim = await start(spool)
    await spool.append(*claim, [A])
    await spool.lose(*claim, "it crashed")
    assert await spool.read("p", Cursor(1, 40), 10) == Page([], done=False)
    await claim_next(spool)
    assert await log(spool, after="1-40") == [("2-1", STARTED_2)]


async def test_a_cursor_past_the_rest_of_the_last_attempt_is_followed_by_the_final_error(spool: Spool):
    claim = await start(spool, max_attempts=1)
    await spool.append(*claim, [A])
    await spool.lose(*claim, "it crashed")
    assert [cursor for cursor, _ in await log(spool, after="1-40")] == ["2-1"]
    assert (await spool.read("p", Cursor(1, 40), 10)).done


async def created(spool: Spool) -> None:
    await submit(spool, "p")


async def cancelled(spool: Spool) -> None:
    await submit(spool, "p")
    await spool.cancel("p")


async def given_up(spool: Spool) -> None:
    await spool.lose(*await start(spool, max_attempts=1), "it crashed")


@pytest.mark.parametrize(
    ("make", "never_issued"),
    [
        (created, ["0-2", "0-99", "1-1", "2-1"]),
        (cancelled, ["0-3", "1-1"]),
        (run, ["0-2", "0-99", "2-4", "2-99", "3-1", "999999999-1"]),
        (run_to_the_end, ["0-2", "2-5", "2-99", "3-1"]),
        (given_up, ["0-2", "2-2", "3-1"]),
    ],
)
async def test_a_cursor_that_was_never_issued_is_refused(spool: Spool, make, never_issued: list[str]):
    await make(spool)
    for cursor in never_issued:
        with pytest.raises(BadCursor):
            await spool.read("p", Cursor.parse(cursor), 10)


async def test_a_refused_cursor_is_good_once_its_event_exists(spool: Spool):
    claim = await start(spool)
    with pytest.raises(BadCursor):
        await spool.read("p", Cursor(1, 2), 10)
    await spool.append(*claim, [A])
    assert await spool.read("p", Cursor(1, 2), 10) == Page([], done=False)


async def test_the_log_of_an_unknown_prediction_cannot_be_read(spool: Spool):
    with pytest.raises(UnknownPrediction):
        await spool.read("p", START, 10)


async def test_a_long_log_reads_the_same_while_it_runs_and_afterwards(spool: Spool):
    """Wherever a backend keeps its older events."""
    claim = await start(spool)
    said = [b'{"type":"output","output":"%05d","index":0}' % n for n in range(20_000)]
    for at in range(0, len(said), 400):
        await spool.append(*claim, said[at : at + 400])
    expected = [("0-1", CREATED), ("1-1", STARTED_1), *((f"1-{n}", event) for n, event in enumerate(said, 2))]
    assert await log(spool, limit=777) == expected
    assert await log(spool, after="1-9999", limit=5_000) == expected[10_000:]
    await spool.finish(*claim, Status.COMPLETED, DONE)
    expected.append(("1-20002", DONE))
    assert await log(spool, limit=1_001) == expected
    assert await log(spool, after="1-19999") == expected[-3:]


async def test_readers_wait_at_the_beginning_of_an_attempt_that_they_do_not_see_yet(spool: Spool):
    """Where those go on whose attempt was overtaken. The claim that overtook it may not be durable yet."""
    await spool.lose(*await start(spool), "it crashed")
    assert await claimed(spool, m=1) == [("p", 2)]
    page = flat(await spool.read("p", Cursor(2, 0), 10), Cursor(2, 0), 10)
    assert page in ([], [(Cursor(2, 1), STARTED_2)])
    await shown(spool, "p", "2-1")
    assert flat(await spool.read("p", Cursor(2, 0), 10), Cursor(2, 0), 10) == [(Cursor(2, 1), STARTED_2)]


async def test_a_long_log_can_be_read_from_anywhere_while_it_grows(spool: Spool):
    """Also while a backend moves its older events to where it keeps them."""
    claim = await start(spool)
    said = [b'{"type":"output","output":"%050d","index":0}' % n for n in range(20_000)]
    for at in range(0, len(said), 200):
        await spool.append(*claim, said[at : at + 200])
        storing = asyncio.create_task(submit(spool, f"other {at}", model="n"))
        while not storing.done():
            await asyncio.wait([storing], timeout=0.001)  # a loop that spins keeps the interpreter from the backend
            for seen in (0, at // 2, at):
                after = Cursor(1, seen + 1)
                page = flat(await spool.read("p", after, 10), after, 10)
                assert [event for _, event in page] == said[seen : seen + 10]


async def test_many_readers_at_different_places_all_see_the_same_log(spool: Spool):
    claim = await start(spool)
    readers = {limit: [] for limit in (1, 2, 3, 7, 100)}
    for n in range(60):
        await spool.append(*claim, [A] * (n % 4 + 1))
        for limit, seen in readers.items():
            at = Cursor.parse(seen[-1][0]) if seen else START
            seen += [(str(cursor), event) for cursor, event in flat(await spool.read("p", at, limit), at, limit)]
    whole = await log(spool)
    for limit, seen in readers.items():
        assert seen + await log(spool, after=seen[-1][0], limit=limit) == whole


async def test_unfinished_tells_all_without_a_terminal_event_the_oldest_first(spool: Spool, backend: Backend):
    assert await spool.unfinished() == []
    for each in ("d", "a", "c", "b", "e"):
        await submit(spool, each)
        backend.clock.advance(1)
    (done, *_) = await claimed(spool, m=3)
    await spool.finish(*done, Status.COMPLETED, DONE)
    await spool.lose("a", 1, "it crashed")
    await spool.cancel("b")
    waiting_running_created = await spool.unfinished()
    assert [prediction.id for prediction in waiting_running_created] == ["a", "c", "e"]
    assert waiting_running_created == [await spool.get(each) for each in ("a", "c", "e")]
