"""`unspool init` writes a model file that serves at once and is worth keeping."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import MakeServer
from support.terminal import unspool

RUN = {"text": ["subject=rain", "lines=3", "seed=1"], "file": ["notes=C E G", "seconds_per_note=0.05"]}


@pytest.mark.parametrize("kind", RUN)
def test_the_file_serves_and_runs_as_its_first_lines_say(kind: str, tmp_path: Path, make_server: MakeServer) -> None:
    file = tmp_path / "my_model.py"
    done = unspool(None, "init", str(file), "--kind", kind)
    assert done.code == 0, done
    assert f"unspool serve {file}" in done.out
    server = make_server(file)
    done = unspool(server, "run", "acme/my_model", *RUN[kind], "--json", cwd=tmp_path)
    assert done.code == 0, done
    assert '"step":3,"steps":3' in done.out
    shown = unspool(server, "readme", "acme/my_model").out
    assert "becomes the model's README" in shown
    assert RUN[kind][0].partition("=")[0] in shown


@pytest.mark.parametrize("kind", RUN)
def test_the_file_reads_well_to_a_linter_and_a_type_checker(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "my_model.py"
    unspool(None, "init", str(file), "--kind", kind)
    ast.parse(file.read_text())
    for check in (
        ["ruff", "check", "--select", "E,F,I,B,UP", "--line-length", "120"],
        ["ruff", "format", "--check", "--line-length", "120"],
    ):
        done = subprocess.run([sys.executable, "-m", *check, str(file)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("mine")
    done = unspool(None, "init", cwd=tmp_path)
    assert done.code == 2
    assert "--force" in done.err
    assert (tmp_path / "model.py").read_text() == "mine"
    assert unspool(None, "init", "--force", cwd=tmp_path).code == 0
    assert "acme/model" in (tmp_path / "model.py").read_text()


@pytest.mark.parametrize(
    ("name", "model"), [("my model.py", "acme/my-model"), ("été.py", "acme/t"), ("é.py", "acme/model")]
)
def test_the_name_of_the_file_becomes_the_models(name: str, model: str, tmp_path: Path) -> None:
    assert unspool(None, "init", name, cwd=tmp_path).code == 0
    assert f'@model("{model}",' in (tmp_path / name).read_text()


def test_a_name_that_cannot_be_served_is_refused(tmp_path: Path) -> None:
    done = unspool(None, "init", "model.txt", cwd=tmp_path)
    assert done.code == 2
    assert ".py" in done.err
