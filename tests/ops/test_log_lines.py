"""The lines of the server's log about predictions: which there are, and what is in them."""

from __future__ import annotations

import json
from typing import Any

from conftest import MakeServer
from support.client import data_of
from support.gate import Gate
from support.server import Server


def lines(server: Server, id: str) -> list[dict[str, Any]]:
    """What the log says of a prediction, in order. Every line of the log must be JSON but for the first two."""
    found = []
    for line in server.log.splitlines():
        if line.startswith("{"):
            said = json.loads(line)
            if said.get("id") == id:
                found.append(said)
    return found


def wait_for_end(server: Server, id: str) -> list[dict[str, Any]]:
    server.wait_for_log(rf'(?=.*"{id}").*prediction (completed|failed|cancelled|timeout)')
    return lines(server, id)


def test_a_prediction_has_a_line_for_each_of_its_transitions(server: Server):
    answer = server.client().http.post("test/echo", json={"prompt": "a secret"})
    prediction = data_of(answer)
    submitted, claimed, completed = wait_for_end(server, prediction["id"])
    assert submitted["event"] == "prediction submitted"
    assert submitted["level"] == "info"
    assert submitted["request_id"] == answer.headers["x-request-id"]
    assert claimed["event"] == "prediction claimed"
    assert claimed["attempt"] == 1
    assert completed["event"] == "prediction completed"
    assert completed["attempt"] == 1
    assert completed["model"] == submitted["model"] == "test/echo"
    assert completed["owner"] == submitted["owner"]
    assert len(completed["owner"]) == 16
    assert 0 <= completed["waited_s"] <= completed["total_s"]
    assert 0 <= completed["run_s"] <= completed["total_s"]
    assert "a secret" not in server.log, "inputs are nobody's business"


def test_two_requests_at_once_have_each_its_own_id_in_the_log(server: Server):
    client = server.client()
    answers = [client.http.post("test/echo", json={"prompt": "x"}) for _ in range(3)]
    for answer in answers:
        submitted = wait_for_end(server, data_of(answer)["id"])[0]
        assert submitted["request_id"] == answer.headers["x-request-id"]


def test_failures_and_cancellations_are_told_as_what_they_are(server: Server, gate: Gate):
    client = server.client()
    failed = client.submit("test/fail")["id"]
    assert wait_for_end(server, failed)[-1]["event"] == "prediction failed"
    id = client.submit("test/count", gate=str(gate))["id"]
    gate.visitor()
    client.cancel(id)
    assert wait_for_end(server, id)[-1]["event"] == "prediction cancelled"


def test_a_lost_attempt_is_a_warning(make_server: MakeServer):
    server = make_server("crash.py")
    id = server.client().submit("crash/at")["id"]
    said = wait_for_end(server, id)
    assert [(one["event"], one.get("attempt"), one["level"]) for one in said] == [
        ("prediction submitted", None, "info"),
        ("prediction claimed", 1, "info"),
        ("prediction lost its attempt", 1, "warning"),
        ("prediction claimed", 2, "info"),
        ("prediction completed", 2, "info"),
    ]
    assert "SIGKILL" in said[2]["cause"]


def test_at_level_warning_a_run_that_goes_well_leaves_no_line(make_server: MakeServer):
    server = make_server("crash.py", UNSPOOL_LOG_LEVEL="warning")
    client = server.client()
    id = client.submit("crash/at")["id"]
    assert client.finished(id)["status"] == "completed"
    assert [one["event"] for one in lines(server, id)] == ["prediction lost its attempt"]
