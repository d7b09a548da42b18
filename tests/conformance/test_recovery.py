"""What is still true when the spool is opened again: after `close`, after a crash, after kill -9 of a real process."""

import json
import subprocess
import sys
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pytest

from unspool.errors import BadCursor, IdempotencyMismatch, StaleAttempt, UnknownPrediction
from unspool.spool.base import Claim, Spool
from unspool.states import Status
from unspool.types import START, Cursor

from .kit import (
    DONE,
    FAILED,
    LEASE_S,
    STARTED_1,
    STARTED_2,
    A,
    B,
    Backend,
    C,
    claim_next,
    claimed,
    cursors,
    ended,
    flat,
    follows,
    log,
    settle,
    shown,
    start,
    submission,
    submit,
    terminal,
)

CHILD = Path(__file__).with_name("child.py")


async def one_of_each(spool: Spool, backend: Backend) -> None:
    """Predictions in every state but `running`, named after it. All have a model of their own."""
    await submit(spool, "created", model="created", run_timeout_s=4.5, start_timeout_s=9e9, on_disconnect="cancel")
    await submit(spool, "cancelled", model="cancelled")
    await spool.cancel("cancelled")
    await submit(spool, "timeout", model="timeout", start_timeout_s=1)
    backend.clock.advance(2)
    await spool.claim({})
    await ended(spool, "timeout")
    done = await start(spool, "completed", model="completed", base64_output=True)
    await spool.append(*done, [A, B])
    await spool.append(*done, [C])
    await spool.finish(*done, Status.COMPLETED, DONE)
    failed = await start(spool, "failed", model="failed")
    await spool.lose(*failed, "it crashed")
    await spool.finish(*await claim_next(spool, "failed"), Status.FAILED, FAILED)
    waiting = await start(spool, "waiting", model="waiting", max_attempts=3)
    await spool.append(*waiting, [A])
    await spool.lose(*waiting, "it crashed")
    await spool.lose(*await start(spool, "given up", model="given up", max_attempts=1), "it crashed")


NAMES = ["created", "cancelled", "timeout", "completed", "failed", "waiting", "given up"]


async def test_records_and_logs_are_the_same_after_a_reopening(lasting: Backend):
    spool = await lasting.open()
    await one_of_each(spool, lasting)
    before = [(await spool.get(name), await log(spool, name)) for name in NAMES]
    for _ in range(3):
        spool = await lasting.reopen()
        assert [(await spool.get(name), await log(spool, name)) for name in NAMES] == before


async def test_records_and_logs_that_were_seen_are_the_same_after_a_crash(lasting: Backend):
    """All but the end of a log whose attempt was lost: that is allowed to go."""
    spool = await lasting.open()
    await one_of_each(spool, lasting)
    names = [name for name in NAMES if name not in {"waiting", "failed", "given up"}]
    before = [(await spool.get(name), await log(spool, name)) for name in names]
    for _ in range(3):
        spool = await lasting.crash()
        assert [(await spool.get(name), await log(spool, name)) for name in names] == before
    for name, end in (("failed", ("2-2", "failed")), ("given up", ("2-1", "failed"))):
        cursor, error = await terminal(spool, name)
        assert (cursor, error["status"]) == end


async def test_pages_of_any_size_are_the_same_after_a_reopening(lasting: Backend):
    spool = await lasting.open()
    await one_of_each(spool, lasting)
    for name in NAMES:
        whole = await log(spool, name)
        for _ in range(2):
            for seen in range(len(whole) + 1):
                for limit in range(1, len(whole) + 2):
                    after = whole[seen - 1][0] if seen else ""
                    assert await log(spool, name, after=after, limit=limit) == whole[seen:], f"{name} {after} {limit}"
            spool = await lasting.reopen()


async def test_cursors_are_judged_the_same_after_a_reopening(lasting: Backend):
    spool = await lasting.open()
    await one_of_each(spool, lasting)
    spool = await lasting.reopen()
    for name, cursor in (
        ("created", "0-2"),
        ("created", "1-1"),
        ("cancelled", "0-3"),
        ("cancelled", "1-1"),
        ("timeout", "0-3"),
        ("completed", "0-2"),
        ("completed", "1-6"),
        ("completed", "2-1"),
        ("failed", "2-3"),
        ("failed", "3-1"),
        ("waiting", "2-1"),
        ("given up", "2-2"),
        ("given up", "3-1"),
    ):
        with pytest.raises(BadCursor):
            await spool.read(name, Cursor.parse(cursor), 10)
    assert [cursor for cursor, _ in await log(spool, "failed", after="1-99")] == ["2-1", "2-2"]
    assert await log(spool, "waiting", after="1-99") == []
    assert (await spool.read("given up", Cursor(1, 99), 10)).done


async def test_what_was_never_submitted_is_still_unknown(lasting: Backend):
    await submit(await lasting.open(), "p")
    spool = await lasting.reopen()
    with pytest.raises(UnknownPrediction):
        await spool.get("other")


async def test_the_queue_keeps_its_order(lasting: Backend):
    spool = await lasting.open()
    lost = await start(spool, "lost")
    await submit(spool, "c", "a", "b", "d")
    await spool.cancel("a")
    await spool.lose(*lost, "it crashed")
    spool = await lasting.reopen()
    assert [prediction.id for prediction in await spool.unfinished()] == ["lost", "c", "b", "d"]
    assert await claimed(spool, m=9) == [("lost", 2), ("c", 1), ("b", 1), ("d", 1)]


async def test_idempotency_keys_hold_on(lasting: Backend):
    spool = await lasting.open()
    first = await spool.submit(submission("p1", idempotency_key="k", fingerprint=b"f"))
    done = await start(spool, "p2", model="n", idempotency_key="l", fingerprint=b"f")
    await spool.finish(*done, Status.COMPLETED, DONE)
    spool = await lasting.reopen()
    again = await spool.submit(submission("p3", idempotency_key="k", fingerprint=b"f"))
    assert (again.prediction, again.new) == (first.prediction, False)
    again = await spool.submit(submission("p4", idempotency_key="l", fingerprint=b"f"))
    assert (again.prediction.id, again.prediction.status, again.new) == ("p2", Status.COMPLETED, False)
    for key in ("k", "l"):
        with pytest.raises(IdempotencyMismatch):
            await spool.submit(submission("p5", idempotency_key=key, fingerprint=b"g"))
    lasting.clock.advance(24 * 60 * 60 + 1)
    for key in ("k", "l"):
        assert (await spool.submit(submission(f"new {key}", idempotency_key=key, fingerprint=b"g"))).new


async def test_start_timeouts_go_on_counting(lasting: Backend):
    spool = await lasting.open()
    await submit(spool, "hasty", start_timeout_s=60)
    await submit(spool, "patient")
    lasting.clock.advance(50)
    spool = await lasting.reopen()
    lasting.clock.advance(11)
    assert await claimed(spool, m=9) == [("patient", 1)]
    await ended(spool, "hasty")
    assert (await spool.get("hasty")).status is Status.TIMEOUT


async def test_all_that_was_appended_before_a_close_is_kept(lasting: Backend):
    spool = await lasting.open()
    claim = await start(spool)
    for _ in range(100):
        await spool.append(*claim, [A, B])
    spool = await lasting.reopen()
    assert await log(spool, after="1-1") == [(f"1-{n}", (A, B)[n % 2]) for n in range(2, 202)]


async def test_an_attempt_that_said_nothing_is_kept_by_a_close(lasting: Backend):
    spool = await lasting.open()
    await start(spool)
    spool = await lasting.reopen()
    assert (await log(spool))[1:] == [("1-1", STARTED_1)]


async def test_what_a_free_slot_took_at_once_is_not_begun_again_after_a_crash(lasting: Backend):
    """Its submit may have been written together with its claim; readers may have seen it right away."""
    spool = await lasting.open()
    assert await claimed(spool, m=2) == []
    claims = [await start(spool, "a"), await start(spool, "b")]
    spool = await lasting.crash()
    assert await claimed(spool, m=9) == [("a", 2), ("b", 2)]
    for claim in claims:
        with pytest.raises(StaleAttempt):
            await spool.append(*claim, [A])


async def test_what_a_free_slot_could_have_taken_and_did_not_begins_with_attempt_1(lasting: Backend):
    spool = await lasting.open()
    assert await claimed(spool, m=9) == []
    await submit(spool, "refused", "cancelled", "left", "late")
    assert await claimed(spool, n=1) == []
    await spool.cancel("cancelled")
    assert await claimed(spool, m=1) == [("refused", 1)]
    await shown(spool, "refused", "1-1")
    spool = await lasting.reopen()
    assert (await terminal(spool, "cancelled"))[0] == "0-2"
    assert await claimed(spool, m=9) == [("refused", 2), ("left", 1), ("late", 1)]


async def test_a_close_right_after_a_submit_costs_no_attempt(lasting: Backend):
    spool = await lasting.open()
    assert await claimed(spool, m=9) == []
    await submit(spool, "p")
    spool = await lasting.reopen()
    assert await claimed(spool, m=9) == [("p", 1)]


async def test_an_attempt_that_ran_before_is_not_continued(lasting: Backend):
    spool = await lasting.open()
    claim = await start(spool)
    await spool.append(*claim, [A])
    spool = await lasting.reopen()
    await settle(lasting, spool)
    with pytest.raises(StaleAttempt):
        await spool.append(*claim, [B])
    with pytest.raises(StaleAttempt):
        await spool.finish(*claim, Status.COMPLETED, DONE)
    assert await claim_next(spool) == ("p", 2)
    assert (await log(spool))[1:] == [("1-1", STARTED_1), ("1-2", A), ("2-1", STARTED_2)]


async def test_an_attempt_that_ran_before_a_crash_is_used_up(lasting: Backend):
    spool = await lasting.open()
    await start(spool, max_attempts=2)
    spool = await lasting.crash()
    await settle(lasting, spool)
    assert await claim_next(spool) == ("p", 2)
    spool = await lasting.crash()
    await settle(lasting, spool)
    await ended(spool)
    cursor, error = await terminal(spool)
    assert (cursor, error["type"], error["status"]) == ("3-1", "error", "failed")


async def test_attempts_are_numbered_on(lasting: Backend):
    """No attempt that a reader has seen is ever begun again, however often everything dies."""
    spool = await lasting.open()
    await submit(spool, "p", max_attempts=99)
    for attempt in range(1, 6):
        assert await claim_next(spool) == ("p", attempt)
        spool = await lasting.crash()
        await settle(lasting, spool)


async def test_the_cancellation_of_a_run_is_kept(lasting: Backend):
    spool = await lasting.open()
    await start(spool, max_attempts=9)
    await spool.cancel("p")
    spool = await lasting.crash()
    await settle(lasting, spool)
    await ended(spool)
    cursor, error = await terminal(spool)
    assert (cursor, error["status"]) == ("2-1", "cancelled")


@pytest.mark.parametrize("times", [1, 2, 20])
async def test_every_submit_survives_a_crash(lasting: Backend, times: int):
    spool = await lasting.open()
    for n in range(times):
        await submit(spool, f"p{n}")
    spool = await lasting.crash()
    assert await claimed(spool, m=99) == [(f"p{n}", 1) for n in range(times)]


async def test_every_submit_and_every_finish_survives_the_crash_right_after_it(lasting: Backend):
    spool = await lasting.open()
    for n in range(5):
        await submit(spool, f"p{n}")
        spool = await lasting.crash()
        assert (await spool.get(f"p{n}")).status is Status.CREATED
        claim = await claim_next(spool)
        await spool.append(*claim, [A, B])
        await spool.finish(*claim, Status.COMPLETED, DONE)
        spool = await lasting.crash()
        ended_as = await spool.get(f"p{n}")
        assert (ended_as.status, ended_as.terminal, ended_as.attempt) == (Status.COMPLETED, DONE, 1)
        assert (await log(spool, f"p{n}"))[1:] == [("1-1", STARTED_1), ("1-2", A), ("1-3", B), ("1-4", DONE)]


async def test_the_end_of_what_waits_survives_the_crash_right_after_its_cancel(lasting: Backend):
    spool = await lasting.open()
    await submit(spool, "p")
    await spool.cancel("p")
    spool = await lasting.crash()
    assert (await spool.get("p")).status is Status.CANCELLED
    assert (await terminal(spool))[0] == "0-2"


async def test_a_cursor_from_before_a_crash_is_good_at_once(lasting: Backend):
    """The reader that holds it comes back while nobody has claimed the prediction again."""
    spool = await lasting.open()
    claim = await start(spool)
    await spool.append(*claim, [A] * 10)
    assert (await cursors(spool))[-1] == "1-11"
    spool = await lasting.crash()
    assert flat(await spool.read("p", Cursor(1, 11), 10), Cursor(1, 11), 10) == []
    await settle(lasting, spool)
    assert await claim_next(spool) == ("p", 2)
    assert await log(spool, after="1-11") == [("2-1", STARTED_2)]


@pytest.mark.parametrize("kept", ["crash", "reopen"])
async def test_what_a_reader_has_seen_is_never_followed_by_something_else(lasting: Backend, kept: str):
    """One reader reads on over many deaths; another, that comes at the end, must not contradict it."""
    spool = await lasting.open()
    await submit(spool, "p", max_attempts=99)
    seen: dict[Cursor, bytes] = {}
    at = START
    for life in range(8):
        claim = await claim_next(spool)
        for n in range(life * 7):
            await spool.append(*claim, [b'{"type":"output","output":"%d.%d","index":0}' % (life, n)])
            if n % 3 == 0:
                events = flat(await spool.read("p", at, 1000), at, 1000)
                seen.update(events)
                at = events[-1][0] if events else at
        spool = await (lasting.crash() if kept == "crash" else lasting.reopen())
        await settle(lasting, spool)
    await spool.finish(*await claim_next(spool), Status.COMPLETED, DONE)
    whole = dict(flat(await spool.read("p", START, 9999), START, 9999))
    seen.update(flat(await spool.read("p", at, 9999), at, 9999))
    assert {cursor: event for cursor, event in seen.items() if cursor in whole} == whole
    assert list(seen) == sorted(seen)


async def test_a_queue_position_that_was_seen_stays(lasting: Backend):
    """Attempt 0 is the one whose events are durable before they are seen."""
    spool = await lasting.open()
    await submit(spool, *(f"p{n}" for n in range(9)))
    for n in range(6):
        assert await claimed(spool, m=1) == [(f"p{n}", 1)]
        await shown(spool, f"p{n}", "1-1")
    before = {f"p{n}": await log(spool, f"p{n}") for n in range(6, 9)}
    spool = await lasting.crash()
    for each, events in before.items():
        assert (await log(spool, each))[: len(events)] == events


async def test_a_lease_is_not_needed_twice(lasting: Backend):
    """An attempt whose lease had run out before the crash is lost once, not twice."""
    spool = await lasting.open()
    await start(spool, max_attempts=2)
    lasting.clock.advance(LEASE_S + 1)
    spool = await lasting.crash()
    await settle(lasting, spool)
    await settle(lasting, spool)
    assert await claim_next(spool) == ("p", 2)
    assert (await spool.get("p")).failures == 1


async def test_a_long_run_is_recovered_whole_and_goes_on(lasting: Backend):
    spool = await lasting.open()
    claim = await start(spool)
    said = [b'{"type":"output","output":"%05d","index":0}' % n for n in range(30_000)]
    for at in range(0, len(said), 500):
        await spool.append(*claim, said[at : at + 500])
    spool = await lasting.reopen()
    assert await log(spool, after="1-1") == list(zip([f"1-{n}" for n in range(2, 30_002)], said, strict=True))
    await settle(lasting, spool)
    await spool.finish(*await claim_next(spool), Status.COMPLETED, DONE)
    spool = await lasting.reopen()
    assert await log(spool, after="1-29999", limit=2) == [
        ("1-30000", said[-2]),
        ("1-30001", said[-1]),
        ("2-1", STARTED_2),
        ("2-2", DONE),
    ]


async def test_a_run_that_fell_silent_long_ago_is_recovered_whole(lasting: Backend):
    """However much others have said since."""
    spool = await lasting.open()
    quiet = await start(spool, "quiet", model="n")
    await spool.append(*quiet, [A, B, C])
    await submit(spool, "busy")
    for _ in range(1_100):
        await spool.lose(*await claim_next(spool), "nobody is to blame", counted=False)
    spool = await lasting.crash()
    assert await log(spool, "quiet", after="0-1") == [("1-1", STARTED_1), ("1-2", A), ("1-3", B), ("1-4", C)]
    assert [prediction.id for prediction in await spool.unfinished()] == ["quiet", "busy"]
    assert await claim_next(spool) == ("busy", 1_101)


async def test_a_long_run_that_fell_silent_long_ago_goes_on_with_its_next_attempt(lasting: Backend):
    spool = await lasting.open()
    long = await start(spool, "long", model="n")
    said = [b'{"type":"output","output":"%0200d","index":0}' % n for n in range(10_000)]
    for at in range(0, len(said), 500):
        await spool.append(*long, said[at : at + 500])
    for n in range(200):
        await spool.finish(*await start(spool, f"other {n}"), Status.COMPLETED, DONE)
    spool = await lasting.crash()
    assert await log(spool, "long", after="1-1", limit=3_000) == [(f"1-{n}", event) for n, event in enumerate(said, 2)]
    await settle(lasting, spool)
    assert await claim_next(spool, "n") == ("long", 2)


# Kill -9 of a real process


def killed_after(backend: Backend, word: str, times: int) -> list[list[str]]:
    """Runs `child.py` until it has told a word so often, kills it that moment, and returns all that it told."""
    told: list[list[str]] = []
    with subprocess.Popen([sys.executable, str(CHILD), backend.url], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            told.append(json.loads(line))
            if told[-1][0] == word:
                times -= 1
                if times == 0:
                    child.kill()
    assert times <= 0, f"the child ended by itself after {told[-3:]}"
    return told


@pytest.mark.parametrize(
    ("word", "times"),
    [("submitted", 1), ("submitted", 37), ("finished", 1), ("finished", 12), ("cancelled", 3), ("seen", 40)],
)
async def test_kill_9_breaks_no_promise(lasting: Backend, word: str, times: int):
    told = killed_after(lasting, word, times)
    spool = await lasting.open()
    for kind, name, *_ in told:
        if kind == "submitted":
            await spool.get(name)
        elif kind == "cancelled":
            assert (await spool.get(name)).status is Status.CANCELLED
        elif kind == "finished":
            assert (await spool.get(name)).status is Status.COMPLETED
            assert len(await log(spool, name, after="0-1")) == 7
    await no_reader_was_lied_to(lasting, spool, told)


async def no_reader_was_lied_to(backend: Backend, spool: Spool, told: list[list[str]]) -> None:
    """Each reader of the killed process resumes, sees its prediction through to the end, and compares."""
    seen: dict[str, dict[str, bytes]] = defaultdict(dict)
    for kind, name, *more in told:
        if kind == "seen":
            seen[name][more[0]] = more[1].encode()
    for name, events in seen.items():
        await log(spool, name, after=list(events)[-1])
    await settle(backend, spool)
    models = {prediction.model: 1 for prediction in await spool.unfinished()}
    for prediction in await spool.claim(models):
        await spool.finish(*Claim(prediction.id, prediction.attempt), Status.COMPLETED, DONE)
    for name, events in seen.items():
        await ended(spool, name)
        await terminal(spool, name)
        whole = dict(await log(spool, name))
        resumed = await log(spool, name, after=list(events)[-1])
        for cursor, event in events.items():
            if cursor.startswith("0-") or b'"type":"complete"' in event:
                assert whole[cursor] == event
            assert whole.get(cursor, event) == event, f"{name} {cursor} was another event before"
        view = [Cursor.parse(cursor) for cursor in (*events, *dict(resumed))]
        assert all(follows(cursor, before) for before, cursor in pairwise(view))
