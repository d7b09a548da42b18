"""`key=value` on the command line as the inputs of a model, by its schema.

Pure but for reading the files and the standard input that a value names. What does not fit the schema is passed on as
it is, wherever the server's own message would be better than a guess made here.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

RESERVED = {
    "webhook_url": "Use --webhook-url URL.",
    "stream": "Nothing is needed: `unspool run` streams by itself.",
    "enable_sync_mode": "Nothing is needed: `unspool run` waits by itself.",
    "enable_base64_output": "Files are saved; `-o -` writes one to the standard output.",
}
"""Fields of a submit that are not inputs, and what to do in their place."""

TRUE = frozenset({"true", "yes", "on", "1"})
FALSE = frozenset({"false", "no", "off", "0"})

_URL = re.compile(r"(https?://|data:)", re.IGNORECASE)
_JSON_TYPES = {"array": list, "object": dict}

Schema = dict[str, Any]


class BadValue(ValueError):
    """A value cannot be what its input wants; the message names both and says what to do."""


def parse_inputs(pairs: Iterable[str], schema: Schema, base: dict[str, Any] | None = None) -> dict[str, Any]:
    """The inputs that `key=value` arguments mean.

    Args:
        pairs: each `key=value`, or `key:=JSON`. A key that stands there twice is a list.
        schema: the JSON schema of the model's inputs.
        base: inputs that are there already; arguments win over them.

    Returns:
        Inputs as JSON values; files that have to be uploaded are `Path` or an open file.

    Raises:
        BadValue: an argument is wrong.
    """
    given: dict[str, list[tuple[str, bool]]] = {}
    for pair in pairs:
        key, value, as_json = _split(pair)
        given.setdefault(key, []).append((value, as_json))
    parsed = {key: _parse(key, values, schema) for key, values in given.items()}
    return {**(base or {}), **parsed}


def _split(pair: str) -> tuple[str, str, bool]:
    key, equals, value = pair.partition("=")
    if not equals or not key.rstrip(":"):
        raise BadValue(f"{pair!r} is not an input. Write key=value, as in prompt='a red fox'.")
    as_json = key.endswith(":")
    key = key.removesuffix(":")
    if key in RESERVED:
        raise BadValue(f"{key} is not an input. {RESERVED[key]}")
    return key, value, as_json


def _parse(key: str, values: list[tuple[str, bool]], schema: Schema) -> Any:
    wanted = schema.get("properties", {}).get(key, {})
    kinds = list(alternatives(wanted, schema))
    item = next((kind["items"] for kind in kinds if kind.get("type") == "array" and "items" in kind), None)
    if item is not None:
        whole = len(values) == 1 and (values[0][1] or values[0][0].lstrip().startswith("["))
        if not whole:
            items = list(alternatives(item, schema))
            return [_json(key, text) if as_json else _value(key, text, items) for text, as_json in values]
    if len(values) > 1:
        raise BadValue(f"{key} is given {len(values)} times, and is not a list.")
    text, as_json = values[0]
    return _json(key, text) if as_json else _value(key, text, kinds)


def alternatives(wanted: Schema, schema: Schema) -> Iterator[Schema]:
    """The plain schemas that a value may fit: references resolved, unions taken apart."""
    if "$ref" in wanted:
        target: Any = schema
        for step in wanted["$ref"].removeprefix("#/").split("/"):
            target = target.get(step, {}) if isinstance(target, dict) else {}
        yield from alternatives({**target, **{name: it for name, it in wanted.items() if name != "$ref"}}, schema)
        return
    branches = [*wanted.get("anyOf", ()), *wanted.get("oneOf", ()), *wanted.get("allOf", ())]
    if not branches:
        types = wanted.get("type")
        yield from ({**wanted, "type": one} for one in types) if isinstance(types, list) else (wanted,)
    for branch in branches:
        yield from alternatives(branch, schema)


def takes_file(kinds: Iterable[Schema]) -> bool:
    """Whether an input may be a file."""
    return any(kind.get("x-ui-component") == "uploader" for kind in kinds)


def _value(key: str, text: str, kinds: list[Schema]) -> Any:
    if takes_file(kinds):
        return _file(key, text)
    text = _from_elsewhere(key, text)
    types = {kind.get("type") for kind in kinds}
    for option in (option for kind in kinds for option in _options(kind)):
        if _as_text(option) == text:
            return option
    if types <= {None} or not types:
        return _anything(text)
    for type in ("integer", "number", "boolean", "array", "object", "null"):
        if type in types and (found := _typed(type, text)) is not None:
            return found[0]
    if "string" in types or None in types:
        return text
    raise BadValue(f"{key}={_short(text)}: {_wants(key, types)}")


def _options(kind: Schema) -> list[Any]:
    return [kind["const"]] if "const" in kind else list(kind.get("enum", ()))


def _as_text(option: Any) -> str:
    return option if isinstance(option, str) else json.dumps(option)


def _typed(type: str, text: str) -> tuple[Any] | None:
    """The value in a tuple, or nothing where the text is none of that type."""
    try:
        match type:
            case "integer":
                return (int(text),)
            case "number":
                return (_number(text),)
            case "boolean":
                return (text.lower() in TRUE,) if text.lower() in TRUE | FALSE else None
            case "null":
                return (None,) if text in ("null", "") else None
            case _:
                value = json.loads(text)
                return (value,) if isinstance(value, _JSON_TYPES[type]) else None
    except ValueError:
        return None


def _number(text: str) -> float:
    value = json.loads(text) if re.fullmatch(r"-?\d+", text) else float(text)
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError(text)
    return cast(float, value)


def _wants(key: str, types: set[Any]) -> str:
    if types & {"array", "object"}:
        example = "[1, 2]" if "array" in types else '{"a": 1}'
        return f"{key} takes JSON, as in {key}='{example}'."
    if "boolean" in types:
        return f"{key} takes true or false."
    return f"{key} takes {'a whole number' if 'integer' in types else 'a number'}."


def _anything(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _json(key: str, text: str) -> Any:
    text = _from_elsewhere(key, text)
    try:
        return json.loads(text)
    except ValueError as error:
        raise BadValue(f"{key}:={_short(text)} is not JSON ({error}).") from None


def _from_elsewhere(key: str, text: str) -> str:
    """What `@file` and `-` stand for, as text. `@@…` is text that begins with one @."""
    if text == "-":
        return sys.stdin.read()
    if text.startswith("@@"):
        return text[1:]
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise BadValue(
            f"{key}={_short(text)}: cannot read the file ({reason}). Text that begins with @ is written with two: @@…"
        ) from None


def _file(key: str, text: str) -> str | Path | BinaryIO:
    if text == "-":
        return sys.stdin.buffer
    if _URL.match(text):
        return text
    path = Path(text.removeprefix("@")).expanduser()
    if not path.is_file():
        raise BadValue(f"{key}={_short(text)}: there is no such file, and it is no URL.")
    return path


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "…"
