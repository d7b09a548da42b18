"""What the SDK decides while it follows a prediction: what to ask next, how long to wait, when to give up. No I/O."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from unspool import events as wire
from unspool import sse
from unspool.client import errors
from unspool.client.asks import Answer, Ask, Submit
from unspool.client.errors import ApiError, BadAnswer, ConnectionFailed, Gap, StillRunning
from unspool.client.events import Event
from unspool.client.follow import Follow
from unspool.client.pace import Patience, Timing, retry_after_s
from unspool.types import START, Cursor

ID = "a" * 32
CREATED, STARTED, WORD, DONE = wire.created(ID, 0), wire.started(1), wire.output("x"), wire.complete(ID, ["x"])
LOST = OSError("the network is away")


class Player:
    """Plays the network: each method is one thing that happens to a follower, at once or after a pause."""

    def __init__(self, after: Cursor = START, *, submit: bool = False, **options: Any) -> None:
        timing = {name: options.pop(name) for name in list(options) if name in Timing.__struct_fields__}
        what: dict[str, Any] = {"submit": Submit("acme/x", {"a": 1})} if submit else {"id": ID}
        self.follow = Follow(Timing(**timing), after=after, dice=lambda: 1.0, **what, **options)
        self.now = 100.0
        self.pauses: list[float] = []

    def ask(self) -> Ask:
        """What it asks next, after its pause."""
        step = self.follow.next(self.now)
        assert step is not None, "it has ended"
        self.pauses.append(step.pause_s)
        self.now += step.pause_s
        return step.ask

    def ever(self, happens: Callable[..., Any], *what: Any, **how: Any) -> None:
        """Asks again and again, and each time the same happens."""
        for _ in range(100):
            self.ask()
            happens(*what, **how)

    def stream(self, *chunks: bytes) -> list[Event]:
        """An answer that is a stream, to its end."""
        assert self.follow.streams(200, "text/event-stream; charset=utf-8", ID)
        found = [event for chunk in chunks for event in self.follow.feed(chunk)]
        for event in found:
            self.follow.seen.take(event)
        self.follow.ended(self.now)
        return found

    def answer(self, status: int, body: Any = "", **headers: str) -> list[Event]:
        """An answer that is not a stream."""
        json_body = not isinstance(body, str)
        kind = "application/json" if json_body else "text/html"
        assert not self.follow.streams(status, kind, None)
        data = json.dumps(body).encode() if json_body else body.encode()
        told = {"content-type": kind, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return self.follow.answered(Answer(status, told, data), self.now)

    def refuse(self, status: int, error_code: str, **headers: str) -> None:
        self.answer(status, {"code": status, "message": "No.", "error_code": error_code, "data": None}, **headers)

    def page(self, *items: tuple[str, bytes], done: bool = False) -> list[Event]:
        found = [{"cursor": at, "event": json.loads(data)} for at, data in items]
        return self.answer(200, {"events": found, "done": done})

    def lose(self, *, connected: bool = True, reached: bool = True) -> None:
        self.follow.broken(self.now, LOST, connected=connected, reached=reached)


def test_a_submit_is_asked_for_as_a_stream_and_followed_by_its_id():
    player = Player(submit=True)
    first = player.ask()
    assert (first.method, first.path, first.streams) == ("POST", "acme/x", True)
    assert json.loads(first.body or b"") == {"a": 1, "stream": True}
    player.stream(sse.frames(0, 1, [CREATED]))
    assert player.follow.seen.id == ID
    second = player.ask()
    assert (second.method, second.path) == ("GET", f"predictions/{ID}/stream")
    assert second.headers == {"Last-Event-ID": "0-1"}


def test_a_submit_that_is_lost_is_sent_again_with_its_key():
    player = Player(submit=True)
    keys = []
    for _ in range(4):
        keys.append(player.ask().headers["Idempotency-Key"])
        player.lose(connected=False)
    assert len(set(keys)) == 1
    assert len(keys[0]) >= 32


def test_two_submits_have_two_keys():
    asks = [Submit("acme/x", {}).ask(stream=True) for _ in range(2)]
    assert asks[0].headers["Idempotency-Key"] != asks[1].headers["Idempotency-Key"]


def test_it_ends_with_the_terminal_event():
    player = Player()
    player.ask()
    player.stream(sse.frames(0, 1, [CREATED]), sse.frames(1, 1, [STARTED, WORD, DONE]))
    assert player.follow.done
    assert player.follow.next(player.now) is None
    assert player.follow.seen.prediction is not None
    assert player.follow.seen.prediction.outputs == ["x"]


def test_a_cursor_at_the_end_ends_it():
    player = Player(Cursor(1, 3))
    player.ask()
    player.answer(204)
    assert player.follow.next(player.now) is None


# Pauses


def test_after_a_good_connection_it_comes_back_almost_at_once():
    player = Player()
    player.ask()
    player.stream(sse.frames(0, 1, [CREATED]))
    player.ask()
    assert player.pauses == [0, pytest.approx(0.05)]


def test_pauses_double_up_to_the_longest():
    player = Player(backoff_s=1, max_backoff_s=5, follow_by="stream")
    for _ in range(6):
        player.ask()
        player.lose()
    assert player.pauses == [0, 1, 2, 4, 5, 5]


def test_the_server_says_how_long_the_first_pause_is():
    player = Player()
    player.ask()
    player.stream(b"retry: 2000\n\n")
    player.ask()
    player.lose()
    player.ask()
    assert player.pauses == [0, 2, 4]


def test_pauses_are_not_the_same_for_everybody():
    pauses = {Patience(Timing(), 300).failed(0) for _ in range(20)}
    assert len(pauses) > 10
    assert all(pause and 0.25 <= pause <= 0.5 for pause in pauses)


def test_retry_after_is_waited_for():
    player = Player()
    player.ask()
    player.refuse(429, "rate_limited", retry_after="7")
    player.ask()
    assert player.pauses == [0, 7]


def test_it_gives_up_when_nothing_has_answered_for_long():
    player = Player(give_up_s=60)
    with pytest.raises(ConnectionFailed, match="the network is away") as failure:
        player.ever(player.lose)
    assert failure.value.__cause__ is LOST
    assert 40 < player.now - 100 <= 60


def test_a_server_that_was_never_reached_is_given_up_soon():
    player = Player(submit=True)
    with pytest.raises(ConnectionFailed, match="Does the server run"):
        player.ever(player.lose, connected=False, reached=False)
    assert player.now - 100 <= 3


def test_patience_begins_anew_with_each_event():
    player = Player(give_up_s=60)
    for n in range(1, 200):
        player.ask()
        player.stream(sse.frames(0, n, [CREATED]))
        for _ in range(3):
            player.ask()
            player.lose(connected=False)
    assert player.now - 100 > 200


# What the server refuses


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "invalid_input", errors.InvalidInput),
        (400, "bad_cursor", errors.BadCursor),
        (400, "streaming_not_supported", errors.StreamingNotSupported),
        (401, "unauthenticated", errors.Unauthenticated),
        (403, "forbidden", errors.Forbidden),
        (404, "not_found", errors.NotFound),
        (409, "idempotency_mismatch", errors.IdempotencyMismatch),
    ],
)
def test_a_final_no_is_raised_at_once(status: int, code: str, kind: type[ApiError]):
    player = Player()
    player.ask()
    with pytest.raises(kind) as refusal:
        player.refuse(status, code, x_request_id="r1")
    assert (refusal.value.status, refusal.value.error_code, refusal.value.request_id) == (status, code, "r1")


def test_a_server_that_fails_three_times_is_believed():
    player = Player()
    with pytest.raises(errors.Internal):
        player.ever(player.refuse, 500, "internal")
    assert len(player.pauses) == 3


def test_a_wait_that_is_longer_than_patience_is_left_to_the_caller():
    player = Player(give_up_s=60)
    player.ask()
    with pytest.raises(errors.QueueFull) as refusal:
        player.refuse(429, "queue_full", retry_after="600")
    assert refusal.value.retry_after_s == 600


def test_a_redirect_is_told():
    player = Player()
    player.ask()
    with pytest.raises(BadAnswer, match=r"redirects to https://elsewhere\.test"):
        player.answer(308, location="https://elsewhere.test/")


def test_a_page_in_place_of_the_log_is_told_at_last():
    player = Player(give_up_s=20)
    with pytest.raises(BadAnswer, match="not the answer of an Unspool server"):
        player.ever(player.answer, 200, "<html>Please log in</html>")


def test_run_of_a_model_that_does_not_stream_waits_for_it_by_polling():
    player = Player(submit=True, only_wait=True)
    key = player.ask().headers["Idempotency-Key"]
    player.refuse(400, "streaming_not_supported")
    plain = player.ask()
    assert (json.loads(plain.body or b""), plain.headers["Idempotency-Key"]) == ({"a": 1}, key)
    player.answer(200, {"code": 200, "message": "success", "data": {"id": ID, "status": "created"}})
    assert player.ask().path == f"predictions/{ID}/events"


def test_a_cursor_that_the_server_gave_out_and_does_not_know_is_shown_again():
    """Between two attempts a server may not know yet where the next one begins."""
    player = Player()
    player.ask()
    player.stream(sse.frames(0, 1, [CREATED]))
    for _ in range(2):
        player.ask()
        player.refuse(400, "bad_cursor")
    with pytest.raises(errors.BadCursor):
        player.ever(player.refuse, 400, "bad_cursor")


# Holes


def test_a_hole_is_read_again_from_before_it():
    player = Player()
    player.ask()
    assert len(player.stream(sse.frames(0, 1, [CREATED]) + sse.frames(1, 1, [STARTED]) + sse.frames(1, 3, [DONE]))) == 2
    assert not player.follow.done
    assert player.ask().headers == {"Last-Event-ID": "1-1"}
    assert len(player.stream(sse.frames(1, 2, [WORD, DONE]))) == 2
    assert player.follow.done


def test_a_hole_that_stays_is_an_error():
    player = Player(Cursor(1, 1))
    player.ask()
    player.stream(sse.frames(1, 3, [WORD]))
    player.ask()
    with pytest.raises(Gap, match="after 1-1"):
        player.stream(sse.frames(1, 3, [WORD]))


def test_holes_at_different_places_are_accidents():
    player = Player(Cursor(1, 1))
    for n in range(2, 12):
        player.ask()
        player.stream(sse.frames(1, n, [WORD]) + sse.frames(1, n + 2, [WORD]))
    assert player.follow.seen.cursor == "1-11"


def test_garbage_in_a_stream_is_tried_by_polling_and_then_told():
    player = Player(Cursor(1, 1))
    for _ in range(2):
        assert player.ask().streams
        player.stream(b"id: 1-2\ndata: garbage\n\n")
    for _ in range(2):
        assert not player.ask().streams
        if len(player.pauses) < 4:
            player.answer(200, {"events": "garbage", "done": False})
    with pytest.raises(BadAnswer, match="is no event, twice"):
        player.answer(200, {"events": "garbage", "done": False})


# Networks that hold streams back


def test_after_two_streams_that_brought_nothing_the_log_is_polled():
    player = Player()
    for _ in range(2):
        assert player.ask().path.endswith("/stream")
        player.lose()
    ask = player.ask()
    assert (ask.path, ask.params) == (f"predictions/{ID}/events", {"wait": "30.000"})
    assert player.follow.held_back
    assert [event.cursor for event in player.page(("0-1", CREATED), ("1-1", STARTED))] == ["0-1", "1-1"]
    assert player.ask().params == {"wait": "30.000", "after": "1-1"}
    assert player.pauses[-1] == 0, "a poll waits at the server"


def test_a_submit_whose_stream_is_held_back_is_made_again_without_one():
    player = Player(submit=True)
    for _ in range(2):
        player.ask()
        player.lose()
    assert not player.ask().streams
    player.answer(200, {"code": 200, "message": "success", "data": {"id": ID, "status": "created"}})
    assert player.ask().path == f"predictions/{ID}/events"


def test_a_server_that_is_away_does_not_count_as_a_network_that_holds_back():
    player = Player()
    for _ in range(5):
        assert player.ask().streams
        player.lose(connected=False)


def test_streams_that_are_cut_after_an_event_stay_streams():
    player = Player()
    for n in range(1, 20):
        assert player.ask().streams
        player.stream(sse.frames(0, n, [CREATED]))


def test_polls_that_are_cut_are_held_less_long():
    player = Player(follow_by="poll", poll_wait_s=20)
    waits = []
    for _ in range(6):
        waits.append(float(player.ask().params["wait"]))
        player.lose()
    assert waits == [20, 10, 5, 2.5, 1.25, 1]


def test_who_wants_streams_only_gets_no_polls():
    player = Player(follow_by="stream")
    for _ in range(6):
        assert player.ask().streams
        player.lose()


# Deadlines


def test_what_has_to_be_over_soon_is_polled_and_ends_in_time():
    player = Player(deadline=105.0, within_s=5)
    assert player.ask().params == {"wait": "5.000"}
    player.now = 103.0
    player.page()
    assert player.ask().params == {"wait": "2.000"}
    player.now = 105.0
    player.page()
    with pytest.raises(StillRunning, match="within 5 s") as late:
        player.ask()
    assert late.value.id == ID
    assert isinstance(late.value, TimeoutError)


def test_an_open_stream_is_left_while_there_is_time_to_poll():
    player = Player(deadline=200.0, within_s=100)
    assert player.ask().streams
    assert not player.follow.late(184.0)
    assert player.follow.late(186.0)
    player.now = 186.0
    assert not player.ask().streams


def test_no_pause_is_longer_than_the_deadline():
    player = Player(deadline=101.0, within_s=1, backoff_s=10)
    player.ask()
    player.lose()
    player.ask()
    assert player.pauses == [0, 1]


# Reading on


def test_who_was_interrupted_goes_on_after_the_last_event_that_was_seen():
    player = Player()
    player.ask()
    assert player.follow.streams(200, "text/event-stream", ID)
    created, *_ = player.follow.feed(sse.frames(0, 1, [CREATED]) + sse.frames(1, 1, [STARTED, WORD, DONE]))
    player.follow.seen.take(created)
    player.follow.begin()
    assert player.ask().headers == {"Last-Event-ID": "0-1"}
    assert len(player.stream(sse.frames(1, 1, [STARTED, WORD, DONE]))) == 3
    player.follow.begin()
    assert player.follow.next(player.now) is None


def test_output_of_an_overtaken_attempt_is_void():
    player = Player()
    player.ask()
    player.stream(sse.frames(0, 1, [CREATED]), sse.frames(1, 1, [STARTED, WORD, WORD]))
    seen = player.follow.seen
    assert (seen.text, seen.outputs, seen.attempt) == ("xx", ["xx"], 1)
    player.ask()
    player.stream(sse.frames(2, 1, [wire.started(2)]))
    assert (seen.text, seen.outputs, seen.percentage, seen.cursor) == ("", [], 0, "2-1")


def test_outputs_so_far_stand_at_their_index():
    player = Player(Cursor(1, 1))
    player.ask()
    parts = [wire.output("a", 2), wire.output("b", 2), wire.output({"c": 1}, 0)]
    player.stream(sse.frames(1, 2, parts))
    assert player.follow.seen.outputs == [{"c": 1}, None, "ab"]


@pytest.mark.parametrize(("value", "seconds"), [("0", 0), ("12", 12), ("", None), ("soon", None), ("-1", None)])
def test_retry_after_in_seconds(value: str, seconds: float | None):
    assert retry_after_s(value) == seconds


def test_retry_after_as_a_date():
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert (retry_after_s("Wed, 21 Oct 2105 07:28:00 GMT") or 0) > 1e9
