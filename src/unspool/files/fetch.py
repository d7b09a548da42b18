"""Inputs that are files: from the URL that a client sent to a file in the folder of the run.

a file of ours   straight from the storage, whatever host its URL names
http(s)          from the public internet only (see `unspool.net`), every hop of a redirect checked anew
data:            decoded
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, unquote_to_bytes, urlsplit

import pydantic

from unspool.errors import InvalidInput, Refused, UnspoolError
from unspool.files import kinds
from unspool.files.config import WorkerFiles
from unspool.files.file import File
from unspool.files.storage import Storage, name_in

if TYPE_CHECKING:
    import httpx

MAX_REDIRECTS = 5
MAX_AT_ONCE = 8
MAX_ERRORS = 100


class Wanted(NamedTuple):
    """An input to be fetched."""

    field: str
    """Where it is in the inputs: `image`, `images.0`, `scene.background`."""
    file: File


class _Bad(UnspoolError):
    """Why an input cannot be had, in words for the client."""


def wanted(arguments: Mapping[str, Any]) -> list[Wanted]:
    """Every input that was given as a URL."""
    return [found for name, value in arguments.items() for found in _wanted(name, value)]


def _wanted(at: str, value: Any) -> Iterator[Wanted]:
    if isinstance(value, str | int | float | None):
        return
    if isinstance(value, File):
        if value.url is not None:
            yield Wanted(at, value)
        return
    for step, below in _below(value):
        yield from _wanted(f"{at}.{step}", below)


def _below(value: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(value, pydantic.BaseModel):
        return ((name, getattr(value, name)) for name in type(value).model_fields)
    if isinstance(value, Mapping):
        return value.items()
    if dataclasses.is_dataclass(value):
        return ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
    if isinstance(value, list | tuple | set | frozenset):
        return enumerate(value)
    return ()


async def fetch(
    files: Sequence[Wanted], folder: Path, config: WorkerFiles, storage: Storage, arrived: Callable[[int], None]
) -> None:
    """Brings every file into the folder, several at a time.

    Args:
        arrived: told how many are there, after each.

    Raises:
        InvalidInput: names each field whose file cannot be had, and why.
    """
    fetching = _Fetching(config, storage)
    turn = asyncio.Semaphore(MAX_AT_ONCE)
    done = 0

    async def one(number: int, file: File) -> None:
        nonlocal done
        async with turn:
            await fetching.bring(file, folder / str(number))
        done += 1
        arrived(done)

    tasks = [asyncio.ensure_future(one(number, file)) for number, (_, file) in enumerate(files)]
    try:
        results = await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        for task in tasks:
            task.cancel()
        await fetching.close()
    _raise_wrong([(field, result) for (field, _), result in zip(files, results, strict=True)])


def _raise_wrong(results: list[tuple[str, BaseException | None]]) -> None:
    for _, result in results:
        if result is not None and not isinstance(result, _Bad):
            raise result
    errors = [{"field": field, "message": str(result)} for field, result in results if result is not None]
    if errors:
        said = "; ".join(f"{error['field']}: {error['message']}" for error in errors[:3])
        more = f"; and {len(errors) - 3} more" if len(errors) > 3 else ""
        raise InvalidInput(f"Correct these inputs: {said}{more}", errors[:MAX_ERRORS])


class _Fetching:
    """The inputs of one run. They share one client, and what may be fetched at all."""

    def __init__(self, config: WorkerFiles, storage: Storage) -> None:
        self._config = config
        self._storage = storage
        self._client: httpx.AsyncClient | None = None
        self._left_bytes = config.max_input_bytes

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def bring(self, file: File, folder: Path) -> None:
        """Fetches one file into a folder of its own.

        Raises:
            _Bad: it cannot be had.
        """
        url = file.url or ""
        _make(folder)
        if url.startswith("data:"):
            return self._decode(file, url, folder)
        name = name_in(url)
        if name is not None and await self._copy(file, name, folder):
            return None
        if name is not None and url.startswith(self._config.base_url.rstrip("/") + "/"):
            raise _Bad("there is no such file here; it was not uploaded, was deleted or has expired")
        try:
            async with asyncio.timeout(self._config.fetch_timeout_s):
                return await self._get(file, url, folder)
        except TimeoutError:
            raise _Bad(f"was not there within {self._config.fetch_timeout_s:g} seconds") from None

    def _spend(self, size: int) -> None:
        self._left_bytes -= size
        if self._left_bytes < 0:
            raise _Bad(f"is too large; all input files together may have {self._config.max_input_bytes} bytes")

    # data:

    def _decode(self, file: File, url: str, folder: Path) -> None:
        data, declared = decode_data_url(url)
        self._spend(len(data))
        content_type, extension = kinds.decide(declared, "")
        path = folder / f"file{extension}"
        path.write_bytes(data)
        file.arrived(path, content_type)

    # A file of ours

    async def _copy(self, file: File, name: str, folder: Path) -> bool:
        info = await self._storage.info(name)
        if info is None:
            return False
        self._spend(info.size)
        path = folder / kinds.safe_name(_without_token(name), Path(name).suffix)
        with _open(path) as out, suppress(FileNotFoundError):
            async for piece in self._storage.read(name, 0, info.size):
                out.write(piece)
        file.arrived(path, info.content_type)
        return True

    # http and https

    async def _get(self, file: File, url: str, folder: Path) -> None:
        import httpx

        try:
            for _ in range(MAX_REDIRECTS + 1):
                async with self._http.stream("GET", url, headers=_HEADERS) as response:
                    if response.next_request is None:
                        return await self._save(file, response, folder)
                    url = str(response.next_request.url)
        except Refused as refused:
            raise _Bad(str(refused)) from None
        except (httpx.InvalidURL, httpx.UnsupportedProtocol):
            raise _Bad("is not a URL that can be fetched") from None
        except httpx.TimeoutException:
            raise _Bad("the other server has not answered in time") from None
        except (httpx.HTTPError, OSError):
            raise _Bad("the other server cannot be reached, or broke off") from None
        raise _Bad(f"is redirected more than {MAX_REDIRECTS} times")

    @property
    def _http(self) -> httpx.AsyncClient:
        if self._client is None:
            from unspool.net import public_client

            self._client = public_client(
                allow_http=self._config.fetch_allow_http,
                allow_hosts=self._config.fetch_allow_hosts,
                timeout_s=self._config.fetch_timeout_s,
            )
        return self._client

    async def _save(self, file: File, response: httpx.Response, folder: Path) -> None:
        if response.status_code != 200:
            raise _Bad(f"the other server answers with status {response.status_code}")
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise _Bad("the other server sends it compressed, which it was asked not to do")
        declared_size = response.headers.get("content-length", "")
        if declared_size.isdigit() and int(declared_size) > self._left_bytes:
            self._spend(int(declared_size))
        name = unquote(urlsplit(str(response.url)).path).rpartition("/")[2]
        content_type, extension = kinds.decide(response.headers.get("content-type"), name)
        path = folder / kinds.safe_name(name, extension)
        with _open(path) as out:
            async for piece in response.aiter_raw():
                self._spend(len(piece))
                out.write(piece)
        file.arrived(path, content_type)


_HEADERS = {"User-Agent": "unspool", "Accept": "*/*", "Accept-Encoding": "identity"}


def decode_data_url(url: str) -> tuple[bytes, str]:
    """The bytes of a `data:` URL (RFC 2397) and what it says they are.

    Raises:
        _Bad: it is malformed.
    """
    head, comma, body = url.removeprefix("data:").partition(",")
    if not comma:
        raise _Bad("is not a data URL; one looks like data:image/png;base64,…")
    declared, *parameters = head.split(";")
    data = unquote_to_bytes(body)
    if not any(parameter.strip().lower() == "base64" for parameter in parameters):
        return data, declared or "text/plain"
    try:
        return base64.b64decode(b"".join(data.split()), validate=True), declared or "text/plain"
    except binascii.Error as error:
        raise _Bad(f"is a data URL with bad base64: {error}") from None


def _without_token(name: str) -> str:
    """Of an upload what its owner called it; of an output nothing."""
    return name.partition("-")[2] if name.startswith("u") else ""


def _make(folder: Path) -> None:
    folder.mkdir(parents=True)


def _open(path: Path) -> IO[bytes]:
    return path.open("wb")
