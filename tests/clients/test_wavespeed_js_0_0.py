"""The first official JavaScript client, unchanged, against a real server: npm `wavespeed` 0.0.15.

It is the only one that asks for webhooks, hands out the prediction object, and uploads below `/api/v2`.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.client import data_of
from support.gate import Gate
from support.official import call_js, package_version
from support.receiver import Receiver
from support.server import Server


def call(server: Server, method: str, *args: Any, key: str | None = None) -> dict[str, Any]:
    return call_js(server, "wavespeed-0.0.15", method, *args, key=key)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


def test_this_is_the_version_that_is_promised() -> None:
    assert package_version("wavespeed-0.0.15") == "0.0.15"


def test_run_returns_the_prediction(server: Server) -> None:
    done = call(server, "run", "test/echo", {"prompt": "hello", "repeat": 2})["returned"]
    assert (done["model"], done["status"], done["outputs"]) == ("test/echo", "completed", ["hello", "hello"])
    assert (done["error"], done["has_nsfw_contents"]) == ("", [False, False])
    assert done["urls"]["get"] == f"{server.url}/api/v3/predictions/{done['id']}/result"
    assert isinstance(done["executionTime"], (int, float))


def test_a_result_can_be_fetched_later(server: Server) -> None:
    created = call(server, "create", "test/echo", {"prompt": "later"})["returned"]
    server.client().finished(created["id"])
    assert call(server, "getPrediction", created["id"])["returned"]["outputs"] == ["later"]


def test_sync_mode_returns_the_prediction_in_one_request(server: Server) -> None:
    done = call(server, "create", "test/echo", {"prompt": "at once", "enable_sync_mode": True})["returned"]
    assert (done["status"], done["outputs"]) == ("completed", ["at once"])


@pytest.mark.parametrize("sync", [False, True], ids=["polling", "sync"])
def test_a_failed_task_is_a_prediction_with_the_message_of_its_author(server: Server, sync: bool) -> None:
    done = call(server, "run", "test/fail", {"enable_sync_mode": sync})["returned"]
    assert (done["status"], done["error"]) == ("failed", "The picture could not be made.")


def test_a_cancelled_task_is_waited_for_until_it_is_deleted(server: Server, gate: Gate) -> None:
    """The client knows neither the status nor a timeout for the whole."""
    client = server.client()
    with ThreadPoolExecutor(1) as waiting:
        outcome = waiting.submit(call, server, "run", "test/count", {"n": 1, "gate": str(gate)})
        id = gate.visitor()
        client.cancel(id)
        assert client.finished(id)["status"] == "cancelled"
        data_of(client.http.delete(f"predictions/{id}"))
        assert outcome.result()["raised"]["message"].startswith("Failed to reload prediction: 404 ")


def test_an_unknown_model_is_named(server: Server) -> None:
    message = call(server, "run", "test/ecko", {"prompt": "x"})["raised"]["message"]
    assert message.startswith("Failed to create prediction: 404 ")
    assert "test/echo" in message


def test_a_wrong_input_is_named(server: Server) -> None:
    message = call(server, "run", "test/echo", {"promt": "x", "repeat": 0})["raised"]["message"]
    assert message.startswith("Failed to create prediction: 400 ")
    assert "prompt" in message
    assert "repeat" in message


@pytest.mark.parametrize("method", ["run", "upload"])
def test_a_bad_key_is_refused(server: Server, picture: Path, method: str) -> None:
    args: dict[str, list[Any]] = {"run": ["test/echo", {"prompt": "x"}], "upload": [str(picture)]}
    message = call(server, method, *args[method], key="wrong-key-0123456789")["raised"]["message"]
    assert ": 401 " in message


def test_a_webhook_whose_url_has_a_query_is_told_of_the_end(server: Server, receiver: Receiver) -> None:
    """The client appends the URL as it is, `?webhook=http://…?a=b&c=d`, so all that follows is taken for the URL."""
    hook = receiver.url("/hook?a=b&c=d")
    created = call(server, "create", "test/echo", {"prompt": "x"}, {"webhook": hook})["returned"]
    [received] = receiver.wait("/hook?a=b&c=d")
    assert received.json["id"] == created["id"]
    assert received.json["outputs"] == ["x"]


def test_an_upload_is_an_input_and_the_output_can_be_downloaded(server: Server, picture: Path) -> None:
    url = call(server, "upload", str(picture), {"filename": picture.name})["returned"]
    done = call(server, "run", "test/copy", {"file": url})["returned"]
    assert done["status"] == "completed", done["error"]
    [output] = done["outputs"]
    assert output != url
    answer = httpx.get(output)
    assert (answer.content, answer.headers["content-type"]) == (picture.read_bytes(), "image/png")


def test_an_upload_without_a_name_works_too(server: Server, picture: Path) -> None:
    """Then the form calls it `blob`."""
    url = call(server, "upload", str(picture))["returned"]
    assert httpx.get(url).content == picture.read_bytes()
