"""Following a prediction: the one loop behind every stream, and the viewers that it serves.

A viewer owns a cursor and nothing else. While its socket is slow, events wait in the log that exists anyway; then
one write takes all that came meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import structlog
from starlette.types import Message, Receive

from unspool import sse
from unspool.config import Settings
from unspool.errors import SpoolUnavailable, UnknownPrediction
from unspool.observer import Observer, Outlet, never
from unspool.spool import Spool
from unspool.types import START, Batch, Cursor, Page

READ_LIMIT = 1_000
"""Events that a viewer reads at a time. A stalled viewer holds no more than these."""
LISTEN_AFTER_S = 0.2
"""Only a stream that lasts looks out for the departure of its client: for a short one that costs more than it saves."""
MAX_WRITE_BYTES = 16 * 1024
"""Several events go to the socket in one piece, but for a large one no more than this."""

_log = structlog.get_logger("unspool.stream")


async def follow(spool: Spool, id: str, writer: Writer, keep_alive_s: float) -> None:
    """Hands every event after the writer's cursor to it, in order, once, up to the terminal one.

    Replay and live are the same: read what is there, and when that was all, wait until there may be more.

    Raises:
        UnknownPrediction: there is none of that id, or no more.
        BadCursor: the cursor was never issued.
    """
    with spool.watch(id) as watch:
        opened = False
        while not writer.ended:
            page = await spool.read(id, writer.after, READ_LIMIT)
            if (page.batches or not opened) and not await writer.write(page):
                return
            opened = True
            if page.done:
                return
            if page.more:
                await asyncio.sleep(0)  # a socket that takes everything must not keep the others from their turn
            elif not await watch.wait(keep_alive_s, writer) and not await writer.write(None):
                return


def resume_point(cursor: Cursor, attempt: int) -> Cursor:
    """Where a viewer goes on that comes back with a cursor: an overtaken attempt is left for the next one."""
    return Cursor(cursor.attempt + 1, 0) if 0 < cursor.attempt < attempt else cursor


def pieces(page: Page) -> Iterable[tuple[bytes, bool]]:
    """The page as bytes for the socket, cut between events, each with whether it ends the stream."""
    if len(page.batches) == 1 and len(page.batches[0].sse) <= MAX_WRITE_BYTES:
        return ((page.batches[0].sse, page.done),)
    return _joined(page)


def _joined(page: Page) -> Iterator[tuple[bytes, bool]]:
    gathered: list[bytes] = []
    size = 0
    for batch in _small(page.batches):
        data = batch.sse
        if gathered and size + len(data) > MAX_WRITE_BYTES:
            yield b"".join(gathered), False
            gathered, size = [], 0
        gathered.append(data)
        size += len(data)
    yield b"".join(gathered), page.done


def _small(batches: list[Batch]) -> Iterator[Batch]:
    for batch in batches:
        if len(batch.sse) <= MAX_WRITE_BYTES or batch.count == 1:
            yield batch
        else:
            half = batch.count // 2
            yield from _small([batch.head(half), batch.after(Cursor(batch.attempt, batch.first + half - 1))])


def _nothing() -> None:
    pass


class Viewer:
    """One reader of a stream, while its connection is open."""

    def __init__(self, id: str) -> None:
        self.id = id
        self._task = asyncio.current_task()
        self._listening: asyncio.Future[None] | None = None
        self.opening = sse.PREAMBLE
        """What goes out before the first event, in the same piece."""
        self.writing_since: float | None = None
        """When the write began that its socket has not taken yet, in the loop's time."""
        self.leaving: Literal["gone", "stalled", "shutdown"] | None = None
        self.on_leaving: Callable[[], None] = _nothing

    def listen(self, receive: Receive) -> None:
        """Leaves when the client does: a server's `send` does not tell."""
        self._listening = asyncio.ensure_future(self._until_disconnect(receive))

    async def _until_disconnect(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.leave("gone")

    async def gone(self) -> None:
        """Returns when its connection is known to be closed, but soon in any case."""
        if self._listening is not None:
            await asyncio.wait([self._listening], timeout=1)

    def close(self) -> None:
        """The stream has ended. Lets go of all that refers back to it: a ring would stay until the collector comes."""
        if self._listening is not None:
            self._listening.cancel()
        self._listening = self._task = None
        self.on_leaving = _nothing

    def leave(self, why: Literal["gone", "stalled", "shutdown"]) -> None:
        """Ends its loop, now or after the write that goes on; a stalled write ends at once."""
        if self.leaving is None:
            self.leaving = why
            self.on_leaving()
            if self._task is not None and (self.writing_since is None or why != "shutdown"):
                self._task.cancel()


class Writer:
    """Puts pages on a viewer's socket.

    It is a `Tail`, too: for a viewer that has caught up, a new page is written where the news arises, since a switch
    to the viewer's task for each event would cost more than the rest of its way.

    Args:
        after: the last event that the viewer has seen.
    """

    __slots__ = ("_attempt", "_n", "_now", "_push", "_send", "_viewer", "ended")

    def __init__(self, viewer: Viewer, outlet: Outlet, after: Cursor) -> None:
        self._attempt, self._n = after
        self.ended = False
        """The terminal event is written, and the answer with it."""
        self._viewer = viewer
        self._send, self._push, _ = outlet
        viewer.on_leaving = self._push_no_more
        self._now = asyncio.get_running_loop().time

    @property
    def after(self) -> Cursor:
        """The last event that the viewer has seen."""
        return Cursor(self._attempt, self._n)

    async def write(self, page: Page | None) -> bool:
        """Writes a page, or a keep-alive where there is none. Returns whether the viewer goes on."""
        for piece, last in [(sse.KEEP_ALIVE, False)] if page is None else pieces(page):
            self._viewer.writing_since = self._now()
            await self._send(self._message(piece, last))
            if not self._written():
                return False
        if page is not None and page.batches:
            self._attempt, self._n = page.batches[-1].last
        return True

    def _push_no_more(self) -> None:
        self._push = never

    def _message(self, piece: bytes, last: bool) -> Message:
        self.ended = last
        opening = self._viewer.opening
        return {"type": "http.response.body", "body": opening + piece if opening else piece, "more_body": not last}

    def _written(self) -> bool:
        viewer = self._viewer
        viewer.writing_since = None
        viewer.opening = b""
        return viewer.leaving is None

    def take(self, attempt: int, n: int, piece: bytes) -> bool:
        """See `Tail.take`. What the socket does not take at once is left for the task."""
        push = self._push  # calling an attribute that is no method is looked up anew each time
        if not push(piece):
            return False
        self._attempt, self._n = attempt, n
        return True


class Viewers:
    """Everyone who reads a stream of this process."""

    def __init__(self, spool: Spool, settings: Settings, observer: Observer | None = None) -> None:
        self._observer = observer or Observer()
        self._spool = spool
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._viewers: dict[str, set[Viewer]] = {}
        self._abandoned: dict[str, asyncio.TimerHandle] = {}
        self._cancelling: set[asyncio.Task[None]] = set()
        self._closed = False

    def __len__(self) -> int:
        return sum(map(len, self._viewers.values()))

    async def serve(
        self,
        receive: Receive,
        outlet: Outlet,
        *,
        id: str,
        after: Cursor,
        headers: list[tuple[bytes, bytes]],
        cancel_when_left: bool,
    ) -> None:
        """Answers with the stream of a prediction after a cursor.

        Speaks ASGI itself: each layer in between costs on each write.
        """
        viewer = Viewer(id)
        self._viewers.setdefault(id, set()).add(viewer)
        self._forget_abandoned(id)
        self._observer.viewer_joined(resumed=after != START)
        outlet = self._observer.stream(id, outlet)
        listening = self._loop.call_later(LISTEN_AFTER_S, viewer.listen, receive)
        try:
            await self._write(outlet, viewer, after, headers)
        except asyncio.CancelledError:
            if viewer.leaving is None:
                raise
            if viewer.leaving == "shutdown":
                await outlet.send({"type": "http.response.body", "body": b"", "more_body": False})
            elif viewer.leaving == "stalled":
                outlet.abort()
                await viewer.gone()
        finally:
            listening.cancel()
            viewer.close()
            self._observer.viewer_left(outlet, dropped=viewer.leaving == "stalled")
            self._left(viewer, cancel_when_left)

    async def _write(self, outlet: Outlet, viewer: Viewer, after: Cursor, headers: list[tuple[bytes, bytes]]) -> None:
        writer = Writer(viewer, outlet, after)
        await outlet.send({"type": "http.response.start", "status": 200, "headers": headers})
        try:
            if not self._closed:
                await follow(self._spool, viewer.id, writer, self._settings.keep_alive_s)
        except (UnknownPrediction, SpoolUnavailable) as error:
            _log.warning("a stream was cut", id=viewer.id, cause=str(error))
        if not writer.ended:
            await outlet.send({"type": "http.response.body", "body": viewer.opening, "more_body": False})

    def _left(self, viewer: Viewer, cancel_when_left: bool) -> None:
        others = self._viewers[viewer.id]
        others.discard(viewer)
        if not others:
            del self._viewers[viewer.id]
            if cancel_when_left and not self._closed:
                self.expect_return(viewer.id)

    # on_disconnect=cancel

    def expect_return(self, id: str) -> None:
        """Cancels a prediction unless a viewer comes within the grace period."""
        self._abandoned[id] = self._loop.call_later(self._settings.disconnect_grace_s, self._cancel_abandoned, id)

    def _forget_abandoned(self, id: str) -> None:
        timer = self._abandoned.pop(id, None)
        if timer is not None:
            timer.cancel()

    def _cancel_abandoned(self, id: str) -> None:
        del self._abandoned[id]
        task = self._loop.create_task(self._cancel(id))
        self._cancelling.add(task)
        task.add_done_callback(self._cancelling.discard)

    async def _cancel(self, id: str) -> None:
        try:
            await self._spool.cancel(id)
        except (UnknownPrediction, SpoolUnavailable) as error:
            _log.warning("an abandoned prediction could not be cancelled", id=id, cause=str(error))

    # Stalled viewers, and the end

    async def drop_stalled(self) -> None:
        """For ever: drops viewers whose socket has taken nothing for too long. They may come back and resume."""
        limit_s = self._settings.stalled_viewer_s
        while True:
            await asyncio.sleep(min(limit_s / 4, 5))
            latest = self._loop.time() - limit_s
            for viewer in self._all():
                if viewer.writing_since is not None and viewer.writing_since < latest:
                    _log.info("a viewer that took nothing was dropped", id=viewer.id, after_s=limit_s)
                    viewer.leave("stalled")

    def close(self) -> None:
        """Ends every stream between two events, without a terminal one; viewers resume elsewhere or later."""
        self._closed = True
        for timer in self._abandoned.values():
            timer.cancel()
        for viewer in self._all():
            viewer.leave("shutdown")

    def _all(self) -> list[Viewer]:
        return [viewer for some in self._viewers.values() for viewer in some]
