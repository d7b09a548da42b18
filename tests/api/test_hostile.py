"""Requests that no well-meaning client sends: each has a clear 4xx, and the server goes on."""

from __future__ import annotations

import json
import socket

import pytest

from support.client import Client, error_of
from support.raw import Raw
from support.server import Server

JSON = {"Content-Type": "application/json"}
JSON_PATHS = [
    "test/echo",
    "predictions",
    "predictions/delete",
    "model/price",
    "model/pricing",
    "user/usage_stats",
    "billings/search",
]
"""Everything that takes JSON."""

BODIES = {
    "deep lists": b'{"ids":' + b"[" * 100_000,
    "deep and whole": b'{"ids":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    "deep objects": b'{"a":' * 50_000,
    "repeated names": b'{"page": 1, "page": 2}',
    "repeated names below": b'{"inputs": {"a": {"b": 1, "\\u0062": 2}}}',
    "not UTF-8": b'{"prompt": "\xff\xfe"}',
    "UTF-16": '{"prompt": "x"}'.encode("utf-16"),
    "half a surrogate pair": b'{"prompt": "\\ud800"}',
    "an encoded surrogate": b'{"prompt": "\xed\xa0\x80"}',
    "NaN": b'{"page": NaN}',
    "Infinity": b'{"page": -Infinity}',
    "a number out of range": b'{"page": 1e999}',
    "no JSON": b"page=1",
    "a list": b"[1]",
    "a byte of zero": b'{"page": 1\x00}',
}


@pytest.mark.parametrize("path", JSON_PATHS)
@pytest.mark.parametrize("what", BODIES)
def test_a_body_that_cannot_be_read_is_bad_json_wherever_json_is_taken(client: Client, path: str, what: str) -> None:
    answer = error_of(client.http.post(path, content=BODIES[what], headers=JSON), 400, "bad_json")
    assert len(answer["message"]) < 300


def test_a_name_that_is_given_twice_is_told(client: Client) -> None:
    body = b'{"prompt": "a", "repeat": 1, "prompt": "b"}'
    answer = error_of(client.http.post("test/echo", content=body, headers=JSON), 400, "bad_json")
    assert answer["message"] == "The body names 'prompt' twice in one object. Leave one of them out."


@pytest.mark.parametrize(
    "prompt",
    ['":1,"', '"a":"b":', "a\\", "\\\\", '{"prompt": 1}', "\u2028 \x00 \u00e9 \U0001f408", "'", "\x7f\b\f\n"],
)
def test_text_that_looks_like_json_is_just_text(client: Client, prompt: str) -> None:
    """Names are counted in the bytes of a body; nothing inside a string is one."""
    body = json.dumps({"prompt": prompt}, ensure_ascii=False).encode()
    for spelled in (body, json.dumps({"prompt": prompt}, indent=2).encode(), body.replace(b":", b" \t\r\n:", 1)):
        made = client.http.post("test/echo", content=spelled, headers=JSON)
        assert made.status_code == 200, made.text
        assert client.finished(made.json()["data"]["id"])["outputs"] == [prompt]


@pytest.mark.parametrize("number", ["9" * 400, "-" + "9" * 400, str(2**63), str(2**64), "1e300", "-0", "1.0"])
def test_a_very_large_number_is_a_number(client: Client, number: str) -> None:
    """Whatever it means to the model, it is answered like any other."""
    body = b'{"prompt": "x", "repeat": %b}' % number.encode()
    answer = client.http.post("test/echo", content=body, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) in [(200, 200), (400, 400)]
    for path, name in (("predictions", "page"), ("billings/search", "page_size")):
        answer = client.http.post(path, content=b'{"%b": %b}' % (name.encode(), number.encode()), headers=JSON)
        assert answer.status_code == (200 if number == "1.0" else 400), answer.text


def test_a_number_of_five_thousand_digits_is_refused_in_any_place(client: Client) -> None:
    for path in JSON_PATHS:
        body = b'{"page": ' + b"9" * 5_000 + b"}"
        answer = client.http.post(path, content=body, headers=JSON)
        assert answer.status_code == 400 or path == "user/usage_stats", answer.text


@pytest.mark.parametrize("path", JSON_PATHS)
def test_a_body_that_is_too_large_is_too_large_wherever_json_is_taken(server: Server, path: str) -> None:
    headers = {"Authorization": f"Bearer {server.key}", **JSON, "Content-Length": "99999999999"}
    with Raw(server.url) as raw:
        raw.request("POST", f"/api/v3/{path}", headers).begin()
        assert (raw.status, raw.json()["error_code"]) == (413, "too_large")


@pytest.mark.parametrize("path", JSON_PATHS)
def test_a_body_that_is_not_declared_as_json_is_refused_wherever_json_is_taken(client: Client, path: str) -> None:
    answer = client.http.post(path, content=b"{}", headers={"Content-Type": "text/plain"})
    error_of(answer, 415, "unsupported_media_type")


# Paths


@pytest.mark.parametrize(
    "path",
    [
        "/api/v3/../../etc/passwd",
        "/api/v3/predictions/../models",
        "/api/v3/predictions/%2e%2e/models",
        "/api/v3/predictions/%2fetc%2fpasswd",
        "/api/v3/predictions/x%00y",
        "/api/v3/predictions/%ff%fe/result",
        "/api/v3/predictions/" + "x" * 20_000,
        "/api/v3/models/" + "x/" * 5_000 + "readme",
        "/api/v3/models/%00/readme",
        "/api/v3/models//readme",
        "/api/v3//predictions",
        "//api/v3/predictions",
        "/api/v3/predictions/",
        "/docs/../openapi.json",
        "/docs/%2e%2e%2fopenapi.json",
        "/docs/%00",
        "/docs/swagger-ui.css/",
    ],
    ids=lambda path: path[:40],
)
def test_a_path_that_goes_astray_is_not_found(server: Server, path: str) -> None:
    with Raw(server.url) as raw:
        raw.request("GET", path, {"Authorization": f"Bearer {server.key}"}).begin()
        assert raw.status in (400, 404, 405), raw.status
        assert b"root:" not in raw.body()


@pytest.mark.parametrize(
    "path", ["/api/v3/predictions/x%00y", "/api/v3/predictions/%ff%fe", "/api/v3/predictions/..%2f"]
)
def test_a_delete_that_goes_astray_is_not_found(server: Server, path: str) -> None:
    with Raw(server.url) as raw:
        raw.request("DELETE", path, {"Authorization": f"Bearer {server.key}"}).begin()
        assert raw.status == 404


@pytest.mark.parametrize(
    "query", ["page=%ff", "page=%00", "status=%ed%a0%80", "page=" + "9" * 5_000, "&&==&page", "page=１"]
)
def test_a_query_that_goes_astray_is_bad_query_or_means_nothing(server: Server, query: str) -> None:
    with Raw(server.url) as raw:
        target = "/api/v3/predictions?" + query.encode().decode("latin-1")
        raw.request("GET", target, {"Authorization": f"Bearer {server.key}"}).begin()
        assert raw.status in (200, 400), raw.status


# What stands around a request


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "0x10", "9" * 40, "5, 6", ""])
def test_a_length_that_is_none_is_refused(server: Server, length: str) -> None:
    head = f"POST /api/v3/predictions HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {server.key}\r\n"
    with Raw(server.url) as raw:
        raw.send(f"{head}Content-Length: {length}\r\n\r\n{{}}".encode()).begin()
        assert 400 <= raw.status < 500


def test_two_lengths_that_differ_are_refused(server: Server) -> None:
    head = f"POST /api/v3/predictions HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {server.key}\r\n"
    with Raw(server.url) as raw:
        raw.send(f"{head}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}} ".encode()).begin()
        assert 400 <= raw.status < 500


def test_a_body_that_is_shorter_than_its_length_leaves_the_server_well(server: Server, client: Client) -> None:
    before = len(server.log)
    with Raw(server.url) as raw:
        raw.request("POST", "/api/v3/test/echo", {"Authorization": f"Bearer {server.key}", "Content-Length": "500"})
        raw.send(b'{"prompt":')
        raw.socket.shutdown(socket.SHUT_WR)
    assert client.finished(client.submit("test/echo", prompt="still here")["id"])["outputs"] == ["still here"]
    assert "Traceback" not in server.log[before:]


def test_headers_that_are_too_long_are_refused(server: Server) -> None:
    with Raw(server.url) as raw:
        raw.request("GET", "/api/v3/balance", {"Authorization": f"Bearer {server.key}", "X-Much": "x" * 200_000})
        raw.begin()
        assert 400 <= raw.status < 500


@pytest.mark.parametrize("value", ["Bearer \xff\xfe", "Bearer " + "x" * 30_000, "\x80", "Bearer a b c", "Bearer\tx"])
def test_a_key_made_of_anything_is_not_known(server: Server, value: str) -> None:
    with Raw(server.url) as raw:
        raw.request("GET", "/api/v3/balance", {"Authorization": value}).begin()
        assert (raw.status, raw.json()["error_code"]) == (401, "unauthenticated")


def test_a_host_made_of_anything_is_no_fault_of_the_server(server: Server) -> None:
    for host in ("[", "a:b:c", "x" * 5_000, "\xff", "evil.example/..", "user@host", ""):
        with Raw(server.url) as raw:
            raw.request("GET", "/api/v3/models", {"Authorization": f"Bearer {server.key}", "Host": host}).begin()
            assert raw.status in (200, 400), host
