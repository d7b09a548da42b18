"""The bytes of a stream as events: in order, once, without a hole. Pure: no I/O, no clock.

Reads server-sent events by the letter of the standard (any line end, comments, fields it does not know), and the form
that the server writes by one regular expression: a stream of 100,000 tokens should cost its reader next to nothing.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec

from unspool.client.events import Event, decode
from unspool.types import START, Cursor

_FRAME = re.compile(rb"id: ([0-9]{1,9})-([0-9]{1,18})\ndata: ([^\r\n]+)\n\n")
_LINE = re.compile(rb"([^\r\n]*)(\r\n|\n|\r)")
_BOM = b"\xef\xbb\xbf"

Problem = Literal["gap", "malformed"]


class _Item(msgspec.Struct):
    cursor: str
    event: msgspec.Raw


class _Page(msgspec.Struct):
    events: list[_Item]
    done: bool


_decode_page = msgspec.json.Decoder(_Page).decode


class LogReader:
    """Knows the last event that was read, and takes what follows it from whatever connection brings it.

    Args:
        after: the last event that the reader's user has seen.
    """

    def __init__(self, after: Cursor = START) -> None:
        self.attempt, self.n = after
        self.done = False
        """The terminal event was read."""
        self.problem: Problem | None = None
        """Why nothing more is taken from this connection. What came before it is good."""
        self.retry_ms: int | None = None
        """How long the server wants readers to wait before they come back."""
        self._begin()

    @property
    def last(self) -> Cursor:
        """The last event that was read."""
        return Cursor(self.attempt, self.n)

    def rewind(self, after: Cursor, *, done: bool) -> None:
        """Goes back to an event."""
        self.attempt, self.n = after
        self.done = done

    def connect(self) -> None:
        """A new connection begins; what the last one left unfinished is dropped."""
        self._begin()

    def _begin(self) -> None:
        self.problem = None
        self._rest: list[bytes] = []
        """The beginning of a line whose end has not come."""
        self._id = b""
        self._data: list[bytes] = []
        self._between = True
        """No line of the next event has come yet."""
        self._after_cr = False
        self._first = True

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that these bytes complete."""
        if self._rest and b"\n" not in chunk and b"\r" not in chunk:
            self._rest.append(chunk)
            return []
        if self._rest:
            chunk = b"".join([*self._rest, chunk])
            self._rest.clear()
        events: list[Event] = []
        self._read(self._start(chunk), chunk, events)
        return events

    def _start(self, chunk: bytes) -> int:
        """Where the first line begins: behind the other half of a line end, if that has come alone."""
        after_cr, self._after_cr = self._after_cr and bool(chunk), self._after_cr and not chunk
        return 1 if after_cr and chunk.startswith(b"\n") else 0

    def _read(self, at: int, buffer: bytes, events: list[Event]) -> None:
        end = len(buffer)
        frame, line = _FRAME.match, _LINE.match
        while at < end and self.problem is None and not self.done:
            if self._between and (found := frame(buffer, at)):
                at = found.end()
                attempt, n, data = found.groups()
                self._take(int(attempt), int(n), data, events)
            elif found := line(buffer, at):
                at = found.end()
                self._after_cr = at == end and found[2] == b"\r"
                self._line(found[1], events)
            else:
                self._rest.append(buffer[at:])
                return

    def _line(self, line: bytes, events: list[Event]) -> None:
        if self._first:
            self._first, line = False, line.removeprefix(_BOM)
        if not line:
            self._dispatch(events)
        else:
            self._between = False
            name, _, value = line.partition(b":")
            self._field(name, value.removeprefix(b" "))

    def _field(self, name: bytes, value: bytes) -> None:
        if name == b"data":
            self._data.append(value)
        elif name == b"id":
            self._id = value
        elif name == b"retry" and value.isdigit() and len(value) < 9:
            self.retry_ms = int(value)

    def _dispatch(self, events: list[Event]) -> None:
        data, id = b"\n".join(self._data), self._id
        self._data, self._id, self._between = [], b"", True
        if data:
            try:
                cursor = Cursor.parse(id.decode("ascii", "replace"))
            except ValueError:
                self.problem = "malformed"
            else:
                self._take(*cursor, data, events)

    def _take(self, attempt: int, n: int, data: bytes, events: list[Event]) -> None:
        """The next event, if it is the next one."""
        if (attempt == self.attempt and n == self.n + 1) or (attempt > self.attempt and n == 1):
            try:
                event = decode(data, attempt, n)
            except ValueError:
                self.problem = "malformed"
                return
            self.attempt, self.n = attempt, n
            if event is not None:
                self.done = event.type == "complete" or event.type == "error"
                events.append(event)
        elif (attempt, n) > (self.attempt, self.n):
            self.problem = "gap"

    def page(self, body: bytes) -> list[Event]:
        """The events of one answer of the long poll."""
        events: list[Event] = []
        try:
            page = _decode_page(body)
            for item in page.events:
                if self.problem is None and not self.done:
                    self._take(*Cursor.parse(item.cursor), bytes(item.event), events)
        except ValueError:
            self.problem = "malformed"
        else:
            self.done = self.done or (page.done and self.problem is None)
        return events


def cursor(after: Any) -> Cursor:
    """A cursor as users write it: `None` for the start, `"1-5"`, or a `Cursor`.

    Raises:
        ValueError: it is none of these.
    """
    if after is None or after == "":
        return START
    return after if isinstance(after, Cursor) else Cursor.parse(after)
