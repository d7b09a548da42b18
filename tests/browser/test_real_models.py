"""The demo's models in the playground: words as they come, a video that is watched while it is made, a voice."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, expect

from support.client import Client
from support.server import Server

from .conftest import Visit
from .playground import Playground

LLM, DIGITS, VOICE = "smollm2/135m-instruct", "unspool/moving-digits", "hibari/voice"
WATCH_OUTPUT = """() => {
  window.lengths = [];
  const look = () => {
    const output = document.querySelector('[aria-label="Output"]');
    const length = output?.textContent.length ?? 0;
    if (length !== window.lengths.at(-1)) window.lengths.push(length);
  };
  new MutationObserver(look).observe(document.body, { subtree: true, childList: true, characterData: true });
}"""
PLAY = """async (media) => {
  const until = (name, reached) => new Promise((resolve) => {
    const look = () => { if (reached()) { media.removeEventListener(name, look); resolve(); } };
    media.addEventListener(name, look);
    look();
  });
  media.muted = true;
  media.load();
  await until("canplaythrough", () => media.readyState >= 4);
  media.currentTime = media.duration / 2;
  await until("seeked", () => !media.seeking && media.currentTime > 0);
  const begin = media.currentTime;
  await media.play();
  await until("timeupdate", () => media.currentTime > begin);
  media.pause();
  return { duration: media.duration, ready: media.readyState, error: media.error, width: media.videoWidth ?? 0 };
}"""


@pytest.fixture
def playground(visit: Visit, real: Server) -> Playground:
    return visit(real)


@pytest.fixture
def client(real: Server) -> Client:
    return real.client()


def played(media: Locator) -> dict[str, float]:
    return dict(media.evaluate(PLAY))


def test_the_words_of_a_language_model_appear_while_it_speaks(playground: Playground, client: Client) -> None:
    playground.choose(LLM)
    playground.page.evaluate(WATCH_OUTPUT)
    playground.run(prompt="Tell me a story about a dragon.", max_tokens=60).shows("completed")
    lengths = playground.page.evaluate("window.lengths")
    assert playground.text == client.result(playground.id)["outputs"][0]
    growing = [length for length in lengths if length]
    assert len(growing) > 5
    assert growing == sorted(growing)


def test_a_page_that_is_reloaded_while_a_language_model_speaks_has_no_hole(
    playground: Playground, client: Client
) -> None:
    playground.run(LLM, prompt="Tell me a story about a dragon.", max_tokens=80)
    for _ in range(3):
        playground.says(re.compile(r"\w"))
        playground.reload()
    playground.shows("completed")
    assert playground.text == client.result(playground.id)["outputs"][0]


def test_a_video_is_watched_while_it_is_made_and_played_when_it_is_done(playground: Playground, client: Client) -> None:
    playground.run(DIGITS, prompt="the digit 7 moving right, fast", seed=1, steps=60)
    expect(playground.watched).to_contain_text("denoise")
    expect(playground.watched).to_contain_text(re.compile(r"\d+\s*(/|of)\s*60"))
    expect(playground.watched).to_contain_text(re.compile(r"\d s\b"))
    width, height = playground.preview_size()
    assert width == height > 0
    playground.shows("completed")
    film = played(playground.result)
    assert (film["duration"], film["width"], film["error"]) == (pytest.approx(2, abs=0.1), 256, None)
    expect(playground.opened("Log")).to_contain_text("Seed 1.")
    playground.reload()
    assert played(playground.result)["width"] == 256


def test_speech_can_be_heard(playground: Playground) -> None:
    playground.run(VOICE, text="Good morning.").shows("completed")
    speech = played(playground.result)
    assert speech["duration"] > 0.3
    assert speech["error"] is None


def test_a_video_is_cancelled_while_it_is_made(playground: Playground, client: Client) -> None:
    playground.run(DIGITS, prompt="the digit 3", steps=1000)
    expect(playground.watched).to_contain_text("denoise")
    playground.cancel()
    playground.shows("cancelled")
    assert client.result(playground.id)["status"] == "cancelled"
    playground.run(prompt="the digit 4", steps=4).shows("completed")
