"""Every scenario with every client: all of them prove the same claims."""

from __future__ import annotations

import pytest

from sdk.adapter import CLIENTS
from sdk.scenarios import SCENARIOS
from sdk.world import World


@pytest.fixture(scope="module", params=CLIENTS)
def client(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_user_sees_what_is_claimed_when(world: World, name: str):
    world.play(SCENARIOS[name])
