"""A real browser in front of real servers, with a witness of everything that goes wrong in a page."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Request, expect, sync_playwright

from support.client import Client
from support.server import Server
from support.services import missing, program
from unspool.demo.weights import WeightsError, smollm2

from .playground import Playground

MODELS = Path(__file__).parents[1] / "models"
DEADLINE_MS = 90_000
DESKTOP = {"width": 1280, "height": 800}
TELL_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) => {
  console.error(`The policy forbids ${event.violatedDirective}: ${event.blockedURI} ${event.sample}`);
});
"""

_failed = pytest.StashKey[bool]()

Visit = Callable[..., Playground]


class Witness:
    """Hears what the pages of a context complain about, and where they send requests."""

    def __init__(self, context: BrowserContext, host: str) -> None:
        self.complaints: list[str] = []
        self._host = host
        self._expected: list[str] = []
        context.add_init_script(TELL_VIOLATIONS)
        context.on("console", self._said)
        context.on("weberror", lambda error: self.complaints.append(f"uncaught: {error.error}"))
        context.on("request", self._requested)

    def expects(self, *patterns: str) -> None:
        """Errors that belong to the test, as the browser's own line about an answer 401."""
        self._expected += patterns

    def unexpected(self) -> list[str]:
        return [one for one in self.complaints if not any(re.search(pattern, one) for pattern in self._expected)]

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(f"console: {message.text} ({message.location.get('url')})")

    def _requested(self, request: Request) -> None:
        url = urlsplit(request.url)
        if url.scheme not in ("data", "blob") and url.netloc != self._host:
            self.complaints.append(f"a request to another host: {request.url}")


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, headless. One for all tests; each has a context of its own."""
    chromium = program("chromium", "On Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        expect.set_options(timeout=DEADLINE_MS)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def shared_playground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(MODELS / "playground.py", tmp_path_factory.mktemp("playground"))
    try:
        yield server.start().wait_until_ready()
    finally:
        server.close()


@pytest.fixture(scope="package")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server of `tests/models/playground_real.py`: real weights."""
    for library in ("xllamacpp", "numpy", "onnxruntime", "av", "hibari"):
        if importlib.util.find_spec(library) is None:
            missing(library, 'Install it: pip install ".[demo,speech]"')
    try:
        smollm2(progress=False)
    except WeightsError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"the weights are not here and cannot be fetched: {error}")
    server = Server(MODELS / "playground_real.py", tmp_path_factory.mktemp("real"))
    try:
        yield server.start().wait_until_ready()
    finally:
        server.close()


@pytest.fixture
def server(shared_playground: Server) -> Server:
    """The server of `tests/models/playground.py`, for all tests that leave it as it was."""
    return shared_playground


@pytest.fixture
def client(server: Server) -> Client:
    return server.client()


@pytest.fixture
def visit(browser: Browser, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Visit]:
    """Opens the playground in a browser of the test's own: `visit(server, url=…, key=…, path=…, **context)`.

    The key is the server's, and with `key=None` there is none; `url` is another way to the same server. No storage is
    shared with other visits. A complaint of a page fails the test; of a failed test screenshots and trace are kept.
    """
    made: list[tuple[BrowserContext, Witness]] = []

    def visit(
        server: Server, *, url: str | None = None, key: str | None = "", path: str = "/", **options: Any
    ) -> Playground:
        context = browser.new_context(
            **{"viewport": DESKTOP, "color_scheme": "light", "reduced_motion": "reduce", **options}
        )
        context.set_default_timeout(DEADLINE_MS)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        context.tracing.start()
        url = url or server.url
        witness = Witness(context, urlsplit(url).netloc)
        made.append((context, witness))
        key = server.key if key == "" else key
        return Playground(context.new_page(), url, witness.expects).come_in(path, key)

    yield visit
    complaints = [complaint for _, witness in made for complaint in witness.unexpected()]
    for number, (context, _) in enumerate(made):
        if complaints or request.node.stash.get(_failed, False):
            _keep(context, tmp_path / f"browser-{number}")
        else:
            context.tracing.stop()
        context.close()
    assert not complaints, "\n".join(complaints)


@pytest.fixture
def playground(visit: Visit, server: Server) -> Playground:
    """The page as someone with a key finds it."""
    return visit(server)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        item.stash[_failed] = True
    return report


def _keep(context: BrowserContext, folder: Path) -> None:
    """The output that pytest captures says where."""
    folder.mkdir()
    for number, page in enumerate(context.pages):
        page.screenshot(path=folder / f"page-{number}.png", full_page=True)
        (folder / f"page-{number}.html").write_text(page.content(), encoding="utf-8")
    context.tracing.stop(path=folder / "trace.zip")
    print(f"Screenshots and trace (playwright show-trace trace.zip): {folder}")
