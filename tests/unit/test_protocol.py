"""What a worker and its host say to each other, byte for byte, however the stream is cut."""

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unspool.states import Status
from unspool.types import ModelInfo, Spoken
from unspool.worker import protocol
from unspool.worker.protocol import (
    MAX_FRAME_BYTES,
    BadFile,
    Described,
    Finished,
    Frame,
    Heartbeat,
    Load,
    LoadFailed,
    Loading,
    Ready,
    Shutdown,
    Splitter,
    Start,
    Stop,
    Turn,
)

INFO = ModelInfo(
    id="m",
    schema={},
    streams=("log", "output"),
    readme="R",
    slots=1,
    replicas=2,
    max_attempts=3,
    run_timeout_s=None,
)

TO_WORKER: list[tuple[Frame, bytes]] = [
    (Load("m"), b"\x00\x00\x00\x08\x92\xa4Load\xa1m"),
    (Start("p", 2, b"{}", False, "00-"), b"\x00\x00\x00\x13\x96\xa5Start\xa1p\x02\xc4\x02{}\xc2\xa300-"),
    (Stop("p", 2, Status.TIMEOUT), b"\x00\x00\x00\x11\x94\xa4Stop\xa1p\x02\xa7timeout"),
    (Shutdown(), b"\x00\x00\x00\x0a\x91\xa8Shutdown"),
]
TO_HOST: list[tuple[Frame, bytes]] = [
    (
        Described([INFO]),
        (
            b"\x00\x00\x00\x92\x92\xa9Described\x91\x8c\xa2id\xa1m\xa6schema\x80\xa7streams\x92\xa3log\xa6output"
            b"\xa6readme\xa1R\xa5slots\x01\xa8replicas\x02\xacmax_attempts\x03\xadrun_timeout_s\xc0"
            b"\xa8category\xa5other\xa5price\x00\xa6device\x90\xadidle_unload_s\xc0"
        ),
    ),
    (BadFile("no"), b"\x00\x00\x00\x0c\x92\xa7BadFile\xa2no"),
    (Loading(b"{}"), b"\x00\x00\x00\x0d\x92\xa7Loading\xc4\x02{}"),
    (Ready(), b"\x00\x00\x00\x07\x91\xa5Ready"),
    (LoadFailed("c", "d"), b"\x00\x00\x00\x10\x93\xaaLoadFailed\xa1c\xa1d"),
    (Heartbeat(), b"\x00\x00\x00\x0b\x91\xa9Heartbeat"),
    (
        Turn([Spoken.of("p", 1, (b"{}", b"[]"))]),
        b"\x00\x00\x00\x14\x93\xa4Turn\x91\x94\xa1p\x01\xc4\x05{}\n[]\x02\x90",
    ),
    (
        Turn([], [Finished("p", 1, Status.COMPLETED, b"{}", "why")]),
        b"\x00\x00\x00\x1e\x93\xa4Turn\x90\x91\x95\xa1p\x01\xa9completed\xc4\x02{}\xa3why",
    ),
]


def words(pairs: list[tuple[Frame, bytes]]) -> list[str]:
    return [type(message).__name__ for message, _ in pairs]


@pytest.mark.parametrize(("message", "data"), TO_WORKER, ids=words(TO_WORKER))
def test_what_a_host_says(message: Frame, data: bytes):
    assert protocol.encode(message) == data
    (body,) = Splitter().feed(data)
    assert protocol.to_worker_decoder.decode(body) == message


@pytest.mark.parametrize(("message", "data"), TO_HOST, ids=words(TO_HOST))
def test_what_a_worker_says(message: Frame, data: bytes):
    assert protocol.encode(message) == data
    (body,) = Splitter().feed(data)
    assert protocol.to_host_decoder.decode(body) == message


def test_every_frame_is_in_this_file():
    assert sorted(set(words(TO_WORKER + TO_HOST))) == sorted(frame.__name__ for frame in Frame.__subclasses__())


@pytest.mark.parametrize("data", [data for _, data in TO_WORKER], ids=words(TO_WORKER))
def test_a_host_does_not_listen_to_hosts(data: bytes):
    with pytest.raises(msgspec.ValidationError):
        protocol.to_host_decoder.decode(data[4:])


def test_event_bytes_go_through_unread():
    """Whatever they are."""
    message = Turn([Spoken.of("p", 1, (b"\xff\x00 not json",))])
    (body,) = Splitter().feed(protocol.encode(message))
    assert protocol.to_host_decoder.decode(body) == message


# The stream may be cut anywhere

STREAM = b"".join(data for _, data in TO_HOST)
BODIES = [data[4:] for _, data in TO_HOST]


def test_frames_that_arrive_together_come_out_one_by_one():
    assert [bytes(body) for body in Splitter().feed(STREAM)] == BODIES


def test_frames_that_arrive_byte_by_byte_come_out_whole():
    splitter = Splitter()
    assert [bytes(body) for at in range(len(STREAM)) for body in splitter.feed(STREAM[at : at + 1])] == BODIES


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_frames_come_out_the_same_wherever_the_stream_is_cut(cuts: list[int]):
    splitter, edges = Splitter(), [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[start:end] for start, end in pairwise(edges)]
    assert [bytes(body) for piece in pieces for body in splitter.feed(piece)] == BODIES


def test_a_frame_comes_out_with_its_last_byte():
    splitter = Splitter()
    data = protocol.encode(Load("m"))
    assert list(splitter.feed(data[:-1])) == []
    assert [bytes(body) for body in splitter.feed(data[-1:])] == [data[4:]]


def test_an_empty_read_changes_nothing():
    splitter = Splitter()
    assert list(splitter.feed(b"")) == []
    assert list(splitter.feed(STREAM[:3])) == []
    assert list(splitter.feed(b"")) == []
    assert [bytes(body) for body in splitter.feed(STREAM[3:])] == BODIES


def test_a_body_may_be_empty():
    assert [bytes(body) for body in Splitter().feed(b"\x00\x00\x00\x00" * 3)] == [b"", b"", b""]


def test_a_length_that_no_frame_has_is_refused():
    """Better an error than to wait for two gigabytes that never come."""
    with pytest.raises(ValueError, match="out of step"):
        list(Splitter().feed(b"data: {}\n\n"))


def test_a_frame_of_the_largest_size_is_waited_for():
    assert list(Splitter().feed(MAX_FRAME_BYTES.to_bytes(4, "big"))) == []
    with pytest.raises(ValueError, match="out of step"):
        list(Splitter().feed((MAX_FRAME_BYTES + 1).to_bytes(4, "big")))
