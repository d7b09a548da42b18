"""Progress from tqdm bars and `run.track`, inside of each other, as viewers see it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from conftest import MODELS
from support.client import Client
from support.gate import Gate
from support.server import Server
from support.stream import check_log


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(MODELS / "bars.py", tmp_path_factory.mktemp("bars"))
    try:
        yield server.start().wait_until_ready()
    finally:
        server.close()


@pytest.fixture
def client(server: Server) -> Client:
    return server.client()


def said(client: Client, model: str, **inputs: Any) -> list[dict[str, Any]]:
    """The progress of a run that completes, of its bars alone."""
    events = client.log(client.submit(model, **inputs)["id"])
    check_log(events)
    assert events[-1].type == "complete", events[-1]
    assert not [event for event in events if event.type == "log"]
    return [event.data for event in events if "step" in event.data]


@pytest.mark.parametrize("depth", [1, 2])
def test_the_percentage_of_nested_bars_is_that_of_the_whole(client: Client, depth: int) -> None:
    bars = said(client, "bars/nested", outer=4, inner=5, depth=depth)
    innermost = [bar for bar in bars if bar["stage"] == f"level {depth}" and bar["step"] not in (0, 5)]
    whole = 4 * 5**depth
    expected = [100 * n / whole for n in range(whole) if n % 5]
    assert [bar["percentage"] for bar in innermost] == pytest.approx(expected, abs=0.01)
    assert (bars[-1]["stage"], bars[-1]["step"], bars[-1]["percentage"]) == ("level 0", 4, 100)


def test_a_bar_inside_of_a_tracked_loop_moves_within_its_step(client: Client) -> None:
    bars = said(client, "bars/tracked", outer=4, inner=5)
    inner = [bar["percentage"] for bar in bars if bar["stage"] == "denoise"]
    assert sorted(set(inner)) == pytest.approx([5 * n for n in range(21)])
    assert bars[-1]["percentage"] == 100


def test_bars_in_threads_of_the_model_share_the_step_that_started_them(client: Client) -> None:
    bars = said(client, "bars/threads", outer=2, inner=5)
    assert max(bar["percentage"] for bar in bars[: [bar["stage"] for bar in bars].index("all", 1)]) <= 50
    halves = [bar["percentage"] for bar in bars if bar["stage"] == "all"]
    assert halves == [0, 50, 100]
    assert {bar["stage"] for bar in bars} == {"all", *(f"thread {n}" for n in range(4))}


def test_runs_at_the_same_time_have_bars_of_their_own(client: Client) -> None:
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda outer: said(client, "bars/nested", outer=outer, inner=3), [2, 50]))
    for outer, bars in zip([2, 50], both, strict=True):
        assert {bar["steps"] for bar in bars} == {outer, 3}
        assert bars[-1]["percentage"] == 100


def test_bars_one_after_another_take_their_share_of_the_time_in_the_second_run(client: Client) -> None:
    first, second = (said(client, "bars/sequence") for _ in range(2))
    assert {bar["percentage"] for bar in first if bar["stage"] == "draw"} == {100}
    loaded = next(bar["percentage"] for bar in second if (bar["stage"], bar["step"]) == ("load", 2))
    assert loaded < 50
    drawn = [bar["percentage"] for bar in second if bar["stage"] == "draw"]
    assert all(earlier < later for earlier, later in itertools.pairwise(sorted(set(drawn))))
    assert len(set(drawn)) > 3


def test_a_run_that_is_cancelled_in_its_bar_does_not_keep_the_bars_of_others(client: Client, gate: Gate) -> None:
    other = client.submit("bars/gate", gate=str(gate))["id"]
    assert gate.visitor() == other
    with client.run("bars/gate", steps=1_000_000) as stream:
        stream.until("progress", 10)
        client.cancel(stream.id)
        assert list(stream)[-1].data["status"] == "cancelled"
    gate.let(1)
    assert client.finished(other)["status"] == "completed"


def test_a_bar_that_is_switched_off_says_nothing(client: Client) -> None:
    assert said(client, "bars/silent") == []
