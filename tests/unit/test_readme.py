"""Where the README of a model comes from."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from unspool.errors import ModelFileError
from unspool.model import find_models
from unspool.worker.process import import_file

SOURCE = """
from pathlib import Path

from unspool import model
from unspool.engines.openai import OpenAI


@model("a/function", readme=Path({name!r}))
def function(x: int) -> int:
    \"\"\"Its docstring.\"\"\"
    return x

engine = OpenAI("a/engine", base_url="http://h/v1", model="m", readme=Path({name!r}))

@model("a/docstring")
def docstring(x: int) -> int:
    \"\"\"Its docstring.\"\"\"
    return x
"""


def readmes(folder: Path, name: str) -> dict[str, str]:
    file = folder / f"models_{folder.name}.py"
    file.write_text(SOURCE.format(name=name))
    return {declared.id: declared.readme for declared in find_models(vars(import_file(str(file))))}


@pytest.mark.parametrize("inner", ["README.md", "cards/chat.md"])
def test_a_path_counts_from_the_file_that_declares_the_model(
    tmp_path: Path, inner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.chdir("/")
    (tmp_path / inner).parent.mkdir(exist_ok=True)
    (tmp_path / inner).write_text("# Mine\n\n你好\n", encoding="utf-8")
    found = readmes(tmp_path, inner)
    assert found["a/function"] == found["a/engine"] == "# Mine\n\n你好"
    assert found["a/docstring"] == "Its docstring.", "a README.md beside the file is not taken by itself"


@pytest.mark.parametrize(
    ("content", "said"), [(None, "No such file"), (b"\xff\xfe", "utf-8"), (b"x" * 200_001, "bytes")]
)
def test_a_readme_that_cannot_be_read_is_told_to_the_author(
    tmp_path: Path, content: bytes | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.path", [*sys.path])
    if content is not None:
        (tmp_path / "README.md").write_bytes(content)
    with pytest.raises(ModelFileError, match=f"model 'a/function'.*{said}"):
        readmes(tmp_path, "README.md")
