"""A model that nobody uses gives its memory back, and comes again when it is needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import MODELS, MakeServer
from support.client import Client, data_of
from support.gate import Gate
from support.server import Server, alive, wait_until_gone
from support.waiting import wait_until


class Idle:
    """A server with the models of `idle.py`, and the gate before every load but the first."""

    def __init__(self, server: Server, gate: Gate, loads: Path) -> None:
        self.server = server
        self.client = server.client()
        self.gate = gate
        self._loads = loads

    @property
    def loads(self) -> int:
        return self._loads.stat().st_size

    def health(self) -> tuple[int, dict[str, str]]:
        answer = httpx.get(f"{self.server.url}/health/ready")
        return answer.status_code, answer.json()["models"]

    def wait_until_unloaded(self, model: str = "idle/rests") -> None:
        wait_until(lambda: self.health()[1][model] == "unloaded", f"{model} was unloaded", 30)

    def metric(self, name: str) -> float:
        text = self.client.http.get(f"{self.server.url}/metrics").text
        return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))


@pytest.fixture
def make_idle(make_server: MakeServer, tmp_path: Path) -> Callable[..., Idle]:
    def make(**settings: str) -> Idle:
        gate, loads = Gate(tmp_path / "load-gate"), tmp_path / "loads"
        server = make_server("idle.py", TEST_LOADS=str(loads), TEST_LOAD_GATE=str(gate), **settings)
        return Idle(server, gate, loads)

    return make


def stage_of(client: Client, id: str) -> dict[str, Any]:
    """The first progress with steps while it loads."""
    with client.stream(id) as stream:
        while not (progress := stream.until("progress").data).get("steps"):
            pass
    return progress


def test_a_model_that_nobody_uses_is_unloaded_and_loaded_again_on_demand(make_idle: Callable[..., Idle]) -> None:
    idle = make_idle()
    before = idle.server.worker_pids()
    stays = idle.client.finished(idle.client.submit("idle/stays")["id"])["outputs"][0]
    idle.wait_until_unloaded()
    wait_until_gone(pid for pid in before if pid != stays)
    assert idle.server.worker_pids() == [stays], "the memory of the others is back"
    assert idle.health() == (200, {"idle/rests": "unloaded", "idle/stays": "ready"})
    assert idle.loads == 1

    id = idle.client.submit("idle/rests")["id"]
    progress = stage_of(idle.client, id)
    assert (progress["stage"], progress["percentage"], progress["steps"]) == ("load", 0, 3)
    assert idle.health()[0] == 200, "who loads on demand is no reason to send requests elsewhere"
    idle.gate.open()
    assert idle.client.finished(id)["outputs"] not in ([], [stays])
    assert idle.loads == 2
    assert idle.metric("unspool_worker_restarts_total") == 0, "nothing of it was a crash"
    assert idle.metric("unspool_model_load_failures_total") == 0
    idle.wait_until_unloaded()
    assert idle.metric("unspool_workers_ready{") == 1
    assert idle.server.terminate() == 0


REPLICAS = """
import os
from gates import wait_for_gate
from unspool import Run, model

@model("idle/replicas", idle_unload_s=0.3, replicas=2)
def replicas(run: Run, gate: str | None = None) -> int:
    wait_for_gate(run, gate, 1)
    return os.getpid()
"""


def test_each_replica_rests_for_itself_and_is_loaded_again_when_it_is_needed(
    make_server: MakeServer, gate: Gate, tmp_path: Path
) -> None:
    (tmp_path / "gates.py").write_bytes((MODELS / "gates.py").read_bytes())
    server = make_server(REPLICAS)
    client = server.client()
    wait_until(lambda: not server.worker_pids(), "both were unloaded", 30)
    first = client.submit("idle/replicas", gate=str(gate))["id"]
    assert gate.visitor() == first
    assert len(server.worker_pids()) == 1, "one of them is enough"
    second = client.finished(client.submit("idle/replicas")["id"])["outputs"][0]
    wait_until_gone([second])
    assert len(server.worker_pids()) == 1, "whoever is used stays"
    gate.open()
    end = client.finished(first)
    assert (end["attempt"], end["outputs"] == [second]) == (1, False)


def test_a_prediction_that_waits_for_a_load_can_be_cancelled_and_run_out_of_time(
    make_idle: Callable[..., Idle],
) -> None:
    idle = make_idle()
    idle.wait_until_unloaded()
    first = idle.client.submit("idle/rests")["id"]
    stage_of(idle.client, first)
    hasty = data_of(idle.client.http.post("idle/rests", params={"start_timeout": "0.3"}, json={}))["id"]
    assert idle.client.finished(hasty)["status"] == "timeout"
    idle.client.cancel(first)
    assert idle.client.finished(first)["status"] == "cancelled"
    patient = idle.client.submit("idle/rests")["id"]
    idle.gate.open()
    assert idle.client.finished(patient)["status"] == "completed"
    assert idle.loads == 2


def test_a_load_on_demand_that_crashes_is_tried_again(make_idle: Callable[..., Idle], tmp_path: Path) -> None:
    idle = make_idle(UNSPOOL_RESTART_BACKOFF_S="0.05")
    idle.wait_until_unloaded()
    die = tmp_path / "load-gate.die"
    die.write_bytes(b"!")
    id = idle.client.submit("idle/rests")["id"]
    wait_until(lambda: idle.metric("unspool_model_load_failures_total") >= 1, "a load had failed")
    die.unlink()
    idle.gate.open()
    end = idle.client.finished(id)
    assert (end["status"], end["attempt"]) == ("completed", 1), "it only waited; nobody had begun with it"


def test_a_load_on_demand_that_never_works_fails_whoever_waits(make_idle: Callable[..., Idle], tmp_path: Path) -> None:
    idle = make_idle(UNSPOOL_RESTART_BACKOFF_S="0.05", UNSPOOL_LOAD_ATTEMPTS="2")
    idle.wait_until_unloaded()
    (tmp_path / "load-gate.die").write_bytes(b"!")
    end = idle.client.finished(idle.client.submit("idle/rests")["id"])
    assert end["status"] == "failed"
    assert "could not be loaded. The worker process ended with exit code 7." in end["error"]
    assert idle.health()[0] == 503
    assert idle.health()[1]["idle/rests"] == "failed"


def test_a_stop_while_it_loads_leaves_the_prediction_for_the_next_start(make_idle: Callable[..., Idle]) -> None:
    idle = make_idle(UNSPOOL_DRAIN_TIMEOUT_S="0.2")
    idle.wait_until_unloaded()
    id = idle.client.submit("idle/rests")["id"]
    stage_of(idle.client, id)
    workers = idle.server.worker_pids()
    assert idle.server.terminate() == 0
    assert not [pid for pid in workers if alive(pid)]
    idle.gate.open()
    client = idle.server.restart().client()
    assert client.finished(id)["status"] == "completed"
