"""The reader that the other tests rely on: it accepts what `docs/wire.md` allows and nothing else."""

from __future__ import annotations

import pytest

from support.stream import StrictReader, check_log, text_of

GOOD = (
    b"retry: 1000\n\n"
    b'id: 0-1\ndata: {"type":"progress","percentage":0,"id":"a","status":"created","queue_position":0}\n\n'
    b": keep-alive\n\n"
    b'id: 1-1\ndata: {"type":"progress","percentage":0,"status":"processing","attempt":1}\n\n'
    b'id: 1-2\ndata: {"type":"output","output":"\xe4\xb8\x96 \xe7\x95\x8c","index":0}\n\n'
    b'id: 1-3\ndata: {"type":"complete","id":"a","outputs":["\xe4\xb8\x96 \xe7\x95\x8c"]}\n\n'
)


@pytest.mark.parametrize("size", [1, 2, 7, 64, len(GOOD)])
def test_a_stream_reads_the_same_however_it_is_cut(size: int) -> None:
    reader = StrictReader()
    events = [event for at in range(0, len(GOOD), size) for event in reader.feed(GOOD[at : at + size])]
    reader.close()
    check_log(events)
    assert [event.cursor for event in events] == ["0-1", "1-1", "1-2", "1-3"]
    assert text_of(events) == "世 界"
    assert reader.done
    assert reader.keep_alives == 1


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (b"retry: 1000\n\n", b""),
        (b"id: 1-2", b"id: 1-3"),
        (b"id: 1-2", b"id: 1-1"),
        (b"id: 1-1\n", b""),
        (b"id: 1-1\n", b"event: progress\nid: 1-1\n"),
        (b"data: ", b"data:"),
        (b'"type":"output"', b'"type": "output"'),
        (b'"type":"output"', b'"type":"token"'),
        (b'"id":"a","outputs"', b'"outputs"'),
        (b"\xe4\xb8\x96", b"\xe4\xb8"),
        (b"\xe4\xb8\x96", b"\xe2\x80\xa8"),
        (b"\n\n", b"\r\n\r\n"),
        (b": keep-alive", b": ping"),
        (b'"percentage":0,"status":"processing"', b'"percentage":101,"status":"processing"'),
        (b'["\xe4\xb8\x96 \xe7\x95\x8c"]}\n\n', b'[]}\n\nid: 1-4\ndata: {"type":"output","output":"x"}\n\n'),
        (b"\n\n", b"\n"),
    ],
)
def test_every_deviation_fails(good: bytes, bad: bytes) -> None:
    assert good in GOOD
    with pytest.raises((AssertionError, UnicodeDecodeError)):
        read_whole(GOOD.replace(good, bad))


def read_whole(data: bytes) -> None:
    reader = StrictReader()
    list(reader.feed(data))
    reader.close()


def test_a_cut_between_two_events_is_allowed_and_inside_one_is_not() -> None:
    reader = StrictReader()
    list(reader.feed(GOOD[: GOOD.index(b"id: 1-2")]))
    reader.close()
    list(reader.feed(b"id: 1-2\n"))
    with pytest.raises(AssertionError, match="inside an event"):
        reader.close()


def test_resuming_expects_the_next_cursor_or_the_next_attempt() -> None:
    resumed = b'retry: 1000\n\nid: 1-3\ndata: {"type":"output","output":"x"}\n\n'
    assert len(list(StrictReader("1-2").feed(resumed))) == 1
    with pytest.raises(AssertionError, match="a hole"):
        list(StrictReader("1-1").feed(resumed))
    restarted = resumed.replace(b"1-3", b"2-1")
    assert len(list(StrictReader("1-2").feed(restarted))) == 1
