"""`GET /files/{name}`: parts, conditions, and headers under which nothing of a file can run."""

from __future__ import annotations

import os
import secrets
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import pytest

from conftest import MakeServer
from support.client import Client, error_of
from support.files import ECHO, put, ticket, upload
from support.raw import Raw
from support.server import Server
from support.waiting import wait_until

DATA = bytes(range(100))


@pytest.fixture(scope="module")
def url(files_server: Server) -> str:
    return upload(files_server.client(), DATA, "data.bin")


def test_a_file_is_sent_with_everything_a_client_needs(url: str):
    answer = httpx.get(url)
    assert (answer.status_code, answer.content) == (200, DATA)
    name = url.rpartition("/")[2]
    assert answer.headers["content-length"] == "100"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["etag"] == f'"{name}"'
    assert answer.headers["content-disposition"] == f'inline; filename="{name}"'
    assert answer.headers["cache-control"] == "private, max-age=3600"
    modified = parsedate_to_datetime(answer.headers["last-modified"])
    assert abs((datetime.now(UTC) - modified).total_seconds()) < 600
    assert len(answer.headers["x-request-id"]) == 16


def test_nothing_of_a_file_can_run(client: Client):
    page = httpx.get(upload(client, b"<script>alert(1)</script>", "page.html"))
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert page.headers["x-content-type-options"] == "nosniff"


def test_any_page_may_show_a_file(url: str):
    answer = httpx.get(url, headers={"Origin": "https://page.example"})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "content-range" in answer.headers["access-control-expose-headers"]
    asked = httpx.options(url, headers={"Origin": "https://page.example"})
    assert "range" in asked.headers["access-control-allow-headers"]


def test_head_is_get_without_the_body(url: str):
    head, get = httpx.head(url), httpx.get(url)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-length", "content-type", "etag", "last-modified", "accept-ranges", "content-disposition"):
        assert head.headers[name] == get.headers[name]


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=90-", 90, 100),
        ("bytes=-7", 93, 100),
        ("bytes=-700", 0, 100),
        ("bytes=95-9999", 95, 100),
    ],
)
def test_a_part_is_sent_when_it_is_asked_for(url: str, asked: str, start: int, end: int):
    answer = httpx.get(url, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (206, DATA[start:end])
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/100"
    assert answer.headers["content-length"] == str(end - start)


@pytest.mark.parametrize("asked", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_a_part_behind_the_end_is_an_error(url: str, asked: str):
    answer = httpx.get(url, headers={"Range": asked})
    error_of(answer, 416, "range_not_satisfiable")
    assert answer.headers["content-range"] == "bytes */100"


@pytest.mark.parametrize("asked", ["bytes=5-1", "bytes=-", "bytes=0-1,5-6", "lines=1-2", "bytes=a-b", "nonsense"])
def test_all_is_sent_where_the_part_is_not_understood(url: str, asked: str):
    answer = httpx.get(url, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (200, DATA)


def test_a_part_is_sent_only_of_the_file_that_the_client_knows(url: str):
    first = httpx.get(url)
    for known in (first.headers["etag"], first.headers["last-modified"]):
        assert httpx.get(url, headers={"Range": "bytes=0-1", "If-Range": known}).status_code == 206
    for other in ('"other"', "Mon, 01 Jan 2001 00:00:00 GMT", "nonsense"):
        assert httpx.get(url, headers={"Range": "bytes=0-1", "If-Range": other}).status_code == 200


def test_what_the_client_has_is_not_sent_again(url: str):
    first = httpx.get(url)
    for condition in (
        {"If-None-Match": first.headers["etag"]},
        {"If-None-Match": f'"a", W/{first.headers["etag"]}'},
        {"If-None-Match": "*"},
        {"If-Modified-Since": first.headers["last-modified"]},
    ):
        answer = httpx.get(url, headers=condition)
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == first.headers["etag"]
    assert httpx.get(url, headers={"If-None-Match": '"other"'}).status_code == 200
    assert httpx.get(url, headers={"If-Modified-Since": "Mon, 01 Jan 2001 00:00:00 GMT"}).status_code == 200


@pytest.mark.parametrize(
    "name",
    ["x", "..", "%2e%2e%2fapi-key", "..%2f..%2fapi-key", "u" + "0" * 32, "0" * 32 + "-" + "0" * 32 + ".png", "api-key"],
)
def test_what_is_no_file_is_not_found(server: Server, name: str):
    with Raw(server.url) as raw:
        assert raw.request("GET", f"/files/{name}").begin().status == 404


def test_a_file_cannot_be_changed(url: str):
    assert httpx.put(url, content=b"x").status_code == 405
    assert httpx.delete(url).status_code == 405


# Large files


def large_file(server: Server, size: int) -> str:
    """As if it had been uploaded; it takes no room on the disk."""
    path = server.data_dir / "files" / "uploads" / f"u{secrets.token_hex(16)}.bin"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size)
    return f"/files/{path.name}"


def test_a_file_of_two_gigabytes_is_never_in_memory(server: Server):
    size = 2 * 1024**3 + 5
    assert len(httpx.get(server.url + large_file(server, 50_000_000)).content) == 50_000_000
    before, highest, left = server.memory_bytes(), 0, size
    buffer = bytearray(1 << 20)
    with Raw(server.url) as raw:
        raw.request("GET", large_file(server, size), {"Connection": "close"}).begin()
        assert raw.headers["content-length"] == str(size)
        left -= len(raw._rest)
        while received := raw.socket.recv_into(buffer):
            if left >> 27 != (left - received) >> 27:
                highest = max(highest, server.memory_bytes())
            left -= received
    assert left == 0
    assert max(highest, server.memory_bytes()) - before < 50_000_000


def test_a_reader_that_takes_nothing_costs_little(server: Server):
    before = server.memory_bytes()
    target = large_file(server, 2 * 1024**3)
    readers = [Raw(server.url, receive_buffer=1 << 12).request("GET", target).begin() for _ in range(5)]
    assert len(httpx.get(server.url + large_file(server, 50_000_000)).content) == 50_000_000
    assert server.memory_bytes() - before < 50_000_000
    for reader in readers:
        reader.socket.close()


def test_an_upload_is_never_in_memory(server: Server):
    client = server.client()
    upload(client, b"x" * 20_000_000, "warm-up.bin")
    size = 300 * 1024**2
    given = client.http.post("media/uploads", json={"filename": "large.bin", "size": size}).json()["data"]
    before, highest = server.memory_bytes(), 0

    def pieces():
        nonlocal highest
        for _ in range(size >> 20):
            yield b"x" * (1 << 20)
            highest = max(highest, server.memory_bytes())

    assert httpx.put(given["upload"]["url"], content=pieces(), timeout=60).status_code == 200
    assert highest - before < 80_000_000
    Path(server.data_dir / "files" / "uploads" / given["download_url"].rpartition("/")[2]).unlink()


def test_transfers_that_stand_still_are_ended(make_server: MakeServer):
    server = make_server(ECHO, ready=False, UNSPOOL_STALLED_TRANSFER_S="0.2")
    given = ticket(server.client(), "a.bin", 10)
    target = given["upload"]["url"].removeprefix(server.url)
    with Raw(server.url) as upload:
        upload.request("PUT", target, {"Content-Length": "10"}, b"12345")
        assert upload.begin().status == 400
        assert upload.json()["error_code"] == "bad_upload"
    with Raw(server.url, receive_buffer=1 << 12) as download:
        download.request("GET", large_file(server, 200_000_000)).begin()
        server.wait_for_log("a client took nothing of a file")
        with pytest.raises(EOFError):
            download.body()
    assert put(given, b"1234567890").status_code == 200


# The end of a file


def test_a_file_expires(make_server: MakeServer):
    server = make_server(ECHO, ready=False, UNSPOOL_RETENTION_DAYS="1")
    client = server.client()
    old, young = upload(client, b"old", "old.txt"), upload(client, b"young", "young.txt")
    path = server.data_dir / "files" / "uploads" / old.rpartition("/")[2]
    os.utime(path, (time.time() - 86_401, time.time() - 86_401))
    assert httpx.get(old).status_code == 404
    assert path.exists()
    server.restart()
    wait_until(lambda: not path.exists(), "the expired file was deleted")
    assert httpx.get(server.url + "/files/" + young.rpartition("/")[2]).content == b"young"
