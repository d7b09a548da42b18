"""Where files are kept: a folder, or a bucket of S3 (or whatever else `obstore` speaks), under names nobody can guess.

    name of an upload   u{token}-{stem}.{ext}             kept as  uploads/{name}
    name of an output   {prediction id}-{token}.{ext}     kept as  outputs/{prediction id}/{token}.{ext}

A token has 128 random bits. Whoever has a name may read the file: it is the capability, as with a stream's token. A
file is written once, as a whole or not at all, and expires some days after it was written.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

from unspool.errors import Unavailable
from unspool.files import kinds

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore

CHUNK_BYTES = 512 * 1024
"""What is read at a time."""
PART_BYTES = 5 * 1024 * 1024
"""What is written at a time; S3 allows no smaller parts, and 10,000 of them."""
PARTS_AT_ONCE = 3
SWEEP_INTERVAL_S = 3600.0
_STALE_PART_S = 24 * 3600
_REMOTE_TIMEOUT = "12h"
"""For one whole answer of a remote store, however slowly a client takes it."""

_UPLOAD = re.compile(r"u[0-9a-f]{32}(?:-[A-Za-z0-9][A-Za-z0-9._-]{0,59})?(?:\.[a-z0-9]{1,16})?", re.ASCII)
_OUTPUT = re.compile(r"([0-9a-f]{32})-([0-9a-f]{32}(?:\.[a-z0-9]{1,16})?)", re.ASCII)
_PREDICTION = re.compile(r"[0-9a-f]{32}", re.ASCII)
_FILES_PATH = re.compile(r"(?:.*/)?files/([^/]+)", re.DOTALL)


class Info(NamedTuple):
    """A file that is there."""

    name: str
    size: int
    modified: datetime

    @property
    def content_type(self) -> str:
        """What its extension says."""
        return kinds.content_type_of(self.name)


def upload_name(filename: str, content_type: str | None) -> str:
    """A new name for an upload."""
    _, extension = kinds.decide(content_type, filename)
    stem = kinds.safe_stem(filename)
    return f"u{secrets.token_hex(16)}{'-' if stem else ''}{stem}{extension}"


def output_name(prediction_id: str, extension: str) -> str:
    """A new name for an output of a prediction."""
    return f"{prediction_id}-{secrets.token_hex(16)}{extension}"


def key_of(name: str) -> str | None:
    """Where the file of a name is kept; `None` if it is no name of ours."""
    if _UPLOAD.fullmatch(name):
        return f"uploads/{name}"
    match = _OUTPUT.fullmatch(name)
    return None if match is None else f"outputs/{match[1]}/{match[2]}"


def name_in(url: str) -> str | None:
    """The name in the URL of a file of ours, whatever host it was reached by; `None` for other URLs.

    Names cannot be guessed, so one that is in the storage came from here.
    """
    try:
        match = _FILES_PATH.fullmatch(unquote(urlsplit(url).path))
    except ValueError:
        return None
    return match[1] if match is not None and key_of(match[1]) is not None else None


class Storage:
    """The files of an installation.

    Methods raise `Unavailable` when the storage does not do what is asked.

    Args:
        url: `file:///…`, `s3://bucket/prefix`, or another that obstore knows.
        retention_s: how long a file is kept after it was written.
    """

    def __init__(self, url: str, retention_s: float) -> None:
        self._url = url
        self._retention = timedelta(seconds=retention_s)
        self._folder = Path(unquote(urlsplit(url).path)) if url.startswith("file:") else None
        self._opened: ObjectStore | None = None

    @property
    def _store(self) -> ObjectStore:
        """The store, opened when it is first needed: most workers never need it.

        Raises:
            Unavailable: it cannot be opened.
        """
        if self._opened is None:
            from obstore.store import LocalStore, from_url

            with _troubles("opened"):
                if self._folder is not None:
                    self._opened = LocalStore(self._folder, mkdir=True, automatic_cleanup=True)
                else:
                    plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
                    options: ClientConfig = {"timeout": _REMOTE_TIMEOUT, "allow_http": plain}
                    self._opened = from_url(self._url, client_options=options)
        return self._opened

    def open(self) -> None:
        """Opens the storage now, so that a wrong setting is found at the start.

        Raises:
            Unavailable: it cannot be opened.
        """
        assert self._store is not None

    # One file

    async def info(self, name: str) -> Info | None:
        """What is known of a file; `None` if there is none of that name, or no more."""
        import obstore

        key = key_of(name)
        if key is None:
            return None
        try:
            with _troubles("read"):
                meta = await obstore.head_async(self._store, key)
        except FileNotFoundError:
            return None
        expired = meta["last_modified"] + self._retention <= datetime.now(UTC)
        return None if expired else Info(name, meta["size"], meta["last_modified"])

    def left_s(self, info: Info) -> float:
        """How long the file will be kept, in seconds."""
        return (info.modified + self._retention - datetime.now(UTC)).total_seconds()

    async def read(self, name: str, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to, not with, `end`, a bounded piece at a time.

        Raises:
            FileNotFoundError: there is none of that name, or no more.
        """
        key = _known(name)
        pieces = self._read_remote if self._folder is None else self._read_local
        with _troubles("read"):
            async for piece in pieces(key, start, end):
                yield piece

    async def _read_local(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        import obstore

        while start < end:
            length = min(CHUNK_BYTES, end - start)
            piece = bytes(await obstore.get_range_async(self._store, key, start=start, length=length))
            start += len(piece)
            yield piece

    async def _read_remote(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        import obstore

        if start < end:
            result = await obstore.get_async(self._store, key, options={"range": (start, end)})
            async for piece in result.stream(min_chunk_size=CHUNK_BYTES):
                yield piece

    async def write(self, name: str, content: AsyncIterator[bytes] | Path | bytes) -> None:
        """Keeps a file: all of it, or nothing if `content` raises (that is passed on) or this is cancelled."""
        import obstore

        with _troubles("kept"):
            await obstore.put_async(
                self._store, _known(name), content, chunk_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE
            )

    def write_now(self, name: str, content: Path | bytes) -> None:
        """As `write`, for callers that cannot wait otherwise."""
        import obstore

        with _troubles("kept"):
            obstore.put(self._store, _known(name), content, chunk_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE)

    # Many files

    async def delete_of(self, prediction_id: str) -> None:
        """Deletes every output of a prediction. There may be none."""
        if _PREDICTION.fullmatch(prediction_id):
            await self._delete(f"outputs/{prediction_id}/", datetime.max.replace(tzinfo=UTC))

    async def delete_of_all(self, prediction_ids: Sequence[str]) -> None:
        """Deletes every output of these predictions. There may be none."""
        for prediction_id in prediction_ids:
            await self.delete_of(prediction_id)

    async def sweep(self) -> int:
        """Deletes what has expired; returns how many files that were."""
        if self._folder is not None:
            await asyncio.to_thread(_remove_stale_parts, self._folder)
        latest = datetime.now(UTC) - self._retention
        return await self._delete("uploads/", latest) + await self._delete("outputs/", latest)

    async def _delete(self, prefix: str, latest: datetime) -> int:
        import obstore

        count = 0
        with _troubles("deleted"):
            async for page in obstore.list(self._store, prefix=prefix):
                keys = [meta["path"] for meta in page if meta["last_modified"] <= latest]
                await self._delete_keys(keys)
                count += len(keys)
        return count

    async def _delete_keys(self, keys: list[str]) -> None:
        """All at once; one by one if one of them has gone meanwhile."""
        import obstore

        with suppress(FileNotFoundError):
            return await obstore.delete_async(self._store, keys)
        for key in keys:
            with suppress(FileNotFoundError):
                await obstore.delete_async(self._store, key)
        return None


def _known(name: str) -> str:
    key = key_of(name)
    if key is None:
        raise FileNotFoundError(name)
    return key


@contextmanager
def _troubles(what: str) -> Iterator[None]:
    """What the store raises in our words. What the source of a write raises, or a missing file, passes."""
    from obstore.exceptions import BaseError

    try:
        yield
    except FileNotFoundError:
        raise
    except (BaseError, OSError, NotImplementedError, ValueError) as error:
        raise Unavailable(f"The storage of files does not work: nothing can be {what} there. Try again.") from error


def _remove_stale_parts(folder: Path) -> None:
    """What writes have left that were under way when their process was killed: `{file}#{number}`."""
    oldest = time.time() - _STALE_PART_S
    for path in folder.glob("**/*#*"):
        try:
            if path.stat().st_mtime < oldest:
                path.unlink()
        except OSError:
            continue


def local_url(folder: Path) -> str:
    """The URL of a folder."""
    return folder.absolute().as_uri()
