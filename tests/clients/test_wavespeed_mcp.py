"""The official MCP server, unchanged, against a real server: npm `@wavespeed/mcp` 1.0.7, each of its tools.

npm has no `wavespeed` of the range it asks for; here it has 0.3.2, as its documentation says to do.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from support.gate import Gate
from support.official import Mcp, environment, node, package, package_version
from support.server import Server


def started(server: Server, home: Path, key: str | None = None) -> Mcp:
    variables = {"WAVESPEED_API_KEY": key or server.key, "WAVESPEED_BASE_URL": server.url}
    program = package("@wavespeed/mcp") / "dist" / "index.js"
    return Mcp([node(), program], environment(home, **variables), home)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mcp")


@pytest.fixture(scope="module")
def running(clients_server: Server, home: Path) -> Iterator[Mcp]:
    with started(clients_server, home) as mcp:
        yield mcp


@pytest.fixture
def mcp(running: Mcp, server: Server) -> Mcp:
    return running


def test_this_is_the_version_that_is_promised(mcp: Mcp) -> None:
    assert package_version("@wavespeed/mcp") == "1.0.7"
    assert mcp.name == "wavespeed"
    assert mcp.tools() == {
        "list_models",
        "get_model_schema",
        "run_model",
        "get_price",
        "get_balance",
        "upload_file",
        "get_prediction",
    }


def test_models_are_found(mcp: Mcp) -> None:
    assert mcp.call("list_models", refresh=True).json["total_matches"] == 9
    [found] = mcp.call("list_models", query="GREEN", type="text-to-image").json["models"]
    assert (found["model_id"], found["name"], found["base_price"]) == ("test/draw", "test/draw", 0.25)


def test_the_schema_of_a_model_is_told(mcp: Mcp) -> None:
    schema = mcp.call("get_model_schema", model="test/echo").json
    assert (schema["required"], schema["property_order"]) == (["prompt"], ["prompt", "repeat"])
    assert schema["properties"]["repeat"]["default"] == 1


def test_a_run_gives_the_outputs(mcp: Mcp) -> None:
    ran = mcp.call("run_model", model="test/echo", input={"prompt": "hello", "repeat": 2}).json
    assert (ran["status"], ran["outputs"]) == ("completed", ["hello", "hello"])


def test_a_run_that_is_not_waited_for_is_fetched_later(mcp: Mcp, server: Server) -> None:
    submitted = mcp.call("run_model", model="test/echo", input={"prompt": "later"}, wait_seconds=0).json
    server.client().finished(submitted["id"])
    fetched = mcp.call("get_prediction", id=submitted["id"]).json
    assert (fetched["status"], fetched["outputs"], fetched["error"]) == ("completed", ["later"], "")


def test_a_failed_task_is_told_in_the_words_of_its_author(mcp: Mcp) -> None:
    told = mcp.call("run_model", model="test/fail", input={})
    assert told.failed
    assert told.text.startswith("Prediction failed: The picture could not be made. (task_id: ")


def test_a_cancelled_task_is_told(mcp: Mcp, server: Server, gate: Gate) -> None:
    with ThreadPoolExecutor(1) as waiting:
        inputs = {"n": 1, "gate": str(gate)}
        said = waiting.submit(mcp.call, "run_model", model="test/count", input=inputs)
        server.client().cancel(gate.visitor())
        told = said.result()
    assert told.failed
    assert told.text.startswith("Prediction cancelled: The prediction was cancelled. (task_id: ")


def test_an_unknown_model_is_named(mcp: Mcp) -> None:
    told = mcp.call("run_model", model="test/ecko", input={"prompt": "x"})
    assert told.failed
    assert "test/echo" in told.text
    assert told.text.endswith("[unknown_model]")


def test_a_wrong_input_is_named(mcp: Mcp) -> None:
    for tool in ("run_model", "get_price"):
        told = mcp.call(tool, model="test/echo", input={"promt": "x"})
        assert told.failed
        assert "promt" in told.text
        assert told.text.endswith("[invalid_input]")


def test_a_bad_key_is_refused(server: Server, tmp_path: Path) -> None:
    with started(server, tmp_path, key="wrong-key-0123456789") as mcp:
        for tool in ("get_balance", "list_models"):
            told = mcp.call(tool)
            assert told.failed
            assert told.text.endswith("[unauthenticated]")


def test_a_price_is_quoted(mcp: Mcp) -> None:
    quoted = mcp.call("get_price", model="test/draw", input={"prompt": "x"}).json
    assert (quoted["price"], quoted["discounted_price"], quoted["currency"]) == (0.25, 0.25, "USD")
    assert quoted["unpriced_inputs"] == []


def test_the_balance_is_told(mcp: Mcp) -> None:
    assert mcp.call("get_balance").json["balance"] == 0


def test_a_file_is_uploaded_once_however_often_it_is_named(mcp: Mcp, home: Path, picture: Path) -> None:
    shutil.copy(picture, home / "cat.png")
    ran = mcp.call("run_model", model="test/copy", input={"file": "@./cat.png"}).json
    assert ran["uploaded_files"] == 1
    [output] = ran["outputs"]
    assert httpx.get(output).content == picture.read_bytes()

    uploaded = mcp.call("upload_file", path=str(picture)).json
    assert uploaded["cached"]
    assert httpx.get(uploaded["url"]).content == picture.read_bytes()
