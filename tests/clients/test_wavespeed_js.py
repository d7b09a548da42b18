"""The official JavaScript client, unchanged, against a real server: npm `wavespeed`, as pinned in js/package-lock.json.

The claims are those of `test_wavespeed_python.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from support.gate import Gate
from support.official import call_js, package_version
from support.server import Server

QUICK = {"pollInterval": 0.05, "timeout": 20}


def call(server: Server, method: str, *args: Any, key: str | None = None) -> dict[str, Any]:
    return call_js(server, "wavespeed", method, *args, key=key)


def test_this_is_the_version_that_is_promised() -> None:
    assert package_version("wavespeed") == "0.3.2"


def test_run_returns_the_outputs(server: Server) -> None:
    outcome = call(server, "run", "test/echo", {"prompt": "hello", "repeat": 2}, QUICK)
    assert outcome == {"returned": {"outputs": ["hello", "hello"]}}


def test_streamed_text_arrives_as_one_output(server: Server) -> None:
    assert call(server, "run", "test/count", {"n": 3}, QUICK) == {"returned": {"outputs": ["1 2 3 "]}}


def test_a_failed_task_raises_with_the_message_of_its_author(server: Server) -> None:
    raised = call(server, "run", "test/fail", {}, QUICK)["raised"]
    assert raised["message"].startswith("Prediction failed (task_id: ")
    assert raised["message"].endswith("): The picture could not be made.")


def test_a_failed_task_can_be_had_without_raising(server: Server) -> None:
    returned = call(server, "runNoThrow", "test/fail", {"message": "no paint"}, QUICK)["returned"]
    assert returned["outputs"] is None
    assert returned["detail"]["status"] == "failed"
    assert returned["detail"]["error"]["name"] == "WavespeedPredictionException"
    assert returned["detail"]["error"]["message"].endswith("no paint")
    assert server.client().result(returned["detail"]["taskId"])["status"] == "failed"


def test_a_cancelled_task_raises(server: Server, gate: Gate) -> None:
    with ThreadPoolExecutor(1) as waiting:
        outcome = waiting.submit(call, server, "run", "test/count", {"n": 1, "gate": str(gate)}, QUICK)
        server.client().cancel(gate.visitor())
        assert outcome.result()["raised"]["message"].endswith("): The prediction was cancelled.")


def test_sync_mode_returns_the_outputs_in_one_request(server: Server) -> None:
    outcome = call(server, "run", "test/echo", {"prompt": "at once"}, {"enableSyncMode": True})
    assert outcome == {"returned": {"outputs": ["at once"]}}


def test_sync_mode_of_a_failed_task_raises(server: Server) -> None:
    raised = call(server, "run", "test/fail", {}, {"enableSyncMode": True})["raised"]
    assert raised["message"].endswith("The picture could not be made.")


def test_a_sync_wait_that_is_too_long_names_the_task_which_goes_on(
    make_server: Callable[..., Server], gate: Gate
) -> None:
    server = make_server("basic.py", UNSPOOL_SYNC_WAIT_S="1")
    inputs = {"n": 1, "gate": str(gate)}
    raised = call(server, "run", "test/count", inputs, {"enableSyncMode": True})["raised"]
    assert raised["name"] == "WavespeedSyncTimeoutException"
    assert raised["resultUrl"] == f"{server.url}/api/v3/predictions/{raised['taskId']}/result"

    gate.open()
    assert server.client().finished(raised["taskId"])["outputs"] == ["1 "]


def test_an_unknown_model_is_named(server: Server) -> None:
    raised = call(server, "run", "test/ecko", {"prompt": "x"}, QUICK)["raised"]
    assert raised["name"] == "WavespeedSubmissionException"
    assert "HTTP 404" in raised["message"]
    assert "unknown_model" in raised["message"]
    assert "test/echo" in raised["message"]


def test_a_wrong_input_is_named(server: Server) -> None:
    raised = call(server, "run", "test/echo", {"promt": "x", "repeat": 0}, QUICK)["raised"]
    assert "HTTP 400" in raised["message"]
    assert "prompt" in raised["message"]
    assert "repeat" in raised["message"]


def test_a_bad_key_is_refused(server: Server) -> None:
    raised = call(server, "run", "test/echo", {"prompt": "x"}, QUICK, key="wrong-key-0123456789")["raised"]
    assert raised["name"] == "WavespeedSubmissionException"
    assert "HTTP 401" in raised["message"]


def test_asking_for_a_stream_is_answered_with_one_which_this_client_cannot_read(server: Server) -> None:
    """No official client reads streams: `stream: true` in the input ends in its JSON parser. The prediction runs."""
    raised = call(server, "run", "test/echo", {"prompt": "x", "stream": True}, QUICK)["raised"]
    assert raised["name"] == "SyntaxError"


def test_an_upload_is_an_input_and_the_output_can_be_downloaded(server: Server, picture: Path) -> None:
    url = call(server, "upload", str(picture))["returned"]
    [output] = call(server, "run", "test/copy", {"file": url}, QUICK)["returned"]["outputs"]
    assert output != url
    assert httpx.get(output).content == picture.read_bytes()


def test_an_upload_with_a_bad_key_is_refused(server: Server, picture: Path) -> None:
    raised = call(server, "upload", str(picture), key="wrong-key-0123456789")["raised"]
    assert raised["message"].startswith("Failed to upload file: HTTP 401: ")
