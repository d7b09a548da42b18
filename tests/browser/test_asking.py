"""The form is made from the model's schema, and what it sends can be copied as a program that runs."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import expect

import unspool
from support.client import Client
from support.server import Server
from support.services import program

from .playground import Playground

DEADLINE_S = 60
PROMPT = 'It\'s "late"; $HOME `date` \\ 你好 🐈'
SDK = Path(unspool.__file__).parent / "playground" / "unspool.js"
DROP = """([name, text]) => {
  const files = new DataTransfer();
  files.items.add(new File([text], name, { type: "image/png" }));
  return files;
}"""


def command_for(language: str, text: str, folder: Path) -> list[str]:
    """Runs a program in that language, with the SDK at hand."""
    file = folder / f"request.{'mjs' if language == 'JavaScript' else 'txt'}"
    file.write_text(text, encoding="utf-8")
    if language == "Python":
        return [sys.executable, str(file)]
    if language == "curl":
        program("curl", "Install curl.")
        return [program("bash", "Install bash."), str(file)]
    package = folder / "node_modules" / "unspool"
    package.mkdir(parents=True)
    shutil.copy(SDK, package)
    (package / "package.json").write_text('{"name": "unspool", "type": "module", "exports": "./unspool.js"}')
    return [program("node", "On Debian: apt-get install nodejs"), str(file)]


def test_fields_of_every_kind_arrive_as_they_were_filled_in(playground: Playground, client: Client) -> None:
    playground.choose("page/film").fill(prompt=PROMPT)
    playground.field("quality").select_option("final")
    playground.field("guidance").fill("7.5")
    playground.field("loop").check()
    playground.run().shows("completed")
    [said] = client.result(playground.id)["outputs"]
    assert said == {"prompt": PROMPT, "quality": "final", "guidance": 7.5, "loop": True}


def test_an_example_fills_the_form(playground: Playground) -> None:
    playground.choose("page/film")
    playground.press("Try an example")
    expect(playground.field("prompt")).to_have_value("a cat on a skateboard")
    playground.run().shows("completed")


def test_a_file_is_chosen(playground: Playground, client: Client) -> None:
    playground.choose("files/facts")
    playground.field("file").set_input_files({"name": "cat.png", "mimeType": "image/png", "buffer": b"a picture"})
    playground.run().shows("completed")
    [facts] = client.result(playground.id)["outputs"]
    assert facts["sha256"] == hashlib.sha256(b"a picture").hexdigest()


def test_a_file_is_dropped(playground: Playground, client: Client) -> None:
    playground.choose("files/facts")
    dropped = playground.page.evaluate_handle(DROP, ["dog.png", "another picture"])
    playground.field("file").dispatch_event("drop", {"dataTransfer": dropped})
    playground.run().shows("completed")
    [facts] = client.result(playground.id)["outputs"]
    assert facts["sha256"] == hashlib.sha256(b"another picture").hexdigest()


@pytest.mark.parametrize("language", ["curl", "Python", "JavaScript"])
def test_the_request_as_a_program_runs_as_it_stands(
    playground: Playground, server: Server, tmp_path: Path, language: str
) -> None:
    playground.choose("page/film").fill(prompt=PROMPT)
    playground.page.get_by_role("tab", name=language).click()
    text = playground.copied("Copy")
    assert text.strip() == playground.page.get_by_role("tabpanel").inner_text().strip()
    assert server.key not in text
    environment = {**os.environ, "UNSPOOL_API_KEY": server.key, "PYTHONUTF8": "1"}
    command = command_for(language, text, tmp_path)
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", timeout=DEADLINE_S)
    assert done.returncode == 0, done.stderr
    assert "denoise" in done.stdout
    assert "complete" in done.stdout
    newest = server.client().http.get("predictions").json()["data"]["items"][0]
    assert newest["model"] == "page/film"
    assert server.client().result(newest["id"])["outputs"][0]["prompt"] == PROMPT


def test_models_say_what_they_stream(playground: Playground) -> None:
    expect(playground.link_to("test/count")).to_contain_text("output")
    expect(playground.link_to("page/film")).to_contain_text("progress")
    expect(playground.link_to("test/no-stream")).not_to_contain_text("progress")


def test_the_readme_stands_beside_the_form(playground: Playground) -> None:
    playground.choose("page/film")
    expect(playground.readme).to_contain_text("Goes through its stages one step at a time")
    expect(playground.readme.get_by_role("table").first).to_be_visible()
