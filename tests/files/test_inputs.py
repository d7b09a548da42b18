"""Inputs that are fetched: from where, how much, how long, and how a client learns what is wrong with one."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.client import Client
from support.files import ECHO, upload
from support.origin import Origin
from support.server import Server
from support.waiting import wait_until

MODELS = Path(__file__).parents[1] / "models"
LIMIT = 5_000


@pytest.fixture(scope="module")
def fetching_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Allows plain http, and the name `localhost`; not the address 127.0.0.1."""
    environment = {
        "UNSPOOL_FETCH_ALLOW_HTTP": "1",
        "UNSPOOL_FETCH_ALLOW_HOSTS": "localhost",
        "UNSPOOL_FETCH_TIMEOUT_S": "1",
        "UNSPOOL_MAX_INPUT_BYTES": str(LIMIT),
        "UNSPOOL_MAX_BASE64_OUTPUT_BYTES": "1000",
    }
    server = Server(MODELS / "files.py", tmp_path_factory.mktemp("fetching-server"), environment)
    try:
        yield server.start().wait_until_ready()
    finally:
        server.close()


@pytest.fixture
def server(fetching_server: Server) -> Server:
    return fetching_server


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    origin = Origin()
    yield origin
    origin.close()


def facts(client: Client, url: str) -> dict[str, Any]:
    done = client.finished(client.submit("files/facts", file=url)["id"])
    assert done["status"] == "completed", done["error"]
    said: dict[str, Any] = done["outputs"][0]
    return said


def wrong(client: Client, url: str, model: str = "files/facts") -> str:
    """What the error event says of the field."""
    last = client.log(client.submit(model, file=url)["id"])[-1]
    assert (last.type, last.data["status"], last.data["code"]) == ("error", "failed", 1401)
    [error] = last.data["errors"]
    assert error["field"] == "file"
    assert last.data["error"] == f"Correct these inputs: file: {error['message']}"
    return str(error["message"])


def test_a_url_is_fetched(client: Client, origin: Origin):
    url = origin.serve("/a%20dir/My%20cat.png?size=large", b"meow", Content_Type="image/png; charset=x")
    assert url not in origin.asked
    origin.serve("/a%20dir/My%20cat.png", b"meow", Content_Type="image/png; charset=x")
    said = facts(client, url)
    assert said["sha256"] == hashlib.sha256(b"meow").hexdigest()
    assert (said["filename"], said["content_type"], said["size_bytes"]) == ("My-cat.png", "image/png", 4)


@pytest.mark.parametrize(
    ("path", "declared", "filename", "content_type"),
    [
        ("/a.mp4", "application/octet-stream", "a.mp4", "video/mp4"),
        ("/b.mp4", "", "b.mp4", "video/mp4"),
        ("/c", "image/jpeg", "c.jpg", "image/jpeg"),
        ("/d.php", "image/webp", "d.webp", "image/webp"),
        ("/", "text/html", "file.html", "text/html"),
        ("/..%2f..%2fetc%2fpasswd", "", "passwd.bin", "application/octet-stream"),
    ],
)
def test_type_and_name_come_from_the_answer_and_the_url(
    client: Client, origin: Origin, path: str, declared: str, filename: str, content_type: str
):
    said = facts(client, origin.serve(path, b"x", Content_Type=declared))
    assert (said["filename"], said["content_type"]) == (filename, content_type)


def test_redirects_are_followed(client: Client, origin: Origin):
    origin.serve("/end.png", b"end")
    assert facts(client, origin.redirect("/begin", "/end.png"))["filename"] == "end.png"


def test_a_ring_of_redirects_ends(client: Client, origin: Origin):
    assert "redirected" in wrong(client, origin.redirect("/ring", "/ring"))
    assert origin.asked.count("/ring") == 6


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "169.254.169.254", "10.0.0.1", "127.1", "0x7f000001"])
def test_what_is_not_public_is_not_fetched(client: Client, origin: Origin, host: str):
    origin.serve("/secret", b"secret")
    assert "not on the public internet" in wrong(client, f"http://{host}:{origin.port}/secret")
    assert "/secret" not in origin.asked


def test_a_redirect_to_what_is_not_public_is_not_followed(client: Client, origin: Origin):
    origin.serve("/inside", b"secret")
    url = origin.redirect("/out", f"http://127.0.0.1:{origin.port}/inside")
    assert "not on the public internet" in wrong(client, url)
    assert "/out" in origin.asked
    assert "/inside" not in origin.asked


def test_a_redirect_to_another_scheme_is_not_followed(client: Client, origin: Origin):
    wrong(client, origin.redirect("/to-file", "file:///etc/passwd"))


def test_the_default_is_https_only(make_server, origin: Origin):
    client = make_server(ECHO).client()
    url = origin.serve("/plain", b"x")
    assert "https://" in wrong(client, url, "echo")
    assert "/plain" not in origin.asked


def test_a_status_that_is_not_200_is_told(client: Client, origin: Origin):
    assert "404" in wrong(client, f"{origin.url}/gone.png")


def test_a_host_that_is_not_there_is_told(client: Client):
    assert "cannot be reached" in wrong(client, "https://no-such-host.invalid/x.png")


def test_a_file_that_is_too_large_is_refused_by_its_announcement(client: Client, origin: Origin):
    assert str(LIMIT) in wrong(client, origin.serve("/large", b"x" * (LIMIT + 1)))


def test_a_file_that_turns_out_too_large_is_refused(client: Client, origin: Origin):
    assert "too large" in wrong(client, origin.serve("/unannounced", b"x" * (LIMIT + 1), Content_Length=""))


def test_uploads_and_data_urls_count_too(client: Client):
    assert "too large" in wrong(client, upload(client, b"x" * (LIMIT + 1), "a.bin"))
    assert "too large" in wrong(client, "data:," + "x" * (LIMIT + 1))


def test_all_inputs_share_one_limit(client: Client, origin: Origin):
    urls = [origin.serve(f"/part-{number}", b"x" * 2_000) for number in range(3)]
    last = client.log(client.submit("files/many", files=urls)["id"])[-1]
    assert last.data["status"] == "failed"
    assert len(last.data["errors"]) == 1


def test_what_takes_too_long_is_given_up(client: Client, origin: Origin):
    assert "1 seconds" in wrong(client, origin.hang("/slow"))


def test_every_wrong_field_is_named(client: Client, origin: Origin):
    good = origin.serve("/good", b"good")
    urls = [good, f"{origin.url}/missing-1", "data:;base64,?"]
    inputs = {"files": urls, "mask": f"{origin.url}/missing-2", "layer": {"picture": "http://127.0.0.1/"}}
    last = client.log(client.submit("files/many", **inputs)["id"])[-1]
    assert [error["field"] for error in last.data["errors"]] == ["files.1", "files.2", "mask", "layer.picture"]
    assert "files.1" in last.data["error"]
    assert "and 1 more" in last.data["error"]


def test_several_files_are_fetched_at_once(client: Client, origin: Origin):
    """The second one is asked for while the first one still hangs."""
    origin.hanging.clear()
    id = client.submit("files/many", files=[origin.hang("/first"), origin.serve("/second", b"x")])["id"]
    wait_until(lambda: "/second" in origin.asked, "the second file was asked for")
    assert client.finished(id)["status"] == "failed"


@pytest.mark.parametrize("model", ["files/facts", "files/facts-async"])
def test_fetching_can_be_cancelled(server: Server, origin: Origin, model: str):
    origin.hanging.clear()
    client = server.client()
    pids = server.worker_pids()
    id = client.submit(model, file=origin.hang("/endless"))["id"]
    assert origin.hanging.wait(10)
    client.cancel(id)
    assert client.finished(id)["status"] == "cancelled"
    assert server.worker_pids() == pids, "a worker had to be killed for it"
    assert not list((server.data_dir / "scratch").glob("*/run-*"))


# data: URLs


@pytest.mark.parametrize(
    ("url", "data", "content_type", "filename"),
    [
        ("data:image/png;base64,AAEC", b"\0\1\2", "image/png", "file.png"),
        ("data:image/png;name=x.png;base64,AA%45C", b"\0\1\2", "image/png", "file.png"),
        ("data:;base64,AAEC", b"\0\1\2", "text/plain", "file.txt"),
        ("data:,a%20b,c", b"a b,c", "text/plain", "file.txt"),
        ("data:text/html;charset=utf-8,<p>", b"<p>", "text/html", "file.html"),
        ("data:application/x-new;base64,", b"", "application/octet-stream", "file.bin"),
    ],
)
def test_a_data_url_is_decoded(client: Client, url: str, data: bytes, content_type: str, filename: str):
    said = facts(client, url)
    assert said["sha256"] == hashlib.sha256(data).hexdigest()
    assert (said["content_type"], said["filename"]) == (content_type, filename)


@pytest.mark.parametrize("url", ["data:image/png;base64,A", "data:;base64,****", "data:image/png;base64,AAE"])
def test_bad_base64_is_told(client: Client, url: str):
    assert "bad base64" in wrong(client, url)


def test_a_data_url_needs_a_comma(client: Client):
    assert "data:image/png;base64," in wrong(client, "data:image/png")


# Files of ours


def test_our_own_files_are_found_under_any_host(client: Client, server: Server, origin: Origin):
    url = upload(client, b"mine", "a.txt")
    name = url.rpartition("/")[2]
    for other in (f"https://api.example/base/files/{name}", f"{origin.url}/files/{name}"):
        assert facts(client, other)["size_bytes"] == 4
    assert not [path for path in origin.asked if name in path]


def test_a_file_of_ours_that_is_not_there_is_told(client: Client, server: Server):
    assert "not uploaded" in wrong(client, f"{server.url}/files/u{'0' * 32}.png")


def test_another_path_of_ours_is_as_private_as_any_other(client: Client, server: Server):
    assert "not on the public internet" in wrong(client, f"{server.url}/health/live")


# Base64


def test_base64_outputs_have_a_limit(client: Client):
    sizes = {1000: "completed", 1001: "failed"}
    for size, status in sizes.items():
        done = client.finished(client.submit("files/large", size=size, enable_base64_output=True)["id"])
        assert done["status"] == status
    assert "enable_base64_output" in done["error"]
    assert done["code"] == 1401
    assert base64.b64encode(b"x").decode() not in done["outputs"]
