"""Both ways to upload, and everything that is wrong with an upload."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import requests
import wavespeed

from conftest import MakeServer
from support.client import Client, data_of, error_of
from support.files import ECHO, put, ticket, upload
from support.raw import Raw
from support.server import KEY, Server
from support.waiting import wait_until


def stored(server: Server) -> list[Path]:
    return [path for path in (server.data_dir / "files").rglob("*") if path.is_file()]


# The ticket


def test_a_ticket_says_what_to_do(client: Client, server: Server):
    given = ticket(client, "My cat.PNG", 3)
    assert (given["type"], given["filename"], given["size"]) == ("image", "My cat.PNG", 3)
    assert given["download_url"].startswith(f"{server.url}/files/u")
    assert given["download_url"].endswith("-My-cat.png")
    assert given["upload"]["method"] == "PUT"
    assert given["upload"]["headers"] == {"Content-Type": "image/png", "If-None-Match": "*"}
    assert given["upload"]["expires_at"].endswith("Z")
    assert httpx.get(given["download_url"]).status_code == 404
    assert put(given, b"abc").status_code == 200
    assert httpx.get(given["download_url"]).content == b"abc"


def test_no_two_tickets_have_the_same_name(client: Client):
    assert len({ticket(client, "a.png", 1)["download_url"] for _ in range(20)}) == 20


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["filename", "size"]),
        ({"filename": "", "size": 1}, ["filename"]),
        ({"filename": "a.png", "size": -1}, ["size"]),
        ({"filename": "a.png", "size": "1"}, ["size"]),
        ({"filename": "a.png", "size": True}, ["size"]),
        ({"filename": 5, "size": 1.5, "content_type": 3}, ["filename", "size", "content_type"]),
    ],
)
def test_every_wrong_field_of_a_ticket_is_named(client: Client, body: dict[str, Any], fields: list[str]):
    answer = error_of(client.http.post("media/uploads", json=body), 400, "invalid_input")
    assert [wrong["field"] for wrong in answer["errors"]] == fields


def test_a_ticket_needs_a_key(server: Server):
    for path in ("media/uploads", "media/upload/binary", "upload"):
        error_of(httpx.post(f"{server.url}/api/v3/{path}", json={}), 401, "unauthenticated")


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "..\\boot.ini", "/", "\x00.png", "a\r\nb.png", "дом.png", "." * 300]
)
def test_no_file_name_leaves_the_folder_of_the_uploads(client: Client, server: Server, name: str):
    url = upload(client, b"x", name)
    file_name = url.rpartition("/")[2]
    assert (server.data_dir / "files" / "uploads" / file_name).read_bytes() == b"x"


# The PUT


def test_a_file_is_written_once(client: Client):
    given = ticket(client, "a.txt", 3)
    assert put(given, b"one").status_code == 200
    error_of(put(given, b"two"), 412, "already_uploaded")
    assert httpx.get(given["download_url"]).content == b"one"


def test_a_put_may_come_in_chunks(client: Client):
    def pieces() -> Iterator[bytes]:
        yield b"a" * 100_000
        yield b"b" * 700_000

    given = ticket(client, "a.bin", 800_000)
    assert put(given, pieces()).status_code == 200
    assert httpx.get(given["download_url"]).content == b"a" * 100_000 + b"b" * 700_000


def test_an_empty_file_may_be_uploaded(client: Client):
    assert httpx.get(upload(client, b"", "empty.txt")).content == b""


def test_more_than_the_ticket_says_is_refused(client: Client, server: Server):
    before = stored(server)
    error_of(put(ticket(client, "a.txt", 3), b"four"), 413, "too_large")
    error_of(put(ticket(client, "a.txt", 3), iter([b"fo", b"ur"])), 413, "too_large")
    assert stored(server) == before


def test_less_than_the_ticket_says_is_refused(client: Client, server: Server):
    before = stored(server)
    error_of(put(ticket(client, "a.txt", 5), b"four"), 400, "bad_upload")
    given = ticket(client, "a.txt", 5)
    error_of(put(given, iter([b"fo", b"ur"])), 400, "bad_upload")
    assert stored(server) == before
    assert put(given, b"fives").status_code == 200, "a failed PUT may be repeated"


def test_two_puts_at_once_are_one(client: Client):
    given = ticket(client, "a.txt", 4)
    url = urlsplit(given["upload"]["url"])
    with Raw(f"http://{url.netloc}") as first:
        first.request("PUT", f"{url.path}?{url.query}", {"Content-Length": "4"}, b"on")
        wait_until(lambda: put(given, b"twoo").status_code == 412, "the first PUT was under way", 5)
        answer = first.send(b"e!").begin()
        assert answer.status == 200
    assert httpx.get(given["download_url"]).content == b"one!"


def test_a_client_that_leaves_in_the_middle_leaves_nothing_behind(client: Client, server: Server):
    before = stored(server)
    given = ticket(client, "a.bin", 20_000_000)
    url = urlsplit(given["upload"]["url"])
    with Raw(f"http://{url.netloc}") as leaving:
        leaving.request("PUT", f"{url.path}?{url.query}", {"Content-Length": "20000000"}, b"x" * 8_000_000)
    wait_until(lambda: put(given, b"x" * 20_000_000).status_code == 200, "the name was free again")
    assert len(stored(server)) == len(before) + 1


@pytest.mark.parametrize("name", ["size", "expires", "token"])
def test_a_ticket_cannot_be_changed(client: Client, name: str):
    given = ticket(client, "a.txt", 3)
    parts = urlsplit(given["upload"]["url"])
    query = {key: values[0] for key, values in parse_qs(parts.query).items()}
    for value in ("9" * 12, "", "x", "-1"):
        answer = httpx.put(parts._replace(query="").geturl(), params={**query, name: value}, content=b"abc")
        error_of(answer, 404, "not_found")
    other = ticket(client, "a.txt", 3)["upload"]["url"].partition("?")[0]
    error_of(httpx.put(other, params=query, content=b"abc"), 404, "not_found")


def test_a_ticket_expires(make_server: MakeServer):
    client = make_server(ECHO, ready=False, UNSPOOL_UPLOAD_TICKET_S="0.01").client()
    given = ticket(client, "a.txt", 3)
    expires = int(parse_qs(urlsplit(given["upload"]["url"]).query)["expires"][0])
    wait_until(lambda: time.time() > expires, "the ticket had expired")
    assert "expired" in error_of(put(given, b"abc"), 404, "not_found")["message"]


def test_the_largest_upload_is_a_setting(make_server: MakeServer):
    server = make_server(ECHO, ready=False, UNSPOOL_MAX_UPLOAD_BYTES="1000")
    client = server.client()
    error_of(client.http.post("media/uploads", json={"filename": "a", "size": 1001}), 413, "too_large")
    error_of(client.http.post("media/upload/binary", files={"file": b"x" * 1001}), 413, "too_large")
    assert stored(server) == []
    upload(client, b"x" * 1000, "a.txt")
    data_of(client.http.post("media/upload/binary", files={"file": b"x" * 1000}))


def test_a_page_may_upload_with_a_ticket(client: Client):
    url = ticket(client, "a.txt", 3)["upload"]["url"]
    asked = httpx.options(url, headers={"Origin": "https://page.example", "Access-Control-Request-Method": "PUT"})
    assert asked.headers["access-control-allow-origin"] == "*"
    assert "PUT" in asked.headers["access-control-allow-methods"]
    assert "if-none-match" in asked.headers["access-control-allow-headers"]


# The form


@pytest.mark.parametrize("path", ["media/upload/binary", "upload"])
def test_a_form_is_an_upload(client: Client, path: str):
    data = bytes(range(256)) * 5_000
    form = {"file": ("clip.mp4", data, "application/octet-stream")}
    given = data_of(client.http.post(path, files=form, data={"other": "field"}))
    assert (given["type"], given["filename"], given["size"]) == ("video", "clip.mp4", len(data))
    assert given["url"] == given["download_url"]
    answer = httpx.get(given["download_url"])
    assert (answer.content, answer.headers["content-type"]) == (data, "video/mp4")


def test_a_form_may_be_sent_by_the_older_api_path(client: Client, server: Server):
    headers = {"Authorization": f"Bearer {KEY}"}
    given = requests.post(f"{server.url}/api/v2/media/upload/binary", files={"file": b"x"}, headers=headers, timeout=30)
    assert given.json()["data"]["size"] == 1


def test_a_form_of_an_empty_file_is_an_upload(client: Client):
    assert data_of(client.http.post("media/upload/binary", files={"file": ("a.txt", b"")}))["size"] == 0


def test_what_is_no_form_with_a_file_is_refused(client: Client):
    send = client.http.post
    error_of(send("media/upload/binary", json={"file": "x"}), 415, "unsupported_media_type")
    error_of(send("media/upload/binary", files={"image": b"x"}), 400, "bad_upload")
    head = {"Content-Type": "multipart/form-data; boundary=b"}
    for body in (b"", b"--b\r\nnonsense", b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\ncut', b"x" * 99):
        error_of(send("media/upload/binary", content=body, headers=head), 400, "bad_upload")


def test_a_form_may_not_be_large_beside_its_file(client: Client):
    form = {"file": b"x"}
    error_of(client.http.post("media/upload/binary", files=form, data={"a": "x" * 200_000}), 413, "too_large")


# The official client


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("POST", "media/upload/binary", 401), ("POST", "upload", 401), ("PUT", "media/uploads/u0-a.png", 404)],
)
def test_a_client_that_is_still_sending_gets_to_see_why_it_is_refused(
    server: Server, method: str, path: str, status: int
):
    with Raw(server.url) as raw:
        for _ in range(2):  # the connection goes on
            raw.request(method, f"/api/v3/{path}", {"Content-Length": "100000"})
            raw.socket.setblocking(False)
            with pytest.raises(BlockingIOError):
                raw.socket.recv(1)
            raw.socket.settimeout(30)
            raw.send(b"x" * 50_000).send(b"x" * 50_000)
            assert raw.begin().status == status
            raw.body()


def test_a_client_that_asks_before_it_sends_is_refused_before_it_sends(server: Server):
    with Raw(server.url) as raw:
        raw.request("POST", "/api/v3/upload", {"Content-Length": "100000", "Expect": "100-continue"})
        assert raw.begin().status == 401


def test_an_upload_that_is_refused_and_never_ends_is_not_read_to_its_end(server: Server):
    with Raw(server.url) as raw:
        raw.request("POST", "/api/v3/upload", {"Transfer-Encoding": "chunked"})
        for _ in range(16):
            raw.send(b"100000\r\n" + b"x" * 0x100000 + b"\r\n")
        raw.send(b"1\r\nx\r\n")
        assert raw.begin().status == 401


def test_the_official_client_uploads(server: Server, tmp_path: Path):
    path = tmp_path / "cat.png"
    path.write_bytes(b"a picture")
    url = wavespeed.Client(api_key=KEY, base_url=server.url).upload(str(path))
    assert httpx.get(url).content == b"a picture"
    assert json.dumps(url).isascii()
