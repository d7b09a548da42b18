"""A client of the HTTP interface for tests: httpx, the strict stream reader, and a deadline on everything."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import httpx

from support.stream import Event, StrictReader, check_log

DEADLINE_S = 60.0


class Stream:
    """An open stream. Iterating yields its events until the terminal one, or until the server cuts it."""

    def __init__(self, response: httpx.Response, after: str | None, deadline_s: float) -> None:
        self.response = response
        self.reader = StrictReader(after)
        self._deadline = time.monotonic() + deadline_s
        self._events = self._read()

    @property
    def id(self) -> str:
        """The prediction's id."""
        return self.response.headers["x-prediction-id"]

    @property
    def done(self) -> bool:
        """Whether the terminal event was seen."""
        return self.reader.done

    @property
    def cursor(self) -> str:
        """The cursor of the last event seen."""
        attempt, n = self.reader.last
        return f"{attempt}-{n}"

    def __iter__(self) -> Iterator[Event]:
        return self._events

    def until(self, type: str, count: int = 1) -> Event:
        """Reads on to the `count`-th event of a type from here and returns it."""
        for event in self._events:
            if event.type == type:
                count -= 1
                if count == 0:
                    return event
        raise AssertionError(f"the stream ended at {self.cursor} before the {type} event that was waited for")

    def take(self, count: int) -> list[Event]:
        """The next events, so many."""
        taken = list(islice(self._events, count))
        assert len(taken) == count, f"the stream ended at {self.cursor}, {count - len(taken)} events too early"
        return taken

    def _read(self) -> Iterator[Event]:
        try:
            for chunk in self.response.iter_raw():
                yield from self.reader.feed(chunk)
                if time.monotonic() > self._deadline and not self.reader.done:
                    raise AssertionError(f"past its deadline, the stream has come to {self.cursor} and not to an end")
        except httpx.ReadTimeout:
            raise AssertionError(f"nothing came after {self.cursor} before the deadline") from None
        self.reader.close()


class Client:
    """What a user of the HTTP interface does, with answers checked for their envelope."""

    def __init__(self, base_url: str, key: str) -> None:
        self.http = httpx.Client(
            base_url=f"{base_url}/api/v3/", headers={"Authorization": f"Bearer {key}"}, timeout=DEADLINE_S
        )

    def close(self) -> None:
        self.http.close()

    def submit(self, model: str, /, **inputs: Any) -> dict[str, Any]:
        """The prediction object that a plain submit answers with."""
        return data_of(self.http.post(model, json=inputs))

    @contextmanager
    def run(
        self, model: str, /, *, params: dict[str, str] | None = None, deadline_s: float = DEADLINE_S, **inputs: Any
    ) -> Iterator[Stream]:
        """Submits with `stream: true`."""
        body = {**inputs, "stream": True}
        with self.http.stream("POST", model, json=body, params=params, timeout=deadline_s) as response:
            yield self._stream(response, None, deadline_s)

    @contextmanager
    def stream(self, id: str, after: str | None = None, deadline_s: float = DEADLINE_S) -> Iterator[Stream]:
        """Joins or resumes the stream of a prediction."""
        headers = {} if after is None else {"Last-Event-ID": after}
        with self.http.stream("GET", f"predictions/{id}/stream", headers=headers, timeout=deadline_s) as response:
            yield self._stream(response, after, deadline_s)

    def log(self, id: str, deadline_s: float = DEADLINE_S) -> list[Event]:
        """Waits for the end of a prediction and returns its whole log, checked."""
        with self.stream(id, deadline_s=deadline_s) as stream:
            events = list(stream)
        assert stream.done, f"the log of {id} was cut at {stream.cursor}, before its end"
        check_log(events)
        return events

    def result(self, id: str, **params: Any) -> dict[str, Any]:
        """The prediction object, now."""
        return data_of(self.http.get(f"predictions/{id}/result", params=params))

    def finished(self, id: str, deadline_s: float = DEADLINE_S) -> dict[str, Any]:
        """The prediction object once it has ended."""
        self.log(id, deadline_s)
        return self.result(id)

    def cancel(self, id: str) -> dict[str, Any]:
        return data_of(self.http.post(f"predictions/{id}/cancel"))

    def events(self, id: str, after: str | None = None, wait: float = 0) -> dict[str, Any]:
        """One long poll: `{"events": […], "done": …}`."""
        params: dict[str, Any] = {"wait": wait} if after is None else {"wait": wait, "after": after}
        answer = self.http.get(f"predictions/{id}/events", params=params)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    @staticmethod
    def _stream(response: httpx.Response, after: str | None, deadline_s: float) -> Stream:
        if response.status_code != 200:
            raise AssertionError(f"no stream but {response.status_code}: {response.read()!r}")
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert response.headers["cache-control"] == "no-cache, no-transform"
        if not response.headers.get("server", "").startswith("nginx"):  # which takes this header for itself
            assert response.headers["x-accel-buffering"] == "no"
        assert "content-encoding" not in response.headers
        stream = Stream(response, after, deadline_s)
        assert response.headers["content-location"] == f"/api/v3/predictions/{stream.id}/stream"
        return stream


def data_of(response: httpx.Response) -> dict[str, Any]:
    """What is inside the envelope of a success."""
    assert response.status_code == 200, f"{response.status_code}: {response.text}"
    body = response.json()
    assert body["code"] == 200
    assert body["message"] == "success"
    assert "error" not in body
    return dict(body["data"])


def error_of(response: httpx.Response, status: int, error_code: str) -> dict[str, Any]:
    """The body of an error, checked for its shape."""
    assert response.status_code == status, f"{response.status_code}: {response.text}"
    body = dict(response.json())
    assert body["code"] == status
    assert body["error_code"] == error_code
    assert isinstance(body["message"], str)
    assert body["message"]
    assert body["data"] is None
    return body
