"""Files among the inputs: which there are, and their URLs in their place once they are uploaded."""

from __future__ import annotations

import io
import mimetypes
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, TypeAlias

import msgspec

Source: TypeAlias = Path | IO[bytes] | bytes | bytearray | memoryview
"""What can be uploaded."""


class Wish(msgspec.Struct, frozen=True):
    """What the server is told of a file before it is sent."""

    filename: str
    size: int
    content_type: str


def is_file(value: Any) -> bool:
    """Whether an input is a file to be uploaded: a `Path`, bytes, or something open that reads bytes.

    Raises:
        TypeError: it is open as text.
    """
    if isinstance(value, io.TextIOBase):
        raise TypeError(f"{getattr(value, 'name', 'A file')!r} is open as text; open it with 'rb'.")
    return isinstance(value, Path | bytes | bytearray | memoryview) or hasattr(value, "read")


def files_in(value: Any) -> list[Any]:
    """The files among inputs, in lists and objects too; each once."""
    found: list[Any] = []
    _find(value, found)
    return list({id(file): file for file in found}.values())


def _find(value: Any, found: list[Any]) -> None:
    if is_file(value):
        found.append(value)
    elif isinstance(value, Mapping):
        for part in value.values():
            _find(part, found)
    elif isinstance(value, list | tuple):
        for part in value:
            _find(part, found)


def replaced(value: Any, urls: Mapping[int, str]) -> Any:
    """The inputs with URLs in place of files.

    Args:
        urls: by the `id()` of a file.
    """
    if id(value) in urls and is_file(value):
        return urls[id(value)]
    if isinstance(value, Mapping):
        return {name: replaced(part, urls) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [replaced(part, urls) for part in value]
    return value


def name_of(source: Any, filename: str | None) -> str:
    """What a file is called: as its user says, or as it is called on disk."""
    if filename:
        return filename
    name = source if isinstance(source, str | Path) else getattr(source, "name", None)
    return Path(name).name if isinstance(name, str | Path) and Path(name).name else "file"


def type_of(filename: str, content_type: str | None) -> str:
    """What a file is: as its user says, or as its name does."""
    return content_type or mimetypes.guess_type(filename)[0] or "application/octet-stream"


def open_bytes(data: bytes | bytearray | memoryview) -> IO[bytes]:
    """Bytes as an open file."""
    return io.BytesIO(data)
