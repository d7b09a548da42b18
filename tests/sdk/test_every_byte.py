"""A stream may be lost at any byte, in any way; what the user sees is the same."""

from __future__ import annotations

import pytest

from sdk.adapter import CLIENTS
from sdk.claims import saw_the_whole_log
from sdk.faults import Cut, How
from sdk.world import World, finished
from support.raw import Raw
from support.server import KEY

HOWS: tuple[How, ...] = ("reset", "close", "clean")


@pytest.fixture(scope="module", params=CLIENTS)
def client(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def body_of(world: World) -> bytes:
    """The stream of the prediction, as it is."""
    with Raw(world.server.url) as raw:
        raw.request("GET", f"/api/v3/predictions/{world.id}/stream", {"Authorization": f"Bearer {KEY}"}).begin()
        return raw.body()


def test_a_stream_that_is_lost_after_any_byte_is_whole_in_the_end(world: World):
    finished(n=3)(world)
    body = body_of(world)
    assert len(body) > 500
    assert len(body) > len(body.decode()), "with characters of several bytes"
    world.proxy.play([])
    world.connect({"backoff_s": 0.001, "max_backoff_s": 0.001})
    for k in range(len(body) + 1):
        world.proxy.play([Cut(after=k, how=HOWS[k % 3])])
        world.watch(world.adapter.call("follow", id=world.id, after=None))
        try:
            saw_the_whole_log(world)
        except AssertionError as error:
            raise AssertionError(f"cut after {k} bytes, {HOWS[k % 3]}: …{body[max(0, k - 60) : k]!r}") from error
        expected = 1 if k == len(body) and HOWS[k % 3] == "clean" else 2
        assert len(world.proxy.asked("stream")) <= expected


def test_a_submit_whose_stream_is_lost_at_the_seams_is_whole_in_the_end(world: World):
    """Around each end of an event, and inside its characters."""
    finished(n=3)(world)
    body = body_of(world)
    seams = sorted({k + d for k in range(len(body)) if body[k : k + 2] == b"\n\n" for d in (-1, 0, 1, 2, 5)})
    world.connect({"backoff_s": 0.001, "max_backoff_s": 0.001})
    before = world.predictions()
    for number, k in enumerate(k for k in seams if k <= len(body)):
        world.id = ""
        world.proxy.play([Cut(after=k, how=HOWS[number % 3])])
        world.watch(world.adapter.call("stream", model="sdk/words", inputs={"n": 3}))
        saw_the_whole_log(world)
        assert world.predictions() == before + number + 1
