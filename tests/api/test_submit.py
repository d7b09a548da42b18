"""Submitting a prediction: the forms of the answer, the object, idempotency, time limits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import MODELS, MakeServer
from support.client import Client, data_of, error_of
from support.gate import Gate
from support.raw import Raw
from support.server import Server
from support.stream import Event, StrictReader, text_of


@pytest.fixture(scope="module")
def limits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of a server whose models have little room and little time."""
    server = Server(MODELS / "limits.py", tmp_path_factory.mktemp("limits"))
    try:
        yield server.start().wait_until_ready().client()
    finally:
        server.close()


FIELDS = {
    *("id", "model", "status", "outputs", "urls", "has_nsfw_contents", "created_at", "error", "timings"),
    *("executionTime", "progress", "attempt"),
}
"""What every prediction object has."""


def check_types(prediction: dict[str, Any], **more: type) -> None:
    """The types that typed clients insist on, and no field beyond those that are meant."""
    assert set(prediction) == FIELDS | set(more)
    assert re.fullmatch(r"[0-9a-f]{32}", prediction["id"])
    assert isinstance(prediction["model"], str)
    assert prediction["status"] in ("created", "processing", "completed", "failed", "cancelled", "timeout")
    assert isinstance(prediction["outputs"], list)
    assert set(prediction["urls"]) == {"get", "stream", "cancel"}
    assert all(isinstance(url, str) for url in prediction["urls"].values())
    assert prediction["has_nsfw_contents"] == [False] * len(prediction["outputs"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", prediction["created_at"])
    assert isinstance(prediction["error"], str)
    assert "inference" in prediction["timings"]
    assert all(isinstance(number, int | float) for number in prediction["timings"].values())
    assert prediction["executionTime"] == prediction["timings"]["inference"]
    assert 0 <= prediction["progress"] <= 100
    assert isinstance(prediction["attempt"], int)
    for name, kind in more.items():
        assert isinstance(prediction[name], kind)


def events_of(response: httpx.Response) -> list[Event]:
    """A stream that was read to its end."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    reader = StrictReader()
    events = list(reader.feed(response.content))
    reader.close()
    assert reader.done
    return events


def is_stream(response: httpx.Response) -> bool:
    return response.headers["content-type"].startswith("text/event-stream")


# Forms


def test_a_plain_submit_is_answered_at_once_and_polled(client: Client, gate: Gate) -> None:
    answer = client.http.post("test/count", json={"n": 2, "gate": str(gate)})
    prediction = data_of(answer)
    assert prediction["status"] in ("created", "processing")
    assert prediction["outputs"] == []
    assert answer.headers["x-prediction-id"] == prediction["id"]
    gate.open()
    assert client.finished(prediction["id"])["outputs"] == ["1 2 "]


def test_ids_are_hexadecimal_and_in_order_of_time(client: Client) -> None:
    """One is answered before the next is asked for, at times within the same millisecond."""
    ids = [client.submit("test/count", n=1)["id"] for _ in range(20)]
    assert all(re.fullmatch("[0-9a-f]{32}", id) for id in ids)
    times = [id[:12] for id in ids]
    assert times == sorted(times)
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("test/count", {"stream": True}, {}),
        ("test/count/stream", {}, {}),
        ("test/count/stream", {"stream": False}, {}),
        ("test/count", {}, {"Accept": "text/event-stream"}),
        ("test/count", {}, {"Accept": "text/event-stream, */*;q=0.1"}),
        ("test/count", {"stream": True}, {"Accept": "application/json"}),
        ("test/count", {"stream": True, "enable_sync_mode": True}, {}),
        ("test/count", {"stream": True}, {"Prefer": "wait=5"}),
        ("test/count", {"enable_sync_mode": True}, {"Accept": "text/event-stream"}),
        ("test/count/stream", {"enable_sync_mode": True}, {"Prefer": "wait=5"}),
        ("single/stream", {}, {}),
    ],
)
def test_asked_for_a_stream_it_answers_with_the_stream(
    client: Client, path: str, body: dict[str, Any], headers: dict[str, str]
) -> None:
    answer = client.http.post(path, json=body, headers=headers)
    assert events_of(answer)[-1].type == "complete"
    id = answer.headers["x-prediction-id"]
    assert answer.headers["content-location"] == f"/api/v3/predictions/{id}/stream"
    assert client.result(id)["model"] == path.removesuffix("/stream")


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ({"enable_sync_mode": True}, {}),
        ({"enable_sync_mode": True, "stream": False}, {}),
        ({"enable_sync_mode": True}, {"Accept": "application/json, text/event-stream"}),
        ({}, {"Prefer": "wait=30"}),
        ({}, {"Prefer": "respond-async, wait=30"}),
    ],
)
def test_asked_to_wait_it_answers_with_the_finished_prediction(
    client: Client, body: dict[str, Any], headers: dict[str, str]
) -> None:
    answer = client.http.post("test/count", json=body, headers=headers)
    prediction = data_of(answer)
    assert prediction["status"] == "completed"
    assert prediction["outputs"] == ["1 2 3 "]
    assert answer.headers["x-prediction-id"] == prediction["id"]
    check_types(prediction)


@pytest.mark.parametrize(
    "headers",
    [
        {"Accept": "application/json"},
        {"Accept": "*/*"},
        {"Accept": "application/json, text/event-stream"},
        {"Accept": "text/event-stream, application/json;q=0.5"},
    ],
)
def test_who_takes_json_gets_json(client: Client, headers: dict[str, str]) -> None:
    assert not is_stream(client.http.post("test/count", json={}, headers=headers))


def test_stream_false_wins_over_the_accept_header(client: Client) -> None:
    answer = client.http.post("test/count", json={"stream": False}, headers={"Accept": "text/event-stream"})
    assert not is_stream(answer)


def test_a_failed_run_is_a_success_of_http_in_every_form(client: Client) -> None:
    waited = data_of(client.http.post("test/fail", json={"enable_sync_mode": True}))
    assert (waited["status"], waited["error"], waited["code"]) == ("failed", "The picture could not be made.", 1403)
    assert waited["outputs"] == []
    check_types(waited, code=int)
    streamed = client.http.post("test/fail", json={"stream": True})
    id = streamed.headers["x-prediction-id"]
    assert events_of(streamed)[-1].data == {
        "type": "error",
        "id": id,
        "error": "The picture could not be made.",
        "code": 1403,
        "status": "failed",
    }


def test_sync_mode_that_takes_too_long_answers_5004_and_the_run_goes_on(make_server: MakeServer, gate: Gate) -> None:
    client = make_server("few.py", UNSPOOL_SYNC_WAIT_S="0.2").client()
    answer = client.http.post("test/count", json={"n": 1, "gate": str(gate), "enable_sync_mode": True})
    prediction = data_of(answer)
    check_types(prediction, code=int)
    assert prediction["status"] == "processing"
    assert prediction["code"] == 5004
    assert prediction["error"] == (
        "Sync mode timed out after 0.2 seconds. The prediction is still processing asynchronously."
    )
    assert prediction["outputs"] == []
    assert answer.headers["x-prediction-id"] == prediction["id"]
    polled = client.result(prediction["id"])
    assert (polled["status"], polled["error"]) == ("processing", "")
    assert "code" not in polled
    gate.open()
    assert client.finished(prediction["id"])["status"] == "completed"


def test_prefer_wait_that_runs_out_answers_as_sync_mode_does(client: Client, gate: Gate) -> None:
    answer = client.http.post("test/count", json={"n": 1, "gate": str(gate)}, headers={"Prefer": "wait=1"})
    prediction = data_of(answer)
    assert (prediction["status"], prediction["code"]) == ("processing", 5004)
    assert prediction["error"].startswith("Sync mode timed out after 1 seconds.")
    gate.open()
    client.log(prediction["id"])


# The object


def test_the_prediction_object_has_the_types_that_typed_clients_need(client: Client, server: Server) -> None:
    submitted = client.submit("test/count")
    check_types(submitted)
    client.log(submitted["id"])
    finished = client.result(submitted["id"])
    check_types(finished)
    base = f"{server.url}/api/v3/predictions/{submitted['id']}"
    token = submitted["urls"]["stream"].partition("?token=")[2]
    assert re.fullmatch(r"[0-9a-f]{32}", token)
    assert finished["urls"] == {
        "get": f"{base}/result",
        "stream": f"{base}/stream?token={token}",
        "cancel": f"{base}/cancel",
    }
    assert finished["created_at"] == submitted["created_at"]
    assert (finished["progress"], finished["attempt"], finished["error"]) == (100, 1, "")
    assert finished["executionTime"] > 0


def test_usage_and_timings_that_a_model_reports_are_in_the_object(client: Client) -> None:
    finished = client.finished(client.submit("test/steps")["id"])
    check_types(finished, usage=dict)
    assert finished["usage"] == {"steps": 4}
    assert finished["timings"]["counting"] == 1.5
    assert finished["outputs"] == [{"steps": 4}]


def test_both_paths_of_a_result_answer_alike(client: Client) -> None:
    id = client.submit("test/echo", prompt="x", repeat=2)["id"]
    client.log(id)
    assert client.result(id) == data_of(client.http.get(f"predictions/{id}"))
    assert client.result(id)["outputs"] == ["x", "x"]


def test_every_url_of_a_prediction_leads_somewhere(client: Client, server: Server) -> None:
    prediction = client.submit("test/echo", prompt="x")
    client.log(prediction["id"])
    key = {"Authorization": f"Bearer {server.key}"}
    assert data_of(httpx.get(prediction["urls"]["get"], headers=key))["id"] == prediction["id"]
    assert data_of(httpx.post(prediction["urls"]["cancel"], headers=key))["id"] == prediction["id"]
    assert events_of(httpx.get(prediction["urls"]["stream"]))[-1].type == "complete"


def test_urls_are_those_by_which_the_client_reached_the_server(server: Server) -> None:
    headers = {"Authorization": f"Bearer {server.key}", "Host": "models.example:8080"}
    with Raw(server.url) as raw:
        raw.request("POST", "/api/v3/single", headers, b"{}").begin()
        urls = raw.json()["data"]["urls"]
    assert urls["get"].startswith("http://models.example:8080/api/v3/predictions/")


def test_with_a_public_url_all_urls_begin_with_it(make_server: MakeServer) -> None:
    client = make_server("few.py", UNSPOOL_PUBLIC_URL="https://models.example/unspool/").client()
    urls = client.submit("test/count")["urls"]
    for url in urls.values():
        assert url.startswith("https://models.example/unspool/api/v3/predictions/")


def test_model_ids_of_one_two_and_three_segments(make_server: MakeServer) -> None:
    source = """
from unspool import model

for id in ("one", "two/segments", "three/nice/segments", "a/b/c/d/e-5.0_x"):
    def run(id: str = id) -> str:
        return id
    globals()[id] = model(id)(run)
"""
    client = make_server(source).client()
    for id in ("one", "two/segments", "three/nice/segments", "a/b/c/d/e-5.0_x"):
        assert client.finished(client.submit(id)["id"])["outputs"] == [id]
        assert text_of(events_of(client.http.post(f"{id}/stream", json={}))) == ""


def test_v2_is_an_alias_throughout(client: Client, server: Server) -> None:
    headers = {"Authorization": f"Bearer {server.key}"}
    with httpx.Client(base_url=f"{server.url}/api/v2/", headers=headers) as old:
        id = data_of(old.post("test/count", json={}))["id"]
        log = events_of(old.get(f"predictions/{id}/stream"))
        assert log == client.log(id)
        assert data_of(old.get(f"predictions/{id}/result")) | {"urls": {}} == client.result(id) | {"urls": {}}
        assert old.get(f"predictions/{id}/events").json() == client.events(id)
        assert data_of(old.post(f"predictions/{id}/cancel"))["status"] == "completed"
        assert old.get("models").json() == client.http.get("models").json()
        assert events_of(old.post("test/count/stream", json={}))[-1].type == "complete"


@pytest.mark.parametrize("path", ["", "/result", "/events", "/stream"])
def test_a_get_without_a_body_may_say_that_it_sends_json(client: Client, path: str) -> None:
    """The official clients do."""
    id = client.submit("test/echo", prompt="x")["id"]
    client.log(id)
    headers = {"Content-Type": "application/json", "Content-Length": "0"}
    assert client.http.get(f"predictions/{id}{path}", headers=headers).status_code == 200


def test_a_cancel_without_a_body_may_say_that_it_sends_json(client: Client) -> None:
    id = client.submit("test/echo", prompt="x")["id"]
    client.log(id)
    answer = client.http.post(f"predictions/{id}/cancel", headers={"Content-Type": "application/json"})
    assert data_of(answer)["status"] == "completed"


def test_models_are_listed_with_their_schema_and_what_they_stream(client: Client) -> None:
    models = {model["model_id"]: model for model in client.http.get("models").json()["data"]}
    count = models["test/count"]
    assert count["streams"] == ["progress", "log", "output"]
    assert "Says `1 2 3 …`" in count["readme"]
    assert "\nStreams: progress, log, output\n" in count["readme"]
    assert "\nStreams: nothing; poll for the result\n" in models["test/no-stream"]["readme"]
    for id, model in models.items():
        assert model["readme"] == client.http.get(f"models/{id}/readme").text
    (schema,) = count["api_schema"]["api_schemas"]
    assert (schema["type"], schema["method"], schema["api_path"]) == ("model_run", "POST", "/api/v3/test/count")
    assert schema["request_schema"]["properties"]["n"] == {
        "default": 3,
        "maximum": 1_000_000,
        "minimum": 0,
        "title": "N",
        "type": "integer",
    }
    assert schema["request_schema"]["required"] == []
    assert schema["request_schema"]["x-order-properties"] == ["n", "interval_s", "gate"]


# Idempotency


def test_the_same_key_and_body_are_the_same_prediction_in_any_form(client: Client, gate: Gate, tmp_path: Path) -> None:
    headers = {"Idempotency-Key": tmp_path.name}
    body = {"n": 3, "gate": str(gate)}
    first = client.http.post("test/count", json=body, headers=headers)
    id = data_of(first)["id"]
    assert gate.visitor() == id
    again = client.http.post("test/count", json=dict(reversed(body.items())), headers=headers)
    assert data_of(again)["id"] == again.headers["x-prediction-id"] == id
    gate.open()
    streamed = client.http.post("test/count", json={**body, "stream": True}, headers=headers)
    assert streamed.headers["x-prediction-id"] == id
    assert events_of(streamed) == client.log(id), "the stream of a repeated submit begins at the start"
    waited = data_of(client.http.post("test/count", json={**body, "enable_sync_mode": True}, headers=headers))
    assert (waited["id"], waited["status"]) == (id, "completed")


def test_an_idempotency_key_outlives_the_run_and_the_server(make_server: MakeServer, gate: Gate) -> None:
    server = make_server("few.py")
    headers = {"Idempotency-Key": "finished"}, {"Idempotency-Key": "running"}
    bodies = {"n": 2}, {"n": 1, "gate": str(gate)}
    client = server.client()
    ids = [
        data_of(client.http.post("test/count", json=b, headers=h))["id"] for b, h in zip(bodies, headers, strict=True)
    ]
    client.log(ids[0])
    assert gate.visitor() == ids[1]
    client = server.restart().wait_until_ready().client()
    gate.open()
    for id, body, header in zip(ids, bodies, headers, strict=True):
        assert data_of(client.http.post("test/count", json=body, headers=header))["id"] == id
        streamed = client.http.post("test/count/stream", json=body, headers=header)
        assert events_of(streamed) == client.log(id)
        other = client.http.post("test/count", json={"n": 7}, headers=header)
        error_of(other, 409, "idempotency_mismatch")


def test_many_submits_with_one_key_at_once_make_one_prediction(client: Client, tmp_path: Path) -> None:
    def submit(_: int) -> str:
        answer = client.http.post("test/echo", json={"prompt": "x"}, headers={"Idempotency-Key": tmp_path.name})
        return str(data_of(answer)["id"])

    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(submit, range(48)))) == 1


def test_without_a_key_the_same_body_is_a_new_prediction(client: Client) -> None:
    assert client.submit("test/echo", prompt="x")["id"] != client.submit("test/echo", prompt="x")["id"]


def test_a_submit_that_was_refused_does_not_use_up_its_key(client: Client, tmp_path: Path) -> None:
    headers = {"Idempotency-Key": tmp_path.name}
    error_of(client.http.post("test/echo", json={"prompt": 5}, headers=headers), 400, "invalid_input")
    assert client.http.post("test/echo", json={"prompt": "x"}, headers=headers).status_code == 200


# Time limits


def test_a_run_that_exceeds_its_run_timeout_ends_with_timeout(client: Client, gate: Gate) -> None:
    answer = client.http.post("test/count?run_timeout=0.2", json={"n": 2, "gate": str(gate)})
    id = data_of(answer)["id"]
    assert client.log(id)[-1].data == {
        "type": "error",
        "id": id,
        "error": "The run took longer than its run timeout.",
        "code": 5004,
        "status": "timeout",
    }
    polled = client.result(id)
    assert (polled["status"], polled["code"]) == ("timeout", 5004)
    assert polled["error"] == "The run took longer than its run timeout."
    check_types(polled, code=int)


def test_a_run_timeout_that_is_not_reached_changes_nothing(client: Client) -> None:
    answer = client.http.post("test/count/stream?run_timeout=60&start_timeout=60", json={})
    assert events_of(answer)[-1].type == "complete"


def test_the_model_s_own_run_timeout_holds_even_if_the_request_asks_for_more(limits: Client, gate: Gate) -> None:
    for query in ("", "?run_timeout=600"):
        id = data_of(limits.http.post(f"limits/short{query}", json={"gate": str(gate)}))["id"]
        assert limits.finished(id)["status"] == "timeout"
    id = limits.submit("limits/short")["id"]
    assert limits.finished(id)["outputs"] == ["through"]


def test_who_finds_no_free_slot_within_start_timeout_ends_with_timeout(limits: Client, gate: Gate) -> None:
    first = limits.submit("limits/one-slot", gate=str(gate))["id"]
    assert gate.visitor() == first
    late = data_of(limits.http.post("limits/one-slot?start_timeout=0.2", json={}))["id"]
    patient = data_of(limits.http.post("limits/one-slot?start_timeout=60", json={}))["id"]
    log = limits.log(late)
    assert [event.attempt for event in log] == [0] * len(log)
    assert log[0].data == {"type": "progress", "percentage": 0, "id": late, "status": "created", "queue_position": 0}
    assert log[-1].data == {
        "type": "error",
        "id": late,
        "error": "No worker was free within start_timeout (0.2 s).",
        "code": 5004,
        "status": "timeout",
    }
    polled = limits.result(late)
    assert (polled["status"], polled["attempt"]) == ("timeout", 0)
    gate.open()
    assert limits.finished(first)["status"] == limits.finished(patient)["status"] == "completed"


def test_those_who_wait_are_told_their_place(limits: Client, gate: Gate) -> None:
    first = limits.submit("limits/one-slot", gate=str(gate))["id"]
    assert gate.visitor() == first
    waiting = [limits.submit("limits/one-slot")["id"] for _ in range(9)]
    positions = [limits.events(id)["events"][0]["event"]["queue_position"] for id in waiting]
    assert positions == list(range(9))
    gate.open()
    logs = [limits.log(id) for id in waiting]
    told = [event.data["queue_position"] for event in logs[-1] if event.attempt == 0]
    assert told[0] == 8
    assert told == sorted(set(told), reverse=True)
    assert len(told) > 1, "a long wait says how it goes"
