"""Whatever is killed, and whenever: every accepted prediction ends once, and no viewer is told a lie."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import MODELS, MakeServer
from support.client import Client, data_of
from support.gate import Gate
from support.server import Server, alive, kill9, wait_until_gone
from support.spectator import Spectator
from support.stream import Event, text_of
from support.waiting import wait_until

QUICK = {"UNSPOOL_RESTART_BACKOFF_S": "0.05", "UNSPOOL_MAX_RESTART_BACKOFF_S": "0.1"}

HOW_IT_ENDED = {
    "kill": "The worker process was killed by SIGKILL.",
    "segfault": "The worker process was killed by SIGSEGV.",
    "exit": "The worker process ended with exit code 3.",
}


# A worker dies


@pytest.fixture(scope="module")
def crashing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(MODELS / "crash.py", tmp_path_factory.mktemp("crashing"), QUICK)
    try:
        yield server.start().wait_until_ready()
    finally:
        server.close()


@pytest.mark.parametrize("how", ["kill", "segfault", "exit"])
def test_when_the_worker_dies_its_viewers_see_the_next_attempt_on_the_same_connection(
    crashing: Server, how: str
) -> None:
    client = crashing.client()
    with client.run("crash/at", k=3, n=6, how=how) as stream:
        events = list(stream)
    assert stream.done
    first = [event for event in events if event.attempt == 1]
    second = [event for event in events if event.attempt == 2]
    assert text_of(first) == "1 2 3 "[: len(text_of(first))]
    assert second[0].data == {"type": "progress", "percentage": 0, "status": "processing", "attempt": 2}
    assert text_of(second) == "1 2 3 4 5 6 "
    assert second[-1].data["outputs"] == ["1 2 3 4 5 6 "]
    assert client.log(stream.id) == events
    polled = client.result(stream.id)
    assert (polled["status"], polled["attempt"], polled["outputs"]) == ("completed", 2, ["1 2 3 4 5 6 "])


def test_what_a_worker_had_said_before_it_died_is_not_lost(crashing: Server, gate: Gate) -> None:
    """It was on its way when the process was killed: the socket still has it."""
    client = crashing.client()
    log = client.log(client.submit("crash/at", k=6, n=6, attempts=0)["id"])
    assert text_of(log) == "1 2 3 4 5 6 "


@pytest.mark.parametrize("how", ["kill", "segfault", "exit"])
def test_when_every_attempt_dies_there_is_one_error_with_the_cause(crashing: Server, how: str) -> None:
    client = crashing.client()
    id = client.submit("crash/at", k=1, n=3, attempts=2, how=how)["id"]
    log = client.log(id)
    assert [event.attempt for event in log if event.n == 1] == [0, 1, 2, 3]
    assert log[-1].cursor == "3-1"
    message = f"The worker was lost 2 times. Last cause: {HOW_IT_ENDED[how]}"
    assert log[-1].data == {"type": "error", "id": id, "error": message, "code": 5000, "status": "failed"}
    polled = client.result(id)
    assert (polled["status"], polled["error"], polled["code"], polled["outputs"]) == ("failed", message, 5000, [])


def test_a_model_may_have_more_attempts(crashing: Server) -> None:
    client = crashing.client()
    log = client.log(client.submit("crash/three-attempts", attempts=2)["id"])
    assert log[-1].data["outputs"] == ["attempt 3 "]
    log = client.log(client.submit("crash/three-attempts", attempts=3)["id"])
    assert log[-1].cursor == "4-1"
    assert log[-1].data["error"].startswith("The worker was lost 3 times.")


def test_kill_9_of_a_worker_from_outside_costs_its_runs_one_attempt(make_server: MakeServer, gate: Gate) -> None:
    server = make_server("few.py", **QUICK)
    client = server.client()
    ids = [client.submit("test/count", n=3, gate=str(gate))["id"] for _ in range(8)]
    whoami = client.finished(client.submit("test/whoami")["id"])["outputs"][0]["pid"]
    pids = set(server.worker_pids())
    gate.let(1)
    with ThreadPoolExecutor(len(ids)) as pool:
        spectators = [Spectator(id) for id in ids]
        watching = [pool.submit(one.watch, client) for one in spectators]
        for one in spectators:
            wait_until(lambda one=one: len(one.seen) >= 3, "each viewer had seen the first output")
        for pid in pids - {whoami}:
            kill9(pid)
        for one in spectators:
            wait_until(lambda one=one: one.seen[-1].attempt == 2, "each viewer had seen attempt 2", 30)
        gate.open()
        assert all(one.result() for one in watching)
    for one in spectators:
        log = client.log(one.id)
        one.check(log)
        assert (log[-1].attempt, log[-1].data["outputs"]) == (2, ["1 2 3 "])
    assert client.finished(client.submit("test/whoami")["id"])["outputs"][0]["pid"] == whoami, "its worker lives on"


def test_what_waits_in_the_queue_survives_the_death_of_the_worker(make_server: MakeServer, gate: Gate) -> None:
    server = make_server("limits.py", **QUICK)
    client = server.client()
    first = client.submit("limits/one-slot", gate=str(gate))["id"]
    assert gate.visitor() == first
    waiting = [client.submit("limits/one-slot")["id"] for _ in range(5)]
    for pid in server.worker_pids():
        kill9(pid)
    with client.stream(first) as stream:
        next(event for event in stream if event.attempt == 2)
    gate.open()
    assert client.finished(first)["attempt"] == 2
    for id in waiting:
        assert (client.finished(id)["status"], client.result(id)["attempt"]) == ("completed", 1)


def test_a_resume_at_an_attempt_that_was_lost_goes_on_at_the_next_one(crashing: Server) -> None:
    client = crashing.client()
    id = client.submit("crash/at", k=3, n=4)["id"]
    log = client.log(id)
    rest = [event for event in log if event.attempt == 2]
    for event in log:
        if event.attempt == 1:
            with client.stream(id, after=event.cursor) as stream:
                assert list(stream) == rest


# The server dies


class Audience:
    """Many spectators, each in a thread, that come back to every new server until they have seen the end."""

    def __init__(self) -> None:
        self.spectators: dict[str, Spectator] = {}
        self._events = 0
        self._changed = threading.Condition()
        self._pool = ThreadPoolExecutor(128)
        self._watching: list[Future[bool]] = []

    def __enter__(self) -> Audience:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def invite(self, ids: list[str]) -> None:
        for id in ids:
            self.spectators.setdefault(id, Spectator(id, self._count))

    def _count(self) -> None:
        with self._changed:
            self._events += 1
            self._changed.notify_all()

    def watch(self, client: Client) -> None:
        self._watching = [self._pool.submit(one.watch, client) for one in self.spectators.values() if not one.done]

    def wait_for_more(self, events: int, deadline_s: float = 30.0) -> None:
        """Returns when so many more events were seen, or everyone has left."""
        deadline = time.monotonic() + deadline_s
        with self._changed:
            until = self._events + events
            while self._events < until and not all(one.done() for one in self._watching):
                assert (
                    self._changed.wait(max(0.001, min(0.5, deadline - time.monotonic()))) or time.monotonic() < deadline
                )

    def leave(self) -> list[bool]:
        """Waits until all connections have ended; for each, whether it was cut cleanly."""
        return [one.result(60) for one in self._watching]


def ends(client: Client, ids: list[str]) -> dict[str, list[Event]]:
    """The whole log of each, which has exactly one terminal event."""
    logs = {id: client.log(id, 60) for id in ids}
    for id, log in logs.items():
        polled = client.result(id)
        assert polled["status"] == log[-1].data.get("status", "completed")
        assert polled["outputs"] == log[-1].data.get("outputs", [])
    return logs


def test_kill_9_of_the_server_with_fifty_predictions_queued_and_running(make_server: MakeServer) -> None:
    server = make_server("few.py")
    client = server.client()
    ids = [client.submit("test/count", n=100, interval_s=0.01)["id"] for _ in range(50)]
    with Audience() as audience:
        audience.invite(ids)
        audience.watch(client)
        audience.wait_for_more(1_000)
        workers = server.worker_pids()
        server.kill()
        audience.leave()
        statuses = [one.seen[-1].attempt for one in audience.spectators.values() if one.seen]
        assert 1 in statuses, "some were running"
        assert 0 in statuses, "some were waiting"
        wait_until_gone(workers)
        client = server.restart().client()
        audience.watch(client)
        assert all(audience.leave())
        logs = ends(client, ids)
        for id, one in audience.spectators.items():
            assert one.done
            one.check(logs[id])
    for log in logs.values():
        assert log[-1].data["outputs"] == ["".join(f"{i} " for i in range(1, 101))]
        assert log[-1].attempt in (1, 2)


def test_an_old_cursor_after_a_crash_leads_to_the_first_event_of_the_next_attempt(
    make_server: MakeServer, gate: Gate
) -> None:
    server = make_server("few.py")
    client = server.client()
    id = client.submit("test/count", n=6, gate=str(gate))["id"]
    gate.let(5)
    with client.stream(id) as stream:
        stream.until("output", 5)
        server.kill()
    client = server.restart().client()
    cursors = [None, "0-1", *(f"1-{n}" for n in range(1, 7))]
    with client.stream(id, after="1-6") as stream:
        assert stream.take(1)[0].cursor == "2-1"
    gate.open()
    log = client.log(id)
    kept = {event.cursor: event for event in log}
    second = [event for event in log if event.attempt == 2]
    assert second[-1].data["outputs"] == ["1 2 3 4 5 6 "]
    for cursor in cursors[2:]:
        with client.stream(id, after=cursor) as stream:
            assert list(stream) == second
    with client.stream(id, after="0-1") as stream:
        assert [event.cursor for event in stream] == [cursor for cursor in kept if cursor != "0-1"]


def test_what_was_submitted_just_before_kill_9_is_there(make_server: MakeServer) -> None:
    """The answer comes after the prediction is durable, not before."""
    server = make_server("few.py")
    client = server.client()
    accepted: list[str] = []

    def submit(_: int) -> None:
        try:
            answer = client.http.post("test/echo", json={"prompt": "x"})
        except httpx.TransportError:
            return
        if answer.status_code == 200:
            accepted.append(data_of(answer)["id"])

    with ThreadPoolExecutor(16) as pool:
        submits = [pool.submit(submit, i) for i in range(2_000)]
        wait_until(lambda: len(accepted) >= 100, "a hundred were accepted")
        server.kill()
        for one in submits:
            one.result(60)
    client = server.restart().client()
    logs = ends(client, accepted)
    assert all(log[-1].data["outputs"] == ["x"] for log in logs.values())


def test_a_submit_that_got_no_answer_is_made_once_when_repeated_with_its_key(make_server: MakeServer) -> None:
    server = make_server("few.py")
    client = server.client()
    answers: dict[int, str | None] = {}

    def submit(number: int) -> None:
        try:
            answer = client.http.post("test/whoami", json={}, headers={"Idempotency-Key": f"n{number}"})
        except httpx.TransportError:
            answers[number] = None
        else:
            answers[number] = data_of(answer)["id"]

    with ThreadPoolExecutor(16) as pool:
        submits = [pool.submit(submit, i) for i in range(300)]
        wait_until(lambda: len(answers) >= 40, "forty were answered")
        server.kill()
        for one in submits:
            one.result(60)
    before = dict(answers)
    client = server.restart().client()
    for number in before:
        submit(number)
    for number, id in before.items():
        assert id is None or answers[number] == id
    ids = [id for id in answers.values() if id is not None]
    assert len(ids) == len(set(ids)) == 300
    ends(client, ids)


def test_kill_9_at_many_random_points_loses_nothing_and_tells_no_lie(make_server: MakeServer) -> None:
    rng = random.Random(20)
    server = make_server("mixed.py", UNSPOOL_DRAIN_TIMEOUT_S="0", **QUICK)
    everything: list[str] = []
    with Audience() as audience:
        for _ in range(4):
            client = server.client()
            ids = [submit_something(client, rng) for _ in range(8)]
            everything += ids
            audience.invite(ids)
            audience.watch(client)
            for id in rng.sample(everything, 2):
                client.cancel(id)
            audience.wait_for_more(rng.randint(0, 250))
            workers = server.worker_pids()
            server.kill()
            audience.leave()
            wait_until_gone(workers)
            server.restart()
        client = server.client()
        audience.watch(client)
        assert all(audience.leave())
        logs = ends(client, everything)
        for id, one in audience.spectators.items():
            assert one.done
            one.check(logs[id])
    server.terminate()
    client = server.restart().client()
    assert ends(client, everything) == logs, "the logs are the same on disk"


def submit_something(client: Client, rng: random.Random) -> str:
    kind = rng.randrange(6)
    if kind == 0:
        return str(client.submit("test/echo", prompt="x")["id"])
    if kind == 1:
        return str(client.submit("test/steps", steps=5)["id"])
    if kind == 2:
        return str(client.submit("crash/at", k=rng.randint(0, 5), attempts=rng.randint(0, 2))["id"])
    if kind == 3:
        return str(client.submit("test/count", n=3_000)["id"])
    return str(client.submit("test/count", n=rng.randint(10, 150), interval_s=0.01)["id"])


def test_workers_die_with_a_server_that_was_killed_whatever_they_do(make_server: MakeServer) -> None:
    server = make_server("stubborn.py")
    client = server.client()
    for model in ("stubborn/spin", "stubborn/swallow", "stubborn/async-forever", "stubborn/block"):
        inputs: dict[str, Any] = {"hold_gil": True} if model == "stubborn/block" else {}
        with client.run(model, **inputs) as stream:
            stream.until("output")
    workers = server.worker_pids()
    assert len(workers) >= 5
    server.kill()
    wait_until_gone(workers)


# The server is stopped


def test_sigterm_lets_runs_finish_and_viewers_see_the_end(make_server: MakeServer, gate: Gate) -> None:
    server = make_server("limits.py", UNSPOOL_DRAIN_TIMEOUT_S="60")
    client = server.client()
    running = client.submit("limits/one-slot", gate=str(gate))["id"]
    assert gate.visitor() == running
    waiting = client.submit("limits/one-slot")["id"]
    with client.stream(running) as viewer, client.stream(waiting) as waits:
        viewer.take(2)
        waits.take(1)
        workers = server.worker_pids()
        server.interrupt()
        server.wait_for_log("finishing the runs that go on")
        gate.open()
        assert viewer.until("complete").data["outputs"] == ["through"]
        assert list(waits) == []
        assert not waits.done
    assert server.wait() == 0
    wait_until_gone(workers)
    client = server.restart().client()
    assert client.result(running)["status"] == "completed"
    finished = client.finished(waiting)
    assert (finished["status"], finished["attempt"]) == ("completed", 1)


def test_sigterm_cuts_what_takes_too_long_between_two_events_and_it_goes_on_after_a_restart(
    make_server: MakeServer,
) -> None:
    """More often than `max_attempts` allows for crashes: nobody is to blame for a stop."""
    server = make_server("few.py", UNSPOOL_DRAIN_TIMEOUT_S="0.3")
    client = server.client()
    ids = [client.submit("test/count", n=40, interval_s=0.05)["id"] for _ in range(6)]
    with Audience() as audience:
        audience.invite(ids)
        for attempt in (1, 2, 3):
            audience.watch(client)
            audience.wait_for_more(30)
            assert server.terminate() == 0
            assert all(audience.leave()), "every stream ended between two events"
            for one in audience.spectators.values():
                assert not one.done
                assert one.seen[-1].attempt == attempt
            client = server.restart().client()
        audience.watch(client)
        assert all(audience.leave())
        logs = ends(client, ids)
        for id, one in audience.spectators.items():
            one.check(logs[id])
            assert logs[id][-1].attempt == 4
            assert logs[id][-1].data["outputs"] == ["".join(f"{i} " for i in range(1, 41))]
            lost = [event for event in one.seen if event.cursor not in {kept.cursor for kept in logs[id]}]
            assert lost == [], "a server that stops in order loses nothing that it has shown"


def test_a_second_sigterm_ends_the_server_at_once(make_server: MakeServer, gate: Gate) -> None:
    server = make_server("few.py", UNSPOOL_DRAIN_TIMEOUT_S="600")
    client = server.client()
    with client.run("test/count", n=2, gate=str(gate)) as stream:
        stream.take(2)
        workers = server.worker_pids()
        server.interrupt()
        server.wait_for_log("finishing the runs that go on")
        server.interrupt()
        assert list(stream) == []
        assert not stream.done
    assert server.wait() == 0
    wait_until_gone(workers)
    client = server.restart().client()
    gate.open()
    finished = client.finished(stream.id)
    assert (finished["status"], finished["attempt"]) == ("completed", 2)


def test_sigterm_with_a_model_that_does_not_stop_ends_the_server_all_the_same(make_server: MakeServer) -> None:
    server = make_server("stubborn.py", UNSPOOL_DRAIN_TIMEOUT_S="0")
    client = server.client()
    for model in ("stubborn/spin", "stubborn/block", "stubborn/swallow"):
        with client.run(model) as stream:
            stream.until("output")
    workers = server.worker_pids()
    assert server.terminate() == 0
    assert not [pid for pid in workers if alive(pid)], "the server ended after its workers"


def test_sigterm_answers_or_cuts_everyone_who_is_held(make_server: MakeServer, gate: Gate) -> None:
    """Long polls and sync submits do not keep the server from ending, and none of them is answered with a 500."""
    server = make_server("few.py", UNSPOOL_DRAIN_TIMEOUT_S="0.3")
    client = server.client()
    id = client.submit("test/count", n=1, gate=str(gate))["id"]
    assert gate.visitor() == id
    with client.stream(id) as stream:
        stream.take(2)

    def held(method: str, path: str, **more: Any) -> int | None:
        try:
            return client.http.request(method, path, **more).status_code
        except httpx.TransportError:
            return None

    with ThreadPoolExecutor(4) as pool:
        poll = pool.submit(held, "GET", f"predictions/{id}/events?after=1-1&wait=60")
        sync = pool.submit(held, "POST", "test/count", json={"n": 1, "gate": str(gate), "enable_sync_mode": True})
        again = [pool.submit(held, "GET", f"predictions/{id}/stream?after=1-1") for _ in range(2)]
        wait_until(lambda: len(_open(server)) >= 4, "all of them were connected")
        assert server.terminate() == 0
        answers = [one.result(10) for one in (poll, sync, *again)]
    assert not [status for status in answers if status == 500]


def _open(server: Server) -> list[Any]:
    import psutil

    return [one for one in psutil.Process(server.pid).net_connections("tcp") if one.status == psutil.CONN_ESTABLISHED]


def test_who_comes_while_the_server_stops_is_not_told_500(make_server: MakeServer, gate: Gate) -> None:
    server = make_server("stubborn.py", UNSPOOL_DRAIN_TIMEOUT_S="0.5")
    client = server.client()
    with client.run("stubborn/block", hold_gil=True) as stream:
        stream.until("output")
    statuses: list[int | str] = []

    def knock() -> None:
        paths = [f"predictions/{stream.id}/stream?after=1-2", f"predictions/{stream.id}", "models"]
        with httpx.Client(base_url=f"{server.url}/api/v3/", headers=dict(client.http.headers), timeout=10) as http:
            while server.running:
                for path in paths:
                    try:
                        statuses.append(http.get(path).status_code)
                    except httpx.ReadTimeout:
                        statuses.append("timeout")
                    except httpx.TransportError:
                        statuses.append("cut")

    with ThreadPoolExecutor(4) as pool:
        knocking = [pool.submit(knock) for _ in range(4)]
        assert server.terminate() == 0
        for one in knocking:
            one.result(30)
    assert set(statuses) <= {200, 503, "cut"}


# Two servers


def test_a_second_server_on_the_same_folder_says_so_and_leaves(make_server: MakeServer) -> None:
    server = make_server("few.py")
    command = [sys.executable, "-m", "unspool", "serve", str(MODELS / "few.py"), "--port", "0"]
    second = subprocess.run(
        [*command, "--data-dir", str(server.data_dir)], capture_output=True, text=True, timeout=30, check=False
    )
    assert second.returncode == 1
    assert second.stdout == ""
    database = Path(server.data_dir).absolute() / "unspool.db"
    assert second.stderr == (
        f"unspool: {database}: Another server uses this file. Stop it, or give this one a --data-dir of its own.\n"
    )
    assert server.client().submit("test/echo", prompt="x")["status"] in ("created", "processing")
