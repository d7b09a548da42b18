"""A reader of streams that forgives nothing: it fails on every byte that `docs/wire.md` does not allow.

Pure: bytes in, events out. `tests/support/client.py` feeds it from a socket.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

PREAMBLE = b"retry: 1000\n\n"
KEEP_ALIVE = b": keep-alive\n\n"
ALWAYS: dict[str, dict[str, Any]] = {
    "progress": {"percentage": (int, float)},
    "log": {"message": str, "level": str, "timestamp": str},
    "output": {"output": object},
    "complete": {"outputs": list, "id": str},
    "error": {"error": str, "code": int, "status": str, "id": str},
}
"""The five types, and what each always has."""

_FRAME = re.compile(rb"id: (0|[1-9][0-9]*)-([1-9][0-9]*)\ndata: (\{[^\r\n]*\})\n\n")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


class Event(NamedTuple):
    """One event and its place in the log."""

    attempt: int
    n: int
    data: dict[str, Any]

    @property
    def cursor(self) -> str:
        return f"{self.attempt}-{self.n}"

    @property
    def type(self) -> str:
        return str(self.data["type"])

    @property
    def terminal(self) -> bool:
        return self.type in ("complete", "error")


class StrictReader:
    """Takes a stream's bytes as they come, yields its events, and asserts the grammar and the order of cursors."""

    def __init__(self, after: str | None = None) -> None:
        attempt, n = (after or "0-0").split("-")
        self.last = (int(attempt), int(n))
        self.done = False
        self.keep_alives = 0
        self._begun = False
        self._rest = b""

    def feed(self, chunk: bytes) -> Iterator[Event]:
        self._rest += chunk
        while (end := self._rest.find(b"\n\n")) >= 0:
            block, self._rest = self._rest[: end + 2], self._rest[end + 2 :]
            event = self._block(block)
            if event is not None:
                yield event

    def close(self) -> None:
        """The connection has ended. It may do so between two events only."""
        assert self._rest == b"", f"the stream ended inside an event: {self._rest[:200]!r}"

    def _block(self, block: bytes) -> Event | None:
        assert not self.done, f"after the terminal event came {block[:200]!r}"
        if not self._begun:
            assert block == PREAMBLE, f"a stream begins with {PREAMBLE!r}, not with {block[:200]!r}"
            self._begun = True
            return None
        if block == KEEP_ALIVE:
            self.keep_alives += 1
            return None
        match = _FRAME.fullmatch(block)
        assert match, f"not a frame: {block[:200]!r}"
        event = Event(int(match[1]), int(match[2]), parse_event(match[3]))
        self._advance(event)
        self.done = event.terminal
        return event

    def _advance(self, event: Event) -> None:
        attempt, n = self.last
        expected = [(attempt, n + 1)]
        assert (event.attempt, event.n) in expected or (event.attempt > attempt and event.n == 1), (
            f"after {attempt}-{n} came {event.cursor}: a hole, a duplicate or a step back"
        )
        self.last = (event.attempt, event.n)


def parse_event(data: bytes) -> dict[str, Any]:
    """One event's JSON: UTF-8, one compact line, one of the five types with all that this type always has."""
    text = data.decode("utf-8", "strict")
    assert len(text.splitlines()) == 1, f"a line break inside an event: {text[:200]!r}"
    assert not re.search(r"\s", _STRING.sub('""', text)), f"not compact: {text[:200]!r}"
    event = json.loads(text)
    kind = event.get("type")
    assert kind in ALWAYS, f"no such type of event: {text[:200]!r}"
    for name, types in ALWAYS[kind].items():
        assert name in event, f"{kind} without {name}: {text[:200]!r}"
        assert isinstance(event[name], types), f"{name} has the wrong type: {text[:200]!r}"
    if kind == "progress":
        assert 0 <= event["percentage"] <= 100, f"percentage out of range: {text[:200]!r}"
    if kind == "log":
        assert event["level"] in ("debug", "info", "warning", "error"), f"no such level: {text[:200]!r}"
        assert datetime.fromisoformat(event["timestamp"]).tzinfo is not None
    if kind == "error":
        assert event["status"] in ("failed", "cancelled", "timeout"), f"no such end: {text[:200]!r}"
    return dict(event)


def check_log(events: list[Event]) -> None:
    """What holds for the whole log of a prediction that has ended, read from its start."""
    assert events[0].cursor == "0-1"
    assert events[0].data["status"] == "created"
    assert events[0].data["queue_position"] >= 0
    assert [event.terminal for event in events].index(True) == len(events) - 1, "the terminal event is the last one"
    percentage = 0.0
    for event in events:
        if event.n == 1:
            percentage = 0.0
            if not event.terminal:
                assert event.type == "progress"
                assert event.data["percentage"] == 0
                if event.attempt:
                    assert event.data["status"] == "processing"
                    assert event.data["attempt"] == event.attempt
        if event.type == "progress":
            assert event.data["percentage"] >= percentage, f"{event.cursor}: the percentage fell"
            percentage = event.data["percentage"]


def text_of(events: list[Event], index: int = 0) -> str:
    """The text output of the last attempt in these events."""
    attempt = max(event.attempt for event in events)
    return "".join(
        event.data["output"]
        for event in events
        if event.type == "output" and event.attempt == attempt and event.data.get("index", 0) == index
    )
