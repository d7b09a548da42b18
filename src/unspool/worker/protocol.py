"""What a worker and its host say to each other.

Two socket pairs join them, so that output can never delay a cancel:

control   host → worker  `Load`, `Start`, `Stop`, `Shutdown`
          worker → host  `Described` | `BadFile`, `Loading`, `Ready` | `LoadFailed`, `Heartbeat`
events    worker → host  `Turn`: what runs said, as `Spoken` and `Finished`

A frame is four bytes of length (big-endian), then the message as msgpack. Event JSON rides in it as bytes that
nobody on the way looks into.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import msgspec

from unspool.states import Status
from unspool.types import ModelInfo, Spoken

MAX_FRAME_BYTES = 256 * 1024 * 1024
_LENGTH = struct.Struct(">I")


class Frame(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A message. Its class name is its tag on the wire."""


class Load(Frame, frozen=True):
    """Become this model: run its `setup`, then be ready."""

    model: str


class Start(Frame, frozen=True):
    """Run one attempt. Its slot is the host's to count."""

    id: str
    attempt: int
    input: bytes
    base64_output: bool = False
    """Output files go out as base64."""
    traceparent: str = ""
    """The attempt's span, as W3C trace context has it; empty if it is not traced."""


class Stop(Frame, frozen=True):
    """End a run; `status` (cancelled or timeout) is what its terminal event will say."""

    id: str
    attempt: int
    status: Status


class Shutdown(Frame, frozen=True):
    """Leave. Runs that are still going are lost."""


class Described(Frame, frozen=True):
    """The file was imported; these are its models."""

    models: list[ModelInfo]


class BadFile(Frame, frozen=True):
    """The file cannot be served. `cause` is for its author."""

    cause: str


class Loading(Frame, frozen=True):
    """How far `setup` is: a `progress` event for those who wait."""

    event: bytes


class Ready(Frame, frozen=True):
    """`setup` is done; runs may be started."""


class LoadFailed(Frame, frozen=True):
    """`setup` raised. `cause` goes to clients, `detail` (with the trace) to the log."""

    cause: str
    detail: str


class Heartbeat(Frame, frozen=True):
    """The process is alive and can take the interpreter lock."""


class Finished(msgspec.Struct, frozen=True, array_like=True):
    """The last word of a run: its terminal event. Its slot is free."""

    id: str
    attempt: int
    status: Status
    terminal: bytes
    detail: str = ""
    """For the log of the server, never for clients: the trace of what was raised."""


class Turn(Frame, frozen=True):
    """All that the runs of a worker said since the last one: first their events, then who has finished."""

    events: list[Spoken]
    finished: list[Finished] = []


ToWorker = Load | Start | Stop | Shutdown
ToHost = Described | BadFile | Loading | Ready | LoadFailed | Heartbeat | Turn

_encoder = msgspec.msgpack.Encoder()
to_worker_decoder = msgspec.msgpack.Decoder(ToWorker)
to_host_decoder = msgspec.msgpack.Decoder(ToHost)


def encode(message: Frame) -> bytes:
    """The frame's bytes."""
    body = _encoder.encode(message)
    return _LENGTH.pack(len(body)) + body


class Splitter:
    """Cuts a byte stream into the bodies of its frames."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        """What has come of frames that are not whole, …"""
        self._size = 0
        """… its size, …"""
        self._needed = 4
        """… and the size from which a look is worth it: a large frame is put together once."""

    def feed(self, data: bytes) -> Iterator[memoryview]:
        """The bodies of all frames that are whole by now.

        Raises:
            ValueError: the stream is not made of frames.
        """
        self._parts.append(data)
        self._size += len(data)
        if self._size < self._needed:
            return
        data = b"".join(self._parts) if len(self._parts) > 1 else data
        view, at, end = memoryview(data), 0, len(data)
        self._needed = 4
        while end - at >= 4:
            (length,) = _LENGTH.unpack_from(data, at)
            if length > MAX_FRAME_BYTES:
                raise ValueError(f"a frame of {length} bytes; the stream is out of step")
            if end - at - 4 < length:
                self._needed = length + 4
                break
            yield view[at + 4 : at + 4 + length]
            at += 4 + length
        self._parts = [data[at:]] if at < end else []
        self._size = end - at
