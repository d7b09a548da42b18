"""For everyone: on a phone, with the keyboard alone, with a screen reader, by day and by night."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, expect

from support.gate import Gate
from support.server import Server

from .conftest import Visit
from .playground import PURIFYING, Playground

PHONE = {"viewport": {"width": 380, "height": 740}, "is_mobile": True, "has_touch": True, "device_scale_factor": 2}
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}
GRAVE = ("serious", "critical")
OVERHANG = """() => {
  const wide = document.documentElement.clientWidth;
  const inside = (node) => { for (let up = node.parentElement; up; up = up.parentElement) {
    if (["auto", "scroll", "hidden", "clip"].includes(getComputedStyle(up).overflowX)) return true; } return false; };
  const isPast = (node) => node.getBoundingClientRect().right > wide + 1 && !inside(node);
  const past = [...document.querySelectorAll("body *")].filter(isPast).map((node) => node.outerHTML.slice(0, 120));
  return { scroll: document.documentElement.scrollWidth - wide, past };
}"""
MOST_TABS = 80


def grave(playground: Playground) -> list[str]:
    """What axe finds that keeps people out."""
    found = Axe().run(playground.page, options=RULES).response["violations"]
    return [
        f"{one['impact']} {one['id']}: {one['help']}\n"
        + "\n".join(f"    {node['html'][:200]}" for node in one["nodes"])
        for one in found
        if one["impact"] in GRAVE
    ]


def overhang(playground: Playground) -> Any:
    return playground.page.evaluate(OVERHANG)


def tab_to(playground: Playground, target: Locator) -> None:
    """Presses Tab until the target has the focus."""
    for _ in range(MOST_TABS):
        if target.evaluate("(element) => element === document.activeElement"):
            return
        playground.page.keyboard.press("Tab")
    raise AssertionError(f"{MOST_TABS} times Tab do not lead to {target}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_grave(visit: Visit, server: Server, gate: Gate, scheme: str) -> None:
    playground = visit(server, key=None, color_scheme=scheme)
    expect(playground.key_dialog).to_be_visible()
    playground.expects("status of 40")
    found = {"key": grave(playground)}
    playground.connect(server.key)
    expect(playground.key_dialog).to_be_hidden()
    found["models"] = grave(playground)
    playground.choose("page/film")
    found["model"] = grave(playground)
    playground.run(prompt="a cat", gate=gate)
    gate.let(1)
    expect(playground.progress).to_have_attribute("aria-valuenow", "25")
    found["running"] = grave(playground)
    gate.open()
    playground.shows("completed")
    playground.opened("Log")
    playground.opened("Events")
    found["completed"] = grave(playground)
    playground.run("test/fail").shows("failed")
    found["failed"] = grave(playground)
    playground.run("test/count", n=-1)
    expect(playground.field("n")).to_have_attribute("aria-invalid", "true")
    found["wrong input"] = grave(playground)
    assert {state: list(violations) for state, violations in found.items() if violations} == {}


def test_on_a_phone_nothing_hangs_over_and_everything_is_in_reach(visit: Visit, server: Server, gate: Gate) -> None:
    playground = visit(server, **PHONE)
    fits = {"scroll": 0, "past": []}
    assert overhang(playground) == fits
    playground.expects(*PURIFYING)
    playground.choose("page/hostile")
    expect(playground.readme).to_be_visible()
    assert overhang(playground) == fits
    playground.page.go_back()
    playground.run("page/film", prompt="a cat " * 30, gate=gate)
    gate.let(2)
    expect(playground.preview).to_be_in_viewport()
    assert overhang(playground) == fits
    gate.open()
    playground.shows("completed")
    for part in ("Log", "Events"):
        expect(playground.opened(part)).to_be_visible()
    assert overhang(playground) == fits


def test_the_keyboard_alone_leads_from_the_key_to_the_result(visit: Visit, server: Server) -> None:
    playground = visit(server, key=None)
    page, keyboard = playground.page, playground.page.keyboard
    playground.expects("status of 401")
    tab_to(playground, page.get_by_role("textbox", name="API key"))
    keyboard.type(server.key)
    keyboard.press("Enter")
    expect(playground.key_dialog).to_be_hidden()
    tab_to(playground, playground.link_to("test/echo"))
    keyboard.press("Enter")
    expect(playground.form).to_be_visible()
    tab_to(playground, playground.field("prompt"))
    keyboard.type("by hand")
    tab_to(playground, page.get_by_role("button", name="Run", exact=True))
    keyboard.press("Enter")
    playground.shows("completed").says("by hand")
    tab_to(playground, playground.summary("Events"))
    keyboard.press("Enter")
    expect(playground.watched.get_by_role("table")).to_be_visible()


def test_a_screen_reader_hears_the_status_and_the_output(playground: Playground) -> None:
    playground.run("test/count", n=2).shows("completed")
    assert (
        playground.output.evaluate("(output) => output.closest('[aria-live]')?.ariaLive ?? output.ariaLive") == "polite"
    )
    expect(playground.progress).to_have_attribute("aria-valuenow", "100")


def test_the_theme_that_was_chosen_is_kept(playground: Playground) -> None:
    def background() -> str:
        return str(playground.page.evaluate("getComputedStyle(document.body).backgroundColor"))

    light = background()
    theme = playground.page.get_by_role("button", name="Theme")
    while background() == light:
        theme.click()
    dark = background()
    playground.reload()
    expect(playground.models).to_be_visible()
    assert background() == dark


def test_whoever_prefers_the_dark_gets_it(visit: Visit, server: Server) -> None:
    shades = [
        visit(server, color_scheme=scheme).page.evaluate("getComputedStyle(document.body).backgroundColor")
        for scheme in ("light", "dark")
    ]
    assert shades[0] != shades[1]
