"""The older official MCP server, unchanged, against a real server: PyPI `wavespeed-mcp` 0.1.27, each of its tools.

It sends every input that its tools have, so the model behind a tool has to take them all; `**others` does.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.client import data_of
from support.gate import Gate
from support.official import Mcp, Told, environment, interpreter, python_version
from support.server import Server


def started(server: Server, home: Path, **variables: str) -> Mcp:
    """With `test/draw` behind each tool."""
    own = {
        "WAVESPEED_API_KEY": server.key,
        "WAVESPEED_API_HOST": server.url,
        "WAVESPEED_API_TEXT_TO_IMAGE_ENDPOINT": "test/draw",
        "WAVESPEED_API_IMAGE_TO_IMAGE_ENDPOINT": "test/draw",
        "WAVESPEED_API_VIDEO_ENDPOINT": "test/draw",
    }
    program = [interpreter("wavespeed-mcp").with_name("wavespeed-mcp")]
    return Mcp(program, environment(home, **{**own, **variables}), home)


@pytest.fixture(scope="module")
def running(clients_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mcp]:
    with started(clients_server, tmp_path_factory.mktemp("mcp-python")) as mcp:
        yield mcp


@pytest.fixture
def mcp(running: Mcp, server: Server) -> Mcp:
    return running


def result(told: Told) -> dict[str, Any]:
    """What a tool says, whether it has worked or not."""
    return dict(told.json)


def error(told: Told) -> str:
    said = result(told)
    assert said["status"] == "error", said
    return str(said["error"])


def test_this_is_the_version_that_is_promised(mcp: Mcp) -> None:
    assert python_version("wavespeed-mcp", "wavespeed-mcp") == "0.1.27"
    assert mcp.name == "WaveSpeed"
    assert mcp.tools() == {"text_to_image", "image_to_image", "generate_video"}


def test_text_becomes_a_picture(mcp: Mcp) -> None:
    said = result(mcp.call("text_to_image", prompt="a green hill"))
    assert (said["status"], said["model"]) == ("success", "test/draw")
    [url] = said["urls"]
    assert httpx.get(url).headers["content-type"] == "image/png"


def test_a_local_picture_goes_there_and_comes_back(mcp: Mcp, picture: Path) -> None:
    said = result(mcp.call("image_to_image", image=str(picture), images=[], prompt="the same"))
    [url] = said["urls"]
    assert httpx.get(url).content == picture.read_bytes()


def test_the_output_of_one_tool_is_the_input_of_another(mcp: Mcp) -> None:
    [drawn] = result(mcp.call("text_to_image", prompt="a green hill"))["urls"]
    [shown] = result(mcp.call("generate_video", image=drawn, prompt="it moves"))["urls"]
    assert shown != drawn
    assert httpx.get(shown).content == httpx.get(drawn).content


def test_outputs_are_downloaded_into_a_folder(server: Server, tmp_path: Path) -> None:
    with started(server, tmp_path, WAVESPEED_API_RESOURCE_MODE="local") as mcp:
        folder = tmp_path / "pictures"
        said = result(mcp.call("text_to_image", prompt="a hill", output_directory=str(folder)))
    [file] = said["local_files"]
    assert Path(file["path"]).parent == folder
    assert Path(file["path"]).read_bytes().startswith(b"\x89PNG")


def test_outputs_are_downloaded_as_base64(server: Server, tmp_path: Path) -> None:
    with started(server, tmp_path, WAVESPEED_API_RESOURCE_MODE="base64") as mcp:
        [drawn] = result(mcp.call("text_to_image", prompt="a hill"))["base64"]
    assert drawn["mime_type"] == "image/png"
    assert base64.b64decode(drawn["data"]).startswith(b"\x89PNG")


def test_a_failed_task_is_told_in_the_words_of_its_author(mcp: Mcp) -> None:
    said = error(mcp.call("text_to_image", model="test/refuse", prompt="no paint"))
    assert said == "Failed to generate image: API request failed: no paint"


def test_a_cancelled_task_is_waited_for_until_the_clients_own_timeout(
    server: Server, gate: Gate, tmp_path: Path
) -> None:
    """The client does not know the status; it takes it for one that goes on."""
    with (
        started(server, tmp_path, WAVESPEED_WAIT_RESULT_TIMEOUT="2") as mcp,
        ThreadPoolExecutor(1) as waiting,
    ):
        told = waiting.submit(mcp.call, "text_to_image", model="test/wait", prompt=str(gate))
        id = gate.visitor()
        server.client().cancel(id)
        assert error(told.result()) == "Failed to generate image: Polling timed out after 2.0 seconds"
    assert server.client().result(id)["status"] == "cancelled"


def test_a_deleted_task_is_told(mcp: Mcp, server: Server, gate: Gate) -> None:
    with ThreadPoolExecutor(1) as waiting:
        told = waiting.submit(mcp.call, "text_to_image", model="test/wait", prompt=str(gate))
        data_of(server.client().http.delete(f"predictions/{gate.visitor()}"))
        assert "not_found" in error(told.result())


def test_an_unknown_model_is_named(mcp: Mcp) -> None:
    said = error(mcp.call("text_to_image", model="test/ecko", prompt="x"))
    assert "unknown_model" in said
    assert "test/echo" in said


def test_a_model_that_does_not_know_all_inputs_of_a_tool_refuses_them(mcp: Mcp) -> None:
    said = error(mcp.call("text_to_image", model="test/echo", prompt="x"))
    assert "invalid_input" in said
    assert "enable_safety_checker" in said


def test_a_bad_key_is_refused(server: Server, tmp_path: Path) -> None:
    with started(server, tmp_path, WAVESPEED_API_KEY="wrong-key-0123456789") as mcp:
        assert "Authentication failed: 401" in error(mcp.call("text_to_image", prompt="x"))
