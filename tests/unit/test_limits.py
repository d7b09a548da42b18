"""Pace and seats: a bucket that fills up evenly, and a wait that is told right."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unspool.api.limits import Pace, Seats
from unspool.errors import RateLimited
from unspool.spool.keys import Limits, OwnLimits


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_a_minute_s_worth_may_be_asked_at_once_and_then_evenly():
    clock = Clock()
    pace = Pace(lambda owner: Limits(requests_per_minute=30), clock)
    for _ in range(30):
        pace.count("a")
    for _ in range(5):
        with pytest.raises(RateLimited) as refusal:
            pace.count("a")
        assert refusal.value.retry_after_s == 2
        clock.now += 2
        pace.count("a")
    pace.count("b")


@given(st.integers(1, 10_000), st.lists(st.floats(0, 90), max_size=60))
def test_who_waits_as_long_as_it_is_told_is_let_in(per_minute: int, pauses: list[float]):
    clock = Clock()
    pace = Pace(lambda owner: Limits(requests_per_minute=per_minute), clock)
    for _ in range(per_minute):
        pace.count("a")
    for pause in pauses:
        clock.now += pause
        wait_s = refusal_s(pace)
        if wait_s is not None:
            assert 1 <= wait_s <= 60
            clock.now += wait_s
            assert refusal_s(pace) is None


def refusal_s(pace: Pace) -> int | None:
    """Asks once. Returns the wait that it is told, if it is refused."""
    try:
        pace.count("a")
    except RateLimited as refusal:
        return refusal.retry_after_s
    return None


def test_without_a_limit_nothing_is_counted():
    pace = Pace(lambda owner: Limits())
    for _ in range(100_000):
        pace.count("a")


def test_a_seat_is_free_again_however_it_was_left():
    seats = Seats(lambda owner: Limits(max_viewers=1))
    with seats.taken("a"), pytest.raises(RateLimited):
        seats.check("a")
    with pytest.raises(ZeroDivisionError), seats.taken("a"):
        raise ZeroDivisionError
    seats.check("a")


def test_what_a_key_has_of_its_own_goes_before_the_server_s_defaults():
    defaults = Limits(requests_per_minute=6_000, max_running=2, max_waiting=10, max_viewers=5)
    assert OwnLimits().over(defaults) == defaults
    own = OwnLimits(max_running=0, max_waiting=20)
    assert own.over(defaults) == Limits(requests_per_minute=6_000, max_running=0, max_waiting=20, max_viewers=5)
