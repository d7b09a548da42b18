"""Server-Sent Events, byte for byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unspool import sse


def test_one_event():
    assert sse.frames(1, 4, [b'{"type":"output","output":" world","index":0}']) == (
        b'id: 1-4\ndata: {"type":"output","output":" world","index":0}\n\n'
    )


def test_several_events_of_one_attempt_are_numbered_on():
    assert sse.frames(0, 1, [b"{}", b'{"a":"\xc3\xa4"}', b"{}"]) == (
        b'id: 0-1\ndata: {}\n\nid: 0-2\ndata: {"a":"\xc3\xa4"}\n\nid: 0-3\ndata: {}\n\n'
    )


def test_the_stream_opens_with_the_time_a_browser_waits():
    assert sse.PREAMBLE == b"retry: 1000\n\n"


def test_a_keep_alive_is_a_comment():
    assert sse.KEEP_ALIVE == b": keep-alive\n\n"


@pytest.mark.parametrize(("attempt", "first"), [(2, 4_094), (2, 4_095), (2, 4_096), (3, 1), (999_999_999, 10**17)])
def test_ids_may_be_as_large_as_they_like(attempt: int, first: int):
    assert sse.frames(attempt, first, [b"{}", b"{}", b"{}"]) == (
        b"id: %d-%d\ndata: {}\n\n" % (attempt, first)
        + b"id: %d-%d\ndata: {}\n\n" % (attempt, first + 1)
        + b"id: %d-%d\ndata: {}\n\n" % (attempt, first + 2)
    )


@given(
    st.integers(0, 4),
    st.integers(1, 5_000),
    st.lists(st.binary(min_size=1, max_size=5), min_size=1),
    st.integers(0, 99),
)
def test_events_framed_together_are_the_events_framed_apart(attempt: int, first: int, events: list[bytes], cut: int):
    """However the pieces fall, a viewer gets the same bytes."""
    cut = cut % len(events)
    apart = (sse.frames(attempt, first, events[:cut]) if cut else b"") + sse.frames(attempt, first + cut, events[cut:])
    assert sse.frames(attempt, first, events) == apart


def test_framing_leaves_the_events_alone():
    events = [b"{}", b"[]"]
    sse.frames(1, 1, events)
    assert events == [b"{}", b"[]"]
