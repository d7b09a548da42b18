"""The programs on the page of a model run as they stand, and all of them have the same outputs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.official import INSTALL, JS, environment, node, run_program
from support.server import Server
from support.services import folder, program

MODELS = Path(__file__).parents[1] / "models"
CAPTION = 'It\'s "late"; $HOME `date` \\ \n 你好 🐈 \u2028'
SCENE = {"caption": CAPTION, "seconds": 1.0}
OUTPUTS: dict[str, list[Any]] = {
    "pages/film": [{"scenes": [SCENE, SCENE], "loud": True, "style": "plain | simple", "title": None}],
    "pages/collage": ["in image.png in others.bin "],
    "pages/quiet": [7],
}
COUNT = {"pages/film": 2, "pages/collage": 2, "pages/quiet": 1}
"""Programs in each language: to watch, and to wait."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(MODELS / "pages.py", tmp_path_factory.mktemp("pages"))
    try:
        yield server.start().wait_until_ready()
    finally:
        server.close()


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """Where the programs run: with the files that they upload, and what they import."""
    for name in ("image.png", "others.bin"):
        (tmp_path / name).write_text(f"in {name}")
    return tmp_path


def readme(server: Server, id: str) -> str:
    headers = {"Authorization": f"Bearer {server.key}"}
    return httpx.get(f"{server.url}/api/v3/models/{id}/readme", headers=headers).text


def programs(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)\n```", page, re.DOTALL)


def run(server: Server, desk: Path, *command: str | Path) -> str:
    done = run_program(command, environment(desk, UNSPOOL_API_KEY=server.key), desk)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("id", OUTPUTS)
def test_the_curl_samples_run(server: Server, desk: Path, id: str) -> None:
    bash = program("bash", "Install bash.")
    program("curl", "Install curl.")
    printed = [run(server, desk, bash, "-ec", sample) for sample in programs(readme(server, id), "sh")]
    assert len(printed) == COUNT[id]
    for text in printed[:-1]:
        last = json.loads(text.rpartition("data: ")[2])
        assert (last["type"], last["outputs"]) == ("complete", OUTPUTS[id])
    waited = json.loads(printed[-1])["data"]
    assert (waited["status"], waited["outputs"]) == ("completed", OUTPUTS[id])


@pytest.mark.parametrize("id", OUTPUTS)
def test_the_python_samples_run(server: Server, desk: Path, id: str) -> None:
    printed = [run(server, desk, sys.executable, "-c", sample) for sample in programs(readme(server, id), "python")]
    assert len(printed) == COUNT[id]
    for text in printed[:-1]:
        assert repr(OUTPUTS[id]) in text.splitlines()[-1]
    assert printed[-1].strip() == repr(OUTPUTS[id])


@pytest.mark.parametrize("id", OUTPUTS)
def test_the_javascript_samples_run(server: Server, desk: Path, id: str) -> None:
    (desk / "node_modules").symlink_to(folder(JS / "node_modules", INSTALL))
    printed = []
    for sample in programs(readme(server, id), "javascript"):
        (desk / "sample.mjs").write_text(sample, encoding="utf-8")
        printed.append(run(server, desk, node(), desk / "sample.mjs"))
    (desk / "expected.mjs").write_text(f"console.log({json.dumps(OUTPUTS[id])})", encoding="utf-8")
    expected = run(server, desk, node(), desk / "expected.mjs")
    assert len(printed) == COUNT[id]
    for text in printed[:-1]:
        assert "type: 'complete'" in text
    assert printed[-1] == expected


def test_what_is_hard_to_put_in_a_table_is_in_the_table(server: Server) -> None:
    assert "| `number` | integer, 7 or more | `7` | how \\| many |" in readme(server, "pages/quiet")
    film = readme(server, "pages/film")
    assert "| `scenes` | list of object, 2 items or more | required |  |" in film
    assert "| `scenes[].seconds` | number, 60 or less, more than 0 | required |  |" in film
    assert '| `style` | one of `"plain \\| simple"`, `"loud"` | required |  |' in film
    assert "| `front` | file (`image/*`) | required |  |" in readme(server, "pages/collage")
