"""Every wrong request has one literal answer: status, body and headers (`docs/wire.md`, Errors)."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import MODELS, MakeServer
from support.client import Client, error_of
from support.gate import Gate
from support.raw import Raw
from support.server import Server

NO_PREDICTION = "There is no such prediction. Check the id; predictions of other API keys cannot be seen."
NO_PATH = "There is nothing at this path. The API begins at /api/v3; the docs list its paths."
WRONG_TOKEN = "There is no such prediction, or the token of this URL is not complete."
NO_KEY = "Send your API key in the header 'Authorization: Bearer <key>'."
WRONG_KEY = "This API key is not known. Check it for missing or extra characters."
NOT_AN_OBJECT = 'The body must be a JSON object with the model\'s inputs, such as {"prompt": "…"}.'
JSON = {"Content-Type": "application/json"}


def says(response: httpx.Response, status: int, error_code: str, message: str, **more: Any) -> None:
    """Asserts the whole answer."""
    expected = {"code": status, "message": message, "error_code": error_code, "data": None, **more}
    assert response.json() == expected
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    assert re.fullmatch(r"[0-9a-f]{16}", response.headers["x-request-id"])
    assert "x-prediction-id" not in response.headers


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of a server whose models take more than text and numbers."""
    server = Server(MODELS / "inputs.py", tmp_path_factory.mktemp("inputs"))
    try:
        yield server.start().wait_until_ready().client()
    finally:
        server.close()


@pytest.fixture
def finished(client: Client) -> str:
    """The id of a prediction that has ended, with the events 0-1 … 1-5."""
    id = client.submit("test/count", n=3)["id"]
    assert client.log(id)[-1].cursor == "1-5"
    return id


# bad_json


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(b"{", "Input data was truncated", id="truncated"),
        pytest.param(b" \n", "Input data was truncated", id="white space"),
        pytest.param(b'{"prompt": "x",}', "JSON is malformed: trailing comma in object (byte 15)", id="comma"),
        pytest.param(b'{"prompt": "x"} {}', "JSON is malformed: trailing characters (byte 17)", id="two objects"),
        pytest.param(b"prompt=x", "JSON is malformed: invalid character (byte 0)", id="a form"),
        pytest.param(b'{"prompt": NaN}', "JSON is malformed: invalid character (byte 11)", id="NaN"),
        pytest.param(b'{"prompt": Infinity}', "JSON is malformed: invalid character (byte 11)", id="Infinity"),
        pytest.param(b'{"prompt": 1e999}', "Number out of range - at `$[...]`", id="1e999"),
        pytest.param(b"\xef\xbb\xbf{}", "JSON is malformed: invalid character (byte 0)", id="BOM"),
        pytest.param(b'{"prompt": "\n"}', "JSON is malformed: invalid character (byte 12)", id="raw line break"),
    ],
)
def test_a_body_that_is_not_json_is_bad_json_with_the_place(client: Client, body: bytes, reason: str) -> None:
    answer = client.http.post("test/echo", content=body, headers=JSON)
    says(answer, 400, "bad_json", f"The body is not JSON: {reason}.")


@pytest.mark.parametrize(
    "body", [b'{"prompt": "\xff"}', b'{"\xc3(": 1}', b'{"prompt": "\xed\xa0\x80"}', b"\xff\xfe{\x00}\x00"]
)
def test_a_body_that_is_not_utf_8_is_bad_json(client: Client, body: bytes) -> None:
    answer = error_of(client.http.post("test/echo", content=body, headers=JSON), 400, "bad_json")
    assert answer["message"].startswith("The body is not JSON: ")


@pytest.mark.parametrize("body", [b'{"prompt": "\\ud800"}', b'{"prompt": "\\udc00x"}'])
def test_half_a_surrogate_pair_is_bad_json(client: Client, body: bytes) -> None:
    error_of(client.http.post("test/echo", content=body, headers=JSON), 400, "bad_json")


@pytest.mark.parametrize("body", [b"[]", b'["prompt"]', b"null", b"true", b"7", b'"prompt"'])
def test_json_that_is_not_an_object_is_bad_json(client: Client, body: bytes) -> None:
    says(client.http.post("test/echo", content=body, headers=JSON), 400, "bad_json", NOT_AN_OBJECT)


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_a_body_nested_a_hundred_thousand_deep_is_bad_json(client: Client, opening: bytes) -> None:
    answer = client.http.post("test/echo", content=opening * 100_000, headers=JSON)
    says(answer, 400, "bad_json", "The body is nested too deeply.")


@pytest.mark.parametrize("depth", [100, 250, 300, 900, 5_000])
def test_an_input_nested_deeply_is_refused_as_the_fault_of_the_client(client: Client, depth: int) -> None:
    body = b'{"prompt": ' + b"[" * depth + b"]" * depth + b"}"
    answer = client.http.post("test/echo", content=body, headers=JSON)
    assert (answer.status_code, answer.json()["error_code"]) in [(400, "bad_json"), (400, "invalid_input")], answer.text


# invalid_input


def wrong(*pairs: tuple[str, str]) -> dict[str, Any]:
    return {"errors": [{"field": field, "message": message} for field, message in pairs]}


def test_a_missing_input_is_named(client: Client) -> None:
    answer = client.http.post("test/echo", json={})
    says(
        answer,
        400,
        "invalid_input",
        "Correct these inputs of test/echo: prompt",
        **wrong(("prompt", "is missing; it is required")),
    )


def test_an_empty_body_means_no_inputs(client: Client) -> None:
    answer = client.http.post("test/echo", content=b"")
    says(
        answer,
        400,
        "invalid_input",
        "Correct these inputs of test/echo: prompt",
        **wrong(("prompt", "is missing; it is required")),
    )


def test_every_wrong_field_is_named_in_one_answer(client: Client) -> None:
    answer = client.http.post("test/count", json={"n": -1, "interval_s": "quick", "intervall_s": 1, "gate": 5})
    body = error_of(answer, 400, "invalid_input")
    errors = {error["field"]: error["message"] for error in body["errors"]}
    assert errors == {
        "n": "-1 is less than the minimum of 0",
        "interval_s": "must be of type number",
        "gate": '5 is not of type "string" or 5 is not of type "null"',
        "intervall_s": "is not an input of this model; did you mean 'interval_s'?",
    }
    assert all(field in body["message"] for field in errors)


def test_an_unknown_input_without_a_near_name_is_answered_with_the_known_ones(client: Client) -> None:
    answer = client.http.post("test/echo", json={"prompt": "x", "zzzz": 1})
    says(
        answer,
        400,
        "invalid_input",
        "Correct these inputs of test/echo: zzzz",
        **wrong(("zzzz", "is not an input of this model; known are: prompt, repeat")),
    )


def test_reserved_fields_of_the_wrong_type_are_all_named(client: Client) -> None:
    body = {"prompt": "x", "stream": "yes", "enable_sync_mode": 1, "enable_base64_output": [], "webhook_url": 5}
    says(
        client.http.post("test/echo", json=body),
        400,
        "invalid_input",
        "Correct these inputs of test/echo: stream, enable_sync_mode, enable_base64_output, webhook_url",
        **wrong(
            ("stream", "must be true or false"),
            ("enable_sync_mode", "must be true or false"),
            ("enable_base64_output", "must be true or false"),
            ("webhook_url", "must be a string"),
        ),
    )


def test_wrong_reserved_fields_and_wrong_inputs_are_named_in_one_answer(client: Client) -> None:
    body = error_of(client.http.post("test/count", json={"stream": "yes", "n": "three"}), 400, "invalid_input")
    assert {error["field"] for error in body["errors"]} == {"stream", "n"}


def test_wrong_fields_inside_an_input_are_named_with_their_path(inputs: Client) -> None:
    body = {"scenes": [{"caption": "ok", "seconds": 1}, {"captoin": "x", "seconds": "long"}], "size": {"width": 0}}
    answer = error_of(inputs.http.post("inputs/nested", json=body), 400, "invalid_input")
    errors = {error["field"]: error["message"] for error in answer["errors"]}
    assert errors == {
        "scenes.1.caption": "is missing; it is required",
        "scenes.1.captoin": "is not an input of this model; remove it",
        "scenes.1.seconds": "must be of type number",
        "size.height": "is missing; it is required",
        "size.width": "0 is less than the minimum of 1",
    }


def test_a_model_that_allows_extras_takes_them(inputs: Client) -> None:
    prediction = inputs.submit("inputs/extras", known="a", unknown="b")
    assert inputs.finished(prediction["id"])["outputs"] == [{"known": "a", "unknown": "b"}]


def test_the_answer_to_a_hundred_thousand_unknown_inputs_is_short(client: Client) -> None:
    """Else one request of 10 MB keeps the server busy for half a minute."""
    body = {f"unknown_{i}": i for i in range(100_000)}
    answer = client.http.post("test/echo", json=body)
    error_of(answer, 400, "invalid_input")
    assert len(answer.content) < 1_000_000


# bad_cursor

MALFORMED = [
    *["1", "1-", "-1", "1-0", "0-0", "01-1", "1-01", "1--1", "1-1-1", "1-1x", "x", "1_0-1", "+1-1", "1-1 1"],
    *["１-１", "99999999999-1", "1-99999999999999999999", "null", "%00", "1.0-1"],
]
NEVER_ISSUED = ["0-2", "1-6", "1-999999", "2-1", "7-7", "999999999-999999999999999999"]


@pytest.mark.parametrize("path", ["stream", "events"])
@pytest.mark.parametrize("cursor", MALFORMED)
def test_a_malformed_cursor_is_bad_cursor(client: Client, finished: str, path: str, cursor: str) -> None:
    message = f"{cursor!r} is not a cursor such as '1-17'. Send the id of the last event that you received."
    answer = client.http.get(f"predictions/{finished}/{path}", params={"after": cursor})
    says(answer, 400, "bad_cursor", message)


@pytest.mark.parametrize("path", ["stream", "events"])
@pytest.mark.parametrize("cursor", NEVER_ISSUED)
def test_a_cursor_that_was_never_issued_is_bad_cursor(client: Client, finished: str, path: str, cursor: str) -> None:
    message = f"No event {cursor} was ever sent. Resume with the id of the last event that you received."
    says(client.http.get(f"predictions/{finished}/{path}?after={cursor}"), 400, "bad_cursor", message)


@pytest.mark.parametrize("path", ["stream", "events"])
def test_a_bad_cursor_in_the_header_is_as_bad(client: Client, finished: str, path: str) -> None:
    at = f"predictions/{finished}/{path}"
    answer = client.http.get(f"{at}?after=1-1", headers={"Last-Event-ID": "1-6"})
    error_of(answer, 400, "bad_cursor")


@pytest.mark.parametrize("cursor", ["0-2", "1-2", "1-999", "2-1"])
def test_a_cursor_ahead_of_a_running_prediction_is_bad_cursor(client: Client, gate: Gate, cursor: str) -> None:
    id = client.submit("test/count", n=1, gate=str(gate))["id"]
    assert gate.visitor() == id
    for path in ("stream", "events"):
        error_of(client.http.get(f"predictions/{id}/{path}?after={cursor}"), 400, "bad_cursor")
    gate.open()
    client.log(id)


# bad_query

SUBMIT_TIMEOUT = "must be a number of seconds from 0.001 to 604800."


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("on_disconnect=stop", "on_disconnect must be 'continue' or 'cancel'."),
        ("on_disconnect=", "on_disconnect must be 'continue' or 'cancel'."),
        *((f"start_timeout={bad}", f"start_timeout {SUBMIT_TIMEOUT}") for bad in ("", "0", "-1", "x", "nan", "604801")),
        *((f"run_timeout={bad}", f"run_timeout {SUBMIT_TIMEOUT}") for bad in ("", "0", "-1", "x", "inf", "1e999")),
    ],
)
def test_a_wrong_parameter_of_a_submit_is_bad_query(client: Client, query: str, message: str) -> None:
    says(client.http.post(f"test/echo?{query}", json={"prompt": "x"}), 400, "bad_query", message)


@pytest.mark.parametrize("wait", ["", "-1", "61", "x", "nan", "inf", "1e999", "0x1"])
def test_a_wrong_wait_is_bad_query(client: Client, finished: str, wait: str) -> None:
    answer = client.http.get(f"predictions/{finished}/events?wait={wait}")
    says(answer, 400, "bad_query", "wait must be a number of seconds from 0 to 60.")


@pytest.mark.parametrize("logs", ["", "yes", "2"])
def test_a_wrong_logs_is_bad_query(client: Client, finished: str, logs: str) -> None:
    answer = client.http.get(f"predictions/{finished}/result?logs={logs}")
    says(answer, 400, "bad_query", "logs must be true or false.")


@pytest.mark.parametrize("wait", ["wait", "wait=", "wait=0", "wait=601", "wait=1.5", "wait=x", "wait=" + "9" * 5_000])
def test_a_wrong_prefer_wait_is_bad_query(client: Client, wait: str) -> None:
    answer = client.http.post("test/echo", json={"prompt": "x"}, headers={"Prefer": wait})
    says(answer, 400, "bad_query", "Prefer: wait must be a whole number of seconds from 1 to 600.")


@pytest.mark.parametrize("key", ["", "two words", "x" * 256, "schlüssel", "tab\there"])
def test_a_wrong_idempotency_key_is_bad_query(client: Client, key: str) -> None:
    headers = {"Idempotency-Key": key.encode("latin-1")}
    answer = client.http.post("test/echo", json={"prompt": "x"}, headers=headers)
    says(answer, 400, "bad_query", "Idempotency-Key must have 1 to 255 visible ASCII characters.")


# Refused forms

NO_STREAM = "test/no-stream does not stream. Leave out 'stream' and poll the prediction's urls.get, or use a webhook."


def test_a_model_that_does_not_stream_says_so_however_it_is_asked(client: Client) -> None:
    asked = [
        client.http.post("test/no-stream", json={"stream": True}),
        client.http.post("test/no-stream/stream", json={}),
        client.http.post("test/no-stream", json={}, headers={"Accept": "text/event-stream"}),
    ]
    for answer in asked:
        says(answer, 400, "streaming_not_supported", NO_STREAM)


def test_a_model_that_does_not_stream_can_be_polled(client: Client) -> None:
    assert client.finished(client.submit("test/no-stream", prompt="polled")["id"])["outputs"] == ["polled"]


def test_base64_output_with_a_webhook_is_refused_as_such(client: Client) -> None:
    body = {"prompt": "x", "enable_base64_output": True, "webhook_url": "https://example.com/hook"}
    says(
        client.http.post("test/echo", json=body),
        400,
        "base64_with_webhook",
        "A webhook cannot carry base64 outputs. Leave out enable_base64_output.",
    )


# Who asks

EVERYWHERE = [
    ("POST", "test/echo"),
    ("POST", "no/such/model"),
    ("GET", "models"),
    ("GET", "predictions/{id}"),
    ("GET", "predictions/{id}/result"),
    ("GET", "predictions/{id}/stream"),
    ("GET", "predictions/{id}/events"),
    ("POST", "predictions/{id}/cancel"),
    ("GET", "predictions/no-such-id/result"),
]


@pytest.mark.parametrize(("method", "path"), EVERYWHERE)
@pytest.mark.parametrize(
    ("authorization", "message"),
    [
        (None, NO_KEY),
        ("Basic dXNlcjpwYXNz", NO_KEY),
        ("Bearer", NO_KEY),
        ("test-key-0123456789", NO_KEY),
        ("Bearer wrong", WRONG_KEY),
        ("Bearer test-key-012345678", WRONG_KEY),
        ("Bearer test-key-01234567899", WRONG_KEY),
        ("Bearer TEST-KEY-0123456789", WRONG_KEY),
        ("Bearer ü", WRONG_KEY),
    ],
)
def test_without_the_key_every_path_is_unauthenticated(
    server: Server, finished: str, method: str, path: str, authorization: str | None, message: str
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization.encode("latin-1")}
    url = f"{server.url}/api/v3/{path.format(id=finished)}"
    answer = httpx.request(method, url, headers=headers)
    says(answer, 401, "unauthenticated", message)
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_of_the_key_may_be_spelled_in_any_case(server: Server, finished: str, scheme: str) -> None:
    url = f"{server.url}/api/v3/predictions/{finished}"
    assert httpx.get(url, headers={"Authorization": f"{scheme} {server.key}"}).status_code == 200


def test_health_needs_no_key(server: Server) -> None:
    assert httpx.get(f"{server.url}/health/live").json() == {"status": "live"}
    assert httpx.get(f"{server.url}/health/ready").json()["status"] == "ready"


# not_found


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "predictions/{id}"),
        ("GET", "predictions/{id}/result"),
        ("GET", "predictions/{id}/stream"),
        ("GET", "predictions/{id}/events"),
        ("POST", "predictions/{id}/cancel"),
    ],
)
@pytest.mark.parametrize("id", ["0" * 32, "x", "%00", "%ff", "'; DROP TABLE predictions", "x" * 4_000])
def test_an_unknown_prediction_is_not_found(client: Client, method: str, path: str, id: str) -> None:
    answer = client.http.request(method, path.format(id=id))
    says(answer, 404, "not_found", NO_PREDICTION)


@pytest.mark.parametrize("path", ["stream", "events"])
@pytest.mark.parametrize("token", ["", "wrong", "0" * 32, "é", "%00", "%ff", "x" * 4_000])
def test_a_wrong_token_finds_nothing(server: Server, finished: str, path: str, token: str) -> None:
    answer = httpx.get(f"{server.url}/api/v3/predictions/{finished}/{path}?token={token}")
    says(answer, 404, "not_found", WRONG_TOKEN)


def test_the_token_of_another_prediction_finds_nothing(client: Client, server: Server, finished: str) -> None:
    other = client.submit("test/echo", prompt="x")
    token = other["urls"]["stream"].partition("?token=")[2]
    assert token
    answer = httpx.get(f"{server.url}/api/v3/predictions/{finished}/stream?token={token}")
    says(answer, 404, "not_found", WRONG_TOKEN)


@pytest.mark.parametrize("path", ["/api", "/api/v3", "/api/v1/models", "/nothing", "/health", "/favicon.ico", "/%ff"])
def test_an_unknown_path_is_not_found(server: Server, path: str) -> None:
    says(httpx.get(server.url + path), 404, "not_found", NO_PATH)


@pytest.mark.parametrize(
    "path",
    ["predictions/x/nothing", "predictions/x/y/z", "models/x", "user/usage", "media/nothing", "account/nothing"],
)
def test_a_reserved_path_that_does_not_exist_is_not_found(client: Client, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        says(client.http.request(method, path), 404, "not_found", NO_PATH)


# unknown_model


def test_an_unknown_model_is_answered_with_the_nearest_ids(client: Client) -> None:
    message = "There is no model 'test/ecko'. Did you mean test/echo or test/count or test/steps?"
    says(client.http.post("test/ecko", json={}), 404, "unknown_model", message)


def test_an_unknown_model_that_is_like_no_other_is_answered_with_the_list(client: Client) -> None:
    message = "There is no model 'zzz'. GET /api/v3/models lists the models of this server."
    says(client.http.post("zzz", json={}), 404, "unknown_model", message)


@pytest.mark.parametrize(
    "path", ["test%2Fecho", "test//echo", "/test/echo", "test/echo/", "Test/Echo", "test/%00", "%ff"]
)
def test_a_model_id_is_taken_literally(server: Server, path: str) -> None:
    headers = {"Authorization": f"Bearer {server.key}", **JSON}
    with Raw(server.url) as raw:
        raw.request("POST", f"/api/v3/{path}", headers, b'{"prompt": "x"}').begin()
        answer = raw.json()
    if path == "test%2Fecho":
        assert raw.status == 200
        return
    assert (raw.status, answer["error_code"]) == (404, "unknown_model")


# method_not_allowed


@pytest.mark.parametrize(
    ("method", "path", "allow", "message"),
    [
        ("GET", "test/echo", "POST, OPTIONS", "Use POST here, not GET."),
        ("PUT", "test/echo", "POST, OPTIONS", "Use POST here, not PUT."),
        ("POST", "models", "GET, OPTIONS", "Use GET here, not POST."),
        ("POST", "predictions/{id}/stream", "GET, OPTIONS", "Use GET here, not POST."),
        ("POST", "predictions/{id}/result", "GET, OPTIONS", "Use GET here, not POST."),
        ("GET", "predictions/{id}/cancel", "POST, OPTIONS", "Use POST here, not GET."),
        ("PATCH", "predictions/{id}/events", "GET, OPTIONS", "Use GET here, not PATCH."),
    ],
)
def test_a_wrong_method_is_answered_with_the_right_one(
    client: Client, finished: str, method: str, path: str, allow: str, message: str
) -> None:
    answer = client.http.request(method, path.format(id=finished))
    says(answer, 405, "method_not_allowed", message)
    assert answer.headers["allow"] == allow


# idempotency_mismatch


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("test/echo", {"prompt": "other"}),
        ("test/echo", {"prompt": "x", "repeat": 2}),
        ("test/echo?run_timeout=5", {"prompt": "x"}),
        ("test/echo?on_disconnect=cancel", {"prompt": "x"}),
        ("test/no-stream", {"prompt": "x"}),
    ],
)
def test_an_idempotency_key_is_for_one_request(client: Client, tmp_path: Path, path: str, body: dict[str, Any]) -> None:
    headers = {"Idempotency-Key": str(tmp_path)}
    assert client.http.post("test/echo", json={"prompt": "x"}, headers=headers).status_code == 200
    says(
        client.http.post(path, json=body, headers=headers),
        409,
        "idempotency_mismatch",
        "This Idempotency-Key was used for another request in the last 24 hours."
        " Repeat that request exactly, or use a new key.",
    )


# too_large, unsupported_media_type


def test_a_body_that_is_too_large_is_refused_declared_or_not(make_server: MakeServer) -> None:
    server = make_server("few.py", UNSPOOL_MAX_BODY_BYTES="1000")
    client = server.client()
    fits = b'{"prompt": "' + b"x" * 986 + b'"}'
    assert len(fits) == 1_000
    assert client.http.post("test/echo", content=fits, headers=JSON).status_code == 200
    message = "The body is larger than 1000 bytes, which is as much as this server takes."
    says(client.http.post("test/echo", content=fits + b" ", headers=JSON), 413, "too_large", message)
    chunked = client.http.post("test/echo", content=(part for part in (fits, b" ")), headers=JSON)
    says(chunked, 413, "too_large", message)
    with Raw(server.url) as raw:
        headers = {"Authorization": f"Bearer {server.key}", **JSON, "Content-Length": "999999999999"}
        raw.request("POST", "/api/v3/test/echo", headers).begin()
        assert raw.status == 413
        assert raw.json()["error_code"] == "too_large"


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_a_body_of_another_kind_is_unsupported(client: Client, kind: str) -> None:
    answer = client.http.post("test/echo", content=b'{"prompt": "x"}', headers={"Content-Type": kind})
    shown = kind.partition(";")[0]
    message = f"Send JSON with 'Content-Type: application/json', not {shown!r}."
    says(answer, 415, "unsupported_media_type", message)


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.acme+json"])
def test_every_spelling_of_json_is_supported(client: Client, kind: str) -> None:
    answer = client.http.post("test/echo", content=b'{"prompt": "x"}', headers={"Content-Type": kind})
    assert answer.status_code == 200


# unavailable

SLOW_IMPORT = """
import pathlib, time
while pathlib.Path({gate!r}).exists():
    time.sleep(0.005)

from unspool import model

@model("slow/import")
def slow() -> str:
    return "imported"
"""


def test_a_submit_waits_for_a_model_file_that_is_still_being_imported(make_server: MakeServer, tmp_path: Path) -> None:
    gate = tmp_path / "import-gate"
    gate.touch()
    server = make_server(SLOW_IMPORT.format(gate=str(gate)), ready=False)
    client = server.client()
    assert httpx.get(f"{server.url}/health/live").status_code == 200
    assert httpx.get(f"{server.url}/health/ready").json() == {"status": "not ready", "models": {}}
    with ThreadPoolExecutor(2) as pool:
        known = pool.submit(client.submit, "slow/import")
        unknown = pool.submit(client.http.post, "slow/imp", json={})
        assert httpx.get(f"{server.url}/health/ready").status_code == 503
        gate.unlink()
        assert client.finished(known.result()["id"])["outputs"] == ["imported"]
        says(unknown.result(), 404, "unknown_model", "There is no model 'slow/imp'. Did you mean slow/import?")


def test_while_the_server_stops_a_submit_is_unavailable(make_server: MakeServer, gate: Gate) -> None:
    server = make_server("few.py", UNSPOOL_DRAIN_TIMEOUT_S="60")
    client = server.client()
    id = client.submit("test/count", n=1, gate=str(gate))["id"]
    assert gate.visitor() == id
    server.interrupt()
    server.wait_for_log("finishing the runs that go on")
    answer = client.http.post("test/echo", json={"prompt": "x"})
    says(answer, 503, "unavailable", "The server is shutting down. Try again in a moment.")
    assert answer.headers["retry-after"] == "1"
    assert client.http.get(f"{server.url}/health/ready").status_code == 503
    assert client.result(id)["status"] == "processing", "everything but new work is still answered"
    gate.open()
    assert server.wait() == 0


# Nothing that a client sends is our fault

_TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
_LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXT
_NESTED = st.lists(_LEAVES, max_size=4) | st.dictionaries(_TEXT, _LEAVES, max_size=4)
_VALUES = _LEAVES | _NESTED | st.lists(_NESTED, max_size=3) | st.dictionaries(_TEXT, _NESTED, max_size=3)
_FIELDS = st.sampled_from(
    ["prompt", "repeat", "n", "stream", "enable_sync_mode", "enable_base64_output", "webhook_url", "text"]
)
_BODIES = st.one_of(
    st.binary(max_size=60),
    st.dictionaries(_FIELDS | _TEXT, _VALUES, max_size=5).map(lambda body: json.dumps(body).encode()),
    st.integers(1, 3_000).map(lambda depth: b'{"prompt":' + b"[" * depth + b"]" * depth + b"}"),
    st.integers(1, 400).map(lambda digits: b'{"n":' + b"9" * digits + b"}"),
)
_MODELS = st.sampled_from(["test/echo", "test/count", "single", "test/no-stream", "test/steps"])
_SEGMENTS = st.sampled_from(
    ["predictions", "models", "stream", "events", "result", "cancel", "test", "echo", "single", "..", ".", "", "{id}"]
) | st.text(string.printable.strip() + "é💥", max_size=8).map(lambda text: "".join(f"%{b:02x}" for b in text.encode()))
_PATHS = st.one_of(
    _MODELS.map("/api/v3/{}".format),
    _MODELS.map("/api/v2/{}/stream".format),
    st.sampled_from(["", "/result", "/events", "/stream", "/cancel"]).map("/api/v3/predictions/{{id}}{}".format),
    st.lists(_SEGMENTS, max_size=6).map(lambda parts: "/" + "/".join(parts)),
    st.lists(_SEGMENTS, max_size=4).map(lambda parts: "/api/v3/" + "/".join(parts)),
)
_QUERY_VALUES = st.sampled_from(["", "0", "1", "-1", "1-1", "0-1", "1-9", "true", "cancel", "1e999", "nan", "%", "%ff"])
_QUERIES = st.dictionaries(
    st.sampled_from(["after", "logs", "token", "on_disconnect", "run_timeout", "start_timeout", "webhook"]),
    _QUERY_VALUES,
    max_size=3,
).map(lambda query: "&".join(f"{name}={value}" for name, value in query.items()))
_HEADER_VALUES = st.text([chr(c) for c in range(32, 256) if c != 127], max_size=12)
_HEADERS = st.dictionaries(
    st.sampled_from(
        ["Accept", "Content-Type", "Idempotency-Key", "Last-Event-ID", "Origin", "Host", "Range", "Cookie", "Prefer"]
    ),
    _HEADER_VALUES
    | st.sampled_from(["text/event-stream", "application/json", "wait=1", "1-1", "[", "a:b:c", "wait=" + "9" * 4_400]),
    max_size=3,
)
_METHODS = st.sampled_from(["POST", "GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "BREW"])
_KEYS = st.sampled_from([True, True, True, False])


@settings(max_examples=1_000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(method=st.just("POST") | _METHODS, path=_PATHS, query=_QUERIES, headers=_HEADERS, body=_BODIES, known=_KEYS)
def test_nothing_a_client_sends_is_answered_with_5xx(
    server: Server, method: str, path: str, query: str, headers: dict[str, str], body: bytes, known: bool
) -> None:
    target = path.replace("{id}", _finished_id(server)) + (f"?{query}" if query else "")
    sent = {"Authorization": f"Bearer {server.key}", **headers} if known else headers
    if method in ("GET", "HEAD", "TRACE"):
        body = b""
    with Raw(server.url) as raw:
        raw.request(method, target, sent, body).begin()
    assert raw.status < 500, f"{method} {target} {headers} {body[:200]!r}"


_finished_ids: dict[str, str] = {}


def _finished_id(server: Server) -> str:
    if server.url not in _finished_ids:
        client = server.client()
        _finished_ids[server.url] = client.finished(client.submit("test/count")["id"])["id"]
    return _finished_ids[server.url]


def test_after_all_that_the_server_is_well(client: Client) -> None:
    assert client.finished(client.submit("test/echo", prompt="still here")["id"])["outputs"] == ["still here"]
