"""JSON that clients send: read within limits, and refused with a reason when it is not what it should be."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
from starlette.requests import Request

from unspool.errors import BadJson, TooLarge, UnsupportedMediaType

INPUTS = 'The body must be a JSON object with the model\'s inputs, such as {"prompt": "…"}.'

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"(\s*+:)?')


async def json_object(request: Request, max_bytes: int, expected: str = "The body must be a JSON object.") -> Any:
    """The body, a `dict`; an empty body is an empty one.

    Args:
        expected: what to say when it is JSON but no object.

    Raises:
        UnsupportedMediaType: it is declared as something else than JSON.
        TooLarge: it has more than `max_bytes`.
        BadJson: it is not a JSON object.
    """
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise UnsupportedMediaType(f"Send JSON with 'Content-Type: application/json', not {kind[:100]!r}.")
    body = await read_body(request, max_bytes)
    if not body:
        return {}
    try:
        value = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadJson(f"The body is not JSON: {error}.") from None
    except RecursionError:
        raise BadJson("The body is nested too deeply.") from None
    if not isinstance(value, dict):
        raise BadJson(expected)
    _refuse_repeated_names(body, value)
    return value


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The whole body.

    Raises:
        TooLarge: it has more than `max_bytes`.
    """
    too_large = TooLarge(f"The body is larger than {max_bytes} bytes, which is as much as this server takes.")
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > max_bytes:
        raise too_large
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > max_bytes:
            raise too_large
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _refuse_repeated_names(body: bytes, value: dict[str, Any]) -> None:
    """An object that names a member twice means different things to different readers.

    The decoder keeps the last one silently; so the names in what was sent are counted against those in what was kept.

    Raises:
        BadJson: an object has the same name twice.
    """
    try:
        kept = _encode(value)
    except RecursionError:
        raise BadJson("The body is nested too deeply.") from None
    if _count_names(body) == _count_names(kept):
        return
    try:
        json.loads(body, object_pairs_hook=_unique)
    except RecursionError:
        raise BadJson("The body is nested too deeply.") from None


def _count_names(text: bytes) -> int:
    strings = _STRINGS.findall(text)
    return len(strings) - strings.count(b"")


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    known: dict[str, Any] = {}
    for name, value in members:
        if name in known:
            raise BadJson(f"The body names {name[:100]!r} twice in one object. Leave one of them out.")
        known[name] = value
    return known
