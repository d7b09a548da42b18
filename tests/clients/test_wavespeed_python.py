"""The official Python client, unchanged, against a real server: PyPI `wavespeed`, as pinned in requirements.lock.

It knows only how to submit, to poll (or to wait in sync mode) and to upload, so these tests hold the parts of the
interface that are older than this project: statuses, envelopes, error texts, upload tickets.
"""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest
import requests
import wavespeed

from support.gate import Gate
from support.server import Server


def official(server: Server, key: str | None = None) -> wavespeed.Client:
    return wavespeed.Client(api_key=key or server.key, base_url=server.url, max_connection_retries=0)


def test_this_is_the_version_that_is_promised() -> None:
    assert version("wavespeed") == "2.0.5"


def test_run_returns_the_outputs(server: Server) -> None:
    result = official(server).run("test/echo", {"prompt": "hello", "repeat": 2}, poll_interval=0.05, timeout=20)
    assert result == {"outputs": ["hello", "hello"]}


def test_run_returns_objects_untouched(server: Server) -> None:
    result = official(server).run("test/steps", {"steps": 2}, poll_interval=0.05, timeout=20)
    assert result == {"outputs": [{"steps": 2}]}


def test_a_model_id_of_one_segment_works(server: Server) -> None:
    assert official(server).run("single", poll_interval=0.05, timeout=20) == {"outputs": ["one segment"]}


def test_streamed_text_arrives_as_one_output(server: Server) -> None:
    assert official(server).run("test/count", {"n": 3}, poll_interval=0.05, timeout=20) == {"outputs": ["1 2 3 "]}


def test_a_result_can_be_fetched_later(server: Server) -> None:
    client = official(server)
    task_id = client.run_no_throw("test/echo", {"prompt": "later"}, poll_interval=0.05, timeout=20)["task_id"]
    envelope = client.get_result(task_id)
    assert envelope["code"] == 200
    assert envelope["data"]["id"] == task_id
    assert envelope["data"]["status"] == "completed"
    assert envelope["data"]["outputs"] == ["later"]


def test_a_failed_task_raises_with_the_message_of_its_author(server: Server) -> None:
    with pytest.raises(RuntimeError, match=r"Prediction failed .*: The picture could not be made\."):
        official(server).run("test/fail", poll_interval=0.05, timeout=20)


def test_a_failed_task_can_be_had_without_raising(server: Server) -> None:
    result = official(server).run_no_throw("test/fail", {"message": "no paint"}, poll_interval=0.05, timeout=20)
    assert result["status"] == "failed"
    assert result["outputs"] is None
    assert result["error"] == f"Prediction failed (task_id: {result['task_id']}): no paint"


def test_a_cancelled_task_raises(server: Server, gate: Gate) -> None:
    raised: list[Exception] = []

    def run() -> None:
        try:
            official(server).run("test/count", {"n": 1, "gate": str(gate)}, poll_interval=0.05, timeout=20)
        except Exception as error:
            raised.append(error)

    waiting = threading.Thread(target=run)
    waiting.start()
    server.client().cancel(gate.visitor())
    waiting.join(20)
    assert len(raised) == 1, "the client was told nothing within 20 s"
    assert re.match(r"Prediction cancelled \(task_id: .*\): The prediction was cancelled\.", str(raised[0]))


def test_sync_mode_returns_the_outputs_in_one_request(server: Server) -> None:
    result = official(server).run("test/echo", {"prompt": "at once"}, enable_sync_mode=True, timeout=20)
    assert result == {"outputs": ["at once"]}


def test_sync_mode_of_a_failed_task_raises(server: Server) -> None:
    with pytest.raises(RuntimeError, match=r"Prediction failed .*: The picture could not be made\."):
        official(server).run("test/fail", enable_sync_mode=True, timeout=20)


def test_a_sync_wait_that_is_too_long_names_the_task_which_goes_on(
    make_server: Callable[..., Server], gate: Gate
) -> None:
    server = make_server("basic.py", UNSPOOL_SYNC_WAIT_S="1")
    client = official(server)
    result = client.run_no_throw("test/count", {"n": 1, "gate": str(gate)}, enable_sync_mode=True, timeout=20)
    assert result["status"] == "processing"
    assert result["error"].startswith(
        f"Sync mode timed out (task_id: {result['task_id']}): Sync mode timed out after 1"
    )

    gate.open()
    assert server.client().finished(result["task_id"])["outputs"] == ["1 "]
    assert client.get_result(result["task_id"])["data"]["status"] == "completed"


def test_an_unknown_model_is_named(server: Server) -> None:
    with pytest.raises(RuntimeError, match=r"Failed to submit prediction: HTTP 404: .*unknown_model") as caught:
        official(server).run("test/ecko", {"prompt": "x"})
    assert "test/echo" in str(caught.value)


def test_a_wrong_input_is_named(server: Server) -> None:
    with pytest.raises(RuntimeError, match=r"Failed to submit prediction: HTTP 400: .*invalid_input") as caught:
        official(server).run("test/echo", {"promt": "x", "repeat": 0})
    assert "prompt" in str(caught.value)
    assert "repeat" in str(caught.value)


def test_a_bad_key_is_refused(server: Server) -> None:
    with pytest.raises(RuntimeError, match=r"Failed to submit prediction: HTTP 401: .*unauthenticated"):
        official(server, key="wrong-key-0123456789").run("test/echo", {"prompt": "x"})


def test_asking_for_a_stream_is_answered_with_one_which_this_client_cannot_read(server: Server) -> None:
    """No official client reads streams: `stream: true` in the input ends in its JSON decoder. The prediction runs."""
    with pytest.raises(requests.exceptions.JSONDecodeError):
        official(server).run("test/echo", {"prompt": "x", "stream": True})


def test_an_upload_is_an_input_and_the_output_can_be_downloaded(server: Server, picture: Path) -> None:
    client = official(server)
    url = client.upload(str(picture))
    [output] = client.run("test/copy", {"file": url}, poll_interval=0.05, timeout=20)["outputs"]
    assert output != url
    assert httpx.get(output).content == picture.read_bytes()


@pytest.mark.parametrize("data", [b"", b"a stream of bytes"], ids=["empty", "short"])
def test_a_stream_can_be_uploaded(server: Server, data: bytes) -> None:
    assert httpx.get(official(server).upload(io.BytesIO(data))).content == data


def test_an_upload_with_a_bad_key_is_refused(server: Server, picture: Path) -> None:
    with pytest.raises(RuntimeError, match=r"Failed to create upload: HTTP 401: .*unauthenticated"):
        official(server, key="wrong-key-0123456789").upload(str(picture))
