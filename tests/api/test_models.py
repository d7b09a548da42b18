"""What an author writes is what is served: every shape, concurrency, everything a model can say, and its mistakes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import MODELS, MakeServer
from support.client import Client, error_of
from support.server import Server
from support.stream import check_log, text_of
from unspool.config import Settings

SHAPES = ["function", "generator", "async", "async-generator", "class", "class-async-generator"]
SLOTS = 4


def _server(file: Path, folder: Path) -> Iterator[Client]:
    server = Server(file, folder)
    try:
        yield server.start().wait_until_ready().client()
    finally:
        server.close()


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    yield from _server(MODELS / "shapes.py", tmp_path_factory.mktemp("shapes"))


@pytest.fixture(scope="module")
def chatter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    yield from _server(MODELS / "chatter.py", tmp_path_factory.mktemp("chatter"))


@pytest.fixture(scope="module")
def mistakes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    yield from _server(MODELS / "mistakes.py", tmp_path_factory.mktemp("mistakes"))


# Shapes


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_model_runs_in_all_its_slots_at_once(shapes: Client, shape: str) -> None:
    """After the first call, each of four waits until all are inside: they end only if they really run together."""
    alone = shapes.log(shapes.submit(f"shape/{shape}")["id"])
    check_log(alone)
    together = [shapes.submit(f"shape/{shape}", parties=1 + SLOTS)["id"] for _ in range(SLOTS)]
    for log in (alone, *map(shapes.log, together)):
        assert log[-1].data["outputs"] == ["met"]
        assert text_of(log) == ("met" if "generator" in shape else "")


# What a model says


def logs_of(client: Client, id: str) -> list[tuple[str, str]]:
    return [(event.data["level"], event.data["message"]) for event in client.log(id) if event.type == "log"]


def test_everything_that_python_can_say_becomes_a_log_event(chatter: Client) -> None:
    id = chatter.submit("chatter/all")["id"]
    assert logs_of(chatter, id) == [
        ("info", "from print"),
        ("warning", "from stderr"),
        ("info", "from info"),
        ("error", "from error"),
        ("warning", "UserWarning: from warnings"),
        ("warning", "from run.log"),
    ]
    polled = chatter.result(id, logs="true")["logs"]
    assert [(line["level"], line["message"]) for line in polled] == logs_of(chatter, id)


def test_each_run_gets_its_own_words(chatter: Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        ids = [one["id"] for one in pool.map(lambda _: chatter.submit("chatter/all"), range(16))]
    for id in ids:
        assert len(logs_of(chatter, id)) == 6


def test_a_tqdm_bar_becomes_progress(chatter: Client) -> None:
    log = chatter.log(chatter.submit("chatter/bar", steps=5)["id"])
    progress = [event.data for event in log if event.type == "progress" and event.data.get("stage") == "denoise"]
    steps = [said["step"] for said in progress]
    assert steps == sorted(steps)
    assert progress[-1]["percentage"] == 100
    assert (progress[-1]["step"], progress[-1]["steps"]) == (5, 5)
    assert not [event for event in log if event.type == "log"]
    assert log[-1].data["outputs"] == [5]


def test_a_thread_of_the_model_may_speak(chatter: Client) -> None:
    id = chatter.submit("chatter/thread")["id"]
    assert logs_of(chatter, id) == [("info", "from a thread")]


# Mistakes while it runs


def fails(client: Client, model: str, **inputs: Any) -> tuple[str, int]:
    """The message and code with which it failed, the same wherever one looks."""
    id = client.submit(model, **inputs)["id"]
    end = client.log(id)[-1].data
    polled = client.result(id)
    assert (end["type"], end["status"], polled["status"]) == ("error", "failed", "failed")
    assert (polled["error"], polled["code"]) == (end["error"], end["code"])
    return end["error"], end["code"]


def test_an_exception_is_told_without_paths(client: Client) -> None:
    assert fails(client, "test/fail", crash=True) == ("RuntimeError: path: The picture could not be made.", 1403)


def test_what_was_said_before_the_exception_stays(client: Client) -> None:
    log = client.log(client.submit("test/fail")["id"])
    assert [event.type for event in log] == ["progress", "progress", "output", "error"]


def test_a_model_error_is_told_word_for_word(client: Client) -> None:
    message = "Not this picture: /home/you is no subject. 100 %"
    assert fails(client, "test/fail", message=message) == (message, 1403)


@pytest.mark.parametrize("where", ["return", "yield", "in a list", "async"])
def test_an_output_that_is_not_json_fails_with_what_would_be(mistakes: Client, where: str) -> None:
    message, code = fails(mistakes, "mistakes/not-json", where=where)
    assert message == (
        "TypeError: a model cannot output object; return text, numbers, lists, dicts, pydantic models or files"
    )
    assert code == 1403


@pytest.mark.parametrize("kind", ["exit", "interrupt", "stop-iteration", "recursion", "group", "empty", "cancelled"])
def test_whatever_a_model_raises_ends_its_run_and_not_its_worker(mistakes: Client, kind: str) -> None:
    before = mistakes.finished(mistakes.submit("mistakes/pid")["id"])["outputs"]
    message, code = fails(mistakes, "mistakes/raises", kind=kind)
    assert message
    assert code == 1403
    assert mistakes.finished(mistakes.submit("mistakes/pid")["id"])["outputs"] == before


def test_strange_text_and_numbers_reach_the_client_as_json(mistakes: Client) -> None:
    finished = mistakes.finished(mistakes.submit("mistakes/strange")["id"])
    assert finished["outputs"] == [
        "half a pair ?, a null \x00, a line \u2028 break",
        {"nan": None, "inf": None, "big": 2**70, "tuple": [1, 2], "keys": {"1": 2}},
    ]


def test_inputs_that_only_pydantic_can_check_fail_with_1401(make_server: MakeServer) -> None:
    client = make_server("inputs.py").client()
    message, code = fails(client, "inputs/validator", even={"number": 3})
    assert code == 1401
    assert "must be even" in message
    assert client.finished(client.submit("inputs/validator", even={"number": 4})["id"])["outputs"] == [4]


def test_a_model_does_not_see_the_api_key_of_the_server(make_server: MakeServer):
    server = make_server("mistakes.py")
    client = server.client()
    prediction = client.finished(client.submit("mistakes/curious")["id"])
    assert prediction["outputs"] == [False]


def test_no_secret_of_the_server_is_in_an_error(make_server: MakeServer) -> None:
    client = make_server("mistakes.py", TEST_PASSWORD="correct-horse-battery").client()
    message, _ = fails(client, "mistakes/leaks")
    assert "correct-horse-battery" not in message


def test_the_details_are_in_the_log_of_the_server(client: Client, server: Server) -> None:
    id = client.submit("test/fail", crash=True)["id"]
    client.log(id)
    line = server.wait_for_log(rf"(?=.*{id}).*a run failed")
    assert "/secret/path: The picture could not be made." in line.string
    assert "Traceback" in line.string


# Mistakes in the file


def serve(tmp_path: Path, source: str | None, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs `unspool serve` until it ends by itself."""
    file = tmp_path / "app.py"
    if source is not None:
        file.write_text(source)
    command = [sys.executable, "-m", "unspool", "serve", str(file), "--port", "0", "--data-dir", str(tmp_path / "data")]
    env = {name: value for name, value in os.environ.items() if not name.startswith("UNSPOOL_")} | environment
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=30, check=False, env=env)


MODEL = "from unspool import model, Run\nfrom typing import Any\n"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        pytest.param("def broken(:\n", r"app\.py cannot be imported:\n(.*\n)*.*SyntaxError", id="syntax"),
        pytest.param(
            "import nothing_like_this\n", r"ModuleNotFoundError: No module named 'nothing_like_this'", id="import"
        ),
        pytest.param("raise SystemExit(0)\n", r"app\.py cannot be imported", id="exit"),
        pytest.param("x = 1\n", r'app\.py has no model; put @model\("name"\) over a function or class', id="empty"),
        pytest.param(
            MODEL + "@model('a')\ndef one(): ...\n@model('a')\ndef two(): ...\n",
            r"two models are called 'a'; give one of them another id",
            id="duplicate",
        ),
        pytest.param(
            MODEL + "@model('predictions/x')\ndef one(): ...\n",
            r"model id 'predictions/x': 'predictions' is a path of the API itself; put a name before it",
            id="reserved path",
        ),
        pytest.param(
            MODEL + "@model('a/stream')\ndef one(): ...\n", r"a last segment 'stream' means the stream", id="stream"
        ),
        pytest.param(MODEL + "@model('a b')\ndef one(): ...\n", r"model id 'a b': use segments of letters", id="id"),
        pytest.param(MODEL + "@model('../a')\ndef one(): ...\n", r"model id '\.\./a': use segments of", id="dots"),
        *(
            pytest.param(
                MODEL + f"@model('a')\ndef one({name}: bool = True): ...\n",
                rf"an input cannot be called '{name}'; the API uses that name itself",
                id=name,
            )
            for name in ("stream", "enable_sync_mode", "enable_base64_output", "webhook_url")
        ),
        pytest.param(
            MODEL + "@model('a')\ndef one(*args): ...\n", r"'args' must be one that can be passed by name", id="*"
        ),
        pytest.param(MODEL + "@model('a', slots=0)\ndef one(): ...\n", r"slots=0 must be 1 or more", id="slots"),
        pytest.param(
            MODEL + "@model('a')\nclass One: ...\n",
            r"One needs a __call__ method; it runs once per prediction",
            id="call",
        ),
        pytest.param(
            MODEL + "class C: ...\n@model('a')\ndef one(x: C): ...\n",
            r"model 'a': no JSON schema for its parameters",
            id="type",
        ),
        pytest.param(MODEL + "@model('a')\ndef one(x: 'No'): ...\n", r"its annotations cannot be read", id="name"),
        pytest.param(
            MODEL + "@model('a', streams=['video'])\ndef one(): ...\n",
            r"may name only progress, log, output",
            id="streams",
        ),
        pytest.param("import os; os._exit(7)\n", r"ended with exit code 7", id="dies"),
    ],
)
def test_a_file_that_cannot_be_served_ends_the_server_with_a_message_for_its_author(
    tmp_path: Path, source: str, says: str
) -> None:
    ended = serve(tmp_path, source)
    assert ended.returncode == 1, ended.stderr
    assert ended.stderr.startswith("unspool: ")
    assert re.search(says, ended.stderr), ended.stderr
    assert "supervisor.py" not in ended.stderr, "no trace of our own"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    ended = serve(tmp_path, None)
    assert ended.returncode == 1
    assert ended.stderr == f"unspool: there is no file {tmp_path / 'app.py'}\n"


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"UNSPOOL_MAX_BODY_BYTES": "many"}, "max_body_bytes"),
        ({"UNSPOOL_API_KEY": "short"}, "api_key"),
        ({"UNSPOOL_KEEP_ALIVE_S": "-1"}, "keep_alive_s"),
        ({"UNSPOOL_LOAD_ATTEMPTS": "0"}, "load_attempts"),
    ],
)
def test_a_wrong_setting_ends_the_server_with_its_name(tmp_path: Path, environment: dict[str, str], says: str) -> None:
    ended = serve(tmp_path, MODEL, **environment)
    assert ended.returncode == 1
    assert ended.stderr.startswith("unspool: A setting is wrong: ")
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_data_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file, not a folder")
    ended = serve(tmp_path, MODEL + "@model('a')\ndef one(): ...\n")
    assert ended.returncode == 1
    assert ended.stderr.startswith("unspool: ")
    assert str(tmp_path / "data") in ended.stderr
    assert "Traceback" not in ended.stderr


# The command


def test_help_lists_every_setting() -> None:
    for command in (["serve", "--help"], ["demo", "--help"]):
        shown = subprocess.run(
            [sys.executable, "-m", "unspool", *command], capture_output=True, text=True, timeout=30, check=True
        ).stdout
        for name in Settings.model_fields:
            assert f"UNSPOOL_{name.upper()}" in shown, f"{name} is not in {command}"


def test_without_a_key_one_is_made_and_kept(tmp_path: Path) -> None:
    """The server's own fixture always gives a key, so this one starts the command itself."""
    file = tmp_path / "app.py"
    file.write_text(MODEL + "@model('a')\ndef one() -> str:\n    return 'x'\n")
    keys = [key_that_is_printed(file, tmp_path / "data") for _ in range(2)]
    assert keys[0] == keys[1]
    assert len(keys[0]) > 20
    assert (tmp_path / "data" / "api-key").stat().st_mode & 0o077 == 0


def key_that_is_printed(file: Path, data_dir: Path) -> str:
    env = {name: value for name, value in os.environ.items() if not name.startswith("UNSPOOL_")}
    command = [sys.executable, "-m", "unspool", "serve", str(file), "--port", "0", "--data-dir", str(data_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().removeprefix("Listening on ").strip()
            key = process.stdout.readline().removeprefix("API key: ").strip()
            answer = httpx.get(f"{url}/api/v3/models", headers={"Authorization": f"Bearer {key}"})
            assert answer.status_code == 200
            error_of(httpx.get(f"{url}/api/v3/models"), 401, "unauthenticated")
        finally:
            process.terminate()
            process.communicate(timeout=30)
    return key


def test_a_key_that_was_given_is_not_printed(server: Server) -> None:
    assert server.key not in server.log
