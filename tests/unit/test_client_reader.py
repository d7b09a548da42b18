"""How the SDK reads a log: in order, once, without a hole, however the bytes fall."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unspool import events as wire
from unspool import sse
from unspool.client import events
from unspool.client.events import Complete, Error, Event, Log, Output, Progress
from unspool.client.reader import LogReader, cursor
from unspool.states import Status
from unspool.types import START, Cursor

CREATED = wire.created("a", 0)
STARTED = wire.started(1)
WORLD = wire.output("世界 \u2028 👩🏿‍🚀\r\n")
DONE = wire.complete("a", ["世界"], timings={"inference": 1.5})
LOG = [
    sse.PREAMBLE,
    sse.frames(0, 1, [CREATED]),
    sse.KEEP_ALIVE,
    sse.frames(1, 1, [STARTED, WORLD, *wire.log("a line"), DONE]),
]
STREAM = b"".join(LOG)
CURSORS = ["0-1", "1-1", "1-2", "1-3", "1-4"]


def read(data: bytes, cuts: list[int] | None = None, reader: LogReader | None = None) -> tuple[LogReader, list[Event]]:
    """Reads the bytes, cut at these places."""
    reader = reader or LogReader()
    places = sorted({0, len(data), *(cuts or [])})
    found = [event for begin, end in pairwise(places) for event in reader.feed(data[begin:end])]
    return reader, found


def cursors(found: list[Event]) -> list[str]:
    return [event.cursor for event in found]


def test_each_event_has_its_class_and_fields():
    reader, (created, started, output, log, complete) = read(STREAM)
    assert isinstance(created, Progress)
    assert (created.id, created.status, created.queue_position, created.percentage) == ("a", "created", 0, 0)
    assert isinstance(started, Progress)
    assert (started.attempt, started.n, started.restarted) == (1, 1, False)
    assert isinstance(output, Output)
    assert (output.output, output.index, output.cursor) == ("世界 \u2028 👩🏿‍🚀\r\n", 0, "1-2")
    assert isinstance(log, Log)
    assert (log.message, log.level, log.timestamp[:2]) == ("a line", "info", "20")
    assert isinstance(complete, Complete)
    assert (complete.outputs, complete.timings, complete.type) == (["世界"], {"inference": 1.5}, "complete")
    assert reader.done
    assert reader.retry_ms == 1000


@given(st.lists(st.integers(0, len(STREAM))), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_it_reads_the_same_however_the_bytes_are_cut(cuts: list[int], end: bytes):
    data = STREAM.replace(b"\n", end)
    reader, found = read(data, [cut * len(data) // len(STREAM) for cut in cuts])
    assert cursors(found) == CURSORS
    assert [event.data for event in found] == [event.data for event in read(STREAM)[1]]
    assert reader.done
    assert reader.problem is None


@given(st.integers(0, len(STREAM)), st.lists(st.integers(0, len(STREAM))))
def test_a_stream_that_is_lost_anywhere_goes_on_after_the_last_whole_event(lost: int, cuts: list[int]):
    reader, before = read(STREAM[:lost], [cut for cut in cuts if cut < lost])
    reader.connect()
    _, after = read(STREAM, cuts, reader)
    assert cursors(before + after) == CURSORS, "what comes again is dropped"


@given(st.binary(max_size=300), st.integers(0, len(STREAM)))
def test_bytes_that_are_no_stream_are_never_taken_for_events_and_never_raise(noise: bytes, at: int):
    _, found = read(STREAM[:at] + noise + STREAM[at:])
    rest = iter(CURSORS)
    assert all(cursor in rest for cursor in cursors(found)), "an event whose type became another one is passed over"


@given(st.lists(st.text(max_size=20), min_size=1, max_size=20), st.lists(st.integers(0, 4000)))
def test_the_pieces_of_a_text_are_that_text(texts: list[str], cuts: list[int]):
    data = sse.frames(1, 1, [STARTED, *map(wire.output, texts)])
    _, found = read(data, [cut for cut in cuts if cut < len(data)], LogReader(Cursor(0, 1)))
    assert [event.output for event in found if isinstance(event, Output)] == [
        text.encode("utf-8", "replace").decode() for text in texts
    ]


@pytest.mark.parametrize(
    ("seen", "ids"),
    [
        (START, [(0, 2)]),
        (START, [(1, 2)]),
        (Cursor(0, 1), [(1, 2)]),
        (Cursor(1, 4), [(1, 6)]),
        (Cursor(1, 4), [(2, 2)]),
        (Cursor(1, 4), [(1, 5), (1, 7)]),
    ],
)
def test_a_hole_is_a_problem_and_what_came_before_it_is_good(seen: Cursor, ids: list[tuple[int, int]]):
    reader = LogReader(seen)
    data = b"".join(sse.frames(attempt, n, [WORLD]) for attempt, n in ids)
    found = reader.feed(data)
    assert reader.problem == "gap"
    assert len(found) == len(ids) - 1
    assert reader.feed(sse.frames(reader.attempt, reader.n + 1, [WORLD])) == [], "until the next connection"
    reader.connect()
    assert len(reader.feed(sse.frames(reader.attempt, reader.n + 1, [WORLD]))) == 1


def test_a_new_attempt_follows_wherever_the_last_one_has_ended():
    reader = LogReader(Cursor(1, 17))
    (progress,) = reader.feed(sse.frames(2, 1, [wire.started(2)]))
    assert isinstance(progress, Progress)
    assert progress.restarted
    assert not reader.feed(sse.frames(1, 18, [WORLD])), "and nothing of an overtaken one comes after that"
    assert reader.problem is None


@pytest.mark.parametrize(
    "bad",
    [
        b"data: {}\n\n",
        b"id: 1\ndata: {}\n\n",
        b"id: 01-1\ndata: {}\n\n",
        b"id: 0-1\ndata: {\n\n",
        b"id: 0-1\ndata: []\n\n",
        b'id: 0-1\ndata: {"type":"progress"}\n\n',
        b'id: 0-1\ndata: {"type":7}\n\n',
        b'id: 0-1\ndata: {"type":"log","message":"\xe4\xb8"}\n\n',
    ],
)
def test_what_is_no_event_is_a_problem(bad: bytes):
    reader = LogReader()
    assert reader.feed(bad) == []
    assert reader.problem == "malformed"


def test_a_type_that_is_not_known_is_passed_over_and_leaves_no_hole():
    reader = LogReader(Cursor(1, 1))
    found = reader.feed(sse.frames(1, 2, [b'{"type":"smell","of":"roses"}', WORLD]))
    assert cursors(found) == ["1-3"]
    assert reader.problem is None


def test_fields_that_are_not_known_are_kept():
    (event,) = LogReader().feed(b'id: 0-1\ndata: {"type":"progress","percentage":1,"weather":{"sky":"blue"}}\n\n')
    assert event.extra == {"weather": {"sky": "blue"}}
    assert event.data == {"type": "progress", "percentage": 1, "weather": {"sky": "blue"}}


@pytest.mark.parametrize("status", [Status.FAILED, Status.CANCELLED, Status.TIMEOUT])
def test_an_error_ends_the_log(status: Status):
    reader = LogReader(Cursor(1, 3))
    data = wire.error("a", "It broke.", wire.TaskCode.EXECUTION_FAILED, status)
    (error,) = reader.feed(sse.frames(2, 1, [data]) + sse.frames(2, 2, [WORLD]))
    assert isinstance(error, Error)
    assert (error.error, error.status, error.code, error.cursor) == ("It broke.", status, 1403, "2-1")
    assert reader.done


def test_a_byte_order_mark_is_passed_over():
    assert cursors(read(b"\xef\xbb\xbf" + STREAM[len(sse.PREAMBLE) :])[1]) == CURSORS
    assert cursors(read(b"\xef\xbb\xbf" + STREAM, [1, 2])[1]) == CURSORS


def test_lines_of_data_are_joined():
    (event,) = LogReader().feed(b'id: 0-1\nevent: message\ndata: {"type":"log",\ndata:"message":"x"}\n\n')
    assert isinstance(event, Log)
    assert event.message == "x"


def test_a_large_event_in_many_pieces_is_read_once():
    """Else twenty megabytes of base64 would be searched again with each piece."""
    data = sse.frames(1, 1, [wire.complete("a", ["x" * 5_000_000])])
    _, found = read(data, list(range(0, len(data), 1_000)))
    assert isinstance(found[0], Complete)
    assert len(found[0].outputs[0]) == 5_000_000


# The long poll


def page(*items: tuple[str, bytes], done: bool = False) -> bytes:
    return json.dumps(
        {"events": [{"cursor": at, "event": json.loads(data)} for at, data in items], "done": done}
    ).encode()


def test_a_page_of_the_long_poll_is_the_same_log():
    reader = LogReader()
    assert cursors(reader.page(page(("0-1", CREATED), ("1-1", STARTED)))) == ["0-1", "1-1"]
    assert cursors(reader.page(page(("1-1", STARTED), ("1-2", WORLD)))) == ["1-2"], "once"
    assert reader.page(page()) == []
    assert cursors(reader.page(page(("1-3", DONE), done=True))) == ["1-3"]
    assert reader.done


def test_a_page_with_a_hole_is_a_problem_and_is_not_the_end():
    reader = LogReader()
    assert reader.page(page(("0-1", CREATED), ("1-2", DONE), done=True))[0].cursor == "0-1"
    assert reader.problem == "gap"
    assert not reader.done


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"events":[{"cursor":"x","event":{}}],"done":false}'])
def test_what_is_no_page_is_a_problem(body: bytes):
    reader = LogReader()
    assert reader.page(body) == []
    assert reader.problem == "malformed"


# For people


@pytest.mark.parametrize(("after", "expected"), [(None, START), ("", START), ("1-5", (1, 5)), (Cursor(2, 3), (2, 3))])
def test_cursors_as_users_write_them(after: str | Cursor | None, expected: tuple[int, int]):
    assert cursor(after) == expected


def test_events_can_be_printed():
    def shown(data: bytes, attempt: int = 1, n: int = 5) -> str:
        return str(events.decode(data, attempt, n))

    step = wire.progress(37.5, stage="denoise", step=3, steps=8, eta_seconds=2.04)
    assert shown(step) == " 37.5 %  denoise  3/8  2.0 s left"
    assert shown(wire.started(2), 2, 1) == "  0.0 %  processing  begun anew (attempt 2)"
    assert shown(WORLD) == "世界 \u2028 👩🏿‍🚀\r\n"
    assert shown(wire.output({"a": 1})) == '{"a":1}'
    assert shown(next(wire.log("careful", "warning"))) == "[warning] careful"
    assert shown(DONE) == 'completed: ["世界"]'
    assert shown(wire.cancelled("a")) == "cancelled: The prediction was cancelled."
    assert repr(events.decode(wire.output("x"), 1, 5)) == "Output(output='x', index=0, cursor='1-5')"
