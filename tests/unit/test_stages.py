"""One percentage over several stages: what it promises whatever happens, and how near it comes to the time."""

import json
import math
import multiprocessing
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unspool.model import Cancelled, Run
from unspool.stages import EVENTS_PER_S, VARIABLE, Costs, Stages, file_name
from unspool.states import Status

SHARES = {"encode": 1, "denoise": 10, "decode": 3}


class Clock:
    """A time that passes only when it is told to, in seconds."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Watched(Run):
    """A run that keeps what it says, and when."""

    def __init__(self, clock):
        super().__init__("p", 1, self._keep_event)
        self.clock, self.events, self.times = clock, [], []

    def _keep_event(self, event):
        self.events.append(json.loads(event))
        self.times.append(self.clock())

    @property
    def percentages(self):
        return [event["percentage"] for event in self.events]

    def of(self, stage):
        return [event for event in self.events if event["stage"] == stage]


def make(folder=None, shares=SHARES, **more):
    clock = Clock()
    return Stages("test/stages", shares, folder=folder, clock=clock, **more), clock


def draw(stages, clock, *, steps=10, size=1.0, step_s=1.0, slower=1.0):
    """A run as a video model has it: what denoise and decode take grows with the size."""
    run = Watched(clock)
    with stages.follow(run, {"denoise": steps * size, "decode": size}) as progress:
        progress.stage("encode")
        clock.now += 0.5 * slower
        progress.stage("denoise", steps=steps)
        for _ in range(steps):
            clock.now += step_s * size * slower
            progress.step()
        progress.stage("decode")
        clock.now += 4 * size * slower
    return run


def cancelled_while_drawing(stages, clock):
    run = Watched(clock)
    with stages.follow(run) as progress:
        progress.stage("encode")
        clock.now += 2
        progress.stage("denoise", steps=2)
        run.stop_status = Status.CANCELLED
        progress.step()


def counted(stages, clock, run, *, cancel_at):
    with stages.follow(run) as progress:
        progress.stage("count", steps=20_000)
        for n in range(20_000):
            clock.now += 0.001
            run.stop_status = Status.CANCELLED if n >= cancel_at else None
            progress.step()


def farthest_from_time(run, began):
    """By how many percentage points it was off, at worst."""
    whole = run.times[-1] - began
    passed = [100 * (at - began) / whole for at in run.times]
    return max(abs(said - true) for said, true in zip(run.percentages[:-1], passed[:-1], strict=True))


# What it says


def test_a_run_says_its_stages_in_order_with_steps():
    run = draw(*make(), steps=3)
    assert [(event["stage"], event.get("step"), event.get("steps")) for event in run.events] == [
        ("encode", None, None),
        ("denoise", 0, 3),
        ("denoise", 1, 3),
        ("denoise", 2, 3),
        ("denoise", 3, 3),
        ("decode", None, None),
        ("decode", None, None),
    ]
    assert run.percentages[-1] == 100


def test_the_first_run_of_all_goes_by_the_shares_and_by_its_own_steps():
    stages, clock = make()
    began = clock.now
    run = draw(stages, clock)
    assert farthest_from_time(run, began) < 15
    assert run.percentages == sorted(run.percentages)


def test_a_second_run_of_the_same_kind_says_the_share_of_time_that_has_passed():
    stages, clock = make()
    draw(stages, clock)
    began = clock.now
    assert farthest_from_time(draw(stages, clock), began) < 0.01


def test_a_run_of_another_size_is_expected_by_its_work_and_not_by_the_seconds_of_the_last():
    stages, clock = make()
    for _ in range(3):
        draw(stages, clock, steps=10, size=1)
    began = clock.now
    assert farthest_from_time(draw(stages, clock, steps=40, size=3), began) < 0.5


def test_of_what_is_remembered_the_runs_nearest_in_work_count(tmp_path):
    costs = Costs(tmp_path / "costs.json")
    for _ in range(5):
        costs.add({"decode": (100, 50.0)})
        costs.add({"decode": (1, 2.0)})
    assert costs.expect("decode", 1.1) == pytest.approx(2.2)
    assert costs.expect("decode", 90) == pytest.approx(45)


def test_of_runs_that_are_equally_near_the_newest_count(tmp_path):
    costs = Costs(tmp_path / "costs.json")
    for seconds in (9, 9, 9, 9, 9, 9, 2, 2, 2):
        costs.add({"decode": (1, seconds)})
    assert costs.expect("decode", 1) == 2


def test_a_run_that_is_slower_than_all_before_is_still_measured_by_its_own_pace():
    stages, clock = make()
    draw(stages, clock)
    began = clock.now
    run = draw(stages, clock, slower=3)
    assert farthest_from_time(run, began) < 6
    assert run.percentages == sorted(run.percentages)


def test_the_time_left_comes_from_the_measured_steps():
    run = draw(*make(shares={"encode": 1, "denoise": 10, "decode": 4}), steps=10)
    assert "eta_seconds" not in run.events[0]
    after_two = run.of("denoise")[2]
    assert after_two["step"] == 2
    assert after_two["eta_seconds"] == 8 + 4


def test_the_time_left_is_known_from_the_start_when_there_was_a_run_before():
    stages, clock = make()
    draw(stages, clock)
    run = draw(stages, clock)
    assert [event["eta_seconds"] for event in run.events[:3]] == [14.5, 14, 13]


def test_a_stage_that_takes_longer_than_ever_before_does_not_reach_100():
    stages, clock = make()
    draw(stages, clock)
    run = Watched(clock)
    with stages.follow(run) as progress:
        progress.stage("decode", steps=3)
        for _ in range(3):
            clock.now += 10_000
            progress.step()
        assert run.percentages[-1] == 99
    assert run.percentages[-1] == 100


def test_stages_that_are_passed_over_did_not_happen():
    stages, clock = make()
    draw(stages, clock)
    run = Watched(clock)
    with stages.follow(run, {"denoise": 10}) as progress:
        progress.stage("denoise", steps=10)
        assert run.percentages == [0]
        assert run.events[-1]["eta_seconds"] == 14


def test_a_model_that_says_thousands_of_steps_a_second_is_heard_ten_times_and_stays_cancellable():
    stages, clock = make(shares=("count",))
    run = Watched(clock)
    with pytest.raises(Cancelled):
        counted(stages, clock, run, cancel_at=10_000)
    assert len(run.events) <= 10 * EVENTS_PER_S + 2
    assert run.events[-1]["step"] < 10_000


def test_a_preview_goes_out_with_its_step():
    stages, clock = make(shares=("denoise",))
    run = Watched(clock)
    with stages.follow(run) as progress:
        progress.stage("denoise", steps=10)
        progress.step()
        progress.step(preview="https://example.com/2.jpg")
    assert [event.get("preview") for event in run.events] == [None, "https://example.com/2.jpg", None]
    assert run.events[1]["step"] == 2


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda progress: progress.stage("dance"), "they are encode, denoise, decode"),
        (lambda progress: (progress.stage("decode"), progress.stage("denoise")), "does not come after 'decode'"),
        (lambda progress: progress.stage("decode", work=0), "must be above 0"),
        (lambda progress: (progress.stage("decode"), progress.step()), "begun with steps"),
        (lambda progress: progress.step(), "begun with steps"),
    ],
)
def test_mistakes_of_a_model_are_told(wrong, said):
    stages, clock = make()
    with pytest.raises(ValueError, match=said), stages.follow(Watched(clock)) as progress:
        wrong(progress)


def test_work_of_an_unknown_stage_and_stages_without_a_share_are_told():
    with pytest.raises(ValueError, match="there is no stage 'dance'"):
        make()[0].follow(Watched(Clock()), {"dance": 1})
    for shares in ((), {"denoise": 0}):
        with pytest.raises(ValueError, match="share above 0"):
            make(shares=shares)


# Whatever happens

seconds = st.floats(0, 1e6)
stage = st.tuples(seconds, st.lists(seconds, max_size=8))
plan = st.fixed_dictionaries({}, optional=dict.fromkeys(SHARES, stage))
work = st.floats(1e-6, 1e12)


def play(stages, clock, what, work):
    run = Watched(clock)
    with stages.follow(run, work) as progress:
        for name in SHARES:
            if name in what:
                wait, steps = what[name]
                progress.stage(name, steps=len(steps))
                clock.now += wait
                for step in steps:
                    clock.now += step
                    progress.step()
        before = list(run.percentages)
    return run, before


@given(st.lists(st.tuples(plan, st.fixed_dictionaries(dict.fromkeys(SHARES, work))), min_size=1, max_size=4))
def test_percentages_never_fall_and_stay_below_100_until_the_end(runs):
    stages, clock = make(events_per_s=1e9)
    for what, work in runs:
        run, before = play(stages, clock, what, work)
        assert run.percentages == sorted(run.percentages)
        assert all(0 <= percentage < 100 for percentage in before)
        assert run.percentages[len(before) :] == [100]
        assert all(event.get("eta_seconds", 0) >= 0 for event in run.events)


@given(
    st.lists(st.tuples(st.integers(1, 50), st.floats(0.1, 100)), min_size=2, max_size=5),
    st.floats(1e-4, 1e3),
)
def test_where_time_grows_with_work_a_learned_percentage_is_the_share_of_time(sizes, step_s):
    stages, clock = make(shares={"denoise": 1, "decode": 1})

    def once(steps, size):
        run = Watched(clock)
        with stages.follow(run, {"denoise": steps * size, "decode": size}) as progress:
            progress.stage("denoise", steps=steps)
            for _ in range(steps):
                clock.now += step_s * size
                progress.step()
            progress.stage("decode")
            clock.now += 7 * step_s * size
        return run

    once(*sizes[0])
    for steps, size in sizes[1:]:
        clock.now = 0.0  # where floats are fine enough for the shortest steps
        assert farthest_from_time(once(steps, size), 0.0) < 0.1 + 100 / (steps + 7) / 1e3 + 1.01 * _capped(steps)


def _capped(steps):
    """What the cap of 99 takes away at the end of a run that is nearly over when its last event is said."""
    return max(0.0, 100 * steps / (steps + 7) - 99)


# What is remembered


def test_what_was_learned_outlives_the_process_and_is_shared_by_replicas(tmp_path):
    draw(*make(tmp_path))
    stages, clock = make(tmp_path)
    began = clock.now
    assert farthest_from_time(draw(stages, clock), began) < 0.01


def test_a_worker_remembers_in_the_folder_that_its_host_names(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "learned"))
    draw(*make())
    assert (tmp_path / "learned" / file_name("test/stages")).is_file()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\x00",
        b"[]",
        b'{"stages":{"decode":[[1,',
        b'{"stages":{"decode":[["a",1]]}}',
        b'{"stages":{"decode":[[0,1],[-1,1],[1,-1]]}}',
        b'{"stages":{"decode":[[1e308,1e308],[1e-308,1e308]]}}',
        b"[" * 100_000,
    ],
    ids=lambda content: content[:40].decode(errors="replace"),
)
def test_a_damaged_file_is_as_good_as_none_and_is_replaced(tmp_path, content):
    (tmp_path / file_name("test/stages")).write_bytes(content)
    stages, clock = make(tmp_path)
    for _ in range(30):
        run = draw(stages, clock)
        assert run.percentages == sorted(run.percentages)
    stages, clock = make(tmp_path)
    began = clock.now
    assert farthest_from_time(draw(stages, clock), began) < 0.01
    assert json.loads((tmp_path / file_name("test/stages")).read_bytes())["stages"]["encode"]


def test_a_folder_that_cannot_be_written_costs_the_memory_and_not_the_run(tmp_path):
    (tmp_path / "file").write_text("")
    run = draw(*make(tmp_path / "file" / "learned"))
    assert run.percentages[-1] == 100


def test_a_cancelled_run_teaches_the_stages_that_it_has_ended(tmp_path):
    stages, clock = make(tmp_path)
    with pytest.raises(Cancelled):
        cancelled_while_drawing(stages, clock)
    assert stages.costs.expect("encode", 1) == 2
    assert stages.costs.expect("denoise", 1) is None


def test_only_the_last_runs_are_remembered(tmp_path):
    costs = Costs(tmp_path / "costs.json")
    costs.add({"decode": (1, 1000.0)})
    for _ in range(200):
        costs.add({"decode": (2, 1.0)})
    assert costs.expect("decode", 1) == 0.5
    assert (tmp_path / "costs.json").stat().st_size < 1000


def _learn(folder, times):
    for _ in range(times):
        Costs(folder / "costs.json").add({"decode": (1, 2.0)})


def test_processes_that_write_at_once_never_leave_half_a_file(tmp_path):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_learn, args=(tmp_path, 200)) for _ in range(3)]
    for writer in writers:
        writer.start()
    seen = 0
    while any(writer.is_alive() for writer in writers):
        if (tmp_path / "costs.json").exists():
            json.loads((tmp_path / "costs.json").read_bytes())
            seen += 1
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert seen
    assert Costs(tmp_path / "costs.json").expect("decode", 1) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["costs.json"]


def test_runs_of_several_slots_may_teach_at_once():
    costs = Costs(None)
    threads = [threading.Thread(target=lambda: [costs.add({"a": (1, 2.0)}) for _ in range(200)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert costs.expect("a", 3) == 6
    assert math.isfinite(costs.expect("a", 1e300))


def test_models_whose_names_look_alike_have_files_of_their_own():
    names = {file_name(name) for name in ("a/b", "a-b", "a/b ", "A/b", "x" * 200, "x" * 201, "../..", "é/日")}
    assert len(names) == 8
    assert all(len(name) < 120 and "/" not in name and not name.startswith(".") for name in names)
