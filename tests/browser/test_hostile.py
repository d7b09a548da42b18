"""What models, their authors and their users say is text. None of it runs, and none of it breaks out of its place."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import expect

from support.server import Server

from .playground import PURIFYING, Playground

MARKUP = "<img src=x onerror=\"window.ran='img'\"><script>window.ran='script'</script><b>bold</b>"
"""As in `tests/models/playground.py`."""
FOUND = """() => ({
  ran: window.ran ?? null,
  links: [...document.links].filter((a) => !a.download).map((a) => a.protocol).filter((p) => !/^https?:$/.test(p)),
  inline: [...document.scripts].filter((script) => !script.src).length,
  images: document.querySelectorAll('img[src="x"], img[onerror], svg[onload]').length,
  frames: document.querySelectorAll("iframe, object, embed").length,
  styles: document.querySelectorAll("main style").length,
})"""
NOTHING = {"ran": None, "links": [], "inline": 0, "images": 0, "frames": 0, "styles": 0}


def found(playground: Playground) -> Any:
    return playground.page.evaluate(FOUND)


def test_a_readme_with_markup_shows_it_as_text_or_not_at_all(playground: Playground) -> None:
    playground.expects(*PURIFYING)
    playground.choose("page/hostile")
    expect(playground.readme).to_contain_text("Read this")
    assert found(playground) == NOTHING


def test_outputs_logs_and_stages_with_markup_are_shown_as_text(playground: Playground) -> None:
    playground.expects(*PURIFYING)
    playground.choose("page/hostile")
    playground.press("Try an example")
    playground.run().shows("completed").says(MARKUP)
    expect(playground.opened("Log")).to_contain_text(MARKUP)
    expect(playground.opened("Events")).to_contain_text("window.ran='output'")
    assert found(playground) == NOTHING
    playground.reload()
    playground.shows("completed").says(MARKUP)
    assert found(playground) == NOTHING


def test_an_error_with_markup_is_shown_as_text(playground: Playground) -> None:
    playground.run("page/refusal").shows("failed")
    expect(playground.watched).to_contain_text(MARKUP)
    assert found(playground) == NOTHING


@pytest.mark.parametrize("path", ["/#/models/", "/#/predictions/"])
def test_an_address_with_markup_is_shown_as_text(playground: Playground, path: str) -> None:
    playground.expects("status of 40")
    playground.page.goto(playground.url + path + quote(MARKUP, safe=""))
    expect(playground.alert.first).to_be_visible()
    assert found(playground) == NOTHING


def test_the_policy_lets_nothing_inline_run(playground: Playground) -> None:
    playground.expects("policy", "Policy", "TrustedScript", "violates", "Refused")
    playground.page.evaluate("""() => {
      const script = document.createElement("script");
      try { script.text = "window.ran = 'inline'"; document.body.append(script); } catch {}
      try { document.body.setAttribute("onclick", "window.ran = 'handler'"); document.body.click(); } catch {}
    }""")
    assert found(playground)["ran"] is None


def test_the_page_forbids_what_it_does_not_need(server: Server) -> None:
    answer = httpx.get(f"{server.url}/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy or "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
