"""Traces, as a collector receives them from real runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import MODELS, MakeServer
from support.client import Client, data_of
from support.collector import Collector, Span
from support.gate import Gate
from support.server import Server
from support.waiting import wait_until

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
SOON = {"OTEL_BSP_SCHEDULE_DELAY": "50"}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def traced(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **SOON}
    server = Server(MODELS / "traced.py", tmp_path_factory.mktemp("traced"), environment)
    try:
        yield server.start().wait_until_ready()
    finally:
        server.close()


def whole(collector: Collector, id: str) -> Span:
    """The span of a prediction, once it has come."""

    def found() -> list[Span]:
        return [span for span in collector.spans if span.attributes.get("unspool.prediction_id") == id]

    wait_until(found, "the prediction's span had come", 20)
    return found()[-1]


def parts(collector: Collector, span: Span) -> list[Span]:
    """What is directly inside, the earliest first. All of it comes before or with the span itself."""
    return sorted((one for one in collector.spans if one.parent == span.id), key=lambda one: one.begin_ns)


@pytest.mark.parametrize("model", ["traced/sync", "traced/async", "traced/batch"])
def test_a_trace_leads_from_the_client_to_the_spans_of_the_model(traced: Server, collector: Collector, model: str):
    client = traced.client()
    answer = client.http.post(model, json={}, headers={"traceparent": f"00-{TRACE}-{SPAN}-01"})
    id = data_of(answer)["id"]
    client.finished(id)
    prediction = whole(collector, id)
    assert (prediction.name, prediction.trace_id, prediction.parent) == (f"predict {model}", TRACE, SPAN)
    assert prediction.attributes["unspool.status"] == "completed"
    assert prediction.attributes["unspool.request_id"] == answer.headers["x-request-id"]
    assert prediction.service == "unspool"
    queue, attempt = parts(collector, prediction)
    assert (queue.name, attempt.name, attempt.attributes) == ("queue", "attempt", {"unspool.attempt": 1})
    assert prediction.begin_ns == queue.begin_ns <= queue.end_ns == attempt.begin_ns
    assert attempt.end_ns == prediction.end_ns
    wait_until(lambda: parts(collector, attempt), "the span of the model's author had come", 20)
    (of_author,) = parts(collector, attempt)
    assert (of_author.name, of_author.trace_id) == ("denoise", TRACE)


def test_without_a_trace_of_the_client_the_prediction_id_is_the_trace_id(traced: Server, collector: Collector):
    client = traced.client()
    id = client.submit("traced/sync")["id"]
    prediction = whole(collector, id)
    assert (prediction.trace_id, prediction.parent) == (id, "")


def test_a_client_that_does_not_sample_is_not_traced(traced: Server, collector: Collector):
    client = traced.client()
    headers = {"traceparent": f"00-{TRACE[::-1]}-{SPAN}-00"}
    id = data_of(client.http.post("traced/sync", json={}, headers=headers))["id"]
    client.finished(id)
    later = client.submit("traced/sync")["id"]
    whole(collector, later)
    assert not [span for span in collector.spans if span.trace_id == TRACE[::-1]]


def test_a_failure_is_one_in_the_trace(traced: Server, collector: Collector):
    prediction = whole(collector, traced.client().submit("traced/fails")["id"])
    assert (prediction.failed, prediction.message) == (True, "No picture today.")


def test_a_lost_attempt_is_a_span_of_its_own(traced: Server, collector: Collector):
    id = traced.client().submit("traced/dies")["id"]
    prediction = whole(collector, id)
    assert not prediction.failed
    assert prediction.attributes["unspool.attempts"] == 2
    assert [(span.name, span.failed) for span in parts(collector, prediction)] == [
        ("queue", False),
        ("attempt", True),
        ("queue", False),
        ("attempt", False),
    ]


def test_a_prediction_that_outlives_its_server_goes_on_in_its_trace(
    make_server: MakeServer, collector: Collector, gate: Gate
):
    server = make_server("traced.py", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, **SOON)
    id = server.client().submit("traced/sync", gate=str(gate))["id"]
    gate.visitor()
    server.restart()
    gate.open()
    client: Client = server.client()
    client.finished(id)
    prediction = whole(collector, id)
    assert prediction.trace_id == id
    assert prediction.attributes["unspool.resumed"] is True
    assert prediction.attributes["unspool.attempts"] == 2


def test_a_stop_sends_what_is_left(make_server: MakeServer, collector: Collector):
    server = make_server("traced.py", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_BSP_SCHEDULE_DELAY="600000")
    client = server.client()
    id = client.submit("traced/sync")["id"]
    client.finished(id)
    assert not [span for span in collector.spans if span.trace_id == id]
    assert server.terminate() == 0
    assert {span.name for span in collector.spans if span.trace_id == id} >= {"predict traced/sync", "denoise"}


def test_a_collector_that_is_away_harms_nothing_and_stays_out_of_what_clients_see(make_server: MakeServer):
    server = make_server("traced.py", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", **SOON)
    client = server.client()
    for _ in range(3):
        log = client.log(client.submit("traced/sync")["id"])
        assert {event.type for event in log} == {"progress", "output", "complete"}
    assert server.terminate() == 0


def test_without_being_asked_for_nothing_of_it_is_loaded(server: Server, traced: Server):
    """Seen by the compiled part of protobuf, which nothing else here loads."""
    mapped = [Path(f"/proc/{one.pid}/maps") for one in (server, traced)]
    if not mapped[0].exists():
        pytest.skip("This system has no /proc.")
    assert ["google/_upb" in maps.read_text() for maps in mapped] == [False, True]
