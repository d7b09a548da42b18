"""The official command line client, unchanged, against a real server: npm `@wavespeed/cli` 0.2.2.

These are all of its commands that make a request. It runs models and uploads with npm `wavespeed` 0.2.3, and does
everything else itself.
"""

from __future__ import annotations

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from support.client import data_of
from support.gate import Gate
from support.official import environment, node, package, package_version, run_program
from support.server import Server

Done = subprocess.CompletedProcess[str]


class Cli:
    """Someone's terminal: a home with a login in it, and a folder to work in."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.folder = home / "work"
        self.folder.mkdir()
        self._program = [node(), package("@wavespeed/cli") / "dist" / "cli.js"]

    def try_(self, *arguments: str | Path, **variables: str) -> Done:
        return run_program([*self._program, *arguments], environment(self.home, **variables), self.folder)

    def __call__(self, *arguments: str | Path) -> str:
        """What a command prints. It must succeed."""
        done = self.try_(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def json(self, *arguments: str | Path) -> Any:
        return json.loads(self(*arguments, "--json"))

    def refused(self, *arguments: str | Path, **variables: str) -> str:
        """The `error` of a command that must fail."""
        done = self.try_(*arguments, "--json", **variables)
        assert done.returncode == 1, done.stdout + done.stderr
        return str(json.loads(done.stdout)["error"])


@pytest.fixture(scope="module")
def signed_in(clients_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Cli:
    cli = Cli(tmp_path_factory.mktemp("cli"))
    cli("config", "--base-url", clients_server.url)
    assert "Signed in." in cli.try_("login", "--api-key", clients_server.key, "--no-browser").stderr
    return cli


@pytest.fixture
def cli(signed_in: Cli, server: Server) -> Cli:
    return signed_in


def test_this_is_the_version_that_is_promised(cli: Cli) -> None:
    assert package_version("@wavespeed/cli") == "0.2.2"
    assert json.loads((package("@wavespeed/cli") / "node_modules/wavespeed/package.json").read_text())["version"] == (
        "0.2.3"
    )


# The account


def test_a_login_with_a_bad_key_is_refused(cli: Cli) -> None:
    done = cli.try_("login", "--api-key", "wrong-key-0123456789", "--no-browser")
    assert done.returncode == 1
    assert "API rejected the key" in done.stderr


def test_the_balance_is_shown(cli: Cli) -> None:
    assert cli.json("balance")["balance"] == 0
    assert "Balance: $0.000" in cli("balance")


# Models


def test_models_are_listed_with_their_type_and_price(cli: Cli) -> None:
    listed = cli("models", "--refresh")
    assert "9 models of 9 live" in listed
    assert "test/draw" in listed
    assert "$0.25" in listed
    [found] = cli.json("models", "green", "--type", "text-to-image")
    assert (found["model_id"], found["base_price"]) == ("test/draw", 0.25)


def test_the_models_of_a_bad_key_are_not_listed(cli: Cli) -> None:
    assert " 401 " in cli.refused("models", "--no-cache", WAVESPEED_API_KEY="wrong-key-0123456789")


def test_the_schema_of_a_model_is_shown(cli: Cli) -> None:
    schema = cli.json("schema", "test/echo", "--refresh")
    assert schema["required"] == ["prompt"]
    assert schema["x-order-properties"] == ["prompt", "repeat"]
    assert schema["properties"]["repeat"]["maximum"] == 100
    shown = cli("schema", "test/draw")
    assert "what is to be seen." in shown
    assert "1 required" in shown
    assert "Unknown model" in cli.refused("schema", "test/ecko")


def test_the_help_of_run_shows_the_inputs_of_the_model(cli: Cli) -> None:
    shown = cli("run", "test/echo", "--help")
    assert "default: 1" in shown
    assert "range: 1..100" in shown


def test_a_price_is_quoted(cli: Cli) -> None:
    assert cli.json("price", "test/draw", "-p", "a cat") == {
        "model_id": "test/draw",
        "unit_price": 0.25,
        "currency": "USD",
    }
    assert "$0.25 USD per call" in cli("price", "test/draw")
    assert " 400 " in cli.refused("price", "test/echo", "-i", "repeat=0", "-p", "x")
    assert " 404 " in cli.refused("price", "test/ecko")


# Runs


@pytest.mark.parametrize("mode", [[], ["--sync"]], ids=["polling", "sync"])
def test_run_gives_the_outputs(cli: Cli, mode: list[str]) -> None:
    ran = cli.json("run", "test/echo", "-p", "hello", "-i", "repeat=2", *mode)
    assert ran["outputs"] == ["hello", "hello"]


def test_inputs_may_come_from_a_file(cli: Cli) -> None:
    (cli.folder / "inputs.json").write_text('{"prompt": "written", "repeat": 3}')
    assert cli.json("run", "test/echo", "--input-file", "inputs.json", "-i", "repeat=1")["outputs"] == ["written"]


@pytest.mark.parametrize("mode", [[], ["--sync"]], ids=["polling", "sync"])
def test_a_failed_task_is_told_in_the_words_of_its_author(cli: Cli, mode: list[str]) -> None:
    assert cli.refused("run", "test/fail", *mode).endswith("): The picture could not be made.")


def test_a_cancelled_task_is_waited_for_until_it_is_deleted(cli: Cli, server: Server, gate: Gate) -> None:
    """This version does not know the status, and waits for ten hours."""
    client = server.client()
    with ThreadPoolExecutor(1) as waiting:
        said = waiting.submit(cli.refused, "run", "test/count", "-i", f"gate={gate}", "-i", "n=1")
        id = gate.visitor()
        client.cancel(id)
        assert client.finished(id)["status"] == "cancelled"
        data_of(client.http.delete(f"predictions/{id}"))
        assert "HTTP 404" in said.result()


def test_an_unknown_model_is_named(cli: Cli) -> None:
    said = cli.refused("run", "test/ecko", "-p", "x")
    assert "HTTP 404" in said
    assert "test/echo" in said


def test_a_wrong_input_is_named(cli: Cli) -> None:
    said = cli.refused("run", "test/echo", "-i", "promt=x")
    assert "HTTP 400" in said
    assert "did you mean 'prompt'?" in said


def test_a_bad_key_is_refused(cli: Cli) -> None:
    assert "HTTP 401" in cli.refused("run", "test/echo", "-p", "x", WAVESPEED_API_KEY="wrong-key-0123456789")


# Files


def test_an_upload_is_an_input_and_the_output_is_downloaded(cli: Cli, picture: Path) -> None:
    url = cli.json("upload", picture)["url"]
    ran = cli.json("run", "test/copy", "-i", f"file={url}", "--download", "out/{index}.{ext}")
    assert ran["saved"] == [str(cli.folder / "out" / "1.png")]
    assert Path(ran["saved"][0]).read_bytes() == picture.read_bytes()

    saved = cli.folder / "again.png"
    cli("download", ran["outputs"][0], "-o", saved)
    assert saved.read_bytes() == picture.read_bytes()


def test_several_files_are_uploaded_and_downloaded(cli: Cli, picture: Path) -> None:
    other = picture.with_name("other.txt")
    other.write_text("text")
    urls = cli.json("upload", picture, other)["urls"]
    saved = cli.json("download", *urls, "--output-dir", "both")["saved"]
    assert [Path(file).read_bytes() for file in saved] == [picture.read_bytes(), b"text"]


def test_an_upload_with_a_bad_key_is_refused(cli: Cli, picture: Path) -> None:
    done = cli.try_("upload", picture, "--json", WAVESPEED_API_KEY="wrong-key-0123456789")
    assert done.returncode == 1
    [failed] = json.loads(done.stdout)["errors"]
    assert "HTTP 401" in failed["error"]


# History


def test_the_history_is_shown_filtered_and_deleted(cli: Cli) -> None:
    cli("run", "test/draw", "-p", "a green hill", "--sync")
    cli.refused("run", "test/fail", "--sync")
    shown = cli("history", "--limit", "2")
    assert "2 predictions  · page 1" in shown
    assert "prompt: a green hill" in shown
    assert "error:  The picture could not be made." in shown

    [failed] = cli.json("history", "--status", "failed", "--model", "test/fail", "--limit", "1")["items"]
    assert failed["model"] == "test/fail"
    [drawn] = cli.json("history", "--model", "test/draw", "--limit", "1")["items"]
    assert (drawn["status"], drawn["inputs"]["prompt"]) == ("completed", "a green hill")
    assert cli.json("history", "--until", "2020-01-01T00:00:00Z", "--since", "2019-01-01T00:00:00Z")["items"] == []

    assert "status:   completed" in cli("show", drawn["id"])
    [saved] = cli.json("show", drawn["id"], "--download", "shown.png")["saved"]
    assert Path(saved).read_bytes().startswith(b"\x89PNG")

    assert cli.json("delete", drawn["id"], failed["id"]) == {"deleted": [drawn["id"], failed["id"]]}
    assert " 404 " in cli.refused("show", drawn["id"])
    assert drawn["id"] not in cli("history", "--limit", "100")
