"""`File`: what a model is given for an input that is a file, and what it may give back."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from unspool.files import kinds

URL_PATTERN = "^(https?://|data:)"
_CONTEXT = "unspool_file"


class File:
    """A file, as an input or as an output.

    As the annotation of an input: a client sends a URL (of any public file, of an upload, of another prediction's
    output) or a `data:` URL. When the model is called the file is there, in a folder that is removed after the run.

    As an output: `File("video.mp4")`, or `File(data=png, content_type="image/png")`. Clients get its URL.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        data: bytes | None = None,
        content_type: str | None = None,
        filename: str | None = None,
    ) -> None:
        """A file to give back.

        Args:
            path: where it is on this machine.
            data: its bytes, in place of a path. They need a `content_type` or a `filename`.
            content_type: default is what the extension says.
            filename: its name; its extension counts where there is no content type.

        Raises:
            ValueError: neither or both of path and data are given, or data without any type.
        """
        if (path is None) == (data is None):
            raise ValueError("File needs a path or data, and not both")
        if data is not None and content_type is None and filename is None:
            raise ValueError("File(data=…) needs a content_type, such as 'image/png'")
        self.url: str | None = None
        """What the client sent, if it is an input."""
        self.data = data
        self._path = None if path is None else Path(path)
        self.filename = filename or (self._path.name if self._path is not None else "")
        """Its name: of an input, the last part of the URL in safe characters."""
        self.content_type, self.extension = kinds.decide(content_type, self.filename)
        self.filename = self.filename or f"file{self.extension}"

    @classmethod
    def from_url(cls, url: str) -> File:
        """An input that was not fetched yet."""
        file = cls(data=b"", content_type=kinds.UNKNOWN)
        file.url, file.data = url, None
        return file

    def arrived(self, path: Path, content_type: str) -> None:
        """The input is there. For the worker, not for models."""
        self._path, self.filename, self.content_type = path, path.name, content_type
        self.extension = path.suffix

    @property
    def path(self) -> Path:
        """Where it is on this machine.

        Raises:
            ValueError: it is nowhere: it was made of data, or has not been fetched.
        """
        if self._path is None:
            raise ValueError("this File has no path; its bytes are in .data" if self.url is None else "not fetched yet")
        return self._path

    @property
    def size_bytes(self) -> int:
        """How large it is."""
        return len(self.data) if self.data is not None else self.path.stat().st_size

    def read_bytes(self) -> bytes:
        """All of it."""
        return self.data if self.data is not None else self.path.read_bytes()

    def __repr__(self) -> str:
        return f"File({self.filename!r}, {self.content_type})"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        text = core_schema.str_schema(pattern=URL_PATTERN)
        from_url = core_schema.no_info_after_validator_function(cls.from_url, text)
        either = core_schema.union_schema([core_schema.is_instance_schema(cls), from_url])
        to_url = core_schema.plain_serializer_function_ser_schema(_serialize, info_arg=True)
        return core_schema.json_or_python_schema(json_schema=from_url, python_schema=either, serialization=to_url)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "format": "uri", "pattern": URL_PATTERN, "x-ui-component": "uploader"}


class Accept:
    """Which content types an input is meant for, as in `Annotated[File, Accept("image/*")]`. Shown, not enforced."""

    def __init__(self, *content_types: str) -> None:
        self.content_types = content_types

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "x-accept": ",".join(self.content_types)}


def serialization_context(say: Callable[[File], str]) -> dict[str, Any]:
    """For `model_dump` of what holds files: how a file is told."""
    return {_CONTEXT: say}


def _serialize(file: File, info: Any) -> str:
    if not info.context or _CONTEXT not in info.context:
        raise ValueError("a File can be serialized as the output of a model only")
    said: str = info.context[_CONTEXT](file)
    return said


def as_file(value: Any) -> File | None:
    """The file that a value of a model's output is: a `File`, a path, a picture of PIL (as PNG). Else `None`."""
    if isinstance(value, File):
        return value
    if isinstance(value, os.PathLike):
        return File(value)
    if type(value).__module__.partition(".")[0] == "PIL" and hasattr(value, "save"):
        return _png(value)
    return None


def _png(image: Any) -> File:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return File(data=buffer.getvalue(), content_type="image/png")


def may_hold_files(value: Any) -> bool:
    """Whether there may be a file somewhere in an output."""
    if value is None or isinstance(value, str | int | float):
        return False
    if isinstance(value, dict):
        return any(map(may_hold_files, value.values()))
    if isinstance(value, list | tuple):
        return any(map(may_hold_files, value))
    return True
