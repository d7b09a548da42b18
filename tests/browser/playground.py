"""The playground as a person uses it: what is said here is said by roles and names, never by the page's structure."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import FilePayload, Locator, Page, expect

PREDICTION = re.compile(r"#/predictions/([^/?&]+)")

PURIFYING = (r"purify\.es\.mjs", r"forbids (script-src-attr|style-src-elem): inline")
"""What the browser says of markup in the inert document in which it is purified, before it is shown anywhere."""


class Playground:
    """One tab."""

    def __init__(self, page: Page, url: str, expects: Callable[..., None]) -> None:
        """A tab that shows nothing yet.

        Args:
            expects: takes patterns of complaints that belong to the test.
        """
        self.page = page
        self.url = url
        self.expects = expects
        one = page.get_by_role
        self.models = one("navigation", name="Models")
        self.history = one("navigation", name="Predictions")
        self.readme = one("region", name="README")
        self.form = one("form", name="Inputs")
        self.watched = one("region", name="Run")
        self.progress = self.watched.get_by_role("progressbar", name="Progress")
        self.status = self.watched.get_by_role("status")
        self.output = self.watched.get_by_role("region", name="Output")
        self.preview = self.watched.get_by_role("img", name="Preview")
        self.result = self.watched.get_by_label("Result")
        self.alert = one("alert")
        self.key_dialog = one("dialog")

    # Coming and going

    def come_in(self, path: str = "/", key: str | None = None) -> Playground:
        """Opens the page; with a key, as the link that a server prints gives it."""
        if key is None:
            self.page.goto(f"{self.url}{path}")
            return self
        self.page.goto(f"{self.url}/#key={key}")
        expect(self.models).to_be_visible()
        if path != "/":
            self.page.goto(f"{self.url}{path}")
        return self

    def connect(self, key: str) -> None:
        self.page.get_by_role("textbox", name="API key").fill(key)
        self.page.get_by_role("button", name="Connect").click()

    def reload(self) -> None:
        self.page.reload()

    def another_tab(self, path: str, key: str | None = None) -> Playground:
        """In the same browser, as an address that is typed in: a tab of its own."""
        return Playground(self.page.context.new_page(), self.url, self.expects).come_in(path, key)

    # Asking

    def choose(self, model: str) -> Playground:
        self.link_to(model).click()
        expect(self.page.get_by_role("heading", name=model, level=1)).to_be_visible()
        return self

    def link_to(self, model: str) -> Locator:
        return self.models.get_by_role("link").filter(has=self.page.get_by_text(model, exact=True))

    def field(self, name: str) -> Locator:
        return self.form.get_by_label(name, exact=True)

    def fill(self, **inputs: Any) -> Playground:
        for name, value in inputs.items():
            self.field(name).fill(str(value))
        return self

    def drop(self, name: str, files: FilePayload | Path) -> None:
        self.field(name).set_input_files(files)

    def press(self, button: str) -> None:
        self.page.get_by_role("button", name=button, exact=True).click()

    def run(self, model: str | None = None, **inputs: Any) -> Playground:
        """Fills the form and sends it."""
        if model is not None:
            self.choose(model)
        self.fill(**inputs).press("Run")
        return self

    def cancel(self) -> None:
        self.watched.get_by_role("button", name="Cancel").click()

    # Watching

    @property
    def id(self) -> str:
        """The prediction that is shown."""
        expect(self.page).to_have_url(PREDICTION)
        found = PREDICTION.search(self.page.url)
        assert found is not None
        return found[1]

    def shows(self, status: str) -> Playground:
        """Waits until the run has this status."""
        expect(self.status).to_contain_text(status)
        return self

    def says(self, text: str | re.Pattern[str]) -> Playground:
        """Waits until the output has this text."""
        expect(self.output).to_contain_text(text)
        return self

    @property
    def text(self) -> str:
        """All of the output, as it is now."""
        return self.output.text_content() or ""

    def opened(self, name: str) -> Locator:
        """A part that can be folded, unfolded."""
        part = self.watched.locator("details").filter(has=self.page.locator("summary", has_text=name))
        if part.get_attribute("open") is None:
            self.summary(name).click()
        return part

    def summary(self, name: str) -> Locator:
        return self.watched.locator("summary", has_text=name)

    def preview_source(self) -> str:
        return self.preview.get_attribute("src") or ""

    def preview_size(self) -> tuple[int, int]:
        """Pixels of the picture itself, once it is there."""
        size = self.preview.evaluate(
            "async (img) => { await img.decode(); return [img.naturalWidth, img.naturalHeight] }"
        )
        return size[0], size[1]

    def copied(self, button: str) -> str:
        """Presses a button that copies, and returns what it copied."""
        self.page.evaluate("navigator.clipboard.writeText('')")
        self.press(button)
        self.page.wait_for_function("async () => await navigator.clipboard.readText() !== ''")
        return str(self.page.evaluate("navigator.clipboard.readText()"))
