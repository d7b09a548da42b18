"""The life of a prediction: every pair of status and change, and nothing that is not in the table."""

from itertools import product

import pytest

from unspool.states import ENDINGS, TERMINAL, TRANSITIONS, Change, IllegalChange, Status, after

LEGAL = {
    ("created", "claim"): "processing",
    ("created", "cancel"): "cancelled",
    ("created", "time_out"): "timeout",
    ("processing", "claim"): "processing",
    ("processing", "lose"): "processing",
    ("processing", "complete"): "completed",
    ("processing", "fail"): "failed",
    ("processing", "cancel"): "cancelled",
    ("processing", "time_out"): "timeout",
}


def test_the_statuses_are_those_of_the_wire():
    assert [str(status) for status in Status] == [
        "created",
        "processing",
        "completed",
        "failed",
        "cancelled",
        "timeout",
    ]


@pytest.mark.parametrize(("status", "change"), list(product(Status, Change)))
def test_every_pair_of_status_and_change(status: Status, change: Change):
    expected = LEGAL.get((str(status), str(change)))
    if expected is None:
        with pytest.raises(IllegalChange, match=f"{change} cannot happen to a prediction that is {status}"):
            after(status, change)
    else:
        assert after(status, change) is Status(expected)


def test_the_table_holds_no_pair_beyond_those():
    assert len(TRANSITIONS) == len(LEGAL)


def test_the_last_four_statuses_are_terminal():
    assert {status for status in Status if status.terminal} == TERMINAL
    assert sorted(TERMINAL) == ["cancelled", "completed", "failed", "timeout"]


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_nothing_can_happen_after_a_terminal_status(status: Status):
    assert not [pair for pair in TRANSITIONS if pair[0] is status]


def test_each_terminal_status_is_reached_by_its_own_change():
    assert set(ENDINGS) == TERMINAL
    for status, change in ENDINGS.items():
        assert after(Status.PROCESSING, change) is status


def test_every_status_can_be_reached():
    reached = {Status.CREATED}
    for _ in Status:
        reached |= {after(status, change) for status, change in TRANSITIONS if status in reached}
    assert reached == set(Status)
