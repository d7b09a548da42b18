"""Viewers that come and go, and viewers that do not read: no hole for them, no cost for the others."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from conftest import MODELS, MakeServer
from support.client import Client
from support.gate import Gate
from support.raw import Raw
from support.server import Server
from support.stream import PREAMBLE, Event, StrictReader, check_log

VIEWERS = 200
DISCONNECTS = 20
EVENTS = 500
DEADLINE_S = 60.0


def request(server: Server, id: str, after: str | None = None) -> bytes:
    """Asks for a stream."""
    lines = [f"GET /api/v3/predictions/{id}/stream HTTP/1.1", "Host: test", f"Authorization: Bearer {server.key}"]
    if after is not None:
        lines.append(f"Last-Event-ID: {after}")
    return "\r\n".join([*lines, "", ""]).encode()


# Viewers that come and go


class Restless:
    """A viewer that hangs up after each of some events, and resumes with the cursor of the last one it has seen."""

    def __init__(self, server: Server, id: str, rng: random.Random) -> None:
        self.seen = b""
        """All events as they stood on the wire."""
        self.watching = asyncio.Event()
        self.hung_up = 0
        self._address = urlsplit(server.url)
        self._server = server
        self._id = id
        self._rng = rng
        self._leave_after = sorted(rng.sample(range(1, EVENTS + 1), DISCONNECTS))

    async def watch(self) -> None:
        count = 0
        for leave_after in (*self._leave_after, None):
            count += await self._connect(None if leave_after is None else leave_after - count)

    async def _connect(self, events: int | None) -> int:
        """Reads so many events, or to the end, and returns how many."""
        reader, writer = await asyncio.open_connection(self._address.hostname, self._address.port)
        try:
            writer.write(request(self._server, self._id, self._cursor()))
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 "), head
            return await self._read(reader, events)
        finally:
            if self._rng.random() < 0.5:
                writer.transport.abort()
            else:
                writer.close()

    async def _read(self, reader: asyncio.StreamReader, wanted: int | None) -> int:
        read = b""
        while chunk := await _chunk(reader):
            read += chunk
            assert read.startswith(PREAMBLE)
            if read != PREAMBLE:
                self.watching.set()
            frames = read.removeprefix(PREAMBLE).split(b"\n\n")
            if wanted is not None and len(frames) > wanted:
                self.hung_up += 1
                self.seen += b"\n\n".join([*frames[:wanted], b""])
                return wanted
        assert wanted is None, f"the stream ended {wanted} events too early"
        self.seen += read.removeprefix(PREAMBLE)
        return len(frames) - 1

    def _cursor(self) -> str | None:
        at = self.seen.rfind(b"id: ")
        return None if at < 0 else self.seen[at + 4 : self.seen.index(b"\n", at)].decode()


async def _chunk(reader: asyncio.StreamReader) -> bytes:
    """One HTTP chunk; empty at the end."""
    size = int(await reader.readline(), 16)
    return (await reader.readexactly(size + 2))[:-2]


async def watch_together(server: Server, id: str, gate: Gate) -> list[Restless]:
    viewers = [Restless(server, id, random.Random(seed)) for seed in range(VIEWERS)]
    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
        for viewer in viewers:
            group.create_task(viewer.watch())
        for viewer in viewers:
            await viewer.watching.wait()
        gate.open()
    return viewers


def test_two_hundred_viewers_that_hang_up_twenty_times_each_all_see_the_same_log(
    client: Client, server: Server, gate: Gate
) -> None:
    id = client.submit("test/count", n=EVENTS, interval_s=0.005, gate=str(gate))["id"]
    viewers = asyncio.run(watch_together(server, id, gate))
    whole = client.http.get(f"predictions/{id}/stream").content
    events = list(StrictReader().feed(whole))
    check_log(events)
    assert len(events) == EVENTS + 3
    for viewer in viewers:
        assert viewer.hung_up == DISCONNECTS
        assert viewer.seen == whole.removeprefix(PREAMBLE)


# Viewers that do not read

LINES = 12_000
SIZE = 2_000
MUCH = LINES * SIZE
"""24 MB: much more than all sockets on the way hold."""
CROWD = 80
"""One viewer's megabyte cannot be told from the noise of an allocator; those of so many can. The first crowd pays for
what a server keeps once; what the next one costs, twice as large, is the viewers."""
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def flooded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(MODELS / "flood.py", tmp_path_factory.mktemp("flooded"))
    try:
        yield server.start().wait_until_ready()
    finally:
        server.close()


def stall(server: Server, id: str) -> Raw:
    """A viewer that reads the head of the answer, and nothing more until it is told to."""
    raw = Raw(server.url, deadline_s=DEADLINE_S, receive_buffer=4_096)
    raw.send(request(server, id)).begin()
    assert raw.status == 200
    return raw


def read_whole(client: Client, id: str) -> None:
    """Reads a flood to its end, as a viewer that is quick."""
    size = 0
    with client.http.stream("GET", f"predictions/{id}/stream", timeout=DEADLINE_S) as response:
        for chunk in response.iter_raw():
            size += len(chunk)
    assert size > MUCH
    assert chunk.endswith(b"\n\n")
    assert b'"type":"complete"' in chunk[-1_000:]


def flood(client: Client, gate: Gate | None = None) -> str:
    return str(client.submit("flood/log", lines=LINES, size=SIZE, gate=gate and str(gate))["id"])


def memory_after_a_run(server: Server, gate: Gate, crowd: int) -> int:
    """The server's memory when a run has ended and so many viewers have read none of it, and one all of it."""
    client = server.client()
    id = flood(client, gate)
    stalled = [stall(server, id) for _ in range(crowd)]
    gate.open()
    read_whole(client, id)
    memory = server.memory_bytes()
    for raw in stalled:
        raw.socket.close()
    return memory


def memory_after_a_replay(server: Server, id: str, crowd: int) -> int:
    """The same for a run that has ended before they came."""
    stalled = [stall(server, id) for _ in range(crowd)]
    read_whole(server.client(), id)
    memory = server.memory_bytes()
    for raw in stalled:
        raw.socket.close()
    return memory


def test_viewers_that_read_nothing_of_a_run_cost_less_than_a_megabyte_each(flooded: Server, tmp_path: Path) -> None:
    # Several times each, since how much an allocator keeps for later differs from run to run.
    gates = [Gate(tmp_path / f"gate-{number}") for number in range(5)]
    few = max(memory_after_a_run(flooded, gate, CROWD) for gate in gates[:3])
    many = min(memory_after_a_run(flooded, gate, 2 * CROWD) for gate in gates[3:])
    assert many - few < CROWD * MEGABYTE, (few, many)


def test_viewers_that_read_nothing_of_a_replay_cost_less_than_a_megabyte_each(flooded: Server) -> None:
    client = flooded.client()
    id = flood(client)
    client.finished(id)
    memory_after_a_replay(flooded, id, 0)
    few = memory_after_a_replay(flooded, id, CROWD)
    many = memory_after_a_replay(flooded, id, 2 * CROWD)
    assert many - few < CROWD * MEGABYTE, (few, many)


def test_a_long_log_is_replayed_without_a_pause(make_server: MakeServer) -> None:
    """Also where it goes over from what is on disk to what is in memory. A pause would last for ever here."""
    client = make_server("flood.py", UNSPOOL_KEEP_ALIVE_S="1000").client()
    with client.run("flood/log", lines=3_000, size=SIZE) as stream:
        live = list(stream)
    assert client.log(stream.id) == live
    at = len(live) // 2
    with client.stream(stream.id, after=live[at].cursor) as resumed:
        assert list(resumed) == live[at + 1 :]


@pytest.mark.parametrize("when", ["while it runs", "after it has ended"])
def test_a_viewer_that_reads_nothing_is_dropped_and_resumes_without_a_hole(
    make_server: MakeServer, gate: Gate, when: str
) -> None:
    server = make_server("flood.py", UNSPOOL_STALLED_VIEWER_S="0.5")
    client = server.client()
    id = flood(client, gate)
    if when == "after it has ended":
        gate.open()
        client.finished(id, DEADLINE_S)
    with stall(server, id) as stalled, client.stream(id, deadline_s=DEADLINE_S) as other:
        gate.open()
        seen_by_other = list(other)
        assert other.done, "who reads is not dropped"
        server.wait_for_log(f"a viewer that took nothing was dropped.*{id}|{id}.*a viewer that took nothing")
        seen = read_what_is_left(stalled)
    assert 0 < len(seen) < len(seen_by_other)
    assert seen == seen_by_other[: len(seen)]
    with client.stream(id, after=seen[-1].cursor, deadline_s=DEADLINE_S) as resumed:
        assert list(resumed) == seen_by_other[len(seen) :]


def read_what_is_left(raw: Raw) -> list[Event]:
    """All whole events that still come out of a connection which the other end has given up."""
    reader = StrictReader()
    events: list[Event] = []
    try:
        for chunk in raw.chunks():
            events += reader.feed(chunk)
    except (EOFError, ConnectionResetError):
        return events
    raise AssertionError("a stream that was given up looks as if it had ended well")
