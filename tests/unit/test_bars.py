"""How far a run is while loops go on inside of loops."""

import threading
from contextvars import copy_context

import pytest

from unspool import bars
from unspool.bars import Bars, Habit


class Clock:
    """Time that passes when it is told to."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(bars, "time", clock)
    return clock


def percentage(run, bar):
    return round(run.report(bar)["percentage"], 3)


def loop(run, total, stage=None):
    """The percentage after each step of a loop without anything inside."""
    bar = run.begin(total, stage)
    for bar.done in range(1, total + 1):
        yield percentage(run, bar)
    bar.end()


def test_one_loop_alone_is_the_whole():
    assert list(loop(Bars(), 4)) == [25, 50, 75, 100]


def test_a_loop_inside_moves_within_a_step_of_the_outer_one():
    run = Bars()
    outer = run.begin(2, None)
    said = []
    for outer.done in (0, 1):
        said += loop(run, 4)
    outer.done = 2
    assert [*said, percentage(run, outer)] == [12.5, 25, 37.5, 50, 62.5, 75, 87.5, 100, 100]


def test_loops_are_nested_in_any_depth():
    run = Bars()
    said = []
    first = run.begin(2, None)
    for first.done in (0, 1):
        second = run.begin(2, None)
        for second.done in (0, 1):
            third = run.begin(2, None)
            for third.done in (0, 1):
                said += loop(run, 2)
            third.done = 2
            third.end()
        second.done = 2
        second.end()
    assert said == [6.25 * n for n in range(1, 17)]


def test_the_second_loop_inside_a_step_takes_half_of_it_and_in_the_next_step_that_is_known(clock):
    run = Bars()
    outer = run.begin(3, None)
    said = []
    for outer.done in (0, 1, 2):
        for steps in (1, 3):
            inner = run.begin(steps, None)
            for _ in range(steps):
                clock.now += 1
                inner.done += 1
                said.append(percentage(run, inner))
            inner.end()
    assert said[:4] == [pytest.approx(100 / 3 * share, abs=0.01) for share in (1, 2 / 3, 5 / 6, 1)]
    # Each second counts alike, now that the first is known to take 1 s and the other one 3 s.
    assert said[4:] == [pytest.approx(100 / 12 * n, abs=0.01) for n in range(5, 13)]


def test_loops_one_after_another_are_weighed_by_the_time_they_took_in_the_last_run(clock):
    habit = Habit()

    def whole_run():
        run = Bars(habit)
        for seconds in (1, 8, 1):
            bar = run.begin(2, None)
            for _ in range(2):
                clock.now += seconds / 2
                bar.done += 1
                yield percentage(run, bar)
            bar.end()
        run.learn()

    list(whole_run())
    assert list(whole_run()) == [5, 10, 50, 90, 95, 100]


def test_a_run_without_loops_does_not_unlearn():
    habit = Habit()
    first = Bars(habit)
    list(loop(first, 1))
    first.learn()
    learned = list(habit.expected_s)
    Bars(habit).learn()
    assert list(habit.expected_s) == learned != []


def test_several_steps_that_were_told_at_once_are_several(clock):
    run = Bars()
    outer = run.begin(4, None)
    for seconds in (0.05, 10):
        inner = run.begin(1, None)
        clock.now += seconds
        inner.end()
    outer.done = 2
    inner = run.begin(2, None)
    inner.done = 1
    assert percentage(run, inner) == 62.5


def test_a_loop_that_is_done_and_was_never_closed_holds_nothing():
    run = Bars()
    left_open = run.begin(2, None)
    left_open.done = 2
    assert run.begin(2, None).outer is None


def test_a_loop_that_was_left_early_is_over_when_the_next_one_begins():
    run = Bars()
    outer = run.begin(2, None)
    left = run.begin(10, None)
    left.done = 1
    left.end()
    assert percentage(run, left) == 5
    after = run.begin(10, None)
    assert after.outer is outer
    assert percentage(run, after) == 25


def test_without_a_total_nothing_inside_is_taken_for_the_whole():
    run = Bars()
    endless = run.begin(None, None)
    assert list(loop(run, 2)) == [0, 0]
    endless.done = 1
    assert run.report(endless) == {"percentage": 0, "stage": None, "step": 1, "steps": None, "eta_seconds": None}


def test_the_stage_is_that_of_the_loop_or_of_the_nearest_one_around_it_that_has_one():
    run = Bars()
    outer = run.begin(2, "epoch")
    inner = run.begin(5, None)
    named = run.begin(5, "batch")
    assert [run.report(bar)["stage"] for bar in (outer, inner, named)] == ["epoch", "epoch", "batch"]


def test_the_time_left_is_that_of_the_whole(clock):
    run = Bars()
    outer = run.begin(4, None)
    inner = run.begin(2, None)
    clock.now += 3
    inner.done = 1
    assert run.report(inner)["eta_seconds"] == pytest.approx(21)
    outer.done = 2
    assert run.report(outer)["eta_seconds"] == pytest.approx(3)


def test_steps_that_were_done_before_tell_nothing_of_the_time(clock):
    run = Bars()
    bar = run.begin(10, None, done=5)
    assert run.report(bar)["eta_seconds"] is None
    clock.now += 2
    bar.done = 6
    assert run.report(bar)["eta_seconds"] == pytest.approx(8)


def test_a_loop_of_another_run_is_not_around_this_one():
    first, second = Bars(), Bars()
    first.begin(2, None)
    assert second.begin(2, None).outer is None


def in_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def test_threads_of_the_model_are_inside_of_the_loop_that_started_them_side_by_side():
    run = Bars()
    outer = run.begin(2, None)
    begun = []
    for _ in range(2):
        in_thread(lambda: begun.append(run.begin(4, None, at_home=False)))
    one, other = begun
    assert one.outer is outer
    assert other.outer is outer
    one.done, other.done = 4, 2
    assert percentage(run, one) == 37.5
    in_thread(one.end)
    in_thread(other.end)
    assert run.begin(2, None).outer is outer


def test_threads_with_nothing_around_them_share_the_whole():
    run = Bars()
    begun = []
    for _ in range(2):
        in_thread(lambda: begun.append(run.begin(4, None, at_home=False)))
    begun[0].done, begun[1].done = 4, 1
    assert percentage(run, begun[0]) == 62.5


def test_tasks_are_inside_of_the_loop_around_them_and_not_of_each_other():
    run = Bars()
    outer = run.begin(2, None)
    first = copy_context().run(run.begin, 2, None)
    second = copy_context().run(run.begin, 2, None)
    assert (first.outer, second.outer) == (outer, outer)


def test_every_loop_may_be_moved_by_threads_at_once():
    run = Bars()
    outer = run.begin(8, None)
    failures = []

    def work():
        try:
            for _ in range(200):
                bar = run.begin(3, None, at_home=False)
                bar.done += 1
                assert 0 <= run.report(bar)["percentage"] <= 100
                bar.end()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for outer.done in range(1, 8):
        run.report(outer)
    for thread in threads:
        thread.join()
    assert failures == []
