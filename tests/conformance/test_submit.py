"""`submit`: one atomic step, idempotent by key."""

import asyncio
import json

import pytest

from unspool.errors import IdempotencyMismatch, UnknownPrediction
from unspool.spool.base import Spool, Submitted
from unspool.states import Status
from unspool.types import Prediction

from .kit import DONE, Backend, claimed, log, start, submission, submit

DAY_S = 24 * 60 * 60


async def test_a_submitted_prediction_is_what_was_asked_for(spool: Spool, backend: Backend):
    made = await spool.submit(
        submission(
            input='{"text":"ä \u2028 🐈"}'.encode(),
            max_attempts=3,
            run_timeout_s=4.5,
            start_timeout_s=60.0,
            on_disconnect="cancel",
            base64_output=True,
            idempotency_key="k",
            fingerprint=b"f",
        )
    )
    expected = Prediction(
        id="p",
        model="m",
        owner="alice",
        input='{"text":"ä \u2028 🐈"}'.encode(),
        status=Status.CREATED,
        attempt=0,
        failures=0,
        max_attempts=3,
        run_timeout_s=4.5,
        start_timeout_s=60.0,
        on_disconnect="cancel",
        base64_output=True,
        cancel_requested=False,
        created_at_ns=backend.clock.now_ns,
        started_at_ns=None,
        finished_at_ns=None,
        terminal=None,
    )
    assert made == Submitted(expected, new=True)
    assert await spool.get("p") == expected


async def test_its_first_event_says_created(spool: Spool):
    await submit(spool, "p")
    assert await log(spool) == [
        ("0-1", b'{"type":"progress","percentage":0,"id":"p","status":"created","queue_position":0}')
    ]


async def test_its_queue_position_counts_those_of_its_model_that_wait(spool: Spool):
    await submit(spool, "running", model="m")
    await claimed(spool, m=1)
    await submit(spool, "other", model="n")
    await submit(spool, "first", "second", "third", model="m")
    for each, position in (("running", 0), ("other", 0), ("first", 0), ("second", 1), ("third", 2)):
        cursor, event = (await log(spool, each))[0]
        assert cursor == "0-1"
        assert event == (
            b'{"type":"progress","percentage":0,"id":"%b","status":"created","queue_position":%d}'
            % (each.encode(), position)
        )


async def test_submits_at_once_have_different_queue_positions(spool: Spool):
    await asyncio.gather(*(submit(spool, f"p{n}") for n in range(5)))
    first_events = [json.loads((await log(spool, f"p{n}"))[0][1]) for n in range(5)]
    assert sorted(event["queue_position"] for event in first_events) == [0, 1, 2, 3, 4]


async def test_one_that_waits_for_its_next_attempt_is_ahead_in_the_queue(spool: Spool):
    claim = await start(spool, "lost")
    await spool.lose(*claim, "it crashed")
    await submit(spool, "new")
    assert (await log(spool, "new"))[0][1].endswith(b'"queue_position":1}')


async def test_ids_that_were_never_submitted_are_unknown(spool: Spool):
    with pytest.raises(UnknownPrediction):
        await spool.get("p")


async def test_a_large_input_comes_back_unchanged(spool: Spool):
    large = b'{"text":"%b"}' % (b"x" * 1_000_000)
    await submit(spool, "p", input=large)
    (prediction,) = await spool.claim({"m": 1})
    assert prediction.input == large
    assert (await spool.get("p")).input == large


async def test_without_a_key_every_submit_is_new(spool: Spool):
    first = await spool.submit(submission("p1"))
    second = await spool.submit(submission("p2"))
    assert (first.new, second.new) == (True, True)
    assert await claimed(spool, m=5) == [("p1", 1), ("p2", 1)]


async def test_a_repeated_key_returns_the_prediction_it_made(spool: Spool):
    first = await spool.submit(submission("p1", idempotency_key="k", fingerprint=b"f"))
    again = await spool.submit(submission("p2", idempotency_key="k", fingerprint=b"f"))
    assert again == Submitted(first.prediction, new=False)


async def test_a_repeated_key_makes_nothing(spool: Spool):
    await submit(spool, "p1", "p2", idempotency_key="k", fingerprint=b"f")
    with pytest.raises(UnknownPrediction):
        await spool.get("p2")
    assert [prediction.id for prediction in await spool.unfinished()] == ["p1"]
    assert await claimed(spool, m=5) == [("p1", 1)]


async def test_a_repeated_key_shows_the_prediction_as_it_stands_now(spool: Spool):
    claim = await start(spool, "p1", idempotency_key="k", fingerprint=b"f")
    await spool.finish(*claim, Status.COMPLETED, DONE)
    again = await spool.submit(submission("p2", idempotency_key="k", fingerprint=b"f"))
    assert again == Submitted(await spool.get("p1"), new=False)
    assert again.prediction.status is Status.COMPLETED


async def test_a_key_with_another_fingerprint_is_refused_and_changes_nothing(spool: Spool):
    first = await spool.submit(submission("p1", idempotency_key="k", fingerprint=b"f"))
    with pytest.raises(IdempotencyMismatch):
        await spool.submit(submission("p2", idempotency_key="k", fingerprint=b"g"))
    with pytest.raises(UnknownPrediction):
        await spool.get("p2")
    assert await spool.submit(submission("p3", idempotency_key="k", fingerprint=b"f")) == Submitted(
        first.prediction, new=False
    )
    assert await claimed(spool, m=5) == [("p1", 1)]


async def test_a_key_belongs_to_its_owner(spool: Spool):
    await spool.submit(submission("p1", owner="alice", idempotency_key="k", fingerprint=b"f"))
    same = await spool.submit(submission("p2", owner="bob", idempotency_key="k", fingerprint=b"f"))
    other = await spool.submit(submission("p3", owner="carol", idempotency_key="k", fingerprint=b"g"))
    assert [(made.prediction.id, made.new) for made in (same, other)] == [("p2", True), ("p3", True)]


@pytest.mark.parametrize("fingerprint", [b"f", b"g"])
async def test_a_key_is_forgotten_after_24_hours(spool: Spool, backend: Backend, fingerprint: bytes):
    await submit(spool, "p1", idempotency_key="k", fingerprint=b"f")
    backend.clock.advance(DAY_S + 1)
    again = await spool.submit(submission("p2", idempotency_key="k", fingerprint=fingerprint))
    assert (again.prediction.id, again.new) == ("p2", True)
    assert (await spool.get("p1")).status is Status.CREATED


async def test_a_key_holds_for_24_hours_from_its_first_use(spool: Spool, backend: Backend):
    """Repeating a request does not make its key live longer."""
    await submit(spool, "p1", idempotency_key="k", fingerprint=b"f")
    backend.clock.advance(DAY_S - 1)
    assert not (await spool.submit(submission("p2", idempotency_key="k", fingerprint=b"f"))).new
    backend.clock.advance(2)
    assert (await spool.submit(submission("p3", idempotency_key="k", fingerprint=b"f"))).new


async def test_a_key_that_was_used_again_after_24_hours_holds_for_the_new_prediction(spool: Spool, backend: Backend):
    await submit(spool, "p1", idempotency_key="k", fingerprint=b"f")
    backend.clock.advance(DAY_S + 1)
    await submit(spool, "p2", idempotency_key="k", fingerprint=b"g")
    again = await spool.submit(submission("p3", idempotency_key="k", fingerprint=b"g"))
    assert (again.prediction.id, again.new) == ("p2", False)
    with pytest.raises(IdempotencyMismatch):
        await spool.submit(submission("p4", idempotency_key="k", fingerprint=b"f"))


async def test_submits_at_once_with_the_same_key_make_one_prediction(spool: Spool):
    made = await asyncio.gather(
        *(spool.submit(submission(f"p{n}", idempotency_key="k", fingerprint=b"f")) for n in range(10))
    )
    assert [result.new for result in made].count(True) == 1
    assert len({result.prediction.id for result in made}) == 1
    assert len(await claimed(spool, m=20)) == 1


async def test_submits_at_once_with_one_key_and_two_fingerprints_accept_one_of_them(spool: Spool):
    made = await asyncio.gather(
        spool.submit(submission("p1", idempotency_key="k", fingerprint=b"f")),
        spool.submit(submission("p2", idempotency_key="k", fingerprint=b"g")),
        return_exceptions=True,
    )
    assert sorted(type(result).__name__ for result in made) == ["IdempotencyMismatch", "Submitted"]
    assert len(await spool.unfinished()) == 1
