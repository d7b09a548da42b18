"""The streams that `unspool doctor` measures with: as a prediction's for whoever passes them on, and bounded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from conftest import MODELS
from support.client import error_of
from support.raw import Raw
from support.server import KEY, Server
from support.waiting import wait_until

GET = "/api/v3/predictions/health/stream"
POST = "/api/v3/model/health/stream"
AUTH = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    environment = {"UNSPOOL_MAX_BODY_BYTES": "2000", "UNSPOOL_DRAIN_TIMEOUT_S": "0"}
    server = Server(MODELS / "few.py", tmp_path_factory.mktemp("doctor"), environment)
    try:
        yield server.start().wait_until_ready()
    finally:
        server.close()


def test_it_has_the_headers_of_a_stream_and_says_when_it_sends(server: Server):
    answer = httpx.get(server.url + GET, headers=AUTH, params={"count": 3, "interval_s": 0.01, "padding_bytes": 50})
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["cache-control"] == "no-cache, no-transform"
    blocks = answer.text.split("\n\n")
    events = [json.loads(block.partition("data: ")[2]) for block in blocks[:-1]]
    assert [event["n"] for event in events] == [1, 2, 3]
    assert events[0]["at"] < events[1]["at"] < events[2]["at"]
    assert all(len(event["padding"]) == 50 for event in events)
    assert events[0]["server"]["keep_alive_s"] == 15
    assert events[0]["request"]["headers"]["host"] == server.url.removeprefix("http://")
    assert KEY not in answer.text


def test_what_is_posted_is_counted(server: Server):
    answer = httpx.post(server.url + POST, headers=AUTH, params={"count": 1}, content=b"x" * 1234)
    assert json.loads(answer.text.partition("data: ")[2])["request"]["body_bytes"] == 1234
    error_of(httpx.post(server.url + POST, headers=AUTH, content=b"x" * 2001), 413, "too_large")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_it_wants_a_key(server: Server, method: str):
    error_of(httpx.request(method, server.url + (GET if method == "GET" else POST)), 401, "unauthenticated")


@pytest.mark.parametrize(
    "wrong",
    [
        {"count": "0"},
        {"count": "many"},
        {"interval_s": "-1"},
        {"silence_s": "901"},
        {"silence_s": "nan"},
        {"padding_bytes": "16001"},
        {"count": "1000", "interval_s": "1"},
        {"silence_s": "600", "delay_s": "301"},
    ],
    ids=str,
)
def test_it_is_bounded(server: Server, wrong: dict[str, str]):
    error_of(httpx.get(server.url + GET, headers=AUTH, params=wrong), 400, "bad_query")


def test_so_many_at_once_and_those_that_left_do_not_count(server: Server):
    def another() -> Raw:
        return Raw(server.url).request("GET", f"{GET}?count=2&silence_s=600", AUTH).begin()

    with ExitStack() as stack:
        for _ in range(32):
            assert stack.enter_context(another()).status == 200
        with another() as refused:
            assert (refused.status, refused.headers["retry-after"]) == (429, "5")

    def free() -> bool:
        with another() as raw:
            return raw.status == 200

    wait_until(free, "those that left were let go", 30)


def test_a_server_that_stops_does_not_wait_for_it(server: Server):
    with Raw(server.url).request("GET", f"{GET}?count=2&silence_s=600", AUTH).begin() as raw:
        chunks = raw.chunks()
        assert next(chunks).startswith(b"id: 1\n")
        assert server.terminate() == 0
        assert list(chunks) == []
    server.start().wait_until_ready()
