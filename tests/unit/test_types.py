"""Cursors and batches: one spelling, one order, and parts of a batch that never lose or repeat an event."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unspool.types import START, Batch, Cursor


@pytest.mark.parametrize(
    ("text", "cursor"),
    [
        ("0-1", (0, 1)),
        ("1-17", (1, 17)),
        ("10-20", (10, 20)),
        ("999999999-999999999999999999", (999_999_999, 999_999_999_999_999_999)),
    ],
)
def test_a_cursor_is_written_as_it_is_read(text: str, cursor: tuple[int, int]):
    assert Cursor.parse(text) == cursor
    assert str(Cursor(*cursor)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "1",
        "1-",
        "-1",
        "01-1",
        "00-1",
        "1-01",
        "1-0",
        "0-0",
        "-1-2",
        "1--2",
        "+1-2",
        "1-+2",
        "1-2 ",
        " 1-2",
        "1 -2",
        "1-2\n",
        "\n1-2",
        "1-2\x00",
        "1-2-3",
        "1_0-2",
        "1.0-2",
        "0x1-2",
        "1e1-2",
        "a-b",
        "1\u20132",
        "1\u22122",
        "\u0661-\u0662",
        "\u00b9-\u00b2",
        "\uff11-\uff12",
        "1000000000-1",
        "1-1000000000000000000",
        "9" * 5_000 + "-1",
        "1-" + "9" * 5_000,
    ],
)
def test_what_is_not_a_cursor_in_its_one_spelling_is_refused(text: str):
    with pytest.raises(ValueError, match="is not a cursor such as '1-17'"):
        Cursor.parse(text)


def test_a_refusal_does_not_repeat_a_huge_text():
    with pytest.raises(ValueError, match="is not a cursor") as refused:
        Cursor.parse("x" * 100_000)
    assert len(str(refused.value)) < 100


@given(st.text(alphabet="0123456789-", max_size=12))
def test_parsing_accepts_nothing_that_is_written_differently(text: str):
    try:
        cursor = Cursor.parse(text)
    except ValueError:
        return
    assert str(cursor) == text


def test_cursors_are_ordered_by_attempt_then_n():
    in_order = ["0-1", "0-2", "0-10", "1-1", "1-2", "1-11", "2-1", "10-1"]
    assert [str(cursor) for cursor in sorted(map(Cursor.parse, reversed(in_order)))] == in_order


def test_the_start_is_before_every_cursor():
    assert Cursor.parse("0-1") > START


EVENTS = [b'{"a":1}', b'{"b":2}', b'{"c":3}']


def test_a_batch_numbers_its_events_from_its_first():
    batch = Batch.of(2, 5, EVENTS)
    assert batch.cursors() == [((2, 5), EVENTS[0]), ((2, 6), EVENTS[1]), ((2, 7), EVENTS[2])]
    assert batch.last == (2, 7)


def test_a_batch_is_its_bytes_on_the_wire():
    assert Batch.of(2, 5, EVENTS[:2]).sse == b'id: 2-5\ndata: {"a":1}\n\nid: 2-6\ndata: {"b":2}\n\n'


def test_the_bytes_for_the_wire_are_made_once():
    batch = Batch.of(2, 5, EVENTS)
    assert batch.sse is batch.sse


@pytest.mark.parametrize("cursor", ["0-9", "1-1000", "2-1", "2-4"])
def test_a_reader_before_a_batch_gets_that_very_batch(cursor: str):
    """So that its bytes are shared."""
    batch = Batch.of(2, 5, EVENTS)
    assert batch.after(Cursor.parse(cursor)) is batch


@pytest.mark.parametrize(("cursor", "rest"), [("2-5", ["2-6", "2-7"]), ("2-6", ["2-7"]), ("2-7", [])])
def test_a_reader_within_a_batch_gets_the_rest(cursor: str, rest: list[str]):
    part = Batch.of(2, 5, EVENTS).after(Cursor.parse(cursor))
    assert [str(at) for at, _ in part.cursors()] == rest
    assert part.events == EVENTS[3 - len(rest) :]


@pytest.mark.parametrize("limit", [3, 4, 1000])
def test_the_head_of_a_batch_that_is_short_enough_is_that_very_batch(limit: int):
    batch = Batch.of(2, 5, EVENTS)
    assert batch.head(limit) is batch


@pytest.mark.parametrize(("limit", "last"), [(1, "2-5"), (2, "2-6")])
def test_the_head_of_a_batch_keeps_its_numbers(limit: int, last: str):
    head = Batch.of(2, 5, EVENTS).head(limit)
    assert (head.attempt, head.first, head.events) == (2, 5, EVENTS[:limit])
    assert str(head.last) == last


def test_a_batch_up_to_a_cursor():
    batch = Batch.of(2, 5, EVENTS)
    assert batch.until(Cursor(2, 7)) is batch
    assert batch.until(Cursor(3, 1)) is batch
    assert batch.until(Cursor(2, 6)).events == EVENTS[:2]
    assert batch.until(Cursor(2, 5)).events == EVENTS[:1]


@given(
    size=st.integers(1, 30),
    first=st.integers(1, 5),
    seen=st.integers(0, 40),
    limits=st.lists(st.integers(1, 9), min_size=40),
)
def test_reading_a_batch_in_pieces_gives_each_event_once(size: int, first: int, seen: int, limits: list[int]):
    events = [b"%d" % n for n in range(first, first + size)]
    batch, at, read = Batch.of(1, first, events), Cursor(1, min(seen, first + size - 1)), []
    before = at.n
    for limit in limits:
        piece = batch.after(at).head(limit)
        if not piece.events:
            break
        read += piece.cursors()
        at = piece.last
    assert [event for _, event in read] == [event for event in events if int(event) > before]
    assert all(cursor.n == int(event) for cursor, event in read)
