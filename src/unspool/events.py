"""The five event types as JSON bytes (`wire.md` §3, The five events), and the task codes they carry.

Everything that becomes an event is encoded here, once; from then on it travels as bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

import msgspec

from unspool.states import Status

MAX_EVENT_BYTES = 3_900
"""Longer text is split into several events, so that one event arrives in one piece as a rule (`wire.md` §7)."""

PROGRESS_PREFIX = b'{"type":"progress",'
LOG_PREFIX = b'{"type":"log",'
OUTPUT_PREFIX = b'{"type":"output",'
"""How events of these types begin: the type is always the first field."""

_OUTPUT_HEAD = b'{"type":"output","output":'
_OUTPUT_TAIL = b',"index":0}'

_encode = msgspec.json.Encoder().encode
_LINE_BREAKS = ((b"\xc2\x85", b"\\u0085"), (b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"))


class TaskCode(IntEnum):
    """Why a prediction did not complete (`wavespeed-v3.md` §1.13)."""

    INVALID_PARAMETER = 1401
    EXECUTION_FAILED = 1403
    TASK_FAILED = 1405
    INTERNAL = 5000
    UNAVAILABLE = 5003
    TIMEOUT = 5004


def encode(value: Any) -> bytes:
    """Compact JSON in one line, whatever a reader takes for a line break (NEL and U+2028 too).

    Raises:
        TypeError: the value is not made of JSON types.
    """
    try:
        data = _encode(value)
    except UnicodeEncodeError:
        data = _encode(_without_surrogates(value))
    return data if data.isascii() else _escape_line_breaks(data)


def _escape_line_breaks(data: bytes) -> bytes:
    for raw, escaped in _LINE_BREAKS:
        if raw in data:
            data = data.replace(raw, escaped)
    return data


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_without_surrogates(k): _without_surrogates(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_surrogates(item) for item in value]
    return value


def output(part: Any, index: int = 0) -> bytes:
    """A piece of text, or one finished part of another kind, of `outputs[index]`."""
    return _OUTPUT_HEAD + encode(part) + (_OUTPUT_TAIL if index == 0 else b',"index":%d}' % index)


def output_text(text: str, index: int = 0) -> Iterator[bytes]:
    """A piece of text as one event, or as several if it is long. No piece is lost at the seams."""
    event = output(text, index)
    if len(event) <= MAX_EVENT_BYTES:
        yield event
    else:
        half = len(text) // 2
        yield from output_text(text[:half], index)
        yield from output_text(text[half:], index)


def progress(percentage: float, **fields: Any) -> bytes:
    """How far the prediction is, 0 to 100. Fields that are `None` are left out."""
    known = {name: value for name, value in fields.items() if value is not None}
    return encode({"type": "progress", "percentage": _number(percentage), **known})


def log(message: str, level: str = "info") -> Iterator[bytes]:
    """One line of log, as several events if it is long."""
    event = encode({"type": "log", "message": message, "level": level, "timestamp": now_rfc3339()})
    if len(event) <= MAX_EVENT_BYTES:
        yield event
    else:
        half = len(message) // 2
        yield from log(message[:half], level)
        yield from log(message[half:], level)


def complete(id: str, outputs: list[Any], **fields: Any) -> bytes:
    """The end of a prediction that worked: `outputs` as polling shows them, `timings` in milliseconds, `usage`."""
    known = {name: value for name, value in fields.items() if value}
    return encode({"type": "complete", "id": id, "outputs": outputs, **known})


def error(id: str, message: str, code: TaskCode, status: Status, **fields: Any) -> bytes:
    """The end of a prediction that did not work; `status` is `failed`, `cancelled` or `timeout`."""
    known = {name: value for name, value in fields.items() if value}
    return encode({"type": "error", "id": id, "error": message, "code": int(code), "status": status, **known})


def created(id: str, queue_position: int) -> bytes:
    """The first event of every prediction."""
    return progress(0, id=id, status=Status.CREATED, queue_position=queue_position)


def started(attempt: int) -> bytes:
    """The first event of every attempt."""
    return progress(0, status=Status.PROCESSING, attempt=attempt)


def cancelled(id: str, **fields: Any) -> bytes:
    """The end of a prediction that a client cancelled."""
    return error(id, "The prediction was cancelled.", TaskCode.TASK_FAILED, Status.CANCELLED, **fields)


def timed_out(id: str) -> bytes:
    """The end of a prediction whose attempt ran longer than its run timeout."""
    return error(id, "The run took longer than its run timeout.", TaskCode.TIMEOUT, Status.TIMEOUT)


def now_rfc3339() -> str:
    """The time now, UTC, to the microsecond."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _number(value: float) -> float:
    value = round(float(value), 2)
    return int(value) if value.is_integer() else value
