"""What `/metrics` says after real runs, and who may read it."""

from __future__ import annotations

import httpx
from prometheus_client.parser import text_string_to_metric_families

from conftest import MakeServer
from support.client import Client
from support.gate import Gate
from support.raw import Raw
from support.receiver import Receiver, Told
from support.server import Server, kill9
from support.waiting import wait_until
from unspool.metrics import WATCHED_STREAMS

Sample = tuple[str, frozenset[tuple[str, str]]]


class Metrics(dict[Sample, float]):
    """One scrape: `metrics("unspool_viewers")`, `metrics("…_total", model="test/echo")`."""

    def __call__(self, name: str, **labels: str) -> float:
        return self.get((name, frozenset(labels.items())), 0.0)


def scrape(server: Server) -> Metrics:
    answer = httpx.get(f"{server.url}/metrics", headers={"Authorization": f"Bearer {server.key}"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    families = text_string_to_metric_families(answer.text)
    return Metrics({(one.name, frozenset(one.labels.items())): one.value for some in families for one in some.samples})


def growth(server: Server, before: Metrics, name: str, **labels: str) -> float:
    return scrape(server)(name, **labels) - before(name, **labels)


def test_predictions_are_counted_by_model_and_status(server: Server, client: Client):
    before = scrape(server)
    for _ in range(3):
        client.finished(client.submit("test/echo", prompt="x")["id"])
    client.finished(client.submit("test/fail")["id"])

    def grown(name: str, **labels: str) -> float:
        return growth(server, before, f"unspool_{name}", **labels)

    assert grown("predictions_submitted_total", model="test/echo") == 3
    assert grown("predictions_total", model="test/echo", status="completed") == 3
    assert grown("predictions_total", model="test/fail", status="failed") == 1
    assert grown("run_duration_seconds_count", model="test/echo") == 3
    assert grown("queue_wait_seconds_count", model="test/echo") == 3
    assert grown("first_output_seconds_count", model="test/echo") == 0, "it returns and streams no output"
    assert grown("first_output_seconds_count", model="test/fail") == 1
    assert grown("spool_commit_duration_seconds_count") > 0


def test_the_queue_the_runs_and_the_viewers_of_this_moment_are_shown(make_server: MakeServer, gate: Gate):
    server = make_server("few.py")
    client = server.client()
    with client.run("test/count", n=2, gate=str(gate)) as stream:
        gate.visitor()
        metrics = scrape(server)
        assert metrics("unspool_viewers") == 1
        assert metrics("unspool_running", model="test/count") == 1
        assert metrics("unspool_queue_depth", model="test/count") == 0
        waiting = [client.submit("test/count", n=1, gate=str(gate))["id"] for _ in range(40)]
        wait_until(lambda: scrape(server)("unspool_queue_depth", model="test/count") == 9, "nine were left to wait")
        assert scrape(server)("unspool_running", model="test/count") == 32
        gate.open()
        assert list(stream)
    for id in waiting:
        client.finished(id)
    wait_until(lambda: scrape(server)("unspool_viewers") == 0, "no viewer was left")
    after = scrape(server)
    assert after("unspool_queue_depth", model="test/count") == after("unspool_running", model="test/count") == 0


def test_streams_are_counted_with_those_that_were_resumed(server: Server, client: Client):
    before = scrape(server)
    with client.run("test/count", n=1) as stream:
        list(stream)
    with client.stream(stream.id, after="1-1") as resumed:
        list(resumed)
    assert growth(server, before, "unspool_streams_total") == 2
    assert growth(server, before, "unspool_streams_resumed_total") == 1
    assert growth(server, before, "unspool_first_event_seconds_count") == 2


def test_the_lateness_of_events_is_sampled_where_a_viewer_is_up_to_date(server: Server, client: Client):
    before = scrape(server)
    with client.run("test/count", n=40, interval_s=0.02) as stream:
        list(stream)
    assert 1 <= growth(server, before, "unspool_event_lateness_seconds_count") <= 40


def test_streams_that_are_left_early_make_room_for_others_to_be_measured(server: Server, client: Client, gate: Gate):
    for _ in range(WATCHED_STREAMS + 1):
        with client.run("test/count", n=1, gate=str(gate)) as stream:
            stream.take(1)
    gate.open()
    wait_until(lambda: scrape(server)("unspool_viewers") == 0, "all had left")
    before = scrape(server)
    with client.run("test/count", n=1) as stream:
        list(stream)
    assert growth(server, before, "unspool_first_event_seconds_count") == 1


def test_a_viewer_that_is_dropped_is_counted(make_server: MakeServer):
    server = make_server("flood.py", UNSPOOL_STALLED_VIEWER_S="0.5")
    client = server.client()
    id = client.submit("flood/log", lines=3_000, size=4_000)["id"]
    client.finished(id)
    with Raw(server.url, receive_buffer=4096) as stalled:
        stalled.request("GET", f"/api/v3/predictions/{id}/stream", {"Authorization": f"Bearer {server.key}"}).begin()
        wait_until(lambda: scrape(server)("unspool_viewers_dropped_total") == 1, "the drop was counted", 30)


def test_a_worker_that_dies_is_counted_and_its_memory_is_shown(make_server: MakeServer):
    server = make_server("few.py")
    client = server.client()
    pid = client.finished(client.submit("test/whoami")["id"])["outputs"][0]["pid"]
    before = scrape(server)
    assert before("unspool_worker_restarts_total", model="test/whoami") == 0
    assert before("unspool_workers_ready", model="test/whoami") == 1
    assert before("unspool_worker_resident_memory_bytes", model="test/whoami", replica="0") > 1_000_000
    kill9(pid)
    wait_until(
        lambda: scrape(server)("unspool_worker_restarts_total", model="test/whoami") == 1, "the restart was counted"
    )
    assert scrape(server)("unspool_model_load_failures_total", model="test/whoami") == 0


def test_an_attempt_that_is_lost_is_counted(make_server: MakeServer):
    server = make_server("crash.py")
    client = server.client()
    assert client.finished(client.submit("crash/at")["id"])["attempt"] == 2
    metrics = scrape(server)
    assert metrics("unspool_attempts_lost_total", model="crash/at") == 1
    assert metrics("unspool_predictions_total", model="crash/at", status="completed") == 1


def test_a_model_that_cannot_be_loaded_is_counted(make_server: MakeServer):
    server = make_server("broken.py", ready=False, UNSPOOL_LOAD_ATTEMPTS="2", UNSPOOL_RESTART_BACKOFF_S="0.05")
    client = server.client()
    client.finished(client.submit("load/raises")["id"])
    assert scrape(server)("unspool_model_load_failures_total", model="load/raises") >= 2


def test_the_number_of_series_does_not_grow_with_predictions_and_bad_requests(server: Server, client: Client):
    client.finished(client.submit("test/echo", prompt="x")["id"])
    before = set(scrape(server))
    for number in range(30):
        assert client.http.post(f"no/model-{number}", json={}).status_code == 404
        client.finished(client.submit("test/echo", prompt=str(number))["id"])
    assert set(scrape(server)) == before


def test_without_a_key_there_are_no_metrics(server: Server):
    answer = httpx.get(f"{server.url}/metrics")
    assert (answer.status_code, answer.json()["error_code"]) == (401, "unauthenticated")


def test_metrics_may_be_open(make_server: MakeServer):
    server = make_server("few.py", UNSPOOL_METRICS="open")
    assert "unspool_build_info" in httpx.get(f"{server.url}/metrics").text


def test_metrics_may_be_off(make_server: MakeServer):
    server = make_server("few.py", UNSPOOL_METRICS="off")
    answer = httpx.get(f"{server.url}/metrics", headers={"Authorization": f"Bearer {server.key}"})
    assert (answer.status_code, answer.json()["error_code"]) == (404, "not_found")


def test_a_scraper_that_asks_for_openmetrics_gets_it(server: Server):
    headers = {"Authorization": f"Bearer {server.key}", "Accept": "application/openmetrics-text; version=1.0.0"}
    answer = httpx.get(f"{server.url}/metrics", headers=headers)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


def test_webhooks_are_counted_by_what_became_of_them(make_server: MakeServer):
    server = make_server("hooks.py", UNSPOOL_WEBHOOK_ALLOW_HTTP="1", UNSPOOL_WEBHOOK_ALLOW_HOSTS="127.0.0.1")
    client = server.client()
    receiver = Receiver()
    try:
        receiver.tell("/no", Told(410))
        client.submit("echo", webhook_url=receiver.url())
        client.submit("echo", webhook_url=receiver.url("/no"))
        for outcome in ("delivered", "failed"):
            wait_until(
                lambda outcome=outcome: scrape(server)("unspool_webhook_deliveries_total", outcome=outcome) == 1,
                f"one was counted as {outcome}",
            )
    finally:
        receiver.close()
