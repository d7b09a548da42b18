"""The three published ways to read a stream, as the programs of `examples/`, against real servers.

Each of them is naive on purpose (`docs/wire.md`, Reading a stream); none may be changed to make a test pass.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from support.server import Server
from support.services import missing, program
from support.stream import StrictReader, check_log, text_of

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
DEMO = ROOT / "src" / "unspool" / "demo" / "app.py"
DEADLINE_S = 90
NODE = "Install Node.js 20 or newer."


class Done(NamedTuple):
    """What a program left."""

    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Done]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The demo: a real language model."""
    if importlib.util.find_spec("xllamacpp") is None:
        missing("xllamacpp", 'Install it: pip install ".[demo]"')
    server = Server(DEMO, tmp_path_factory.mktemp("demo"))
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture
def run(demo: Server) -> Run:
    """Runs a program against the demo, with the program's own defaults but for where the server is."""

    def run(*command: str | Path) -> Done:
        return _run(demo, *command)

    return run


def _run(server: Server, *command: str | Path, **environment: str) -> Done:
    done = subprocess.run(
        [str(part) for part in command],
        env={**os.environ, "UNSPOOL_URL": server.url, "UNSPOOL_API_KEY": server.key, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=DEADLINE_S,
        check=False,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


def test_curl_shows_the_words_of_the_language_model(run: Run) -> None:
    program("curl", "Install curl.")
    done = run(EXAMPLES / "read_stream.sh", 'Say "hello" and nothing else.')
    assert done.returncode == 0, done.stderr
    reader = StrictReader()
    events = list(reader.feed(done.stdout.encode()))
    reader.close()
    check_log(events)
    assert events[-1].type == "complete", events[-1]
    assert text_of(events) == events[-1].data["outputs"][0]
    assert len([event for event in events if event.type == "output"]) > 1


def test_node_prints_the_words_of_the_language_model(run: Run) -> None:
    done = run(program("node", NODE), EXAMPLES / "read_stream.mjs")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert done.stderr.splitlines()[0] == "[created]"
    assert done.stderr.splitlines()[-1] == "[completed]"


def test_python_prints_the_words_of_the_language_model(run: Run) -> None:
    done = run(sys.executable, EXAMPLES / "read_stream.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert done.stderr.splitlines()[0] == "[created]"
    assert done.stderr.splitlines()[-1] == "[completed]"


@pytest.mark.parametrize("reader", ["read_stream.mjs", "read_stream.py"])
def test_a_reader_says_why_it_was_refused(server: Server, reader: str) -> None:
    interpreter = sys.executable if reader.endswith(".py") else program("node", NODE)
    done = _run(server, interpreter, EXAMPLES / reader, UNSPOOL_API_KEY="wrong-key-0123456789")
    assert done.returncode == 1
    assert "HTTP 401" in done.stderr


@pytest.mark.timeout(300)
def test_node_reads_a_hundred_long_runs_of_chinese_and_emoji_without_a_parse_error(
    make_server: Callable[..., Server],
) -> None:
    """Every chunk is decoded and parsed by itself, so one event that is split over two chunks breaks the program."""
    node = program("node", NODE)
    server = make_server("text.py")
    client = server.client()

    def read(seed: int) -> tuple[Done, int]:
        inputs = {"seed": seed, "pieces": 400, "interval_s": 0.001}
        environment = {"UNSPOOL_MODEL": "test/chinese-emoji", "UNSPOOL_INPUT": json.dumps(inputs)}
        return _run(server, node, EXAMPLES / "read_stream.mjs", **environment), seed

    with ThreadPoolExecutor(8) as readers:
        for done, seed in readers.map(read, range(100)):
            assert done.returncode == 0, f"run {seed}: {done.stderr}"
            result = client.submit("test/chinese-emoji", seed=seed, pieces=400, interval_s=0, enable_sync_mode=True)
            assert done.stdout == result["outputs"][0], f"run {seed} lost or changed text"


@pytest.mark.parametrize(
    ("file", "inputs", "outputs"),
    [
        ("countdown.py", {"start": 3}, ["3\n2\n1\n"]),
        ("storyteller.py", {"place": "city", "words_per_second": 100}, None),
        ("sentiment.py", {"texts": ["great"]}, [{"text": "great", "score": 2, "found": {"great": 1}}]),
        ("denoise.py", {"steps": 2}, [{"noise": [0.8, 0.64]}]),
    ],
)
def test_the_models_worth_copying_run(
    make_server: Callable[..., Server], file: str, inputs: dict[str, Any], outputs: list[object] | None
) -> None:
    client = make_server(EXAMPLES / "models" / file).client()
    model = f"acme/{file.removesuffix('.py')}"
    with client.run(model, **inputs) as stream:
        events = list(stream)
    check_log(events)
    assert events[-1].type == "complete", events[-1]
    assert outputs is None or events[-1].data["outputs"] == outputs
    if any(event.type == "output" for event in events):
        assert text_of(events) == events[-1].data["outputs"][0]


def test_a_progress_bar_and_prints_of_a_library_reach_the_viewer(make_server: Callable[..., Server]) -> None:
    with make_server(EXAMPLES / "models" / "denoise.py").client().run("acme/denoise", steps=3) as stream:
        events = list(stream)
    assert [event.data["message"] for event in events if event.type == "log"] == ["sampling with 3 steps"]
    bars = [event.data for event in events if event.data.get("stage") == "denoise"]
    assert bars[-1]["step"] == bars[-1]["steps"] == 3
    assert bars[-1]["percentage"] == 100
