"""A model that loads slowly, or not at all, keeps nobody waiting but those who asked for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import MODELS, MakeServer
from support.client import Client, data_of
from support.gate import Gate
from support.server import Server
from support.stream import Event
from support.waiting import wait_until

QUICK = {"UNSPOOL_LOAD_ATTEMPTS": "2", "UNSPOOL_RESTART_BACKOFF_S": "0.05"}

WHY = {
    "load/raises": "FileNotFoundError: no weights at missing.gguf",
    "load/dies": "The worker process ended with exit code 9.",
    "load/segfaults": "The worker process was killed by SIGSEGV.",
}


@pytest.fixture
def load_gate(tmp_path: Path) -> Iterator[Gate]:
    """What a slow model waits for while it loads."""
    gate = Gate(tmp_path / "load-gate")
    yield gate
    gate.open()


def states(server: Server) -> dict[str, str]:
    """How the server says that its models do."""
    return dict(httpx.get(f"{server.url}/health/ready").json()["models"])


def wait_for_state(server: Server, model: str, state: str) -> None:
    wait_until(lambda: states(server).get(model) == state, f"{model} was {state}", 30)


def submit(client: Client, model: str, query: str = "", **inputs: Any) -> str:
    return str(data_of(client.http.post(f"{model}{query}", json=inputs))["id"])


def stage_load(event: Event) -> bool:
    return event.type == "progress" and event.data.get("stage") == "load"


# Models that cannot be loaded


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(MODELS / "broken.py", tmp_path_factory.mktemp("broken"), QUICK)
    try:
        yield server.start()
    finally:
        server.close()


def load_error(id: str, model: str) -> dict[str, Any]:
    return {
        "type": "error",
        "id": id,
        "error": f"The model {model} could not be loaded. {WHY[model]}",
        "code": 5003,
        "status": "failed",
    }


@pytest.mark.parametrize("model", WHY)
def test_predictions_of_a_model_that_cannot_be_loaded_end_with_the_cause(broken: Server, model: str) -> None:
    client = broken.client()
    ids = [client.submit(model)["id"] for _ in range(3)]
    assert client.finished(client.submit("load/fine")["id"])["outputs"] == ["fine"]
    for id in ids:
        log = client.log(id)
        assert log[-1].data == load_error(id, model)
        assert [event.n for event in log if event.n == 1] == [1] * (1 + log[-1].attempt)
        polled = client.result(id)
        assert (polled["status"], polled["code"], polled["outputs"]) == ("failed", 5003, [])
        assert polled["error"] == log[-1].data["error"]
    wait_for_state(broken, model, "failed")
    late = client.submit(model)["id"]
    assert client.log(late)[-1].data == load_error(late, model)


def test_models_that_cannot_be_loaded_leave_the_server_and_the_others_as_they_were(broken: Server) -> None:
    client = broken.client()
    for model in WHY:
        wait_for_state(broken, model, "failed")
    assert httpx.get(f"{broken.url}/health/live").status_code == 200
    not_ready = httpx.get(f"{broken.url}/health/ready")
    assert not_ready.status_code == 503
    assert not_ready.json() == {"status": "not ready", "models": {"load/fine": "ready"} | dict.fromkeys(WHY, "failed")}
    assert {model["model_id"] for model in client.http.get("models").json()["data"]} == {"load/fine", *WHY}
    for _ in range(20):
        assert client.finished(client.submit("load/fine")["id"])["attempt"] == 1


def test_very_many_who_wait_for_a_model_that_cannot_be_loaded_are_all_told(broken: Server) -> None:
    client = broken.client()
    ids = [client.submit("load/dies")["id"] for _ in range(250)]
    for id in ids:
        assert client.log(id)[-1].data == load_error(id, "load/dies")


# Models that load in the end


def test_who_waits_for_a_model_that_loads_at_the_third_attempt_is_served(
    make_server: MakeServer, tmp_path: Path
) -> None:
    server = make_server(
        "flaky.py", ready=False, TEST_LOADS=str(tmp_path / "loads"), **(QUICK | {"UNSPOOL_LOAD_ATTEMPTS": "3"})
    )
    client = server.client()
    log = client.log(client.submit("load/third-time")["id"])
    assert (log[-1].type, log[-1].data.get("outputs")) == ("complete", ["loaded"])
    assert log[-1].attempt == 1, "a failed load is nobody's attempt"
    assert (tmp_path / "loads").stat().st_size == 3


def test_a_model_that_was_given_up_is_tried_again(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server("flaky.py", ready=False, TEST_LOADS=str(tmp_path / "loads"), **QUICK)
    client = server.client()
    log = client.log(client.submit("load/third-time")["id"])
    assert log[-1].data["code"] == 5003
    server.wait_until_ready()
    assert client.finished(client.submit("load/third-time")["id"])["outputs"] == ["loaded"]


def test_the_server_listens_before_its_models_are_loaded(make_server: MakeServer, load_gate: Gate) -> None:
    server = make_server("slow.py", ready=False, TEST_LOAD_GATE=str(load_gate))
    client = server.client()
    assert httpx.get(f"{server.url}/health/live").json() == {"status": "live"}
    wait_for_state(server, "load/fine", "ready")
    assert client.finished(client.submit("load/fine")["id"])["outputs"] == ["fine"]
    not_ready = httpx.get(f"{server.url}/health/ready")
    assert not_ready.status_code == 503
    assert not_ready.json() == {"status": "not ready", "models": {"load/fine": "ready", "load/slow": "loading"}}
    load_gate.open()
    server.wait_until_ready()
    ready = httpx.get(f"{server.url}/health/ready")
    assert ready.json() == {"status": "ready", "models": {"load/fine": "ready", "load/slow": "ready"}}


def test_who_waits_for_a_slow_model_sees_it_load(make_server: MakeServer, load_gate: Gate) -> None:
    server = make_server("slow.py", ready=False, TEST_LOAD_GATE=str(load_gate))
    client = server.client()
    with client.run("load/slow") as stream:
        created, started, loading = stream.take(3)
        assert (created.cursor, created.data["status"]) == ("0-1", "created")
        assert started.data == {"type": "progress", "percentage": 0, "status": "processing", "attempt": 1}
        assert loading.data == {"type": "progress", "percentage": 0, "stage": "load"}
        for step in (1, 2, 3):
            load_gate.let(1)
            expected = {"type": "progress", "percentage": 0, "stage": "load", "step": step, "steps": 1_000}
            assert stream.take(1)[0].data == expected
        polled = client.result(stream.id)
        assert (polled["status"], polled["progress"]) == ("processing", 0)
        load_gate.open()
        complete = stream.until("complete")
    assert (complete.attempt, complete.data["outputs"]) == (1, ["loaded"])
    assert not [event for event in client.log(client.submit("load/slow")["id"]) if stage_load(event)]


def test_what_waits_for_a_slow_model_survives_kill_9_of_the_server(make_server: MakeServer, load_gate: Gate) -> None:
    server = make_server("slow.py", ready=False, TEST_LOAD_GATE=str(load_gate))
    client = server.client()
    ids = [client.submit("load/slow")["id"] for _ in range(8)]
    with client.stream(ids[0]) as stream:
        stream.take(3)
    client = server.restart().client()
    load_gate.open()
    for id in ids:
        assert client.finished(id, 60)["outputs"] == ["loaded"]


# Time limits


def test_the_wait_for_a_model_counts_for_start_timeout_and_not_for_run_timeout(
    make_server: MakeServer, load_gate: Gate, gate: Gate
) -> None:
    server = make_server("slow.py", ready=False, TEST_LOAD_GATE=str(load_gate))
    client = server.client()
    quick = submit(client, "load/slow", "?run_timeout=0.5")
    endless = submit(client, "load/slow", "?run_timeout=0.5", gate=str(gate))
    patient = submit(client, "load/slow", "?start_timeout=100")
    impatient = submit(client, "load/slow", "?start_timeout=0.8")
    without_slot = submit(client, "load/slow", "?start_timeout=0.8")

    timeout = {"type": "error", "code": 5004, "status": "timeout"}
    message = "The model was not loaded within start_timeout."
    log = client.log(impatient)
    assert log[-1].data == {**timeout, "id": impatient, "error": message}
    assert (log[-1].attempt, stage_load(log[-2])) == (1, True)
    assert client.result(impatient)["status"] == "timeout"
    log = client.log(without_slot)
    assert log[-1].data["status"] == "timeout"

    # By now 0.8 seconds have passed for all of them.
    assert {client.result(id)["status"] for id in (quick, endless, patient)} == {"processing"}
    load_gate.open()
    assert client.finished(quick)["outputs"] == client.finished(patient)["outputs"] == ["loaded"]
    message = "The run took longer than its run timeout."
    assert client.log(endless)[-1].data == {**timeout, "id": endless, "error": message}


# Workers that come and go


def test_a_worker_that_dies_between_runs_that_end_well_is_restarted_without_growing_pauses(
    make_server: MakeServer,
) -> None:
    """With pauses that double each time, ten deaths would take 102 seconds."""
    server = make_server("crash.py", UNSPOOL_RESTART_BACKOFF_S="0.1", UNSPOOL_MAX_RESTART_BACKOFF_S="60")
    client = server.client()
    deadline = time.monotonic() + 60
    for _ in range(10):
        id = client.submit("crash/at", k=1, n=2)["id"]
        finished = client.finished(id, deadline - time.monotonic())
        assert (finished["status"], finished["attempt"]) == ("completed", 2)
