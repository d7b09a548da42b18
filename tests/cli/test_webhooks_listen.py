"""`unspool webhooks listen` checks what comes, prints it, and passes it on."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from support.receiver import Receiver, Told
from support.server import Server
from support.terminal import DEADLINE_S, begin, unspool

Listen = Callable[..., "Listener"]


class Listener:
    """`unspool webhooks listen --json`, and where it listens."""

    def __init__(self, server: Server, *arguments: str) -> None:
        self.process = begin(server, "webhooks", "listen", "--port", "0", "--json", *arguments)
        assert self.process.stderr is not None
        said = self.process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/", said)
        assert found, said
        self.url = found[0]
        self.hint = self.process.stderr.readline()

    def next(self) -> Any:
        """The next line."""
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=DEADLINE_S)
        return self.process.returncode


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Starts listeners, and stops them after the test."""
    made: list[Listener] = []

    def start(*arguments: Any) -> Listener:
        made.append(Listener(*arguments))
        return made[-1]

    yield start
    for listener in made:
        if listener.process.poll() is None:
            listener.process.kill()
            listener.process.communicate()


def test_a_webhook_is_checked_and_printed_and_a_forged_one_refused(server: Server, listen: Listen) -> None:
    listener = listen(server)
    assert "UNSPOOL_WEBHOOK_ALLOW_HTTP=1" in listener.hint
    assert "UNSPOOL_WEBHOOK_ALLOW_HOSTS=127.0.0.1" in listener.hint
    done = unspool(server, "run", "say/words", "--webhook-url", listener.url, "--json")
    line = listener.next()
    assert (line["verified"], line["answered"]) == (True, 200)
    assert line["webhook"]["id"] == json.loads(done.out.splitlines()[0])["id"]
    assert line["webhook"]["outputs"] == ["one two three "]

    forged = {"webhook-id": "x", "webhook-timestamp": "1", "webhook-signature": "v3,00"}
    assert httpx.post(listener.url, json={"status": "completed"}, headers=forged).status_code == 401
    line = listener.next()
    assert (line["verified"], line["answered"]) == (False, 401)
    assert line["reason"]
    assert listener.stop() == 0


def test_a_genuine_webhook_is_passed_on_and_the_answer_handed_back(server: Server, listen: Listen) -> None:
    receiver = Receiver()
    try:
        receiver.tell("/hook", Told(410))
        listener = listen(server, "--forward", receiver.url())
        unspool(server, "run", "say/words", "--webhook-url", listener.url, "--detach")
        assert listener.next()["answered"] == 410
        (one,) = receiver.wait()
        assert one.json["status"] == "completed"
        assert one.headers["webhook-signature"].startswith("v3,")
    finally:
        receiver.close()


def test_a_port_that_is_taken_is_told(server: Server, listen: Listen) -> None:
    port = listen(server).url.rpartition(":")[2].strip("/")
    done = unspool(server, "webhooks", "listen", "--port", port)
    assert done.code == 1
    assert "--port" in done.err
