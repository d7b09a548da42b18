"""The five event types, byte for byte, and what keeps an event in one line and in one piece."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unspool import events
from unspool.events import TaskCode
from unspool.states import Status

NOW = "2030-01-02T03:04:05.000006Z"
CAT = "\N{CAT}"


@pytest.fixture
def noon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time stands still."""
    monkeypatch.setattr(events, "now_rfc3339", lambda: NOW)


def test_progress():
    assert events.progress(37.5, stage="denoise", step=3, steps=8, eta_seconds=1.5, preview="https://x/y.png") == (
        b'{"type":"progress","percentage":37.5,"stage":"denoise","step":3,"steps":8,"eta_seconds":1.5,'
        b'"preview":"https://x/y.png"}'
    )


@pytest.mark.parametrize(
    ("percentage", "text"),
    [
        (0, b"0"),
        (0.0, b"0"),
        (100.0, b"100"),
        (12.345, b"12.35"),
        (33.333333, b"33.33"),
        (99.999, b"100"),
        (50.5, b"50.5"),
    ],
)
def test_a_percentage_has_at_most_two_decimals(percentage: float, text: bytes):
    assert events.progress(percentage) == b'{"type":"progress","percentage":%b}' % text


def test_progress_leaves_out_what_is_not_known():
    assert events.progress(1, stage=None, step=0) == b'{"type":"progress","percentage":1,"step":0}'


def test_created():
    assert events.created("p1", 7) == (
        b'{"type":"progress","percentage":0,"id":"p1","status":"created","queue_position":7}'
    )


def test_created_says_a_queue_position_of_zero():
    assert events.created("p1", 0).endswith(b'"queue_position":0}')


def test_started():
    assert events.started(2) == b'{"type":"progress","percentage":0,"status":"processing","attempt":2}'


@pytest.mark.usefixtures("noon")
def test_log():
    assert list(events.log("loading", "warning")) == [
        b'{"type":"log","message":"loading","level":"warning","timestamp":"2030-01-02T03:04:05.000006Z"}'
    ]


def test_the_time_of_a_log_line_is_rfc_3339_in_utc():
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", events.now_rfc3339())


def test_output():
    assert events.output(" world") == b'{"type":"output","output":" world","index":0}'
    assert events.output({"url": "https://x"}, 3) == b'{"type":"output","output":{"url":"https://x"},"index":3}'


@pytest.mark.parametrize(
    ("part", "text"),
    [(None, b"null"), (True, b"true"), (1.5, b"1.5"), ([], b"[]"), ("", b'""'), ([1, "a"], b'[1,"a"]')],
)
def test_output_of_every_json_type(part: object, text: bytes):
    assert events.output(part) == b'{"type":"output","output":%b,"index":0}' % text


def test_complete():
    assert events.complete("p1", ["ab", {"n": 1}], timings={"inference": 12.5}, usage={"tokens": 3}) == (
        b'{"type":"complete","id":"p1","outputs":["ab",{"n":1}],"timings":{"inference":12.5},"usage":{"tokens":3}}'
    )


def test_complete_leaves_out_what_is_empty_but_not_the_outputs():
    assert events.complete("p1", [], usage={}) == b'{"type":"complete","id":"p1","outputs":[]}'


def test_error():
    assert events.error("p1", 'no "luck"', TaskCode.EXECUTION_FAILED, Status.FAILED) == (
        b'{"type":"error","id":"p1","error":"no \\"luck\\"","code":1403,"status":"failed"}'
    )


def test_cancelled():
    assert events.cancelled("p1") == (
        b'{"type":"error","id":"p1","error":"The prediction was cancelled.","code":1405,"status":"cancelled"}'
    )


def test_timed_out():
    event = json.loads(events.timed_out("p1"))
    assert (event["type"], event["id"], event["code"], event["status"]) == ("error", "p1", 5004, "timeout")


def test_the_task_codes_are_those_that_clients_know():
    assert {code.name: int(code) for code in TaskCode} == {
        "INVALID_PARAMETER": 1401,
        "EXECUTION_FAILED": 1403,
        "TASK_FAILED": 1405,
        "INTERNAL": 5000,
        "UNAVAILABLE": 5003,
        "TIMEOUT": 5004,
    }


def test_the_type_is_always_the_first_field():
    assert events.progress(1).startswith(events.PROGRESS_PREFIX)
    assert next(events.log("x")).startswith(events.LOG_PREFIX)


# One line, whatever is in it


@pytest.mark.parametrize(
    ("character", "escaped"),
    [
        ("\n", b"\\n"),
        ("\r", b"\\r"),
        ("\x0b", b"\\u000b"),
        ("\x0c", b"\\f"),
        ("\x00", b"\\u0000"),
        ("\x1c", b"\\u001c"),
        ("\x1d", b"\\u001d"),
        ("\x1e", b"\\u001e"),
        ("\x85", b"\\u0085"),
        ("\u2028", b"\\u2028"),
        ("\u2029", b"\\u2029"),
    ],
)
def test_what_some_reader_takes_for_a_line_break_is_escaped(character: str, escaped: bytes):
    event = events.output(f"ä{character}b")
    assert event == b'{"type":"output","output":"\xc3\xa4%bb","index":0}' % escaped.lower()
    assert json.loads(event)["output"] == f"ä{character}b"


def test_characters_whose_bytes_look_alike_stay_as_they_are():
    """U+0105 ends in the byte that ends NEL; U+2027 and U+202A stand beside the separators."""
    text = "\u0105\u2027\u202a\uff85"
    assert events.output(text) == b'{"type":"output","output":"%b","index":0}' % text.encode()


def test_line_breaks_in_keys_are_escaped_too():
    assert events.encode({"a\u2028b": ["\u0085"]}) == b'{"a\\u2028b":["\\u0085"]}'


@given(st.text())
def test_an_event_is_one_line_for_every_reader(text: str):
    event = events.output(text)
    assert len(event.decode().splitlines()) == 1
    assert json.loads(event)["output"] == text


def test_what_is_not_ascii_is_sent_as_utf_8():
    assert events.output(CAT) == b'{"type":"output","output":"\xf0\x9f\x90\x88","index":0}'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_json_has_no_word_for_become_null(value: float):
    assert events.output({"x": value}) == b'{"type":"output","output":{"x":null},"index":0}'


def test_what_json_cannot_say_is_refused():
    with pytest.raises(TypeError):
        events.output(object())


@pytest.mark.parametrize("half", [chr(0xD83D), chr(0xDC08), f"a{chr(0xDFFF)}b"], ids=ascii)
def test_half_a_character_becomes_a_question_mark(half: str):
    """JSON made of it would be no UTF-8."""
    shown = re.sub("[\ud800-\udfff]", "?", half)
    assert json.loads(events.output(half))["output"] == shown
    assert json.loads(events.complete("p", [{half: [half, (half,)]}]))["outputs"] == [{shown: [shown, [shown]]}]


# One piece, however long


LONG = [
    "x" * 10_000,
    CAT * 3_000,
    "\x00" * 3_000,
    '"\\' * 3_000,
    "\u2028" * 3_000,
    "ä" + "x" * 20_001 + CAT,
    "a\ud83d" * 5_000,
]


@pytest.mark.parametrize("text", LONG, ids=ascii)
def test_long_text_is_split_into_events_under_4_kb_that_join_to_it(text: str):
    pieces = list(events.output_text(text, 2))
    assert max(map(len, pieces)) <= 3_900
    assert len(pieces) > 1
    assert "".join(json.loads(piece)["output"] for piece in pieces) == re.sub("[\ud800-\udfff]", "?", text)
    assert {json.loads(piece)["index"] for piece in pieces} == {2}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["a", "ä", CAT, "\ud83d", "\u2028", "\x00", '"', "\\", "é" * 700, "x" * 3_000])))
def test_no_text_is_lost_at_the_seams(parts: list[str]):
    text = "".join(parts)
    pieces = list(events.output_text(text))
    assert all(len(piece) <= 3_900 for piece in pieces)
    assert "".join(json.loads(piece)["output"] for piece in pieces) == text.replace("\ud83d", "?")


def test_short_text_is_one_event():
    assert list(events.output_text("ab")) == [b'{"type":"output","output":"ab","index":0}']


def test_text_that_just_fits_is_one_event():
    room = events.MAX_EVENT_BYTES - len(events.output(""))
    assert len(list(events.output_text("x" * room))) == 1
    assert len(list(events.output_text("x" * (room + 1)))) == 2


def test_a_framed_event_of_the_largest_size_is_under_4_kb():
    assert len(b"id: 999999999-999999999999999999\ndata: \n\n") + events.MAX_EVENT_BYTES < 4_096


@pytest.mark.usefixtures("noon")
def test_a_long_log_line_is_several_events():
    pieces = list(events.log(CAT * 3_000, "error"))
    assert max(map(len, pieces)) <= 3_900
    assert "".join(json.loads(piece)["message"] for piece in pieces) == CAT * 3_000
    assert {json.loads(piece)["level"] for piece in pieces} == {"error"}
