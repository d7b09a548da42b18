"""Outputs that are files: from what a model gives back to a URL, or to base64 where the client asked for that."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

from unspool.errors import InvalidInput
from unspool.files.file import File
from unspool.files.storage import output_name


class Keeper:
    """The outputs of one prediction.

    Args:
        write: puts content into the storage under a name.
        max_base64_bytes: how much all files together may have that go out as base64.
    """

    def __init__(
        self, prediction_id: str, base_url: str, write: Callable[[str, Path | bytes], None], max_base64_bytes: int
    ) -> None:
        self._prediction_id = prediction_id
        self._base_url = base_url.rstrip("/")
        self._write = write
        self._max_base64_bytes = max_base64_bytes
        self._left_base64_bytes = max_base64_bytes

    def to_url(self, file: File) -> str:
        """Keeps the file; returns its URL.

        Raises:
            FileNotFoundError: the model names a file that is not there.
        """
        _check(file)
        name = output_name(self._prediction_id, file.extension)
        self._write(name, file.path if file.data is None else file.data)
        return f"{self._base_url}/files/{name}"

    def to_base64(self, file: File) -> str:
        """The bytes of the file as bare base64.

        Raises:
            FileNotFoundError: the model names a file that is not there.
            InvalidInput: that would be too much.
        """
        _check(file)
        self._left_base64_bytes -= file.size_bytes
        if self._left_base64_bytes < 0:
            message = (
                f"The output files are larger than {self._max_base64_bytes} bytes, which is as much as this server"
                " gives out as base64. Leave out enable_base64_output and fetch the URLs."
            )
            raise InvalidInput(message, [{"field": "enable_base64_output", "message": "the outputs are too large"}])
        return base64.b64encode(file.read_bytes()).decode()


def _check(file: File) -> None:
    if file.data is None and not file.path.is_file():
        raise FileNotFoundError(f"the model gives back {file.path.name!r}, and there is no such file")
