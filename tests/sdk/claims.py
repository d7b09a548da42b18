"""What scenarios claim. Each is a sentence about what the client's user saw, checked against the server's own log."""

from __future__ import annotations

import itertools
from typing import Any

from sdk.world import Claim, World


def saw_the_whole_log(world: World) -> None:
    """Every event, in order, once, with the right fields; of an overtaken attempt, what there was; and the end."""
    saw_everything_after("0-0")(world)


def saw_everything_after(cursor: str) -> Claim:
    """The same of a viewer that came with a cursor."""

    def claim(world: World) -> None:
        _in_order_without_a_hole(world, cursor)
        _as_in_the_log(world, cursor)
        _properties_follow_the_events(world)
        _the_end_is_that_of_polling(world)

    return claim


def _in_order_without_a_hole(world: World, after: str) -> None:
    last = _place(after)
    for cursor in world.seen.cursors():
        place = _place(cursor)
        ok = place == (last[0], last[1] + 1) or (place[0] > last[0] and place[1] == 1)
        assert ok, f"after {last[0]}-{last[1]} the user saw {cursor}: {world.seen.cursors()}"
        last = place


def _as_in_the_log(world: World, after: str) -> None:
    log = world.direct.log(world.id)
    there = {event.cursor: event.data for event in log}
    for event in world.seen.events:
        assert (event["cursor"], event["type"]) == (f"{event['attempt']}-{event['n']}", event["data"]["type"])
        if event["cursor"] in there:
            wire = there[event["cursor"]]
            got = {name: event["data"].get(name) for name in wire}
            assert got == wire, f"{event['cursor']} is not as in the log"
    final = [event.cursor for event in log if event.attempt == log[-1].attempt and _place(event.cursor) > _place(after)]
    assert [at for at in world.seen.cursors() if at in final] == final, "the last attempt is whole"


def _properties_follow_the_events(world: World) -> None:
    text, attempt = "", 0
    for event, state in zip(world.seen.events, world.seen.states, strict=True):
        first = event["n"] == 1 and event["type"] == "progress"
        assert event["restarted"] == (first and event["attempt"] > 1), f"{event['cursor']}: restarted"
        if event["attempt"] != attempt:
            text, attempt = "", event["attempt"]
        if event["type"] == "output" and isinstance(event["data"]["output"], str):
            text += event["data"]["output"]
        if state is not None:
            assert (state["id"], state["cursor"]) == (world.id, event["cursor"])
            if _from_the_start(world):
                assert state["text"] == text, f"{event['cursor']}: the text so far"


def _from_the_start(world: World) -> bool:
    return bool(world.seen.events) and world.seen.events[0]["cursor"] == "0-1"


def _the_end_is_that_of_polling(world: World) -> None:
    assert "end" in world.seen.last, f"no end but {world.seen.last}"
    end = world.seen.last["end"]
    polled = world.direct.result(world.id)
    assert end["id"] == world.id
    assert world.seen.events[-1]["type"] in ("complete", "error")
    assert end["cursor"] == world.seen.cursors()[-1]
    assert end["prediction"]["status"] == polled["status"]
    assert end["prediction"]["outputs"] == polled["outputs"]
    if polled["status"] == "completed":
        assert end["outputs"] == polled["outputs"]
        if isinstance(polled["outputs"][0], str) and _from_the_start(world):
            assert end["text"] == polled["outputs"][0]


def _place(cursor: str) -> tuple[int, int]:
    attempt, n = cursor.split("-")
    return int(attempt), int(n)


def saw(*cursors: str) -> Claim:
    """Exactly these events."""

    def claim(world: World) -> None:
        assert world.seen.cursors() == list(cursors)
        assert "end" in world.seen.last, f"no end but {world.seen.last}"

    return claim


def ended(status: str) -> Claim:
    """The prediction ended so, and the user knows."""

    def claim(world: World) -> None:
        last = world.seen.last
        prediction = last["end"]["prediction"] if "end" in last else last.get("result")
        assert prediction, f"no end but {last}"
        assert prediction["status"] == status
        assert world.direct.finished(prediction["id"])["status"] == status

    return claim


def told_of_restart(attempt: int) -> Claim:
    """The user saw output of an attempt before, and was told that it is void."""

    def claim(world: World) -> None:
        told = [event["attempt"] for event in world.seen.events if event["restarted"]]
        assert told == [attempt]
        voided = [event for event in world.seen.events if event["type"] == "output" and event["attempt"] < attempt]
        assert voided, "otherwise there was nothing to void"

    return claim


def raised(name: str | None = None, **fields: Any) -> Claim:
    """The client raised this, with these fields."""

    def claim(world: World) -> None:
        assert "error" in world.seen.last, f"nothing was raised: {world.seen.last}"
        error = world.seen.last["error"]
        assert name is None or error["class"] == name, error
        assert {field: error.get(field) for field in fields} == fields, error
        assert error["message"]

    return claim


def whole_or_told(world: World) -> None:
    """The whole log, or an error: never a part that looks like the whole."""
    if "error" not in world.seen.last:
        saw_the_whole_log(world)


def result_is_of_polling(world: World) -> None:
    """What `run`, `wait` or `submit` gave is the prediction as polling shows it."""
    assert "result" in world.seen.last, f"no result but {world.seen.last}"
    result = world.seen.last["result"]
    polled = world.direct.finished(result["id"])
    assert (result["status"], result["outputs"]) == (polled["status"], polled["outputs"])


def accepted(world: World) -> None:
    """What `submit` gave is a prediction that the server has."""
    assert "result" in world.seen.last, f"no result but {world.seen.last}"
    assert world.direct.finished(world.seen.last["result"]["id"])["status"] == "completed"


def new_predictions(count: int) -> Claim:
    """So many predictions more than before."""

    def claim(world: World) -> None:
        assert world.predictions() - world.before == count

    return claim


def same_key_every_time(world: World) -> None:
    """Each try to submit carried the same idempotency key."""
    keys = {request.headers.get("idempotency-key") for request in world.proxy.asked("submit")}
    assert len(world.proxy.asked("submit")) > 1, "otherwise nothing was tried again"
    assert len(keys) == 1
    assert None not in keys


def asked_at_most(kind: Any, count: int) -> Claim:
    """No storm of requests."""

    def claim(world: World) -> None:
        assert len(world.proxy.asked(kind)) <= count, [request.target for request in world.proxy.requests]

    return claim


def asked_at_least(kind: Any, count: int) -> Claim:
    """Otherwise the scenario did not happen."""

    def claim(world: World) -> None:
        assert len(world.proxy.asked(kind)) >= count, [request.target for request in world.proxy.requests]

    return claim


def waited(seconds: float) -> Claim:
    """Between two tries went at least as long as the server had asked for (its word, less the clocks' grain)."""

    def claim(world: World) -> None:
        times = [request.at for request in world.proxy.requests]
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert max(gaps, default=0) >= seconds - 0.05, f"the longest pause was {max(gaps, default=0):.2f} s"

    return claim
