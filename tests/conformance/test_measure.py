"""`waiting` and `listen`: what measurements are made of."""

from unspool.events import output
from unspool.spool.base import Spool
from unspool.types import Cursor

from .kit import start, submit


async def test_who_waits_is_counted_by_model(spool: Spool):
    await submit(spool, "a", "b")
    await submit(spool, "c", model="other")
    assert await spool.waiting() == {"m": 2, "other": 1}
    await spool.claim({"m": 1})
    assert {model: count for model, count in (await spool.waiting()).items() if count} == {"m": 1, "other": 1}


async def test_a_lost_attempt_waits_again(spool: Spool):
    claim = await start(spool)
    assert not (await spool.waiting()).get("m")
    await spool.lose(claim.id, claim.attempt, "It died.")
    assert await spool.waiting() == {"m": 1}


async def test_a_listener_at_the_end_of_the_log_hears_the_next_append_once(spool: Spool):
    claim = await start(spool)
    await spool.append(claim.id, 1, [output("a")])
    heard: list[Cursor] = []
    assert spool.listen(claim.id, Cursor(1, 2), heard.append)
    await spool.append(claim.id, 1, [output("b"), output("c")])
    await spool.append(claim.id, 1, [output("d")])
    assert heard == [(1, 4)]


async def test_a_listener_that_is_behind_is_not_called(spool: Spool):
    claim = await start(spool)
    await spool.append(claim.id, 1, [output("a")])
    heard: list[Cursor] = []
    assert not spool.listen(claim.id, Cursor(1, 1), heard.append)
    await spool.append(claim.id, 1, [output("b")])
    assert heard == []


async def test_nothing_is_heard_of_what_does_not_run(spool: Spool):
    await submit(spool, "p")
    assert not spool.listen("p", Cursor(0, 1), lambda at: None)
    assert not spool.listen("nobody", Cursor(0, 1), lambda at: None)
