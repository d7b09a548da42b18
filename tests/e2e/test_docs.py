"""The documentation does what it says: its commands are run, its tables are compared with the code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.pages import blocks
from support.reader import Reader
from support.services import program
from unspool.config import Settings

ROOT = Path(__file__).parents[2]
PAGES = [
    "README.md",
    "docs/tutorial.md",
    "docs/cli.md",
    "docs/keys-and-limits.md",
    "docs/batching.md",
    "docs/placement.md",
    "docs/readmes.md",
    "docs/speech.md",
    "docs/progress.md",
    "docs/sdk-python.md",
    "docs/doctor.md",
]
DEADLINE_S = 90


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    folder = tmp_path / "reader"
    folder.mkdir()
    reader = Reader(folder)
    yield reader
    reader.close()


@pytest.mark.parametrize("page", PAGES)
def test_whoever_follows_a_page_sees_what_it_says(page: str, reader: Reader) -> None:
    program("curl", "Install curl.")
    for block in blocks(ROOT / page):
        reader.follow(block)


def test_the_generated_parts_of_the_pages_are_those_of_the_code() -> None:
    done = subprocess.run([sys.executable, ROOT / "scripts" / "docs", "--check"], capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr


def test_the_help_of_serve_lists_every_setting() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "unspool", "serve", "--help"],
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
        capture_output=True,
        encoding="utf-8",
        check=True,
        timeout=DEADLINE_S,
    )
    listed = set(re.findall(r"UNSPOOL_[A-Z0-9_]+", done.stdout))
    assert listed == {f"UNSPOOL_{name.upper()}" for name in Settings.model_fields}


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").glob("*.md")), ids=lambda p: p.name)
def test_every_link_between_pages_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []
