"""An older official Python client, unchanged, against a real server: PyPI `wavespeed` 1.0.7.

It uploads by form, repeats a submit after a lost connection, and waits only for `completed` and `failed`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.client import data_of
from support.gate import Gate
from support.official import call_python, python_version
from support.server import Server

QUICK = {"poll_interval": 0.05, "timeout": 20}
SYNC = {"enable_sync_mode": True, "timeout": 20}


def call(server: Server, method: str, *args: Any, key: str | None = None) -> dict[str, Any]:
    return call_python(server, "wavespeed-1", method, *args, key=key)


def test_this_is_the_version_that_is_promised() -> None:
    assert python_version("wavespeed-1", "wavespeed") == "1.0.7"


@pytest.mark.parametrize("options", [QUICK, SYNC], ids=["polling", "sync"])
def test_run_returns_the_outputs(server: Server, options: dict[str, Any]) -> None:
    outcome = call(server, "run", "test/echo", {"prompt": "hello", "repeat": 2}, options)
    assert outcome == {"returned": {"outputs": ["hello", "hello"]}}


@pytest.mark.parametrize("options", [QUICK, SYNC], ids=["polling", "sync"])
def test_a_failed_task_raises_with_the_message_of_its_author(server: Server, options: dict[str, Any]) -> None:
    raised = call(server, "run", "test/fail", {}, options)["raised"]
    assert raised["message"].startswith("Prediction failed (task_id: ")
    assert raised["message"].endswith("): The picture could not be made.")


def test_a_cancelled_task_is_waited_for_until_the_clients_own_timeout(server: Server, gate: Gate) -> None:
    """The client does not know the status; it takes it for one that goes on."""
    with ThreadPoolExecutor(1) as waiting:
        inputs = {"n": 1, "gate": str(gate)}
        outcome = waiting.submit(call, server, "run", "test/count", inputs, {"poll_interval": 0.05, "timeout": 2})
        id = gate.visitor()
        server.client().cancel(id)
        raised = outcome.result()["raised"]
    assert raised["name"] == "TimeoutError"
    assert server.client().result(id)["status"] == "cancelled"


def test_a_deleted_task_raises_at_once(server: Server, gate: Gate) -> None:
    with ThreadPoolExecutor(1) as waiting:
        outcome = waiting.submit(call, server, "run", "test/count", {"n": 1, "gate": str(gate)}, QUICK)
        data_of(server.client().http.delete(f"predictions/{gate.visitor()}"))
        raised = outcome.result()["raised"]
    assert raised["name"] == "RuntimeError"
    assert "HTTP 404" in raised["message"]


def test_an_unknown_model_is_named(server: Server) -> None:
    message = call(server, "run", "test/ecko", {"prompt": "x"}, QUICK)["raised"]["message"]
    assert message.startswith("Failed to submit prediction: HTTP 404: ")
    assert "test/echo" in message


def test_a_wrong_input_is_named(server: Server) -> None:
    message = call(server, "run", "test/echo", {"promt": "x", "repeat": 0}, QUICK)["raised"]["message"]
    assert message.startswith("Failed to submit prediction: HTTP 400: ")
    assert "prompt" in message
    assert "repeat" in message


@pytest.mark.parametrize("method", ["run", "upload"])
def test_a_bad_key_is_refused(server: Server, picture: Path, method: str) -> None:
    args: dict[str, list[Any]] = {"run": ["test/echo", {"prompt": "x"}, QUICK], "upload": [str(picture)]}
    message = call(server, method, *args[method], key="wrong-key-0123456789")["raised"]["message"]
    assert ": HTTP 401: " in message


def test_an_upload_is_an_input_and_the_output_can_be_downloaded(server: Server, picture: Path) -> None:
    url = call(server, "upload", str(picture))["returned"]
    [output] = call(server, "run", "test/copy", {"file": url}, QUICK)["returned"]["outputs"]
    assert output != url
    answer = httpx.get(output)
    assert (answer.content, answer.headers["content-type"]) == (picture.read_bytes(), "image/png")
