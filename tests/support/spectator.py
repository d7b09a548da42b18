"""A viewer that comes back: follows one prediction over cuts, kills and restarts, and remembers all it has seen."""

from __future__ import annotations

import threading
from collections.abc import Callable

import httpx

from support.client import Client
from support.stream import Event, StrictReader, check_log


class Spectator:
    """Reads a stream from where it last was. What it has seen must fit the truth in the end (`check`)."""

    def __init__(self, id: str, on_event: Callable[[], None] = lambda: None) -> None:
        self.id = id
        self.seen: list[Event] = []
        self.done = False
        self.watching = threading.Event()
        """Set once it has seen something."""
        self._on_event = on_event

    @property
    def cursor(self) -> str | None:
        """Where it stands."""
        return self.seen[-1].cursor if self.seen else None

    def watch(self, client: Client, deadline_s: float = 60.0) -> bool:
        """Follows until the end of the prediction or of the connection. Returns whether it was cut cleanly."""
        if self.done:
            return True
        headers = {} if self.cursor is None else {"Last-Event-ID": self.cursor}
        reader = StrictReader(self.cursor)
        try:
            with client.http.stream(
                "GET", f"predictions/{self.id}/stream", headers=headers, timeout=deadline_s
            ) as response:
                if response.status_code != 200:
                    text = response.read().decode()
                    assert response.status_code == 503, f"{self.id} after {self.cursor}: {response.status_code} {text}"
                    return False
                for chunk in response.iter_raw():
                    self._take(reader, chunk)
            reader.close()
        except httpx.TransportError:
            return False
        return True

    def _take(self, reader: StrictReader, chunk: bytes) -> None:
        for event in reader.feed(chunk):
            self.seen.append(event)
            self.done = event.terminal
            self.watching.set()
            self._on_event()

    def check(self, log: list[Event]) -> None:
        """What it has seen is the final log, but for the lost ends of attempts that were overtaken."""
        check_log(log)
        truth = {event.cursor: event for event in log}
        last_attempt = log[-1].attempt
        for event in self.seen:
            if event.cursor in truth:
                assert event == truth[event.cursor], f"{self.id}: {event.cursor} had another content before"
            else:
                assert 0 < event.attempt < last_attempt, f"{self.id}: {event.cursor} was shown and has vanished"
        if self.done:
            missed = [event for event in log if event.cursor not in {seen.cursor for seen in self.seen}]
            final = max((event.attempt for event in self.seen if event.attempt), default=0)
            assert not [event.cursor for event in missed if event.attempt == final], f"{self.id}: a hole"
            assert self.seen[-1] == log[-1]
            assert not [event.cursor for event in missed if event.attempt == 0 and self.seen[0].attempt == 0], "a hole"
