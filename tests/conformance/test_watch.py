"""`watch` and `watch_work`: a wake-up says "look again". None that matters is missed, and nobody waits for ever."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from unspool.spool.base import Spool
from unspool.spool.watch import Watch
from unspool.states import Status
from unspool.types import START

from .kit import DONE, LEASE_S, LONG_S, A, Backend, claim_next, flat, log, settle, start, submit


async def quiet(watch: Watch) -> None:
    """Takes the wake-ups that are left, since a spool may give one too many."""
    for _ in range(100):
        if not await watch.wait(0.001):
            return
    pytest.fail("it keeps waking although nothing happens")


async def woken_by(watch: Watch, deed: Awaitable[object]) -> bool:
    """Whether somebody who waits already is woken by what happens."""
    woken, _ = await asyncio.gather(watch.wait(LONG_S), deed)
    return woken


async def claim(spool: Spool, backend: Backend) -> None:
    await spool.claim({"m": 1})


async def cancel(spool: Spool, backend: Backend) -> None:
    await spool.cancel("p")


async def wait_too_long(spool: Spool, backend: Backend) -> None:
    await settle(backend, spool)


async def append(spool: Spool, backend: Backend) -> None:
    await spool.append("p", 1, [A])


async def finish(spool: Spool, backend: Backend) -> None:
    await spool.finish("p", 1, Status.COMPLETED, DONE)


async def lose(spool: Spool, backend: Backend) -> None:
    await spool.lose("p", 1, "it crashed")


Deed = Callable[[Spool, Backend], Awaitable[None]]


@pytest.mark.parametrize("deed", [claim, cancel, wait_too_long], ids=lambda deed: deed.__name__)
async def test_what_happens_to_one_that_waits_wakes_its_readers(spool: Spool, backend: Backend, deed: Deed):
    await submit(spool, "p", start_timeout_s=LEASE_S)
    await wakes_and_shows(spool, backend, deed)


@pytest.mark.parametrize("deed", [append, finish, lose, wait_too_long], ids=lambda deed: deed.__name__)
async def test_what_happens_to_one_that_runs_wakes_its_readers(spool: Spool, backend: Backend, deed: Deed):
    await start(spool, max_attempts=1)
    await wakes_and_shows(spool, backend, deed)


async def wakes_and_shows(spool: Spool, backend: Backend, deed: Deed) -> None:
    before = await log(spool)
    with spool.watch("p") as waits, spool.watch("p") as comes_later:
        await quiet(waits)
        await quiet(comes_later)
        assert await woken_by(waits, deed(spool, backend))
        assert await comes_later.wait(LONG_S), "a wake-up between two waits is kept"
        while len(await log(spool)) == len(before):
            assert await waits.wait(LONG_S)


async def test_all_who_wait_are_woken(spool: Spool):
    claim = await start(spool)
    watches = [spool.watch("p") for _ in range(20)]
    woken = await asyncio.gather(*(watch.wait(LONG_S) for watch in watches), spool.append(*claim, [A]))
    assert woken == [True] * 20 + [None]
    for watch in watches:
        watch.close()


async def test_nobody_is_woken_when_nothing_happens(spool: Spool):
    await start(spool)
    with spool.watch("p") as reader, spool.watch_work() as host:
        await quiet(reader)
        await quiet(host)
        assert await reader.wait(0.001) is False
        assert await host.wait(0) is False


async def test_one_wait_after_many_wake_ups_is_enough(spool: Spool):
    claim = await start(spool)
    with spool.watch("p") as watch:
        for _ in range(10):
            await spool.append(*claim, [A])
        assert await watch.wait(LONG_S)
        assert len(await log(spool, after="1-1")) == 10
        await quiet(watch)


async def test_a_reader_that_watches_before_it_reads_misses_nothing(spool: Spool):
    """However its waits fall between what is said."""
    claim = await start(spool)

    async def follow() -> list[bytes]:
        seen, at, done = [], START, False
        with spool.watch("p") as watch:
            while not done:
                page = await spool.read("p", at, 3)
                events, done = flat(page, at, 3), page.done
                seen += [event for _, event in events]
                at = events[-1][0] if events else at
                if not events and not done:
                    assert await watch.wait(LONG_S)
        return seen

    async def speak() -> None:
        for _ in range(100):
            await spool.append(*claim, [A, A])
        await spool.finish(*claim, Status.COMPLETED, DONE)

    *views, _ = await asyncio.gather(*(follow() for _ in range(5)), speak())
    for seen in views:
        assert seen[2:] == [A] * 200 + [DONE]


async def test_a_wait_that_is_given_up_leaves_the_watch_usable(spool: Spool):
    claim = await start(spool)
    with spool.watch("p") as watch:
        await quiet(watch)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await watch.wait(LONG_S)
        assert await woken_by(watch, spool.append(*claim, [A]))


async def test_a_short_wait_after_a_long_one_is_short(spool: Spool):
    claim = await start(spool)
    with spool.watch("p") as watch:
        await quiet(watch)
        assert await woken_by(watch, spool.append(*claim, [A]))
        await quiet(watch)


async def test_a_long_wait_after_a_short_one_is_not_cut_off(spool: Spool):
    claim = await start(spool)

    async def append_when_the_short_wait_would_be_over() -> None:
        with spool.watch("other") as other:
            await quiet(other)
            assert await other.wait(0.02) is False
        await spool.append(*claim, [A])

    await submit(spool, "other", model="n")
    with spool.watch("p") as watch:
        await quiet(watch)
        woken, _ = await asyncio.gather(watch.wait(0.01), spool.append(*claim, [A]))
        assert woken
        assert await woken_by(watch, append_when_the_short_wait_would_be_over())


async def test_closing_twice_is_allowed(spool: Spool):
    await submit(spool, "p")
    with spool.watch("p") as reader, spool.watch_work() as host:
        for watch in (reader, host):
            watch.close()
            watch.close()


async def test_a_closed_watch_does_not_disturb_the_others(spool: Spool):
    claim = await start(spool)
    with spool.watch("p") as left, spool.watch("p") as stays:
        left.close()
        assert await woken_by(stays, spool.append(*claim, [A]))


async def test_new_work_wakes_those_who_claim(spool: Spool):
    with spool.watch_work() as watch:
        await quiet(watch)
        assert await woken_by(watch, submit(spool, "p"))
        assert await claim_next(spool) == ("p", 1)


async def test_lost_work_wakes_those_who_claim(spool: Spool):
    claim = await start(spool)
    with spool.watch_work() as watch:
        await quiet(watch)
        assert await woken_by(watch, spool.lose(*claim, "it crashed"))
        assert await claim_next(spool) == ("p", 2)


async def test_the_cancellation_of_a_run_wakes_those_who_run(spool: Spool):
    claim = await start(spool)
    with spool.watch_work() as watch:
        await quiet(watch)
        assert await woken_by(watch, spool.cancel("p"))
        assert await spool.cancellations() == [claim]


async def test_work_that_came_between_two_waits_is_told(spool: Spool):
    with spool.watch_work() as watch:
        await quiet(watch)
        await submit(spool, "p")
        assert await watch.wait(LONG_S)


async def test_closing_the_spool_wakes_everyone_who_waits(backend: Backend):
    spool = await backend.open()
    await submit(spool, "p")
    with spool.watch("p") as reader, spool.watch_work() as host:
        await quiet(reader)
        await quiet(host)
        await asyncio.gather(reader.wait(LONG_S), host.wait(LONG_S), backend.close())
