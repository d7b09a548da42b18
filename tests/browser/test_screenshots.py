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
from playwright.sync_api import expect

from support.server import Server

from .conftest import Visit
from .playground import Playground

IMAGES = Path(__file__).parents[2] / "docs" / "images"
MOST_BYTES = 150_000
DESKTOP = {"width": 1280, "height": 860}
PHONE = {"viewport": {"width": 380, "height": 760}, "is_mobile": True, "has_touch": True, "device_scale_factor": 2}
PAGES = ("README.md", "docs/playground.md")


def words(playground: Playground) -> None:
    playground.run("smollm2/135m-instruct", prompt="Why is the sky blue?", max_tokens=120, seed=4).shows("completed")


def video(playground: Playground) -> None:
    playground.run("unspool/moving-digits", prompt="the digit 7 moving right, fast", seed=1, steps=400)
    expect(playground.progress).to_have_attribute("aria-valuenow", re.compile(r"^[4-9]\d"))
    playground.preview_size()


def phone(playground: Playground) -> None:
    playground.run("unspool/moving-digits", prompt="the digit 3 falling", seed=3, steps=60).shows("completed")
    playground.result.evaluate("(video) => { video.currentTime = 1; }")
    expect(playground.result).to_be_in_viewport()


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


@pytest.mark.parametrize("page", PAGES)
def test_pictures_are_shown_in_the_documentation(page: str) -> None:
    text = (IMAGES.parents[1] / page).read_text(encoding="utf-8")
    assert [name for name in SHOTS if f"images/{name}" not in text] == []
