"""API keys against a real server: who is let in, what each may see, and how much of everything."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import MODELS, MakeServer
from support.client import Client, data_of, error_of
from support.gate import Gate
from support.server import KEY, Server
from support.waiting import wait_until
from unspool.spool import open_keys
from unspool.spool.keys import Key, OwnLimits, digest_of, new_text

COMMAND_DEADLINE_S = 60


class Holder(Client):
    """A client with a key of its own."""

    def __init__(self, server: Server, text: str, key_id: str) -> None:
        super().__init__(server.url, text)
        self.key_id = key_id


def command(server: Server, *arguments: str) -> Any:
    """What `unspool keys …` answers, on the data folder of a server."""
    done = keys(server, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def create(server: Server, name: str, text: str, limits: OwnLimits) -> Key:
    async with open_keys(f"sqlite:///{server.data_dir / 'unspool.db'}") as keys:
        return await keys.create(name, digest_of(text), limits)


def keys(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "unspool", "keys", *arguments, "--data-dir", str(server.data_dir)],
        env={name: value for name, value in os.environ.items() if not name.startswith("UNSPOOL_")},
        capture_output=True,
        encoding="utf-8",
        timeout=COMMAND_DEADLINE_S,
        check=False,
    )


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose tests make keys of their own."""
    server = Server(MODELS / "keys.py", tmp_path_factory.mktemp("keys"))
    try:
        yield server.start().wait_until_ready()
    finally:
        server.close()


@pytest.fixture
def new_client(served: Server, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Makes a key while the server runs, as the command does, and a client that has it."""
    with ExitStack() as stack:

        def make(name: str, **limits: int) -> Holder:
            text = new_text()
            full_name = f"{request.node.name} {name}"
            key = asyncio.run(create(served, full_name, text, OwnLimits(**limits)))
            client = Holder(served, text, key.id)
            stack.callback(client.close)
            return client

        yield make


def refused(client: Client) -> bool:
    return client.http.get("models").status_code == 401


def knocks(server: Server, key: str) -> int:
    """The status that a key gets."""
    return httpx.get(f"{server.url}/api/v3/models", headers={"Authorization": f"Bearer {key}"}).status_code


# Who is let in


def test_a_key_that_was_made_while_the_server_runs_is_good_at_once(served: Server) -> None:
    made = command(served, "create", "alice", "--max-running", "3", "--requests-per-minute", "0")
    assert made["limits"] == {"max_running": 3, "requests_per_minute": 0}
    client = Holder(served, made["key"], made["id"])
    assert client.finished(client.submit("keys/slots")["id"])["outputs"] == ["through"]
    client.close()


def test_the_text_of_a_key_is_shown_once_and_kept_nowhere(served: Server) -> None:
    text = command(served, "create", "shown once")["key"]
    assert text.startswith("unspool_")
    listed = keys(served, "list").stdout + keys(served, "list", "--json").stdout
    assert "shown once" in listed
    assert text not in listed
    for file in (path for path in served.data_dir.rglob("*") if path.is_file()):
        assert text.encode() not in file.read_bytes(), f"{file.name} has it"
    assert text not in served.log


def test_a_revoked_key_is_refused_while_the_server_runs(served: Server, new_client: Any) -> None:
    client, other = new_client("alice"), new_client("bob")
    id = client.submit("keys/slots")["id"]
    command(served, "revoke", client.key_id)
    wait_until(lambda: refused(client), "the revoked key was refused")
    answer = error_of(client.http.get(f"predictions/{id}"), 401, "unauthenticated")
    assert answer["message"] == "This API key is not valid any more. Use the one that has replaced it."
    assert not refused(other)


def test_after_a_rotation_both_texts_see_the_same_until_the_old_one_ends(served: Server, new_client: Any) -> None:
    old = new_client("alice")
    id = old.submit("keys/slots")["id"]
    rotated = command(served, "rotate", old.key_id)
    new = Holder(served, rotated["key"], rotated["id"])
    assert old.finished(id) == new.finished(id)
    assert len(rotated["valid_until"]) == 2
    third = Holder(served, command(served, "rotate", old.key_id, "--overlap-s", "0")["key"], old.key_id)
    assert third.result(id)["outputs"] == ["through"]
    assert refused(old), "the new text was not known, so the server has looked"
    assert refused(new)
    new.close()
    third.close()


def test_an_overlap_ends_by_itself(served: Server, new_client: Any) -> None:
    old = new_client("alice")
    assert not refused(old)
    command(served, "rotate", old.key_id, "--overlap-s", "1.5")
    wait_until(lambda: refused(old), "the old text was refused")


def test_keys_are_kept_and_commands_work_while_no_server_runs(make_server: MakeServer) -> None:
    server = make_server("few.py")
    kept, gone = (command(server, "create", name)["key"] for name in ("kept", "gone"))
    assert [knocks(server, key) for key in (kept, gone)] == [200, 200]
    assert server.terminate() == 0
    command(server, "revoke", "gone")
    late = command(server, "create", "late")["key"]
    server.start()
    assert [knocks(server, key) for key in (kept, gone, late)] == [200, 401, 200]


def test_the_key_of_the_environment_is_the_first_key(make_server: MakeServer) -> None:
    server = make_server("few.py")
    id = server.client().submit("test/echo", prompt="x")["id"]
    (first,) = command(server, "list")
    assert (first["name"], first["state"]) == ("first", "active")
    assert KEY.encode() not in (server.data_dir / "unspool.db").read_bytes()
    new = Holder(server, command(server, "rotate", "first", "--overlap-s", "0")["key"], first["id"])
    assert new.finished(id)["outputs"] == ["x"]
    new.close()
    assert knocks(server, KEY) == 401


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["create", " "], "A name has 1 to 100 printable characters."),
        (["create", "a\nb"], "A name has 1 to 100 printable characters."),
        (["create", "first"], "There is a key 'first' already."),
        (["revoke", "nobody"], "There is no key 'nobody'."),
        (["rotate", "nobody"], "There is no key 'nobody'."),
    ],
)
def test_a_command_that_cannot_be_done_says_why(served: Server, arguments: list[str], says: str) -> None:
    done = keys(served, *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith(f"unspool: {says}")
    assert done.stdout == ""


# What each may see


def test_what_is_of_one_key_is_not_there_for_another(served: Server, new_client: Any, gate: Gate) -> None:
    alice, bob = new_client("alice"), new_client("bob")
    id = alice.submit("keys/slots", gate=str(gate))["id"]
    for method, path in [
        ("GET", ""),
        ("GET", "/result"),
        ("GET", "/stream"),
        ("GET", "/stream?after=0-1"),
        ("GET", "/events"),
        ("POST", "/cancel"),
    ]:
        answer = error_of(bob.http.request(method, f"predictions/{id}{path}"), 404, "not_found")
        never = error_of(bob.http.request(method, f"predictions/{'0' * 32}{path}"), 404, "not_found")
        assert answer == never, "nothing tells that it exists"
    gate.open()
    assert alice.finished(id)["status"] == "completed"


def test_an_idempotency_key_is_of_one_api_key(new_client: Any) -> None:
    headers = {"Idempotency-Key": "the-same"}
    ids = [
        data_of(client.http.post("keys/slots", json={}, headers=headers))["id"]
        for client in (new_client("alice"), new_client("bob"))
    ]
    assert ids[0] != ids[1]


# How much


def test_a_key_s_many_jobs_do_not_hold_up_another_key_s_one(new_client: Any, gate: Gate, tmp_path: Path) -> None:
    alice, bob = new_client("alice"), new_client("bob")
    first = alice.submit("keys/one-slot", gate=str(gate))["id"]
    assert gate.visitor() == first
    with ThreadPoolExecutor(8) as pool:
        many = list(pool.map(lambda _: alice.submit("keys/one-slot")["id"], range(200)))
    own_gate = Gate(tmp_path / "own-gate")
    one = bob.submit("keys/one-slot", gate=str(own_gate))["id"]
    assert bob.events(one)["events"][0]["event"]["queue_position"] == 1
    gate.open()
    assert own_gate.visitor() == one
    started = [id for id in many if alice.result(id)["status"] != "created"]
    assert len(started) == 1, "it was the second one that ran"
    own_gate.open()
    assert [alice.finished(id)["status"] for id in many] == ["completed"] * 200


def test_runs_beyond_a_key_s_limit_wait_and_others_go_ahead(served: Server, new_client: Any, gate: Gate) -> None:
    alice, bob = new_client("alice", max_running=2), new_client("bob")
    ids = [alice.submit("keys/slots", gate=str(gate))["id"] for _ in range(5)]
    assert bob.finished(bob.submit("keys/slots")["id"])["outputs"] == ["through"]
    assert [alice.result(id)["status"] for id in ids] == ["processing"] * 2 + ["created"] * 3
    alice.cancel(ids[0])
    alice.finished(ids[0])
    with alice.stream(ids[2]) as stream:
        assert next(event for event in stream if event.attempt == 1).data["status"] == "processing"
    assert [alice.result(id)["status"] for id in ids[2:]] == ["processing", "created", "created"]
    gate.open()
    assert [alice.finished(id)["status"] for id in ids[1:]] == ["completed"] * 4


def test_who_asks_too_often_is_told_when_to_ask_again(served: Server, new_client: Any) -> None:
    alice, bob = new_client("alice", requests_per_minute=6), new_client("bob")
    answers = [alice.http.get("models") for _ in range(7)]
    assert [answer.status_code for answer in answers] == [200] * 6 + [429]
    told = error_of(answers[-1], 429, "rate_limited")
    assert told["message"].startswith("Your API key may make 6 requests in a minute. Ask again in ")
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 10
    for method, path in [("POST", "keys/slots"), ("GET", f"predictions/{'0' * 32}")]:
        error_of(alice.http.request(method, path), 429, "rate_limited")
    assert bob.http.get("models").status_code == 200


def test_who_has_too_many_waiting_is_refused_until_some_have_started(new_client: Any, gate: Gate) -> None:
    alice, bob = new_client("alice", max_waiting=2), new_client("bob")
    first = alice.submit("keys/one-slot", gate=str(gate))["id"]
    assert gate.visitor() == first
    waiting = [alice.submit("keys/one-slot")["id"] for _ in range(2)]
    answer = alice.http.post("keys/one-slot", json={})
    assert "2 predictions waiting" in error_of(answer, 429, "queue_full")["message"]
    assert int(answer.headers["retry-after"]) > 0
    other = bob.submit("keys/one-slot")["id"]
    alice.cancel(waiting[0])
    last = alice.submit("keys/one-slot")["id"]
    gate.open()
    assert [alice.finished(id)["status"] for id in (first, waiting[1], last)] == ["completed"] * 3
    assert bob.finished(other)["status"] == "completed"


def test_viewers_beyond_a_key_s_limit_are_refused_until_one_leaves(new_client: Any, gate: Gate) -> None:
    client = new_client("alice", max_viewers=2)
    with client.run("keys/slots", gate=str(gate)) as submitted:
        id = submitted.id
        with client.stream(id):
            answer = client.http.get(f"predictions/{id}/stream")
            assert "2 open streams" in error_of(answer, 429, "rate_limited")["message"]
            assert answer.headers["retry-after"] == "5"
            by_token = httpx.get(client.result(id)["urls"]["stream"])
            error_of(by_token, 429, "rate_limited")
            before = len(client.events(id)["events"])
            error_of(client.http.post("keys/slots", json={"stream": True}), 429, "rate_limited")
            assert before > 0, "polling goes on"
        wait_until(lambda: joined(client, id), "there was room for a viewer again")
        gate.open()
        assert submitted.until("complete").data["outputs"] == ["through"]


def joined(client: Client, id: str) -> bool:
    with client.http.stream("GET", f"predictions/{id}/stream") as response:
        return response.status_code == 200


# No keys at all


def test_without_auth_nobody_needs_a_key(make_server: MakeServer) -> None:
    server = make_server("few.py", UNSPOOL_AUTH="off")
    with httpx.Client(base_url=f"{server.url}/api/v3/") as bare:
        id = data_of(bare.post("test/echo", json={"prompt": "x"}))["id"]
        with_key = server.client()
        assert with_key.finished(id)["outputs"] == ["x"]
        assert "unspool.db" in [file.name for file in server.data_dir.iterdir()]
        assert not (server.data_dir / "api-key").exists()
        assert "No API key is needed" in server.log


def test_without_auth_pages_of_other_origins_stay_out(make_server: MakeServer) -> None:
    server = make_server("few.py", UNSPOOL_AUTH="off", UNSPOOL_CORS_ORIGINS="https://app.example")
    own = server.url
    for origin, status in [(None, 200), (own, 200), ("https://app.example", 200), ("https://evil.example", 403)]:
        headers = {} if origin is None else {"Origin": origin}
        answer = httpx.post(f"{server.url}/api/v3/test/echo", json={"prompt": "x"}, headers=headers)
        assert answer.status_code == status, f"{origin}: {answer.text}"
    error_of(answer, 403, "forbidden")


def test_without_auth_the_server_does_not_start_where_others_can_reach_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "unspool", "serve", str(MODELS / "few.py"), "--host", "0.0.0.0", "--port", "0"],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if not name.startswith("UNSPOOL_")}
        | {"UNSPOOL_AUTH": "off"},
        capture_output=True,
        encoding="utf-8",
        timeout=COMMAND_DEADLINE_S,
        check=False,
    )
    assert done.returncode == 1
    assert "UNSPOOL_AUTH_OFF_ANYWHERE=1" in done.stderr
    assert list(tmp_path.iterdir()) == []
