"""The scenarios can fail: a client that reads as the published samples do fails where more is asked of a client."""

from __future__ import annotations

import pytest

from sdk.scenarios import SCENARIOS
from sdk.world import World

BEYOND = [name for name, scenario in SCENARIOS.items() if scenario.beyond_naive]
EASY = ["nothing goes wrong", "a run that failed", "joining what has ended", "outputs that are not text", "delays"]


@pytest.fixture(scope="module")
def client() -> str:
    return "naive"


@pytest.mark.parametrize("name", EASY)
def test_a_naive_client_passes_when_nothing_is_wrong(world: World, name: str):
    world.play(SCENARIOS[name])


@pytest.mark.parametrize("name", BEYOND)
def test_a_naive_client_fails_when(world: World, name: str):
    with pytest.raises(AssertionError):
        world.play(SCENARIOS[name])
