"""What a stream yields: the five events as typed classes, with the fields of the wire spelled as on the wire."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, TypeAlias

import msgspec

_decode = msgspec.json.Decoder().decode


class _Event(msgspec.Struct, kw_only=True, gc=False):
    """What all events have. (They cannot be part of a reference cycle, so the garbage collector need not see them.)"""

    attempt: int = 0
    """Which try at running the prediction it belongs to; 0 is the time before the first one."""
    n: int = 0
    """Its number within the attempt, from 1."""
    _raw: bytes = b""

    @property
    def cursor(self) -> str:
        """Where a stream can be taken up again after this event, as `"1-5"`."""
        return f"{self.attempt}-{self.n}"

    @property
    def data(self) -> dict[str, Any]:
        """The event as it came, with fields that this version of the SDK does not know."""
        data: dict[str, Any] = _decode(self._raw)
        return data

    @property
    def extra(self) -> dict[str, Any]:
        """Only the fields that this version of the SDK does not know."""
        return {name: value for name, value in self.data.items() if name not in _known(self)}

    def __repr__(self) -> str:
        fields = [(name, getattr(self, name)) for name in _fields(self)]
        said = ", ".join(f"{name}={value!r}" for name, value in fields if value not in (None, {}))
        return f"{type(self).__name__}({said}, cursor={self.cursor!r})"


class Progress(_Event, tag="progress", tag_field="type", gc=False):
    """How far the prediction is."""

    type: ClassVar[Literal["progress"]] = "progress"
    percentage: float
    """0 to 100; never falls within an attempt."""
    id: str | None = None
    status: str | None = None
    queue_position: int | None = None
    stage: str | None = None
    """What it is doing, as `load`, `prefill`, `denoise`, `encode`."""
    step: int | None = None
    steps: int | None = None
    eta_seconds: float | None = None
    preview: str | None = None
    """The URL of a picture of what there is so far."""

    @property
    def restarted(self) -> bool:
        """A new attempt begins after one that was lost: all output so far is void."""
        return self.attempt > 1 and self.n == 1

    def __str__(self) -> str:
        said = [f"{self.percentage:5.1f} %"]
        if self.stage:
            said.append(self.stage)
        elif self.status:
            said.append(self.status)
        if self.step is not None:
            said.append(f"{self.step}/{self.steps}" if self.steps else f"step {self.step}")
        if self.queue_position:
            said.append(f"{self.queue_position} before it")
        if self.eta_seconds is not None:
            said.append(f"{self.eta_seconds:.1f} s left")
        if self.restarted:
            said.append(f"begun anew (attempt {self.attempt})")
        return "  ".join(said)


class Log(_Event, tag="log", tag_field="type", gc=False):
    """A line that the model has written."""

    type: ClassVar[Literal["log"]] = "log"
    message: str
    level: str = "info"
    """`debug`, `info`, `warning` or `error`."""
    timestamp: str = ""
    """RFC 3339."""

    def __str__(self) -> str:
        return f"[{self.level}] {self.message}"


class Output(_Event, tag="output", tag_field="type", gc=False):
    """A piece of what the prediction makes."""

    type: ClassVar[Literal["output"]] = "output"
    output: Any
    """Of text the new piece only; of anything else a finished part (a URL or JSON)."""
    index: int = 0
    """Which element of the final `outputs` it belongs to."""

    def __str__(self) -> str:
        return self.output if isinstance(self.output, str) else msgspec.json.encode(self.output).decode()


class Complete(_Event, tag="complete", tag_field="type", gc=False):
    """The end of a prediction that worked."""

    type: ClassVar[Literal["complete"]] = "complete"
    outputs: list[Any]
    id: str = ""
    timings: dict[str, Any] = {}
    """Milliseconds, by what took them."""
    usage: dict[str, Any] = {}

    def __str__(self) -> str:
        return f"completed: {msgspec.json.encode(self.outputs).decode()}"


class Error(_Event, tag="error", tag_field="type", gc=False):
    """The end of a prediction that did not work."""

    type: ClassVar[Literal["error"]] = "error"
    error: str
    code: int = 0
    status: str = "failed"
    """`failed`, `cancelled` or `timeout`."""
    id: str = ""
    errors: list[dict[str, Any]] = []
    """Inputs that turned out wrong, each with `field` and `message`."""
    timings: dict[str, Any] = {}
    usage: dict[str, Any] = {}

    def __str__(self) -> str:
        return f"{self.status}: {self.error}"


Event: TypeAlias = Progress | Log | Output | Complete | Error
"""What a stream yields. `event.type` tells which: type checkers narrow the class by it."""

_OURS = ("attempt", "n", "_raw")
_decode_event = msgspec.json.Decoder(Event).decode
_TYPES = frozenset({"progress", "log", "output", "complete", "error"})


def decode(data: bytes, attempt: int, n: int) -> Event | None:
    """One event of a log; None if it is of a type that this version does not know.

    Raises:
        ValueError: these bytes are no event.
    """
    try:
        event: Event = _decode_event(data)
    except msgspec.ValidationError:
        if _is_of_unknown_type(data):
            return None
        raise
    event.attempt = attempt
    event.n = n
    event._raw = data
    return event


def _is_of_unknown_type(data: bytes) -> bool:
    value = _decode(data)
    return isinstance(value, dict) and isinstance(value.get("type"), str) and value["type"] not in _TYPES


def _fields(event: _Event) -> list[str]:
    return [name for name in event.__struct_fields__ if name not in _OURS]


def _known(event: _Event) -> set[str]:
    return {"type", "attempt", *_fields(event)}
