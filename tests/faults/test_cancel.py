"""A cancel ends what it is asked to end, within five seconds, whatever the model does."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import MODELS, MakeServer
from support.client import Client, data_of
from support.gate import Gate
from support.server import Server
from support.stream import text_of
from support.waiting import wait_until

DEADLINE_S = 15.0
"""The settings promise 5 seconds; the rest is for a machine that is busy with other things."""


def cancelled_event(id: str) -> dict[str, Any]:
    return {
        "type": "error",
        "id": id,
        "error": "The prediction was cancelled.",
        "code": 1405,
        "status": "cancelled",
    }


def _server(file: str, folder: Path, **environment: str) -> Iterator[Server]:
    server = Server(MODELS / file, folder, {"UNSPOOL_DRAIN_TIMEOUT_S": "0", **environment})
    try:
        yield server.start().wait_until_ready()
    finally:
        server.close()


@pytest.fixture(scope="module")
def stubborn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from _server("stubborn.py", tmp_path_factory.mktemp("stubborn"))


@pytest.fixture(scope="module")
def neighbours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from _server("neighbours.py", tmp_path_factory.mktemp("neighbours"), UNSPOOL_CANCEL_GRACE_S="1")


def started(client: Client, model: str, **inputs: Any) -> str:
    """Submits and waits for the first output."""
    id = client.submit(model, **inputs)["id"]
    with client.stream(id) as stream:
        stream.until("output")
    return id


def ends_cancelled(client: Client, id: str, deadline_s: float = DEADLINE_S) -> None:
    assert client.log(id, deadline_s)[-1].data == cancelled_event(id)
    polled = client.result(id)
    assert (polled["status"], polled["error"], polled["code"]) == ("cancelled", "The prediction was cancelled.", 1405)


# Before it runs


def test_one_that_waits_is_cancelled_when_the_answer_comes(make_server: MakeServer, gate: Gate) -> None:
    client = make_server("limits.py").client()
    first = client.submit("limits/one-slot", gate=str(gate))["id"]
    assert gate.visitor() == first
    waiting = client.submit("limits/one-slot")["id"]
    behind = client.submit("limits/one-slot")["id"]
    answer = client.cancel(waiting)
    assert (answer["id"], answer["status"], answer["attempt"]) == (waiting, "cancelled", 0)
    log = client.log(waiting)
    assert [event.cursor for event in log] == ["0-1", "0-2"]
    assert log[-1].data == cancelled_event(waiting)
    gate.open()
    assert client.finished(first)["status"] == client.finished(behind)["status"] == "completed"


def test_one_whose_model_still_loads_is_cancelled_at_once(make_server: MakeServer, tmp_path: Path) -> None:
    gate = tmp_path / "load-gate"
    gate.touch()
    server = make_server("slow.py", ready=False, TEST_LOAD_GATE=str(gate))
    client = server.client()
    wait_until(lambda: client.http.get("models").json()["data"], "the models were known")
    id = client.submit("load/slow")["id"]
    with client.stream(id) as stream:
        stream.take(3)
    client.cancel(id)
    ends_cancelled(client, id)
    gate.unlink()
    assert client.finished(client.submit("load/slow")["id"])["outputs"] == ["loaded"]


# While it runs


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        ("stubborn/cooperative", {}),
        ("stubborn/cooperative", {"cleanup_s": 0.5}),
        ("stubborn/async-forever", {}),
        ("stubborn/spin", {}),
        ("stubborn/block", {}),
        ("stubborn/block", {"hold_gil": True}),
        ("stubborn/swallow", {}),
    ],
)
def test_a_running_one_ends_within_five_seconds_and_its_slot_is_used_again(
    stubborn: Server, model: str, inputs: dict[str, Any]
) -> None:
    client = stubborn.client()
    id = started(client, model, **inputs)
    following = client.submit(model, **inputs)["id"]
    answer = client.cancel(id)
    assert (answer["id"], answer["attempt"]) == (id, 1)
    assert answer["status"] in ("processing", "cancelled")
    with client.stream(following, deadline_s=DEADLINE_S) as stream:
        stream.until("output")
    ends_cancelled(client, id)
    client.cancel(following)
    ends_cancelled(client, following)


@pytest.mark.parametrize("does", ["block", "swallow"])
def test_an_async_model_that_does_not_stop_ends_within_five_seconds(neighbours: Server, does: str) -> None:
    client = neighbours.client()
    id = started(client, "neighbours/async", does=does)
    client.cancel(id)
    ends_cancelled(client, id)
    assert client.finished(client.submit("neighbours/async")["id"])["outputs"] == ["started 1 2 3 "]


def test_a_run_timeout_ends_what_does_not_stop_in_the_same_way(stubborn: Server) -> None:
    client = stubborn.client()
    answer = client.http.post("stubborn/spin?run_timeout=0.3", json={})
    end = client.log(data_of(answer)["id"], DEADLINE_S + 0.3)[-1].data
    assert (end["status"], end["code"], end["error"]) == ("timeout", 5004, "The run took longer than its run timeout.")


@pytest.mark.parametrize("kind", ["function", "generator", "async", "async-generator"])
def test_a_model_that_is_stopped_cleans_up(neighbours: Server, tmp_path: Path, kind: str) -> None:
    client = neighbours.client()
    pids = neighbours.worker_pids()
    marker = tmp_path / "cleaned-up"
    id = started(client, f"cleanup/{kind}", marker=str(marker))
    client.cancel(id)
    ends_cancelled(client, id)
    assert marker.exists()
    assert neighbours.worker_pids() == pids, "no worker was ended for it"


def test_what_was_said_before_the_cancel_stays(neighbours: Server) -> None:
    client = neighbours.client()
    id = started(client, "neighbours/sync", does="spin")
    client.cancel(id)
    ends_cancelled(client, id)
    assert text_of(client.log(id)) == "started "
    assert client.result(id)["outputs"] == []


# Again, too late, and in a crowd


def test_cancelling_again_changes_nothing(stubborn: Server) -> None:
    client = stubborn.client()
    id = started(client, "stubborn/cooperative", cleanup_s=0.3)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(client.cancel, [id] * 16))
    assert {answer["status"] for answer in answers} <= {"processing", "cancelled"}
    ends_cancelled(client, id)
    log, described = client.log(id), client.result(id)
    assert client.cancel(id) == described
    assert client.log(id) == log


@pytest.mark.parametrize("model", ["test/count", "test/fail"])
def test_cancelling_one_that_has_ended_changes_nothing(client: Client, model: str) -> None:
    id = client.submit(model)["id"]
    log, described = client.log(id), client.result(id)
    assert described["status"] in ("completed", "failed")
    assert client.cancel(id) == described
    assert (client.log(id), client.result(id)) == (log, described)


def test_neighbours_of_one_that_stops_when_asked_notice_nothing(neighbours: Server, gate: Gate) -> None:
    client = neighbours.client()
    others = [started(client, "neighbours/sync", gate=str(gate)) for _ in range(2)]
    gone = started_waiting(client, gate)
    client.cancel(gone)
    ends_cancelled(client, gone)
    gate.open()
    for id in others:
        finished = client.finished(id)
        assert (finished["status"], finished["attempt"]) == ("completed", 1)


def started_waiting(client: Client, gate: Gate) -> str:
    other_gate = Gate(Path(f"{gate}-of-its-own"))
    return started(client, "neighbours/sync", gate=str(other_gate))


@pytest.mark.parametrize(("model", "does"), [("neighbours/sync", "swallow"), ("neighbours/async", "block")])
def test_neighbours_of_one_that_must_be_killed_lose_an_attempt_and_finish(
    neighbours: Server, gate: Gate, model: str, does: str
) -> None:
    client = neighbours.client()
    others = [started(client, model, gate=str(gate)) for _ in range(2)]
    gone = started(client, model, does=does)
    with client.stream(others[0]) as viewer:
        viewer.take(3)
        client.cancel(gone)
        ends_cancelled(client, gone)
        again = next(event for event in viewer if event.attempt == 2)
        assert again.data == {"type": "progress", "percentage": 0, "status": "processing", "attempt": 2}
        gate.open()
        viewer.until("complete")
    for id in others:
        finished = client.finished(id)
        assert (finished["status"], finished["attempt"]) == ("completed", 2)
        assert finished["outputs"] == ["started 1 2 3 "]


def test_neighbours_are_not_blamed_for_the_worker_that_was_killed(neighbours: Server, gate: Gate) -> None:
    """Their attempts are not counted: three kills leave one with `max_attempts=2` running."""
    client = neighbours.client()
    other = started(client, "neighbours/sync", gate=str(gate))
    for attempt in (2, 3, 4):
        gone = started(client, "neighbours/sync", does="swallow")
        client.cancel(gone)
        ends_cancelled(client, gone)
        with client.stream(other) as viewer:
            next(event for event in viewer if event.attempt == attempt and event.type == "output")
    gate.open()
    finished = client.finished(other)
    assert (finished["status"], finished["attempt"]) == ("completed", 4)


def test_two_hundred_cancels_at_random_moments_leave_every_slot_usable(make_server: MakeServer, tmp_path: Path) -> None:
    client = make_server("basic.py").client()
    rng = random.Random(7)
    ids = [client.submit("test/count", n=rng.choice([0, 1, 50, 2_000]))["id"] for _ in range(200)]
    rng.shuffle(ids)
    with ThreadPoolExecutor(8) as pool:
        for answer in pool.map(client.cancel, ids):
            assert answer["status"] in ("created", "processing", "completed", "cancelled")
    for id in ids:
        end = client.log(id)[-1]
        assert (end.type, end.data.get("status")) in [("complete", None), ("error", "cancelled")]
        assert client.result(id)["status"] == end.data.get("status", "completed")
    gate = Gate(tmp_path / "gate-for-all")
    together = [client.submit("test/count", n=2, gate=str(gate))["id"] for _ in range(32)]
    gate.let(1)
    for id in together:
        with client.stream(id) as stream:
            stream.until("output")
    gate.open()
    for id in together:
        assert client.finished(id)["outputs"] == ["1 2 "]


# With the server going down


def test_a_cancel_that_was_answered_survives_kill_9_of_the_server(make_server: MakeServer) -> None:
    server = make_server("stubborn.py")
    client = server.client()
    running = started(client, "stubborn/spin")
    waiting = client.submit("stubborn/spin")["id"]
    client.cancel(running)
    client.cancel(waiting)
    server.kill()
    client = server.restart().client()
    log = client.log(running)
    assert log[-1].data == cancelled_event(running)
    assert log[-1].cursor == "2-1", "it was not started again"
    ends_cancelled(client, waiting)


def test_a_client_that_cancels_and_hangs_up_has_cancelled(stubborn: Server) -> None:
    client = stubborn.client()
    with client.run("stubborn/cooperative") as stream:
        stream.until("output")
        httpx.post(
            f"{stubborn.url}/api/v3/predictions/{stream.id}/cancel",
            headers={"Authorization": f"Bearer {stubborn.key}", "Connection": "close"},
        )
    ends_cancelled(client, stream.id)
