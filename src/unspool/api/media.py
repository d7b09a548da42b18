"""Uploads (`wavespeed-v3.md` §1.10): by a ticket and a PUT, or as a form. Either way straight into the storage.

A ticket is nothing but a signed URL: the server keeps no state between it and the PUT.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from unspool.api.auth import Auth
from unspool.api.body import json_object
from unspool.api.description import data, described, query, ref
from unspool.api.responses import Answer, Json
from unspool.api.schemas import COUNT, TEXT
from unspool.config import Settings
from unspool.errors import (
    AlreadyUploaded,
    BadUpload,
    ClientError,
    InvalidInput,
    NotFound,
    TooLarge,
    UnsupportedMediaType,
)
from unspool.files import kinds
from unspool.files.storage import CHUNK_BYTES, Storage, key_of, upload_name

MAX_TICKET_BYTES = 64 * 1024
EXPECTED = 'The body must be JSON such as {"filename": "cat.png", "size": 1234}.'
MAX_FORM_OVERHEAD_BYTES = 64 * 1024
"""What a form may have beside its file."""
MAX_PASSED_OVER_BYTES = 16 * 1024 * 1024
MAX_PASSING_OVER_S = 10
"""How much of a refused upload is read, and for how long, before the refusal is sent."""


_WISH = {
    "type": "object",
    "properties": {
        "filename": {"type": "string", "minLength": 1, "maxLength": 1024},
        "size": {"type": "integer", "minimum": 0, "description": "Bytes."},
        "content_type": {"type": ["string", "null"]},
    },
    "required": ["filename", "size"],
}


class Media:
    """The handlers of uploads.

    Args:
        secret: signs tickets; the same on every node and after every restart.
    """

    def __init__(self, storage: Storage, auth: Auth, secret: bytes, settings: Settings) -> None:
        self._storage = storage
        self._auth = auth
        self._secret = secret
        self._settings = settings
        self._under_way: set[str] = set()

    # Ticket and PUT

    @described(
        summary="Ask for a place for a file",
        tag="Files",
        details="Then send the bytes with the method, URL and headers of `upload`; that needs no key.",
        body=_WISH,
        answers={200: data(ref("UploadTicket"))},
    )
    async def ticket(self, request: Request) -> Answer:
        """`POST /api/v3/media/uploads`: a place for a file of this name and size."""
        await self._auth.owner(request)
        filename, size, content_type = _wish(await json_object(request, MAX_TICKET_BYTES, EXPECTED))
        self._check_size(size)
        name = upload_name(filename, content_type)
        kind = kinds.content_type_of(name)
        expires = int(time.time() + self._settings.upload_ticket_s)
        query = urlencode({"size": size, "expires": expires, "token": self._sign(name, size, expires)})
        upload = {
            "method": "PUT",
            "url": f"{self._base(request)}/api/v3/media/uploads/{name}?{query}",
            "headers": {"Content-Type": kind, "If-None-Match": "*"},
            "expires_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(expires)),
        }
        return Json({**self._described(request, name, filename, size), "upload": upload})

    @described(
        summary="Send the bytes of a file",
        tag="Files",
        details="To the URL of a ticket, as it is. The body is the file itself, with any content type.",
        security="none",
        parameters=(
            query("size", COUNT, "Of the ticket."),
            query("expires", COUNT, "Of the ticket."),
            query("token", TEXT, "Of the ticket."),
        ),
        answers={200: data(ref("Upload"))},
        errors=(NotFound, AlreadyUploaded, TooLarge, BadUpload),
    )
    async def put(self, request: Request) -> Answer:
        """`PUT` of the bytes, to the URL of a ticket. It comes without a key."""
        body = self._body(request)
        try:
            return await self._put(request, body)
        except ClientError:
            await _pass_over(request, body)
            raise

    async def _put(self, request: Request, body: AsyncIterator[bytes]) -> Answer:
        name = request.path_params["name"]
        size = self._checked_ticket(name, request)
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) != size:
            raise _wrong_size(int(declared), size)
        with _Claim(self._under_way, name):
            if await self._storage.info(name) is not None:
                raise AlreadyUploaded("This file is there already. Ask for another ticket to upload another one.")
            await self._storage.write(name, _exactly(_chunks(body), size))
        return Json(self._described(request, name, name, size))

    def _checked_ticket(self, name: str, request: Request) -> int:
        query = request.query_params
        size, expires, token = query.get("size", ""), query.get("expires", ""), query.get("token", "")
        if not (size.isdigit() and expires.isdigit() and len(size) < 20 and len(expires) < 20 and key_of(name)):
            raise NotFound("There is no such upload. Use the upload.url of a ticket as it is.")
        if not hmac.compare_digest(self._sign(name, int(size), int(expires)).encode(), token.encode()):
            raise NotFound("There is no such upload. Use the upload.url of a ticket as it is.")
        if int(expires) < time.time():
            raise NotFound("This upload ticket has expired. Ask for another one.")
        return int(size)

    def _sign(self, name: str, size: int, expires: int) -> str:
        said = f"upload:{name}:{size}:{expires}".encode()
        return hmac.digest(self._secret, said, "sha256").hex()[:32]

    # Form

    @described(
        summary="Upload a file as a form",
        tag="Files",
        details="`multipart/form-data` with the file in the field `file`.",
        answers={200: data(ref("FormUpload"))},
        errors=(BadUpload, TooLarge, UnsupportedMediaType),
    )
    async def form(self, request: Request) -> Answer:
        """`POST /api/v3/media/upload/binary`, and the older `/api/v3/upload`: a form with the field `file`."""
        body = self._body(request)
        try:
            return await self._form(request, body)
        except ClientError:
            await _pass_over(request, body)
            raise

    async def _form(self, request: Request, body: AsyncIterator[bytes]) -> Answer:
        await self._auth.owner(request)
        limit = self._settings.max_upload_bytes
        form = _Form(request.headers.get("content-type", ""))
        pieces = form.file(body, limit)
        first = await anext(pieces, b"")
        name = upload_name(form.filename, form.content_type)
        await self._storage.write(name, _chunks(_with_first(first, pieces)))
        described = self._described(request, name, form.filename, form.size)
        return Json({**described, "url": described["download_url"]})

    # Both

    def _check_size(self, size: int) -> None:
        limit = self._settings.max_upload_bytes
        if size > limit:
            raise TooLarge(f"The file has {size} bytes; this server takes at most {limit}.")

    async def _body(self, request: Request) -> AsyncIterator[bytes]:
        """The body as it comes; a client that sends nothing for too long is given up."""
        stream = request.stream()
        while True:
            try:
                async with asyncio.timeout(self._settings.stalled_transfer_s):
                    chunk = await anext(stream, None)
            except TimeoutError:
                raise BadUpload("Nothing came for too long. Send the file again.") from None
            if chunk is None:
                return
            yield chunk

    def _base(self, request: Request) -> str:
        return (self._settings.public_url or str(request.base_url)).rstrip("/")

    def _described(self, request: Request, name: str, filename: str, size: int) -> dict[str, Any]:
        url = f"{self._base(request)}/files/{name}"
        kind = kinds.kind_of(kinds.content_type_of(name))
        return {"type": kind, "download_url": url, "filename": filename, "size": size}


class _Claim:
    """One writer for each name."""

    def __init__(self, names: set[str], name: str) -> None:
        self._names = names
        self._name = name

    def __enter__(self) -> None:
        if self._name in self._names:
            raise AlreadyUploaded("This file is being uploaded already. Ask for another ticket to upload another one.")
        self._names.add(self._name)

    def __exit__(self, *_: object) -> None:
        self._names.discard(self._name)


def _wish(body: dict[str, Any]) -> tuple[str, int, str | None]:
    """Filename, size and content type that a ticket is asked for.

    Raises:
        InvalidInput: names each wrong field.
    """
    filename, size, content_type = body.get("filename"), body.get("size"), body.get("content_type")
    errors = []
    if not (isinstance(filename, str) and 0 < len(filename) <= 1024):
        errors.append({"field": "filename", "message": "must be the name of the file, as in 'cat.png'"})
    if not (isinstance(size, int) and not isinstance(size, bool) and 0 <= size < 10**18):
        errors.append({"field": "size", "message": "must be the number of bytes"})
    if not isinstance(content_type, str | None):
        errors.append({"field": "content_type", "message": "must be a content type, as in 'image/png'"})
    if errors:
        names = ", ".join(error["field"] for error in errors)
        raise InvalidInput(f"Correct these fields of the upload: {names}", errors)
    return str(filename), int(size or 0), content_type


async def _pass_over(request: Request, body: AsyncIterator[bytes]) -> None:
    """Reads what is left of a refused upload, up to a limit.

    A client that sends the file after the headers, as Node's `fetch` does with forms, never sees an answer that comes
    in between: the server closes the connection behind it, and the client fails at sending. One that asks first
    (`Expect: 100-continue`) is waiting for the answer.
    """
    declared = request.headers.get("content-length", "")
    if "expect" in request.headers or (declared.isdigit() and int(declared) > MAX_PASSED_OVER_BYTES):
        return
    passed = 0
    with suppress(TimeoutError, BadUpload, ClientDisconnect):
        async with asyncio.timeout(MAX_PASSING_OVER_S):
            async for chunk in body:
                passed += len(chunk)
                if passed > MAX_PASSED_OVER_BYTES:
                    return


async def _exactly(pieces: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    """Passes pieces on as long as they are no more than was announced, and at the end no less."""
    came = 0
    async for piece in pieces:
        came += len(piece)
        if came > size:
            raise _wrong_size(None, size)
        yield piece
    if came < size:
        raise _wrong_size(came, size)


def _wrong_size(came: int | None, size: int) -> TooLarge | BadUpload:
    if came is None or came > size:
        return TooLarge(f"The body is larger than the {size} bytes of its ticket. Ask for a ticket of the right size.")
    return BadUpload(f"The body has {came} bytes, and its ticket says {size}. Send all of the file.")


async def _chunks(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in larger pieces: what comes from a socket is small."""
    gathered: list[bytes] = []
    size = 0
    async for piece in pieces:
        gathered.append(piece)
        size += len(piece)
        if size >= CHUNK_BYTES:
            yield b"".join(gathered)
            gathered, size = [], 0
    if gathered:
        yield b"".join(gathered)


async def _with_first(first: bytes, others: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in others:
        yield piece


class _Form:
    """Takes the file out of a multipart body while it comes; the rest of the body is passed over.

    Raises:
        UnsupportedMediaType: the body is no form.
    """

    def __init__(self, content_type: str) -> None:
        kind, parameters = parse_options_header(content_type)
        if kind != b"multipart/form-data" or b"boundary" not in parameters:
            raise UnsupportedMediaType("Send the file as multipart/form-data, in the field 'file'.")
        self.filename = ""
        self.content_type: str | None = None
        self.size = 0
        self._header: tuple[bytes, bytes] = (b"", b"")
        self._headers: dict[bytes, bytes] = {}
        self._in_file = self._seen = self._ended = False
        self._pieces: list[bytes] = []
        self._parser = MultipartParser(
            parameters[b"boundary"],
            {
                "on_part_begin": self._part_begins,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_ends,
                "on_headers_finished": self._headers_end,
                "on_part_data": self._part_data,
                "on_part_end": self._part_ends,
                "on_end": self._form_ends,
            },
        )

    async def file(self, body: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
        """The bytes of the field `file`. Its name and type are known from the first piece on.

        Raises:
            BadUpload: the body is malformed, ends too early, or has no such field.
            TooLarge: the file has more than `limit` bytes, or the rest of the form is large.
        """
        came = 0
        async for chunk in body:
            came += len(chunk)
            try:
                self._parser.write(chunk)
            except MultipartParseError as error:
                raise BadUpload(f"The form is malformed: {error}") from None
            if self.size > limit:
                raise TooLarge(f"The file is larger than {limit} bytes, which is as much as this server takes.")
            if came - self.size > MAX_FORM_OVERHEAD_BYTES:
                raise TooLarge("The form holds more than its file. Send the field 'file' alone.")
            pieces, self._pieces = self._pieces, []
            for piece in pieces:
                yield piece
        if not self._ended:
            raise BadUpload("The form broke off before its end. Send it again.")
        if not self._seen:
            raise BadUpload("The form has no file in the field 'file'.")

    def _part_begins(self) -> None:
        self._headers = {}

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header = (self._header[0] + data[start:end], b"")

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._header = (self._header[0], self._header[1] + data[start:end])

    def _header_ends(self) -> None:
        self._headers[self._header[0].lower()] = self._header[1]
        self._header = (b"", b"")

    def _headers_end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._in_file = options.get(b"name") == b"file" and not self._seen
        if self._in_file:
            self._seen = True
            self.filename = options.get(b"filename", b"").decode("utf-8", "replace")[:1024]
            self.content_type = self._headers.get(b"content-type", b"").decode("latin-1")

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self.size += end - start
            self._pieces.append(data[start:end])

    def _part_ends(self) -> None:
        self._in_file = False

    def _form_ends(self) -> None:
        self._ended = True
