"""Where a scenario is played: the server, the proxy, the gate, and what the client's user has seen so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sdk.adapter import DEADLINE_S, Adapter, Call
from sdk.faults import Fault, FaultProxy, Kind
from support.client import Client
from support.gate import Gate
from support.server import KEY, Server

GATE = "<the gate>"
WRONG_KEY = "no-such-key-0123456789"
OPTIONS = {
    "timeout_s": 20,
    "stall_timeout_s": 20,
    "first_event_timeout_s": 10,
    "streams_before_polling": 2,
    "poll_wait_s": 1,
    "backoff_s": 0.01,
    "max_backoff_s": 0.05,
    "give_up_s": 30,
}
"""How clients are set up, where a scenario says nothing else: quick to come back, slow to lose patience."""

When = Callable[["World"], bool]
Act = Callable[["World"], None]
Claim = Callable[["World"], None]


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What happens to a client, and what its user sees nevertheless."""

    because: str
    """Where this comes from in real life, and what a client must make of it."""
    do: Mapping[str, Any] = field(default_factory=lambda: {"do": "stream", "model": "sdk/words", "inputs": {}})
    faults: Sequence[Fault] = ()
    away: Fault | None = None
    """What the proxy does while the server is away; by default it hangs up."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of `connect`, beside `OPTIONS`."""
    key: str = KEY
    prepare: Callable[[World], None] | None = None
    """Done first, with the server as it is."""
    steps: Sequence[tuple[When, Act]] = ()
    """One after the other, each as soon as its time has come."""
    claims: Sequence[Claim] = ()
    beyond_naive: bool = False
    """A client that reads a stream as the published samples do must fail here."""


@dataclass
class Seen:
    """What the client's user has seen of one call."""

    events: list[dict[str, Any]] = field(default_factory=list)
    states: list[dict[str, Any] | None] = field(default_factory=list)
    """The stream's properties at each event."""
    last: dict[str, Any] = field(default_factory=dict)
    """The answer that ended the call."""

    def cursors(self) -> list[str]:
        return [event["cursor"] for event in self.events]


class World:
    """One playing of one scenario."""

    def __init__(self, server: Server, proxy: FaultProxy, adapter: Adapter, gate: Gate) -> None:
        self.server = server
        self.proxy = proxy
        self.adapter = adapter
        self.gate = gate
        self.id = ""
        """The prediction's, where it was made by `prepare` or has been seen."""
        self.seen = Seen()
        self.before = 0
        """How many predictions there were."""
        self._direct: dict[str, Client] = {}

    @property
    def direct(self) -> Client:
        """The server without the proxy."""
        if self.server.url not in self._direct:
            self._direct = {self.server.url: self.server.client()}
        return self._direct[self.server.url]

    def predictions(self) -> int:
        """How many there are."""
        answer = self.direct.http.post("predictions", json={"page_size": 1})
        return int(answer.json()["data"]["total"])

    def connect(self, options: Mapping[str, Any] | None = None, key: str = KEY) -> None:
        self.adapter.call("connect", url=self.proxy.url, api_key=key, options={**OPTIONS, **(options or {})}).result()

    def play(self, scenario: Scenario) -> None:
        """Plays it to its end and checks its claims."""
        if scenario.prepare:
            scenario.prepare(self)
        self.before = self.predictions()
        self.proxy.play(scenario.faults, scenario.away)
        self.connect(scenario.options, scenario.key)
        self.watch(self.adapter.call(**self._filled(scenario.do)), scenario.steps)
        for claim in scenario.claims:
            claim(self)

    def watch(self, call: Call, steps: Sequence[tuple[When, Act]] = ()) -> Seen:
        """Takes what a call answers until it ends, and does the steps meanwhile."""
        self.call = call
        self.seen = Seen()
        left = list(steps)
        deadline = time.monotonic() + DEADLINE_S
        while not self.seen.last:
            while left and left[0][0](self):
                left.pop(0)[1](self)
            answer = call.poll(0.02)
            if answer is not None:
                self._take(answer)
            assert time.monotonic() < deadline, self._story(f"after {DEADLINE_S:.0f} s it had not ended", len(left))
        assert not left, self._story("it ended too early", len(left))
        return self.seen

    def _take(self, answer: dict[str, Any]) -> None:
        if "event" in answer:
            self.seen.events.append(answer["event"])
            self.seen.states.append(answer.get("seen"))
            self.id = self.id or (answer.get("seen") or {}).get("id") or ""
        else:
            self.seen.last = answer
            self.id = self.id or (answer.get("end") or {}).get("id") or ""

    def _filled(self, command: Mapping[str, Any]) -> dict[str, Any]:
        def fill(value: Any) -> Any:
            if isinstance(value, Mapping):
                return {name: fill(inner) for name, inner in value.items()}
            return {GATE: str(self.gate), "<the id>": self.id}.get(value, value) if isinstance(value, str) else value

        return dict(fill(command))

    def _story(self, what: str, left: int) -> str:
        asked = [f"{request.method} {request.target}" for request in self.proxy.requests[-20:]]
        return "\n".join(
            [
                f"{what}, with {left} steps to go.",
                f"The user saw {self.seen.cursors()} and then {self.seen.last or 'nothing more'}.",
                "The proxy was asked:",
                *asked,
                f"The adapter said: {self.adapter.said}",
            ]
        )


# When


def at_once(world: World) -> bool:
    """Before anything else."""
    return True


def saw(cursor: str) -> When:
    """The user has this event."""
    return lambda world: cursor in world.seen.cursors()


def asked(kind: Kind, count: int = 1) -> When:
    """The proxy was asked so often."""
    return lambda world: len(world.proxy.asked(kind)) >= count


def keep_alives(count: int) -> When:
    """The server has sent so many keep-alives."""
    return lambda world: world.proxy.keep_alives >= count


# Do


def open_gate(world: World) -> None:
    """The run goes on to its end."""
    world.gate.open()


def let(count: int) -> Act:
    """So many more words are let through."""
    return lambda world: world.gate.let(count)


def kill_server(world: World) -> None:
    """kill -9, and a new server on the same data."""
    world.server.restart().wait_until_ready()


def stop_server(world: World) -> None:
    """SIGTERM, and a new server on the same data."""
    world.server.terminate()
    world.server.start().wait_until_ready()


def refuse(seconds: float) -> Act:
    """Nothing listens for a while."""
    return lambda world: world.proxy.refuse(seconds)


def cancel_stream(world: World) -> None:
    """The stream's own cancel."""
    world.adapter.call("cancel_stream", stream=world.call.number).result()


def cancel(world: World) -> None:
    """The client's cancel."""
    world.adapter.call("cancel", id=world.id).result()


def delete(world: World) -> None:
    """Somebody else deletes the prediction."""
    assert world.direct.http.delete(f"predictions/{world.id}").status_code == 200


# First


def finished(**inputs: Any) -> Callable[[World], None]:
    """There is a prediction that has ended."""

    def prepare(world: World) -> None:
        world.id = world.direct.submit("sdk/words", **inputs)["id"]
        world.direct.log(world.id)

    return prepare


def running(**inputs: Any) -> Callable[[World], None]:
    """There is a prediction that waits at its gate."""

    def prepare(world: World) -> None:
        world.id = world.direct.submit("sdk/words", **inputs, gate=str(world.gate))["id"]
        world.gate.visitor()

    return prepare


def submitted(key: str, **inputs: Any) -> Callable[[World], None]:
    """There is a prediction with this idempotency key."""

    def prepare(world: World) -> None:
        headers = {"Idempotency-Key": key}
        world.id = world.direct.http.post("sdk/words", json=inputs, headers=headers).json()["data"]["id"]
        world.direct.log(world.id)

    return prepare
