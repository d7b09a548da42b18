"""Behind nginx and Caddy, with the files of `deploy/`: streams stay streams, and uploads and departures get through."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from conftest import MODELS
from support.client import error_of
from support.gate import Gate
from support.proxy import Proxy
from support.raw import Raw
from support.server import Server
from support.stream import StrictReader
from support.waiting import wait_until

KINDS = ["nginx", "caddy"]
KEEP_ALIVE_S = 0.2


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    environment = {"UNSPOOL_KEEP_ALIVE_S": str(KEEP_ALIVE_S), "UNSPOOL_DISCONNECT_GRACE_S": "0.1"}
    server = Server(MODELS / "few.py", tmp_path_factory.mktemp("behind"), environment)
    try:
        yield server.start().wait_until_ready()
    finally:
        server.close()


@pytest.fixture(scope="module", params=KINDS)
def proxy(request: pytest.FixtureRequest, behind: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    proxy = Proxy(request.param, behind, tmp_path_factory.mktemp("proxy") / request.param)
    yield proxy
    proxy.close()


def test_events_arrive_while_the_run_is_held(proxy: Proxy, gate: Gate):
    with proxy.client().run("test/count", n=3, gate=str(gate)) as stream:
        first, second = stream.take(2)
        assert (first.data["status"], second.data["status"]) == ("created", "processing")
        for number in (1, 2):
            gate.let(1)
            assert stream.until("output").data["output"] == f"{number} ", "the next one is still at the gate"
        gate.open()
        assert [event.type for event in stream][-1] == "complete"


def test_a_stream_that_is_joined_arrives_while_the_run_is_held(proxy: Proxy, gate: Gate):
    client = proxy.client()
    id = client.submit("test/count", n=2, gate=str(gate))["id"]
    gate.let(1)
    with client.stream(id) as stream:
        assert stream.until("output").data["output"] == "1 "
        gate.open()
        assert list(stream)[-1].type == "complete"
    with client.stream(id, after="1-2") as resumed:
        assert [event.cursor for event in resumed] == ["1-3", "1-4"]


def test_a_large_body_and_a_large_answer_pass(proxy: Proxy, behind: Server):
    client = proxy.client()
    prompt = "x" * 3_000_000
    id = client.submit("test/echo", prompt=prompt)["id"]
    wait_until(lambda: behind.client().result(id)["status"] == "completed", "it was completed")
    assert client.result(id)["outputs"] == [prompt]


def test_a_body_that_is_too_large_is_refused_in_our_words(proxy: Proxy):
    answer = proxy.client().http.post("test/echo", json={"prompt": "x" * 11_000_000})
    error_of(answer, 413, "too_large")


def test_the_departure_of_a_client_reaches_the_server(proxy: Proxy, behind: Server, gate: Gate):
    with proxy.client().run("test/count", params={"on_disconnect": "cancel"}, n=1, gate=str(gate)) as stream:
        stream.take(2)
        gate.visitor()
    client = behind.client()
    wait_until(lambda: client.result(stream.id)["status"] == "cancelled", "it was cancelled, with its viewer gone")


def test_the_metrics_are_not_for_the_world(proxy: Proxy, behind: Server):
    headers = {"Authorization": f"Bearer {behind.key}"}
    assert httpx.get(f"{proxy.url}/metrics", headers=headers).status_code == 403
    assert httpx.get(f"{behind.url}/metrics", headers=headers).status_code == 200


def silent_stream(proxy: Proxy, server: Server, gate: Gate) -> Raw:
    """A stream whose next event is held, after its first ones."""
    id = server.client().submit("test/count", n=1, gate=str(gate))["id"]
    gate.visitor()
    raw = Raw(proxy.url)
    return raw.request("GET", f"/api/v3/predictions/{id}/stream", {"Authorization": f"Bearer {server.key}"}).begin()


def test_keep_alives_carry_a_silent_stream_past_the_read_timeout_of_nginx(behind: Server, tmp_path, gate: Gate):
    proxy = Proxy("nginx", behind, tmp_path / "nginx", {"proxy_read_timeout 60s": "proxy_read_timeout 1s"})
    try:
        with silent_stream(proxy, behind, gate) as raw:
            chunks = raw.chunks()
            reader, silences = StrictReader(), 0
            while silences * KEEP_ALIVE_S < 2:
                chunk = next(chunks)
                silences += chunk.count(b": keep-alive")
                list(reader.feed(chunk))
            gate.open()
            for chunk in chunks:
                list(reader.feed(chunk))
            assert reader.done
    finally:
        proxy.close()


def test_without_keep_alives_nginx_cuts_a_silent_stream_and_the_client_resumes(make_server, tmp_path, gate: Gate):
    """Otherwise the test above would prove nothing."""
    server = make_server("few.py", UNSPOOL_KEEP_ALIVE_S="1000")
    proxy = Proxy("nginx", server, tmp_path / "nginx", {"proxy_read_timeout 60s": "proxy_read_timeout 1s"})
    try:
        with silent_stream(proxy, server, gate) as raw:
            id = raw.headers["x-prediction-id"]
            with pytest.raises(EOFError):
                b"".join(raw.chunks())
        gate.open()
        with proxy.client().stream(id, after="1-1") as resumed:
            assert [event.cursor for event in resumed] == ["1-2", "1-3"]
    finally:
        proxy.close()
