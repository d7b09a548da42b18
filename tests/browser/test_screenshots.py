"""The pictures of the documentation.

`pytest tests/browser/test_screenshots.py --update-screenshots` makes them anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image
from playwright.sync_api import Locator, expect

from support.server import Server

from .conftest import Visit
from .playground import Playground

IMAGES = Path(__file__).parents[2] / "docs" / "images"
MOST_BYTES = 150_000
DESKTOP = {"width": 1280, "height": 860}
PHONE = {"viewport": {"width": 380, "height": 760}, "is_mobile": True, "has_touch": True, "device_scale_factor": 2}
LLM, DIGITS = "smollm2/135m-instruct", "unspool/moving-digits"
SHOWN = {
    "README.md": ("playground.png", "playground-video.png"),
    "docs/playground.md": ("playground.png", "playground-video.png", "playground-phone.png"),
}


HALF_WAY = """async (video) => {
  const seeked = new Promise((done) => video.addEventListener("seeked", done, { once: true }));
  video.currentTime = video.duration / 2;
  await seeked;
  // The player's own sign that it waits goes when nothing moves any more.
  await Promise.all(video.getAnimations({ subtree: true }).map((animation) => animation.finished));
}"""


def words(playground: Playground) -> None:
    playground.run(LLM, prompt="Why is the sky blue?", max_tokens=90, seed=4).shows("completed")
    show(playground, playground.page.get_by_role("banner"))


def video(playground: Playground) -> None:
    playground.run(DIGITS, prompt="the digit 7 moving right, fast", seed=1, steps=400)
    expect(playground.progress).to_have_attribute("aria-valuenow", re.compile(r"^[4-9]\d"))
    playground.preview_size()
    show(playground, playground.page.get_by_role("banner"))


def phone(playground: Playground) -> None:
    playground.run(DIGITS, prompt="the digit 3 falling", seed=3, steps=40).shows("completed")
    playground.result.evaluate(HALF_WAY)
    show(playground, playground.watched)


def show(playground: Playground, part: Locator) -> None:
    """Scrolls to a part, and takes the pointer away."""
    playground.page.mouse.move(0, 0)
    part.evaluate("(element) => element.scrollIntoView()")


class Shot(NamedTuple):
    show: Callable[[Playground], None]
    options: dict[str, Any]

    @property
    def size(self) -> tuple[int, int]:
        viewport, scale = self.options["viewport"], self.options.get("device_scale_factor", 1)
        return viewport["width"] * scale, viewport["height"] * scale


SHOTS = {
    "playground.png": Shot(words, {"viewport": DESKTOP}),
    "playground-video.png": Shot(video, {"viewport": DESKTOP, "color_scheme": "dark"}),
    "playground-phone.png": Shot(phone, PHONE),
}


@pytest.fixture
def update(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-screenshots"))


@pytest.mark.parametrize("name", SHOTS)
def test_pictures_of_the_playground_are_there(name: str, update: bool, request: pytest.FixtureRequest) -> None:
    shot = SHOTS[name]
    if update:
        visit: Visit = request.getfixturevalue("visit")
        real: Server = request.getfixturevalue("real")
        playground = visit(real, **shot.options)
        shot.show(playground)
        IMAGES.mkdir(exist_ok=True)
        playground.page.screenshot(path=IMAGES / name)
        with Image.open(IMAGES / name) as picture:
            picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=256).save(IMAGES / name, optimize=True)
    with Image.open(IMAGES / name) as picture:
        assert picture.size == shot.size
    assert (IMAGES / name).stat().st_size < MOST_BYTES


@pytest.mark.parametrize("page", SHOWN)
def test_pictures_are_shown_in_the_documentation(page: str) -> None:
    file = IMAGES.parents[1] / page
    shown = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", file.read_text(encoding="utf-8"))
    assert [name for name in SHOWN[page] if (IMAGES / name) not in [file.parent / path for path in shown]] == []
