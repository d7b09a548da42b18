"""The documentation does what it says: its commands are run, its tables are compared with the code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.pages import blocks, excerpts, holds, untested
from support.reader import Reader, install_node_modules
from support.services import program
from unspool.config import Settings

ROOT = Path(__file__).parents[2]
ALL = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")), ROOT / "examples" / "README.md"]
PAGES = [
    "README.md",
    "docs/tutorial.md",
    "docs/cli.md",
    "docs/keys-and-limits.md",
    "docs/batching.md",
    "docs/diffusers.md",
    "docs/files.md",
    "docs/openai.md",
    "docs/placement.md",
    "docs/readmes.md",
    "docs/speech.md",
    "docs/progress.md",
    "docs/webhook-receivers.md",
    "docs/migrating.md",
    "docs/notebooks.md",
    "docs/behind-a-proxy.md",
    "docs/sdk-python.md",
    "docs/doctor.md",
]

FOLLOWED_ELSEWHERE = {
    "docs/browsers.md": "tests/e2e/test_browser_page.py",
    "docs/clients.md": "tests/clients/test_page.py",
    "docs/sdk-javascript.md": "tests/e2e/test_js_sdk.py",
    "docs/webhooks.md": "tests/e2e/test_webhook_receivers.py",
}
ONLY_READ = {
    "$ export UNSPOOL_API_KEY=...": "the key that the server has printed; the tests' servers have one that is known",
    "$ export UNSPOOL_URL=": "a server that the reader has",
    "unspool doctor https://unspool.example.com": "the same; the page goes on with a server of its own",
    "UNSPOOL_WEBHOOK_ALLOW_HTTP=1 UNSPOOL_WEBHOOK_ALLOW_HOSTS=": "docs/webhook-receivers.md starts a server like this",
    "$ python3 -m venv": "an installation takes minutes; .ci/run makes one",
    '$ pip install "unspool[diffusers]"': "an installation of gigabytes; scripts/install makes one for the tests",
    '$ pip install "unspool[otel]"': "an installation; tests/ops/test_traces.py sets the same variable",
    "$ unspool demo": "begins as the README does, which is followed",
    "$ sqlite3 unspool-data/unspool.db": "not installed everywhere; tests/ops/test_backup.py makes the same copy",
    "from unspool.client import WebhookInvalid": "docs/webhook-receivers.md has it in a whole receiver",
    "import replicate": "how a program was before; it would call another service",
    "import fal_client": "how a program was before; it would call another service",
    "from unspool.engines.diffusers import Diffusers\n\nvideo": "weights of gigabytes; tests/engines has small ones",
}
"""How blocks of code begin that no test runs, and why."""
DEADLINE_S = 90


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    folder = tmp_path / "reader"
    folder.mkdir()
    reader = Reader(folder, [Path(sys.executable).parent])
    yield reader
    reader.close()


@pytest.mark.parametrize("page", PAGES)
def test_whoever_follows_a_page_sees_what_it_says(page: str, reader: Reader) -> None:
    program("curl", "Install curl.")
    if page == "docs/behind-a-proxy.md":
        program("caddy", "On Debian and Ubuntu: apt-get install caddy")
    read = blocks(ROOT / page)
    if any(block.argument.endswith(".mjs") for block in read):
        install_node_modules(reader.folder)
    reader.read(read)


def test_every_page_with_a_test_in_it_is_followed() -> None:
    marked = {str(page.relative_to(ROOT)) for page in ALL if blocks(page)}
    assert marked == {*PAGES, *FOLLOWED_ELSEWHERE}
    assert [test for test in FOLLOWED_ELSEWHERE.values() if not (ROOT / test).is_file()] == []


def test_every_program_and_command_in_the_pages_is_under_test() -> None:
    left = {
        f"{page.relative_to(ROOT)}:{block.line}": block.content
        for page in ALL
        for block in untested(page)
        if not block.content.startswith(tuple(ONLY_READ))
    }
    assert left == {}


def test_what_pages_show_of_files_is_in_them() -> None:
    shown = [block for page in ALL for block in excerpts(page)]
    assert shown
    sources = {file: (ROOT / file).read_text(encoding="utf-8") for file in {block.argument for block in shown}}
    assert [block for block in shown if not holds(sources[block.argument], block)] == []


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


@pytest.mark.parametrize("page", ALL, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_between_pages_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []
