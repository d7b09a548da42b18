"""Reading the body of a request within limits of size and time, and as JSON: refused with a reason when it is not
what it should be."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import suppress
from typing import Any, Final

import msgspec
from starlette.requests import ClientDisconnect, Request

from unspool.config import Settings
from unspool.errors import BadJson, RequestTimeout, TooLarge, UnsupportedMediaType
from unspool.http_server import body_of

INPUTS = 'The body must be a JSON object with the model\'s inputs, such as {"prompt": "…"}.'
DISCARD_BYTES: Final = 16 * 1024 * 1024
DISCARD_S: Final = 5.0
_SMALL_BYTES: Final = 16 * 1024

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"(\s*+:)?')


async def json_object(
    request: Request,
    settings: Settings,
    expected: str = "The body must be a JSON object.",
    max_bytes: int | None = None,
) -> Any:
    """The body, a `dict`; an empty body is an empty one.

    Args:
        expected: what to say when it is JSON but no object.
        max_bytes: the limit, if not `max_body_bytes`.

    Raises:
        UnsupportedMediaType: it is declared as something else than JSON.
        TooLarge: it has more than it may have.
        RequestTimeout: it comes too slowly.
        BadJson: it is not a JSON object.
    """
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise UnsupportedMediaType(f"Send JSON with 'Content-Type: application/json', not {kind[:100]!r}.")
    body = await read_body(request, settings, max_bytes or settings.max_body_bytes)
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


async def read_body(request: Request, settings: Settings, max_bytes: int) -> bytes:
    """The whole body.

    It may take `body_timeout_s` and, beyond that, as long as its size takes at `min_body_bytes_per_s`: a large body
    over a thin line goes through, while a client that sends a byte now and then is let go.

    Raises:
        TooLarge: it has more than `max_bytes`.
        RequestTimeout: it comes too slowly.
    """
    body = body_of(request.scope)
    if body is not None and len(body) <= max_bytes:
        return body
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > max_bytes:
        raise _too_large(max_bytes)
    begin = asyncio.get_running_loop().time()
    allowed_s = settings.body_timeout_s
    chunks, size = [], 0
    try:
        async with asyncio.timeout_at(begin + allowed_s) as limit:
            async for chunk in request.stream():
                size += len(chunk)
                if size > max_bytes:
                    raise _too_large(max_bytes)
                chunks.append(chunk)
                if chunk and size > _SMALL_BYTES:
                    allowed_s = settings.body_timeout_s + size / settings.min_body_bytes_per_s
                    limit.reschedule(begin + allowed_s)
    except TimeoutError:
        raise RequestTimeout(
            f"The body was not here after {allowed_s:g} s. Send it again, or over a faster connection."
        ) from None
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"The body is larger than {max_bytes} bytes, which is as much as this server takes.")


async def discard_body(request: Request) -> None:
    """Reads what a refused request still sends, within limits.

    Who is still sending when we hang up may never see the answer: a proxy turns it into 502. One that asks first
    (`Expect: 100-continue`) waits for the answer, and one that has much more to send is not waited for.
    """
    declared = request.headers.get("content-length", "")
    if "expect" in request.headers or (declared.isdigit() and int(declared) > DISCARD_BYTES):
        return
    size = 0
    with suppress(TimeoutError, ClientDisconnect, RuntimeError):
        async with asyncio.timeout(DISCARD_S):
            async for chunk in request.stream():
                size += len(chunk)
                if size > DISCARD_BYTES:
                    return


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
