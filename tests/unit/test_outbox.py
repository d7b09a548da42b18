"""What the runs of a worker say reaches its host: in order, soon, and without one of them waiting for a slow host."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from unspool.worker.outbox import Outbox
from unspool.worker.protocol import Splitter, Turn, to_host_decoder

DEADLINE_S = 20


class Host:
    """The receiving end."""

    def __init__(self, receiving: socket.socket) -> None:
        self._receiving = receiving
        self._splitter = Splitter()
        self._turns: list[Turn] = []

    def turn(self) -> Turn:
        """The next frame, waited for."""
        while not self._turns:
            data = self._receiving.recv(1 << 16)
            assert data, "the channel was closed"
            self._turns += [cast(Turn, to_host_decoder.decode(frame)) for frame in self._splitter.feed(data)]
        return self._turns.pop(0)

    def events(self, count: int) -> list[bytes]:
        """The next so many events, of all runs."""
        found: list[bytes] = []
        while len(found) < count:
            for spoken in self.turn().events:
                found += spoken.packed.split(b"\n")
        return found


@pytest.fixture
def ends() -> Iterator[tuple[Outbox, Host]]:
    sending, receiving = socket.socketpair()
    receiving.settimeout(DEADLINE_S)
    outbox = Outbox(sending)
    outbox.start()
    yield outbox, Host(receiving)
    receiving.close()


def in_loop(outbox: Outbox, speak: Callable[[], Any]) -> None:
    async def main() -> None:
        outbox.use(asyncio.get_running_loop())
        await asyncio.wait_for(speak(), DEADLINE_S)

    asyncio.run(main())


def test_what_a_turn_of_the_loop_says_is_one_frame(ends: tuple[Outbox, Host]) -> None:
    outbox, host = ends

    async def speak() -> None:
        for id in ("a", "b"):
            emit = outbox.emitter((id, 1))
            emit(b"1")
            emit(b"2")
        await asyncio.sleep(0)

    in_loop(outbox, speak)
    assert [(spoken.id, spoken.packed, spoken.number) for spoken in host.turn().events] == [
        ("a", b"1\n2", 2),
        ("b", b"1\n2", 2),
    ]


def test_a_model_that_blocks_its_loop_is_heard_while_it_does(ends: tuple[Outbox, Host]) -> None:
    outbox, host = ends
    heard = threading.Semaphore(0)
    steps = 5

    def listen() -> None:
        for step in range(steps):
            assert host.events(1) == [b"%d" % step]
            heard.release()

    async def speak() -> None:
        emit = outbox.emitter(("a", 1))
        for step in range(steps):
            emit(b"%d" % step)
            assert heard.acquire(timeout=DEADLINE_S), f"step {step} was held back"

    listening = threading.Thread(target=listen, daemon=True)
    listening.start()
    in_loop(outbox, speak)
    listening.join(DEADLINE_S)


def test_a_host_that_does_not_read_does_not_stop_the_loop_and_gets_everything_later(ends: tuple[Outbox, Host]) -> None:
    outbox, host = ends
    turns, size = 200, 20_000  # far more than a socket takes

    async def speak() -> None:
        emit = outbox.emitter(("a", 1))
        for turn in range(turns):
            emit(b"%06d" % turn + b"x" * size)
            await asyncio.sleep(0)

    in_loop(outbox, speak)
    assert [int(event[:6]) for event in host.events(turns)] == list(range(turns))


def test_threads_of_an_asynchronous_model_are_heard_too(ends: tuple[Outbox, Host]) -> None:
    outbox, host = ends

    async def speak() -> None:
        emit = outbox.emitter(("a", 1))
        for n in range(50):
            emit(b"%d" % (2 * n))
            await asyncio.to_thread(emit, b"%d" % (2 * n + 1))

    in_loop(outbox, speak)
    assert [int(event) for event in host.events(100)] == list(range(100))


def test_threads_of_a_synchronous_model_are_heard(ends: tuple[Outbox, Host]) -> None:
    outbox, host = ends
    emit = outbox.emitter(("a", 1))
    for n in range(1_000):
        emit(b"%d" % n)
    assert [int(event) for event in host.events(1_000)] == list(range(1_000))
