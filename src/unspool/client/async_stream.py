"""A stream as its user holds it: an iterator over the events of one prediction that comes back by itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator
from time import monotonic
from types import TracebackType
from typing import Any

import httpx

from unspool.client.asks import Answer, Ask, prediction
from unspool.client.async_http import NEVER_CONNECTED, AsyncHttp
from unspool.client.concurrency import async_chunks, async_hang_up, async_sleep
from unspool.client.events import Event
from unspool.client.follow import Follow
from unspool.client.objects import Prediction

Prepare = Callable[[], Awaitable[Follow]]
"""What has to be done before the first request: files among the inputs are uploaded."""


# async: begin
_NOT_OPEN = "Nothing is known yet. Read from the stream, or open it: `async with stream:` or `await stream`."
# async: end


class AsyncStream(AsyncIterator[Event]):
    """The events of a prediction, in order, once, up to the terminal one, however often the connection is lost.

    It asks for nothing until it is entered (`with`), read, or opened. Left early, it is closed when it is not referred
    to any more; `with` closes it at once. The prediction goes on either way.
    """

    def __init__(self, http: AsyncHttp, prepare: Prepare) -> None:
        self._http = http
        self._prepare = prepare
        self._follow: Follow | None = None
        self._events: AsyncGenerator[Event | None, None] | None = None
        self._line = _Line()

    # What is known by now

    @property
    def id(self) -> str:
        """The id of the prediction."""
        return self._known.seen.id or ""

    @property
    def cursor(self) -> str | None:
        """Of the last event, as `"1-5"`; None before the first."""
        return self._known.seen.cursor

    @property
    def attempt(self) -> int:
        """Which try at running it the last event belongs to; 0 before the first try."""
        return self._known.seen.attempt

    @property
    def text(self) -> str:
        """The text so far. It is empty again when a new attempt has begun."""
        return self._known.seen.text

    @property
    def outputs(self) -> list[Any]:
        """The outputs so far; in the end, those of the prediction."""
        return self._known.seen.outputs

    @property
    def percentage(self) -> float:
        """How far it is, 0 to 100."""
        return self._known.seen.percentage

    @property
    def prediction(self) -> Prediction | None:
        """The prediction, once it has ended."""
        return self._known.seen.prediction

    @property
    def _known(self) -> Follow:
        follow = self._follow
        if follow is None:
            raise RuntimeError(_NOT_OPEN)  # sync: follow = self.open()._known
        return follow

    # Reading it

    async def open(self) -> AsyncStream:
        """Makes the request, if it was not made, so that `id` is known.

        Raises:
            ApiError: the server says no.
            ConnectionFailed: nothing answers.
        """
        if self._events is None:
            if self._follow is None:
                self._follow = await self._prepare()
            self._follow.begin()
            self._events = _events(self._http, self._follow, self._line)
            await self._advance()
        return self

    # async: begin
    def __await__(self) -> Generator[Any, None, AsyncStream]:
        return self.open().__await__()

    # async: end
    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        if self._line.closed:
            raise StopAsyncIteration
        await self.open()
        event = await self._advance()
        if event is None:
            raise StopAsyncIteration
        return event

    async def _advance(self) -> Event | None:
        assert self._events is not None
        try:
            return await anext(self._events, None)
        except BaseException:
            # Whoever reads on after an interruption reads on after the last event.
            self._events = None
            raise

    # Ending it

    async def cancel(self) -> None:
        """Cancels the prediction. The stream goes on to the `error` event that says so."""
        await self.open()
        await self._http.ask(Ask("POST", prediction(self.id, "cancel")))

    async def close(self) -> None:
        """Closes the connection, also from another task or thread than the one that reads. The prediction goes on."""
        self._line.closed = True
        if self._events is not None:
            try:
                await self._events.aclose()
            except (RuntimeError, ValueError):  # Somebody is reading.
                if self._line.response is not None:
                    await async_hang_up(self._line.response)

    async def __aenter__(self) -> AsyncStream:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class _Line:
    """The connection of a stream, while there is one."""

    def __init__(self) -> None:
        self.response: httpx.Response | None = None
        self.closed = False


async def _events(http: AsyncHttp, follow: Follow, line: _Line) -> AsyncGenerator[Event | None, None]:
    """First None, at the first answer; then every event.

    It does not know the stream that it is for: so one that nobody refers to any more is freed at once, and closed.
    """
    opened = False
    while not line.closed and (step := follow.next(monotonic())) is not None:
        if step.pause_s > 0:
            await async_sleep(step.pause_s)
        try:
            line.response = response = await http.open(step.ask)
            kind, id = _header(response, "content-type"), _header(response, "x-prediction-id")
            if follow.streams(response.status_code, kind, id):
                if not opened:
                    opened = True
                    yield None
                async for chunk in async_chunks(response, http.timing.first_event_timeout_s):
                    for event in follow.feed(chunk):
                        follow.seen.take(event)
                        yield event
                    if follow.enough or follow.late(monotonic()):
                        break
                follow.ended(monotonic())
            else:
                answer = Answer(response.status_code, response.headers, await response.aread())
                events = follow.answered(answer, monotonic())
                if not opened and response.is_success:
                    opened = True
                    yield None
                for event in events:
                    follow.seen.take(event)
                    yield event
        except httpx.TransportError as error:
            connected = not isinstance(error, NEVER_CONNECTED)
            follow.broken(monotonic(), error, connected=connected, reached=http.reached)
        finally:
            http.streams_held_back = http.streams_held_back or follow.held_back
            if line.response is not None:
                await line.response.aclose()
                line.response = None


def _header(response: httpx.Response, name: str) -> str:
    value: str = response.headers.get(name, "")
    return value
