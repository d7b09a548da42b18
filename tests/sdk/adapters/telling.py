"""How both Python adapters say what their client's user sees (`README.md`, The adapter protocol)."""

from __future__ import annotations

import base64
import json
import sys
import threading
from typing import Any

import msgspec

_OPTIONS = ("idempotency_key", "on_disconnect", "webhook_url", "start_timeout", "run_timeout", "timeout_s")
_lock = threading.Lock()


def say(call: int, **answer: Any) -> None:
    with _lock:
        sys.stdout.write(json.dumps({"call": call, **answer}, ensure_ascii=True) + "\n")
        sys.stdout.flush()


def options(command: dict[str, Any]) -> dict[str, Any]:
    """The options of a submit."""
    given = command.get("options") or {}
    return {name: given[name] for name in _OPTIONS if given.get(name) is not None}


def body(command: dict[str, Any]) -> bytes:
    """What is to be uploaded."""
    return base64.b64decode(command["base64"])


def plain(value: Any) -> Any:
    """Objects of the SDK as JSON."""
    return msgspec.to_builtins(value)


def event(event: Any) -> dict[str, Any]:
    return {
        "type": event.type,
        "cursor": event.cursor,
        "attempt": event.attempt,
        "n": event.n,
        "restarted": event.type == "progress" and event.restarted,
        "data": event.data,
    }


def seen(stream: Any) -> dict[str, Any]:
    return {
        "id": stream.id,
        "cursor": stream.cursor,
        "attempt": stream.attempt,
        "text": stream.text,
        "percentage": stream.percentage,
    }


def end(stream: Any) -> dict[str, Any]:
    return {**seen(stream), "outputs": plain(stream.outputs), "prediction": plain(stream.prediction)}


def error(error: BaseException) -> dict[str, Any]:
    names = ("status", "error_code", "retry_after_s", "errors", "request_id", "prediction")
    fields = {name: plain(getattr(error, name, None)) for name in names}
    return {"class": type(error).__name__, "message": str(error), **fields}
