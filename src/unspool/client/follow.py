"""One way through the log of a prediction, over as many connections as it takes. Pure: asks and answers are values.

Whoever drives it (`async_stream.py`) asks `next` what to request and how long to wait before that, hands over what
comes, and passes on the events that it gets for it. Everything that has to be decided is decided here: what follows the
last event, what is a hole, when a stream is held back by the network and the log is polled instead, when to give up.
"""

from __future__ import annotations

from collections.abc import Callable
from random import random
from typing import NamedTuple

from unspool.client.asks import Answer, Ask, Submit, data_of, error_of, not_ours, prediction
from unspool.client.errors import (
    ApiError,
    BadAnswer,
    BadCursor,
    ConnectionFailed,
    Gap,
    SdkError,
    StillRunning,
    StreamingNotSupported,
)
from unspool.client.events import Event
from unspool.client.objects import Prediction
from unspool.client.pace import UNREACHED_S, Patience, Timing
from unspool.client.reader import LogReader
from unspool.client.seen import Seen
from unspool.types import START, Cursor

KEEP_ALIVE_S = 15.0
"""A stream may be silent so long. With less time than that to a deadline, polls keep it, and streams do not."""
POLL_SLACK_S = 15.0
"""So much later than it should may a held poll be answered."""
MIN_POLL_WAIT_S = 1.0
MAX_DENIALS = 5
"""So often may a server not know a cursor that it gave out itself, before it is believed."""


class Step(NamedTuple):
    """What to do next: wait, then ask."""

    pause_s: float
    ask: Ask


class Follow:
    """The state of one follower.

    Args:
        submit: what makes the prediction, if it is not there yet; then there is no `id`.
        token: of its stream's URL, instead of a key.
        after: the last event that was seen before.
        deadline: when to stop waiting, on the clock that `now` is told from.
        within_s: how long that is in all.
        polling: begin with long polling.
        only_wait: the model need not stream: what counts is the end.
    """

    def __init__(
        self,
        timing: Timing,
        *,
        submit: Submit | None = None,
        id: str | None = None,
        token: str | None = None,
        after: Cursor = START,
        deadline: float | None = None,
        within_s: float = 0,
        polling: bool = False,
        only_wait: bool = False,
        dice: Callable[[], float] = random,
    ) -> None:
        self.seen = Seen(id, submit.model if submit else "", after)
        self.polling = timing.follow_by == "poll" or (polling and timing.follow_by == "auto")
        """The log is read by long polling."""
        self.held_back = False
        """Streams bring nothing in time on this network."""
        self._timing = timing
        self._submit = submit
        self._token = token
        self._deadline = deadline
        self._within_s = within_s
        self._only_wait = only_wait
        self._reader = LogReader(after)
        self._patience = Patience(timing, timing.give_up_s, dice)
        self._poll_wait_s = timing.poll_wait_s
        self._pause_s = 0.0
        self._barren = 0
        """Streams in a row that brought no event."""
        self._brought = False
        self._received = False
        """Its cursor is one that the server gave out."""
        self._problem_at: tuple[str, Cursor] | None = None
        self._problems = 0
        self._nothing_more = False
        self._accepted: Prediction | None = None

    def begin(self) -> None:
        """Somebody begins to read, or reads on after an interruption: what they have not seen is read again."""
        if not self._nothing_more:
            self._reader.rewind(Cursor(self.seen.attempt, self.seen.n), done=self.seen.prediction is not None)

    @property
    def done(self) -> bool:
        """The terminal event was read, or was seen before."""
        return self._reader.done or self._nothing_more

    # What to ask

    def next(self, now: float) -> Step | None:
        """What to do next; None at the end.

        Raises:
            StillRunning: the deadline has passed.
        """
        if self.done:
            return None
        pause_s, self._pause_s = self._pause_s, 0.0
        if self._deadline is not None:
            if now >= self._deadline:
                raise self._too_late()
            pause_s = min(pause_s, self._deadline - now)
        return Step(pause_s, self._ask(now + pause_s))

    def _too_late(self) -> SdkError:
        if self.seen.id is None:
            return ConnectionFailed(f"The submit was not answered within {self._within_s:g} s.")
        return StillRunning(self.seen.id, self._within_s)

    def late(self, now: float) -> bool:
        """Whether an open stream has to be left, since it could not be ended in time."""
        return self._deadline is not None and self._deadline - now <= KEEP_ALIVE_S

    def _ask(self, now: float) -> Ask:
        polling = self.polling or self.late(now)
        self._brought = False
        self._reader.connect()
        if self.seen.id is None:
            assert self._submit is not None
            return self._submit.ask(stream=not polling)
        return self._poll(now) if polling else self._stream()

    def _stream(self) -> Ask:
        assert self.seen.id is not None
        headers = {} if self._reader.last == START else {"Last-Event-ID": str(self._reader.last)}
        path = prediction(self.seen.id, "stream")
        return Ask("GET", path, self._with_token(), headers, streams=True, with_key=self._token is None)

    def _poll(self, now: float) -> Ask:
        assert self.seen.id is not None
        wait_s = self._poll_wait_s
        if self._deadline is not None:
            wait_s = max(0.0, min(wait_s, self._deadline - now))
        params = {**self._with_token(), "wait": f"{wait_s:.3f}"}
        if self._reader.last != START:
            params["after"] = str(self._reader.last)
        path = prediction(self.seen.id, "events")
        return Ask("GET", path, params, timeout_s=wait_s + POLL_SLACK_S, with_key=self._token is None)

    def _with_token(self) -> dict[str, str]:
        return {} if self._token is None else {"token": self._token}

    # What comes

    def streams(self, status: int, content_type: str, id: str | None) -> bool:
        """Whether an answer is a stream, to be read piece by piece with `feed`; if not, `answered` takes it whole.

        Args:
            id: of the header `X-Prediction-Id`.
        """
        if status == 200 and id and self.seen.id is None:
            self.seen.id = id
        return status == 200 and content_type.partition(";")[0].strip().lower() == "text/event-stream"

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that a piece of a stream completes."""
        if not self._brought:
            self._patience.worked()
        events = self._reader.feed(chunk)
        if events and not self._brought:
            self._brought = self._received = True
            self._barren = 0
        return events

    @property
    def enough(self) -> bool:
        """Whether there is nothing more to be had from the open stream."""
        return self._reader.done or self._reader.problem is not None

    def ended(self, now: float) -> None:
        """The stream has ended, by itself or because it was enough.

        Raises:
            Gap: an event is missing, for the second time.
            BadAnswer: what comes cannot be read, for the second time and by polling too.
        """
        if self._reader.retry_ms is not None:
            self._patience.hint(self._reader.retry_ms)
        if self.done or self.late(now):
            return
        if self._reader.problem is not None:
            self._note_problem()
            self._pause_s = self._patience.soon()
        elif self._brought:
            self._pause_s = self._patience.soon()
        else:
            self._try_again(now, ConnectionFailed("Streams of this server end before they bring anything."))

    def answered(self, answer: Answer, now: float) -> list[Event]:
        """The events of an answer that is not a stream.

        Raises:
            ApiError: the server says no, for good.
            BadAnswer: nothing of Unspool answers there.
        """
        if answer.status == 204:
            self._nothing_more = True
            return []
        if not 200 <= answer.status < 300:
            self._refused(error_of(answer), now)
            return []
        if self.seen.id is None:
            self._take_prediction(answer)
            return []
        if not answer.headers.get("content-type", "").startswith("application/json"):
            self._try_again(now, not_ours(answer))
            return []
        return self._page(answer)

    def _take_prediction(self, answer: Answer) -> None:
        self._accepted = data_of(answer, Prediction)
        self.seen.id = self._accepted.id
        self._patience.worked()

    def _page(self, answer: Answer) -> list[Event]:
        self._patience.worked()
        events = self._reader.page(answer.body)
        self._received = self._received or bool(events)
        if self._reader.problem is not None:
            self._note_problem()
            self._pause_s = self._patience.soon()
        elif not events and not self.done and self._poll_wait_s < MIN_POLL_WAIT_S:
            self._pause_s = MIN_POLL_WAIT_S
        return events

    def _refused(self, error: ApiError | BadAnswer, now: float) -> None:
        if isinstance(error, StreamingNotSupported) and self._only_wait and not self.polling:
            self.polling = True
            return
        if isinstance(error, BadCursor) and self._received and self._note("bad_cursor") < MAX_DENIALS:
            self._pause_s = self._patience.base_s
            return
        pause_s = self._patience.refused(now, error) if isinstance(error, ApiError) else None
        if pause_s is None:
            raise error
        self._pause_s = pause_s
        if isinstance(error, ApiError) and not error.error_code:
            self._count_barren()

    def broken(self, now: float, error: Exception, *, connected: bool, reached: bool) -> None:
        """The connection was lost, or never came to be.

        Args:
            connected: it had come to be.
            reached: this server has answered before.

        Raises:
            ConnectionFailed: that has gone on for too long.
        """
        if self.polling and connected:
            self._poll_wait_s = max(self._poll_wait_s / 2, min(MIN_POLL_WAIT_S, self._timing.poll_wait_s))
        if self._brought:
            self._pause_s = self._patience.soon()
            return
        failure = connection_failed(error)
        self._try_again(now, failure, None if reached else UNREACHED_S, held_back=connected)

    def _try_again(
        self, now: float, error: SdkError, give_up_s: float | None = None, *, held_back: bool = True
    ) -> None:
        pause_s = self._patience.failed(now, give_up_s=give_up_s)
        if pause_s is None:
            raise error
        self._pause_s = pause_s
        if held_back:
            self._count_barren()

    def _count_barren(self) -> None:
        self._barren += 1
        if self._barren >= self._timing.streams_before_polling and self._timing.follow_by == "auto":
            self.held_back = self.held_back or not self.polling
            self.polling = True

    def _note_problem(self) -> None:
        """A connection did not bring what follows. Another one may; twice at the same place is no accident."""
        last, id = self._reader.last, self.seen.id
        assert self._reader.problem is not None
        again = self._note(self._reader.problem) > 1
        if again and self._reader.problem == "gap":
            raise Gap(f"The log of {id} goes on after {last} with an event that does not follow, twice.")
        if again and (self.polling or self._timing.follow_by == "stream"):
            raise BadAnswer(f"What the server sends after {last} of {id} is no event, twice.")
        if again:
            self.polling = True
            self._problems = 0

    def _note(self, problem: str) -> int:
        """How often there was this problem at this place."""
        at = (problem, self._reader.last)
        self._problems = self._problems + 1 if at == self._problem_at else 1
        self._problem_at = at
        return self._problems


def connection_failed(error: Exception) -> ConnectionFailed:
    """The error for a user, with its reason."""
    said = str(error) or type(error).__name__
    failure = ConnectionFailed(f"There was no answer: {said}. Does the server run, and is its URL right?")
    failure.__cause__ = error
    return failure
