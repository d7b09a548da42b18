"""The documentation as a site: built by `scripts/site`, and read as a browser reads it."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
from markdown_it import MarkdownIt

from support.services import missing, program

ROOT = Path(__file__).parents[2]
DEADLINE_S = 120
SHAPE = {"h1", "h2", "h3", "h4", "ul", "ol", "li", "p", "pre", "tr"}
LOADING = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "video": "src"}
NOT_LOADED = {"canonical", "prev", "next", "alternate"}  # kinds of <link> that a browser only notes


class Page(HTMLParser):
    """What the tests ask of a page: its anchors, its links, what it loads, and the shape of its text."""

    def __init__(self, html: str, *, article: bool) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.shape: Counter[str] = Counter()
        self._in_article = not article
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.anchors.add(attributes.get("id", ""))
        if tag == "a" and "href" in attributes:
            self.links.append(attributes["href"])
        if tag in LOADING and LOADING[tag] in attributes and attributes.get("rel") not in NOT_LOADED:
            self.loads.append(attributes[LOADING[tag]])
        self._in_article |= tag == "article"
        if self._in_article and tag in SHAPE:
            self.shape[tag] += 1

    def handle_endtag(self, tag: str) -> None:
        self._in_article &= tag != "article"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built from a whole copy of the pages."""
    program("bash", "Install bash.")
    folder = tmp_path_factory.mktemp("site")
    environment = {**os.environ, "PYTHON": sys.executable}
    command = [ROOT / "scripts" / "site", folder]
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", timeout=DEADLINE_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {file: Page(file.read_text(encoding="utf-8"), article=True) for file in sorted(site.rglob("*.html"))}


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The site as any server of files would have it."""
    handler = partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


def written(file: str) -> Path:
    """Where the site has a page of the repository."""
    path = Path(file)
    return path.with_name("index.html") if path.name == "README.md" else path.with_suffix(".html")


def navigation(entry: Any) -> Iterator[str]:
    """All files that the navigation names."""
    if isinstance(entry, str):
        yield entry
    elif isinstance(entry, dict):
        for value in entry.values():
            yield from navigation(value)
    else:
        for each in entry:
            yield from navigation(each)


def named() -> list[str]:
    return list(navigation(tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]))


def dead(link: str, page: Path, pages: dict[Path, Page], site: Path) -> bool:
    """Whether a link leads nowhere within the site. Links to other hosts are not followed."""
    path, anchor = urldefrag(link)
    parts = urlsplit(path)
    if parts.scheme or parts.netloc:
        return False
    assert not parts.path.startswith("/"), f"{link} would be somewhere else where the site is not at the root"
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if target.is_dir():
        target /= "index.html"
    if not target.is_file() or not target.is_relative_to(site):
        return True
    return bool(anchor) and target in pages and unquote(anchor) not in pages[target].anchors


def test_no_link_and_no_picture_of_the_site_is_dead(site: Path, pages: dict[Path, Page]) -> None:
    links = [
        (page, link)
        for page, read in pages.items()
        if page.name != "404.html"  # which is shown at any address, and so has links from the root
        for link in read.links + read.loads
    ]
    assert len(links) > 500, "there must be links, or the test says nothing"
    found = [f"{page.relative_to(site)}: {link}" for page, link in links if dead(link, page, pages, site)]
    assert found == []


def test_a_dead_link_and_a_dead_anchor_would_be_found(site: Path, pages: dict[Path, Page]) -> None:
    page = site / "docs" / "wire.html"
    assert [dead(link, page, pages, site) for link in ("nowhere.html", "api.html#nowhere", "#nowhere", "../../x")] == [
        True
    ] * 4
    assert [dead(link, page, pages, site) for link in ("api.html", "#submit", "../examples/read_stream.sh")] == [
        False
    ] * 3


def test_the_site_loads_nothing_from_other_hosts(site: Path, pages: dict[Path, Page]) -> None:
    loads = [(page, url) for page, read in pages.items() for url in read.loads]
    assert loads
    assert [(page.name, url) for page, url in loads if urlsplit(url).netloc] == []
    styles = [file.read_text(encoding="utf-8") for file in site.rglob("*.css")]
    assert styles
    elsewhere = re.compile(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^)\"']+")
    assert [found for style in styles for found in elsewhere.findall(style)] == []
    # The theme's script would fetch the renderer of such diagrams from a public host as soon as a page has one.
    assert [page.name for page in pages if 'class="mermaid"' in page.read_text(encoding="utf-8")] == []


def test_a_reader_finds_words_and_no_other_host_hears_of_it(site: Path) -> None:
    chromium = program("chromium", "On Debian and Ubuntu: apt-get install chromium")
    if importlib.util.find_spec("playwright") is None:
        missing("playwright", "Install it: pip install playwright")
    from playwright.sync_api import expect, sync_playwright

    with served(site) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            page = browser.new_page()
            asked: set[str] = set()
            page.on("request", lambda request: asked.add(urlsplit(request.url).netloc))
            page.goto(f"{url}/docs/architecture.html", wait_until="networkidle")
            page.keyboard.press("Control+k")
            page.locator("input:focus").fill("idempotency", timeout=DEADLINE_S * 1000)
            found = page.get_by_text("The wire protocol").last
            expect(found).to_be_visible(timeout=DEADLINE_S * 1000)
            assert asked == {urlsplit(url).netloc}
        finally:
            browser.close()


def test_every_page_is_in_the_navigation_and_every_entry_is_a_page() -> None:
    listed = named()
    assert len(listed) == len(set(listed))
    there = {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")}
    assert {file for file in listed if file.startswith("docs/")} == there
    assert [file for file in listed if not (ROOT / file).is_file()] == []


@pytest.mark.parametrize("file", named())
def test_a_page_has_the_same_shape_on_the_site_as_on_a_code_host(
    file: str, site: Path, pages: dict[Path, Page]
) -> None:
    """Readers of Markdown differ in what they take for a list, a table or a block of code."""
    renderer = MarkdownIt("commonmark").enable("table")
    there = Page(renderer.render((ROOT / file).read_text(encoding="utf-8")), article=False).shape
    assert there
    assert pages[site / written(file)].shape == there
