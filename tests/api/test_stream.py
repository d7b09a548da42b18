"""Following a prediction: the bytes of a stream, resuming, joining, tokens, CORS, the long poll."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from conftest import MODELS, MakeServer
from support.client import Client, data_of
from support.gate import Gate
from support.raw import Raw
from support.server import Server
from support.stream import PREAMBLE, Event, StrictReader, check_log, parse_event, text_of
from support.waiting import wait_until


@pytest.fixture(scope="module")
def quick_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that loses patience within tenths of a second."""
    environment = {
        "UNSPOOL_KEEP_ALIVE_S": "0.2",
        "UNSPOOL_DISCONNECT_GRACE_S": "0.3",
        "UNSPOOL_CORS_ORIGINS": "https://app.example, http://localhost:3000",
    }
    server = Server(MODELS / "few.py", tmp_path_factory.mktemp("quick-server"), environment)
    try:
        yield server.start().wait_until_ready()
    finally:
        server.close()


def key_of(server: Server) -> dict[str, str]:
    return {"Authorization": f"Bearer {server.key}"}


def token_of(prediction: dict[str, Any]) -> str:
    return str(prediction["urls"]["stream"].partition("?token=")[2])


def frame(event: Event) -> bytes:
    """The event as it must stand on the wire, given that its JSON is as the server wrote it."""
    data = json.dumps(event.data, ensure_ascii=False, separators=(",", ":"))
    return f"id: {event.cursor}\ndata: {data}\n\n".encode()


# The bytes


def test_the_whole_answer_is_literally_this(client: Client, server: Server) -> None:
    with Raw(server.url) as raw:
        headers = {**key_of(server), "Content-Type": "application/json"}
        raw.request("POST", "/api/v3/test/count", headers, b'{"n": 2, "stream": true}').begin()
        body = raw.body()
    id = raw.headers["x-prediction-id"]
    assert re.fullmatch(r"[0-9a-f]{32}", id)
    assert raw.status == 200
    assert {name: raw.headers[name] for name in raw.headers if name not in ("date", "server", "x-request-id")} == {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-cache, no-transform",
        "x-accel-buffering": "no",
        "x-prediction-id": id,
        "content-location": f"/api/v3/predictions/{id}/stream",
        "transfer-encoding": "chunked",
    }
    inference = client.result(id)["timings"]["inference"]
    assert body.decode() == (
        "retry: 1000\n\n"
        f'id: 0-1\ndata: {{"type":"progress","percentage":0,"id":"{id}","status":"created","queue_position":0}}\n\n'
        'id: 1-1\ndata: {"type":"progress","percentage":0,"status":"processing","attempt":1}\n\n'
        'id: 1-2\ndata: {"type":"output","output":"1 ","index":0}\n\n'
        'id: 1-3\ndata: {"type":"output","output":"2 ","index":0}\n\n'
        f'id: 1-4\ndata: {{"type":"complete","id":"{id}","outputs":["1 2 "],"timings":{{"inference":{inference}}}}}\n\n'
    )


def test_a_stream_is_never_compressed(client: Client, server: Server) -> None:
    id = client.submit("test/count", n=500)["id"]
    client.log(id)
    headers = {**key_of(server), "Accept-Encoding": "gzip, br, zstd, deflate"}
    answer = httpx.get(f"{server.url}/api/v3/predictions/{id}/stream", headers=headers)
    assert "content-encoding" not in answer.headers
    assert answer.content.startswith(PREAMBLE)


def test_progress_log_and_output_come_in_the_order_in_which_they_were_said(client: Client) -> None:
    log = client.log(client.submit("test/steps")["id"])
    assert [event.type for event in log] == [*["progress"] * 6, "log", "complete"]
    assert [event.data["percentage"] for event in log[:6]] == [0, 0, 25, 50, 75, 100]
    assert log[2].data == {
        "type": "progress",
        "percentage": 25,
        "stage": "count",
        "step": 1,
        "steps": 4,
    }
    assert log[6].data["message"] == "almost there"


def test_pieces_of_each_index_joined_are_its_output(client: Client) -> None:
    log = client.log(client.submit("test/parts")["id"])
    assert (text_of(log, 0), text_of(log, 1)) == ("left", "RIGH")
    assert log[-2].data == {"type": "output", "output": {"kind": "part"}, "index": 2}
    assert log[-1].data["outputs"] == ["left", "RIGH", {"kind": "part"}]


def test_text_of_every_script_arrives_unharmed(make_server: MakeServer) -> None:
    client = make_server("text.py").client()
    log = client.log(client.submit("test/chinese-emoji", pieces=2_000, interval_s=0)["id"])
    assert [text_of(log)] == log[-1].data["outputs"]
    assert "👨‍👩‍👧‍👦" in text_of(log)


LONG = """
from unspool import Run, model

@model("long/text")
def long(run: Run, size: int = 100_000, log: bool = False):
    text = "".join(chr(0x4E00 + i % 5000) for i in range(size))
    if log:
        run.log(text)
    yield text
    yield {"list": list(range(20_000))}
"""


def test_long_text_is_cut_into_events_under_4_kb_that_join_to_the_same_text(make_server: MakeServer) -> None:
    client = make_server(LONG).client()
    log = client.log(client.submit("long/text", log=True)["id"])
    text = "".join(chr(0x4E00 + i % 5000) for i in range(100_000))
    assert text_of([event for event in log if isinstance(event.data.get("output"), str)]) == text
    assert "".join(event.data["message"] for event in log if event.type == "log") == text
    assert (
        max(len(frame(event)) for event in log if event.type in ("output", "log") and event.data.get("index") != 1)
        < 4_096
    )
    assert log[-1].data["outputs"] == [text, {"list": list(range(20_000))}]


def test_no_http_chunk_cuts_an_event(client: Client, server: Server) -> None:
    """Whoever parses each chunk on its own, as the published sample does, must not fail."""
    id = client.submit("test/count", n=5_000)["id"]
    for after in ("", "?after=1-2500"):
        with Raw(server.url) as raw:
            raw.request("GET", f"/api/v3/predictions/{id}/stream{after}", key_of(server)).begin()
            chunks = list(raw.chunks())
        assert chunks[0].startswith(PREAMBLE)
        assert len(chunks) > 1
        for chunk in chunks:
            assert chunk.endswith(b"\n\n")
            for line in chunk.decode("utf-8").split("\n"):
                if line.startswith("data: "):
                    parse_event(line[6:].encode())


def test_each_live_event_comes_at_once_in_a_chunk_of_its_own(client: Client, server: Server, gate: Gate) -> None:
    id = client.submit("test/count", n=3, gate=str(gate))["id"]
    with client.stream(id) as stream:
        stream.take(2)
    with Raw(server.url) as raw:
        raw.request("GET", f"/api/v3/predictions/{id}/stream?after=1-1", key_of(server)).begin()
        chunks = raw.chunks()
        assert next(chunks) == PREAMBLE
        gate.let(1)
        assert next(chunks) == b'id: 1-2\ndata: {"type":"output","output":"1 ","index":0}\n\n'
        gate.let(1)
        assert next(chunks) == b'id: 1-3\ndata: {"type":"output","output":"2 ","index":0}\n\n'
        gate.let(1)
        assert b"id: 1-4\n" in next(chunks)
    client.log(id)


def test_a_stream_answers_at_once_even_while_there_is_nothing_to_say(
    client: Client, server: Server, gate: Gate
) -> None:
    """A browser's `EventSource` is open when the headers are there, and a client may time out on them."""
    id = client.submit("test/count", n=1, gate=str(gate))["id"]
    assert gate.visitor() == id
    with client.stream(id) as stream:
        stream.take(2)
    with Raw(server.url, deadline_s=5) as raw:
        raw.request("GET", f"/api/v3/predictions/{id}/stream?after=1-1", key_of(server)).begin()
        assert raw.status == 200
    gate.open()
    client.log(id)


# Resuming


def test_from_every_cursor_of_a_finished_run_the_rest_comes_and_nothing_else(client: Client, server: Server) -> None:
    id = client.submit("test/count", n=40)["id"]
    log = client.log(id)
    assert len(log) == 43
    for seen, event in enumerate(log[:-1], start=1):
        expected = PREAMBLE + b"".join(frame(later) for later in log[seen:])
        at = f"predictions/{id}/stream"
        assert client.http.get(at, headers={"Last-Event-ID": event.cursor}).content == expected
        assert client.http.get(f"{at}?after={event.cursor}").content == expected
    assert client.http.get(f"predictions/{id}/stream").content == PREAMBLE + b"".join(map(frame, log))


def test_from_every_cursor_of_a_finished_run_the_rest_comes_after_a_restart(make_server: MakeServer) -> None:
    server = make_server("crash.py", UNSPOOL_RESTART_BACKOFF_S="0.05")
    client = server.client()
    id = client.submit("crash/at", k=5, n=10)["id"]
    log = client.log(id)
    assert log[-1].attempt == 2
    server.terminate()
    client = server.restart().client()
    assert client.log(id) == log
    for seen, event in enumerate(log[:-1], start=1):
        body = client.http.get(f"predictions/{id}/stream?after={event.cursor}").content
        rest = log[seen:]
        if 0 < event.attempt < 2:
            rest = [later for later in rest if later.attempt == 2]
        assert body == PREAMBLE + b"".join(map(frame, rest)), f"after {event.cursor}"


def test_from_every_cursor_of_a_live_run_the_rest_comes_and_goes_on(client: Client, gate: Gate) -> None:
    id = client.submit("test/count", n=12, gate=str(gate))["id"]
    gate.let(6)
    with client.stream(id) as first:
        first.until("output", 6)
        cursors = ["0-1", *(f"1-{n}" for n in range(1, 8))]

        def resume(cursor: str) -> list[Event]:
            with client.stream(id, after=cursor) as stream:
                return list(stream)

        with ThreadPoolExecutor(len(cursors)) as pool:
            resumed = [pool.submit(resume, cursor) for cursor in cursors]
            gate.let(3)
            first.until("output", 3)
            gate.open()
            logs = [later.result() for later in resumed]
    whole = client.log(id)
    for seen, log in enumerate(logs, start=1):
        assert log == whole[seen:]


def test_the_header_wins_over_the_query(client: Client) -> None:
    id = client.submit("test/count", n=5)["id"]
    log = client.log(id)
    answer = client.http.get(f"predictions/{id}/stream?after=1-1", headers={"Last-Event-ID": "1-4"})
    assert answer.content == PREAMBLE + b"".join(map(frame, log[5:]))
    events = client.http.get(f"predictions/{id}/events?after=1-1", headers={"Last-Event-ID": "1-4"}).json()["events"]
    assert [one["cursor"] for one in events] == ["1-5", "1-6", "1-7"]


def test_at_the_terminal_cursor_there_is_no_content(client: Client, server: Server) -> None:
    prediction = client.submit("test/count")
    id = prediction["id"]
    end = client.log(id)[-1].cursor
    for answer in (
        client.http.get(f"predictions/{id}/stream", headers={"Last-Event-ID": end}),
        client.http.get(f"predictions/{id}/stream?after={end}"),
        httpx.get(f"{server.url}/api/v3/predictions/{id}/stream?token={token_of(prediction)}&after={end}"),
    ):
        assert (answer.status_code, answer.content) == (204, b"")
    assert client.events(id, after=end) == {"events": [], "done": True}


def test_an_empty_cursor_is_none(client: Client) -> None:
    """A browser that has seen no event yet comes back with an empty header."""
    id = client.submit("test/count")["id"]
    log = client.log(id)
    answer = client.http.get(f"predictions/{id}/stream", headers={"Last-Event-ID": ""})
    assert answer.content == PREAMBLE + b"".join(map(frame, log))


def test_two_hundred_disconnects_lose_and_repeat_nothing(client: Client, gate: Gate) -> None:
    id = client.submit("test/count", n=200, gate=str(gate))["id"]
    seen: list[Event] = []
    cursor = None
    for _ in range(200):
        gate.let(1)
        with client.stream(id, after=cursor) as stream:
            seen += stream.take(3 if cursor is None else 1)
            cursor = stream.cursor
    with client.stream(id, after=cursor) as stream:
        seen += list(stream)
    assert seen == client.log(id)


# Joining


def test_viewers_may_join_while_it_waits_runs_and_has_ended(make_server: MakeServer, gate: Gate) -> None:
    client = make_server("limits.py").client()
    ahead = client.submit("limits/one-slot", gate=str(gate))["id"]
    assert gate.visitor() == ahead
    id = client.submit("limits/one-slot")["id"]
    with client.stream(id) as queued, client.stream(ahead) as running:
        assert queued.take(1)[0].data["status"] == "created"
        assert running.take(2)[1].data["status"] == "processing"
        gate.open()
        logs = [list(queued), list(running)]
        assert queued.done
        assert running.done
    assert client.log(id)[1:] == logs[0]
    assert client.log(ahead)[2:] == logs[1]


def test_a_finished_log_is_the_same_after_a_restart(make_server: MakeServer) -> None:
    server = make_server("mixed.py")
    client = server.client()
    predictions = [client.submit("test/count", n=1_000), client.submit("test/fail"), client.submit("test/steps")]
    logs = [client.log(prediction["id"]) for prediction in predictions]
    objects = [client.result(prediction["id"], logs="true") for prediction in predictions]
    server.restart()
    client = server.client()
    for prediction, log, described in zip(predictions, logs, objects, strict=True):
        assert client.log(prediction["id"]) == log
        assert client.result(prediction["id"], logs="true") | {"urls": {}} == described | {"urls": {}}
        url = f"{server.url}/api/v3/predictions/{prediction['id']}/stream?token={token_of(prediction)}"
        assert httpx.get(url).content == PREAMBLE + b"".join(map(frame, log)), "tokens outlive the server"


# From a browser


def test_a_token_opens_the_stream_and_the_long_poll_without_a_key(client: Client, server: Server) -> None:
    prediction = client.submit("test/count")
    log = client.log(prediction["id"])
    assert httpx.get(prediction["urls"]["stream"]).content == PREAMBLE + b"".join(map(frame, log))
    base = f"{server.url}/api/v3/predictions/{prediction['id']}"
    assert httpx.get(f"{base}/events?token={token_of(prediction)}").json() == client.events(prediction["id"])


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("GET", "/result"), ("POST", "/cancel")])
def test_a_token_reads_the_log_and_does_nothing_else(
    client: Client, server: Server, gate: Gate, method: str, path: str
) -> None:
    prediction = client.submit("test/count", n=1, gate=str(gate))
    url = f"{server.url}/api/v3/predictions/{prediction['id']}{path}?token={token_of(prediction)}"
    assert httpx.request(method, url).status_code == 401
    gate.open()
    assert client.finished(prediction["id"])["status"] == "completed"


def test_a_token_submits_nothing(client: Client, server: Server) -> None:
    prediction = client.submit("test/count")
    answer = httpx.post(f"{server.url}/api/v3/test/count?token={token_of(prediction)}", json={})
    assert answer.status_code == 401


def test_any_page_may_open_a_token_url(client: Client) -> None:
    prediction = client.submit("test/count")
    client.log(prediction["id"])
    answer = httpx.get(prediction["urls"]["stream"], headers={"Origin": "https://anywhere.example"})
    assert answer.headers["access-control-allow-origin"] == "*"
    preflight = httpx.options(
        prediction["urls"]["stream"],
        headers={"Origin": "https://anywhere.example", "Access-Control-Request-Headers": "last-event-id"},
    )
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert "last-event-id" in preflight.headers["access-control-allow-headers"]
    assert "GET" in preflight.headers["access-control-allow-methods"]


def test_by_default_no_other_page_may_read_the_api(client: Client) -> None:
    for answer in (
        client.http.get("models", headers={"Origin": "https://anywhere.example"}),
        client.http.options("test/count", headers={"Origin": "https://anywhere.example"}),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("origin", ["https://app.example", "http://localhost:3000"])
def test_pages_of_the_origins_setting_may_read_the_api(quick_server: Server, origin: str) -> None:
    client = quick_server.client()
    answer = client.http.post("test/count", json={}, headers={"Origin": origin})
    assert answer.headers["access-control-allow-origin"] == origin
    assert "origin" in answer.headers["vary"].lower()
    assert "x-prediction-id" in answer.headers["access-control-expose-headers"]
    preflight = client.http.options("test/count", headers={"Origin": origin, "Access-Control-Request-Method": "POST"})
    assert preflight.status_code == 200
    assert "POST" in preflight.headers["access-control-allow-methods"]
    for name in ("authorization", "content-type", "idempotency-key"):
        assert name in preflight.headers["access-control-allow-headers"]
    refused = client.http.post("test/echo", json={}, headers={"Origin": origin})
    assert refused.status_code == 400
    assert refused.headers["access-control-allow-origin"] == origin, "a page must be able to read errors"


def test_other_pages_than_those_of_the_origins_setting_may_not(quick_server: Server) -> None:
    for origin in ("https://evil.example", "https://app.example.evil.example", "null", "https://app.example:444"):
        answer = quick_server.client().http.get("models", headers={"Origin": origin})
        assert "access-control-allow-origin" not in answer.headers


# Silence and leaving


def hear_silence(server: Server, id: str, after: str | None, events: int, keep_alives: int) -> Raw:
    """Joins, reads so many events and then so many keep-alive comments, and returns the connection."""
    raw = Raw(server.url)
    headers = key_of(server) if after is None else {**key_of(server), "Last-Event-ID": after}
    raw.request("GET", f"/api/v3/predictions/{id}/stream", headers).begin()
    reader = StrictReader(after)
    seen = 0
    for chunk in raw.chunks():
        seen += len(list(reader.feed(chunk)))
        if seen == events and reader.keep_alives >= keep_alives:
            return raw
    raise AssertionError(f"the stream ended after {seen} events and {reader.keep_alives} keep-alive comments")


def test_silence_is_filled_with_keep_alive_comments(quick_server: Server, gate: Gate) -> None:
    client = quick_server.client()
    id = client.submit("test/count", n=1, gate=str(gate))["id"]
    assert gate.visitor() == id
    hear_silence(quick_server, id, None, events=2, keep_alives=3).socket.close()
    hear_silence(quick_server, id, "1-1", events=0, keep_alives=2).socket.close()
    gate.open()
    client.log(id)


def test_when_the_last_viewer_has_left_a_run_that_dies_with_it_is_cancelled(quick_server: Server, gate: Gate) -> None:
    client = quick_server.client()
    with client.run("test/count", n=1, gate=str(gate), params={"on_disconnect": "cancel"}) as stream:
        stream.take(2)
    wait_until(lambda: client.result(stream.id)["status"] == "cancelled", "it was cancelled")
    end = client.log(stream.id)[-1].data
    assert (end["type"], end["status"], end["error"]) == ("error", "cancelled", "The prediction was cancelled.")


def test_while_one_viewer_is_left_a_run_that_dies_with_the_last_one_goes_on(quick_server: Server, gate: Gate) -> None:
    client = quick_server.client()
    with client.run("test/count", n=1, gate=str(gate), params={"on_disconnect": "cancel"}) as first:
        first.take(2)
        other = hear_silence(quick_server, first.id, "1-1", events=0, keep_alives=1)
    # Five keep-alive comments are a second: three times the grace period.
    with other, hear_silence(quick_server, first.id, "1-1", events=0, keep_alives=5):
        pass
    with client.stream(first.id, after="1-1") as last:
        gate.open()
        assert last.until("complete")


def test_who_comes_back_within_the_grace_period_finds_the_run(quick_server: Server, gate: Gate) -> None:
    client = quick_server.client()
    with client.run("test/count", n=1, gate=str(gate), params={"on_disconnect": "cancel"}) as stream:
        stream.take(2)
    for _ in range(10):
        hear_silence(quick_server, stream.id, "1-1", events=0, keep_alives=1).socket.close()
    with client.stream(stream.id, after="1-1") as last:
        gate.open()
        assert last.until("complete")


def test_a_poll_does_not_keep_a_run_alive_that_dies_with_its_viewers(quick_server: Server, gate: Gate) -> None:
    client = quick_server.client()
    with client.run("test/count", n=1, gate=str(gate), params={"on_disconnect": "cancel"}) as stream:
        stream.take(2)
    wait_until(
        lambda: client.events(stream.id, after="1-1", wait=0.1)["done"], "it was cancelled in spite of long polls"
    )


def test_by_default_a_run_goes_on_without_viewers(quick_server: Server, gate: Gate) -> None:
    client = quick_server.client()
    with client.run("test/count", n=1, gate=str(gate)) as stream:
        stream.take(2)
    other = client.submit("test/count", n=1, gate=str(gate))["id"]
    hear_silence(quick_server, other, None, events=2, keep_alives=5).socket.close()
    gate.open()
    assert client.finished(stream.id)["status"] == client.finished(other)["status"] == "completed"


def test_a_run_that_dies_with_its_viewers_and_finds_none_after_a_restart_is_cancelled(
    make_server: MakeServer, gate: Gate
) -> None:
    server = make_server("few.py", UNSPOOL_DISCONNECT_GRACE_S="0.3")
    client = server.client()
    with client.run("test/count", n=1, gate=str(gate), params={"on_disconnect": "cancel"}) as stream:
        stream.take(2)
        server.kill()
    client = server.restart().client()
    wait_until(lambda: client.result(stream.id)["status"] == "cancelled", "it was cancelled", 30)
    assert client.log(stream.id)[-1].data["status"] == "cancelled"


# The long poll


def test_the_long_poll_shows_the_same_log_as_the_stream(client: Client) -> None:
    id = client.submit("test/steps")["id"]
    log = client.log(id)
    answer = client.events(id)
    assert answer["done"] is True
    assert [one["cursor"] for one in answer["events"]] == [event.cursor for event in log]
    assert [one["event"] for one in answer["events"]] == [event.data for event in log]
    assert client.events(id, after="1-3")["events"] == answer["events"][4:]


def test_the_long_poll_pages_through_a_long_log(client: Client) -> None:
    id = client.submit("test/count", n=3_500)["id"]
    log = client.log(id)
    found: list[dict[str, Any]] = []
    done, after = False, None
    while not done:
        page = client.events(id, after=after)
        assert page["events"], "a page of a log that has more is not empty"
        found += page["events"]
        done, after = page["done"], found[-1]["cursor"]
    assert [Event(*map(int, one["cursor"].split("-")), one["event"]) for one in found] == log


def test_the_long_poll_is_answered_by_the_next_event(client: Client, gate: Gate) -> None:
    id = client.submit("test/count", n=1, gate=str(gate))["id"]
    assert gate.visitor() == id
    with client.stream(id) as stream:
        stream.take(2)
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(client.events, id, "1-1", 20)
        gate.let(1)
        events = held.result()["events"]
    assert events[0]["event"] == {"type": "output", "output": "1 ", "index": 0}
    client.log(id)


def test_the_long_poll_that_waits_in_vain_is_empty_and_not_done(client: Client, gate: Gate) -> None:
    id = client.submit("test/count", n=1, gate=str(gate))["id"]
    assert gate.visitor() == id
    with client.stream(id) as stream:
        stream.take(2)
    for wait in (0, 0.2):
        assert client.events(id, after="1-1", wait=wait) == {"events": [], "done": False}
    assert client.http.get(f"predictions/{id}/events?after=1-1").json() == {"events": [], "done": False}
    gate.open()
    client.log(id)


# Three views of one log


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        ("test/count", {"n": 7}),
        ("test/echo", {"prompt": "x", "repeat": 3}),
        ("test/steps", {}),
        ("test/parts", {}),
        ("test/fail", {}),
        ("test/fail", {"crash": True}),
    ],
)
def test_poll_and_stream_agree_on_the_end(client: Client, model: str, inputs: dict[str, Any]) -> None:
    id = client.submit(model, **inputs)["id"]
    end = client.log(id)[-1].data
    polled = client.result(id)
    if end["type"] == "complete":
        assert (polled["status"], polled["outputs"], polled["error"]) == ("completed", end["outputs"], "")
        assert polled.get("usage") == end.get("usage")
        assert polled["timings"] == end["timings"]
        assert polled["progress"] == 100
    else:
        assert (polled["status"], polled["outputs"], polled["error"]) == (end["status"], [], end["error"])
        assert polled["code"] == end["code"]


def test_when_the_stream_has_ended_the_poll_knows_it(client: Client) -> None:
    for _ in range(30):
        with client.run("test/count") as stream:
            stream.until("complete")
            assert client.result(stream.id)["status"] == "completed"


def test_poll_and_stream_agree_while_it_runs(make_server: MakeServer, gate: Gate) -> None:
    source = """
from gates import wait_for_gate
from unspool import Run, model

@model("half/way")
def half_way(run: Run, gate: str):
    run.log("first", level="debug")
    run.progress(33.333333, stage="denoise", step=1, steps=3)
    yield "piece"
    run.log("second", level="error")
    wait_for_gate(run, gate, 1)
"""
    folder = str(MODELS)
    client = make_server(f"import sys\nsys.path.insert(0, {folder!r})\n{source}").client()
    id = client.submit("half/way", gate=str(gate))["id"]
    assert gate.visitor() == id
    with client.stream(id) as stream:
        log = stream.take(6)
        assert [event.type for event in log[2:]] == ["log", "progress", "output", "log"]
        polled = client.result(id, logs="true")
        assert polled["progress"] == log[3].data["percentage"] == 33.33
        assert (polled["status"], polled["attempt"], polled["outputs"]) == ("processing", 1, [])
        assert polled["logs"] == [
            {name: log[at].data[name] for name in ("message", "level", "timestamp")} for at in (2, 5)
        ]
        gate.open()
        stream.until("complete")
    assert client.result(id, logs="1")["logs"] == polled["logs"]
    assert "logs" not in client.result(id)
    check_log(client.log(id))


def test_a_viewer_that_leaves_is_forgotten(quick_server: Server, gate: Gate) -> None:
    client = quick_server.client()
    id = client.submit("test/count", n=1, gate=str(gate))["id"]
    assert gate.visitor() == id
    before = _connections(quick_server)
    viewers = [Raw(quick_server.url) for _ in range(50)]
    for viewer in viewers:
        viewer.request("GET", f"/api/v3/predictions/{id}/stream", key_of(quick_server)).begin()
        next(viewer.chunks())
    assert _connections(quick_server) == before + 50
    for viewer in viewers:
        viewer.socket.close()
    wait_until(lambda: _connections(quick_server) <= before, "the server had let go of the sockets of all who left")
    gate.open()
    assert data_of(client.http.get(f"predictions/{id}"))["id"] == id


def _connections(server: Server) -> int:
    import psutil

    return sum(1 for one in psutil.Process(server.pid).net_connections("tcp") if one.status != psutil.CONN_LISTEN)
