"""File outputs, from their URLs into files."""

from __future__ import annotations

import mimetypes
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from unspool.commands.exits import ExitCode, fail

CHUNK_BYTES = 1 << 20
TIMEOUT_S = 60.0
TRIES = 3
STDOUT = "-"

_URL = re.compile(r"https?://\S+", re.IGNORECASE)
_KINDS = ("image/", "video/", "audio/", "model/", "application/")


class Saver:
    """Saves the files among the outputs of one prediction.

    Args:
        where: a file, a folder, `STDOUT`, or nothing: the current folder.
        name: what files are called where `where` does not say it.
        base_url: the server as this client reaches it, tried where the URL of one of its files leads nowhere.
    """

    def __init__(self, where: str | None, name: Callable[[], str], base_url: str) -> None:
        self.saved: list[Path] = []
        self._where = where
        self._name = name
        self._base_url = base_url.rstrip("/")

    def save(self, output: Any) -> str | None:
        """Saves what the URL of a file leads to, and returns the paths of what was saved; `None` for no file."""
        urls = list(_urls(output))
        if not urls:
            return None
        if self._where == STDOUT:
            for url in urls:
                self._fetch(url, sys.stdout.buffer)
            return ""
        return "\n".join(str(self._save(url)) for url in urls)

    def save_text(self, text: str) -> Path:
        """Writes text where `--output` says."""
        path = self._path(".txt")
        self._write(path, lambda file: file.write(text.encode()))
        return path

    def _save(self, url: str) -> Path:
        path = self._path(Path(urlsplit(url).path).suffix)
        self._write(path, lambda file: self._fetch(url, file))
        return path

    def _write(self, path: Path, write: Callable[[BinaryIO], object]) -> None:
        """Makes the file, whole or not at all."""
        part = path.with_name(path.name + ".part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                write(file)
            part.replace(path)
        except OSError as error:
            fail(f"Cannot write {path}: {error.strerror}.")
        finally:
            part.unlink(missing_ok=True)
        self.saved.append(path)

    def _path(self, suffix: str) -> Path:
        number = f"-{len(self.saved) + 1}" if self.saved else ""
        where = Path(self._where or "")
        if where.is_dir() or (self._where or "").endswith(os.sep):
            return where / f"{self._name()}{number}{suffix}"
        return where.with_name(f"{where.stem}{number}{where.suffix}")

    def _fetch(self, url: str, file: BinaryIO) -> None:
        from httpx import TransportError

        urls = [url, self._base_url + urlsplit(url).path] if _is_ours(url) else [url]
        reason = ""
        for one in urls * TRIES:
            try:
                _download(one, file)
            except TransportError as error:
                reason = f"{error}"
                if not file.seekable():
                    break
                file.seek(0)
                file.truncate()
            else:
                return
        fail(f"Cannot download {url}: {reason}.", ExitCode.UNREACHABLE)


def _download(url: str, file: BinaryIO) -> None:
    import httpx

    with httpx.stream("GET", url, timeout=TIMEOUT_S, follow_redirects=True) as answer:
        if answer.is_error:
            fail(f"Cannot download {url}: the server answers {answer.status_code}.")
        file.writelines(answer.iter_bytes(CHUNK_BYTES))


def _urls(output: Any) -> Iterator[str]:
    """The URLs of files in an output that is one, or a list of them. Those inside of objects stay what they are."""
    if isinstance(output, str) and _URL.fullmatch(output) and _is_file(output):
        yield output
    elif isinstance(output, list) and output and all(isinstance(one, str) and _is_file(one) for one in output):
        yield from output


def _is_file(url: str) -> bool:
    """Whether a URL is that of a file, as far as it tells: one that the server keeps, or one of a known kind."""
    kind = mimetypes.guess_type(urlsplit(url).path)[0] or ""
    return bool(_URL.fullmatch(url)) and (_is_ours(url) or kind.startswith(_KINDS))


def _is_ours(url: str) -> bool:
    return urlsplit(url).path.startswith("/files/")
