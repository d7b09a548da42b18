"""The page of docs/browsers.md in a real browser, with the backend of that page and a real server."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.pages import blocks
from support.reader import Reader, install_node_modules
from support.services import missing, program

PAGE = Path(__file__).parents[2] / "docs" / "browsers.md"
DEADLINE_MS = 60_000


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    folder = tmp_path / "reader"
    folder.mkdir()
    reader = Reader(folder, [Path(sys.executable).parent])
    yield reader
    reader.close()


def test_a_page_without_a_key_watches_what_its_backend_has_submitted(reader: Reader) -> None:
    chromium = program("chromium", "On Debian and Ubuntu: apt-get install chromium")
    if importlib.util.find_spec("playwright") is None:
        missing("playwright", "Install it: pip install playwright")
    from playwright.sync_api import expect, sync_playwright

    install_node_modules(reader.folder)
    reader.read(blocks(PAGE))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            page = browser.new_page()
            asked: list[str] = []
            page.on("request", lambda request: asked.append(request.headers.get("authorization", "")))
            page.goto(reader.address("9000"))
            page.get_by_role("button", name="Count").click()
            expect(page.get_by_role("status")).to_have_text("completed", timeout=DEADLINE_MS)
            assert page.locator("pre").text_content() == "3\n2\n1\n"
            assert page.locator("progress").get_attribute("value") is not None
            assert asked
            assert not any(asked), "no request of the page had a key"
        finally:
            browser.close()
