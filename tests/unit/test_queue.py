"""The queue of a model: owners take turns, nobody's thousand jobs hold up another's one, and positions are honest."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unspool.errors import QueueFull
from unspool.spool.keys import UNLIMITED, Limits
from unspool.spool.queue import Queue, Queues, Waiting


class Job(Waiting):
    def __init__(self, owner: str, n: int = 0, model: str = "m") -> None:
        super().__init__(model, owner)
        self.n = n
        self.claimable = True

    def __repr__(self) -> str:
        return f"{self.owner}{self.n}"


def anybody(owner: str) -> bool:
    return True


def put(queue: Queue[Job], owner: str, count: int = 1) -> list[Job]:
    jobs = [Job(owner, n) for n in range(count)]
    for job in jobs:
        queue.put(job)
    return jobs


def order(queue: Queue[Job]) -> str:
    """Who comes when, to the end."""
    return " ".join(map(repr, iter(lambda: queue.take(anybody), None)))


def test_owners_take_turns_and_each_owner_s_own_stay_in_order():
    queue: Queue[Job] = Queue()
    put(queue, "a", 4)
    put(queue, "b", 2)
    put(queue, "c", 1)
    assert order(queue) == "a0 b0 c0 a1 b1 a2 a3"


def test_one_job_does_not_wait_for_another_owner_s_thousand():
    queue: Queue[Job] = Queue()
    put(queue, "a", 1_000)
    taken = [queue.take(anybody) for _ in range(10)]
    assert len(taken) == 10
    (job,) = put(queue, "b")
    assert job in [queue.take(anybody) for _ in range(2)]


def test_whoever_comes_back_gains_nothing_by_it():
    """An owner that submits one after the other gets one turn per round, like one that submits all at once."""
    queue: Queue[Job] = Queue()
    put(queue, "a", 3)
    seen = []
    for n in range(3):
        queue.put(Job("b", n))
        seen += [repr(queue.take(anybody)), repr(queue.take(anybody))]
    assert seen == ["a0", "b0", "a1", "b1", "a2", "b2"]


def test_those_that_lost_an_attempt_come_first_and_take_turns_too():
    queue: Queue[Job] = Queue()
    put(queue, "c", 1)
    for job in [Job("a", 0), Job("a", 1), Job("b", 0)]:
        queue.put_again(job)
    assert order(queue) == "a0 b0 a1 c0"


def test_an_owner_that_may_not_start_anything_is_passed_over_and_keeps_its_place():
    queue: Queue[Job] = Queue()
    put(queue, "a", 2)
    put(queue, "b", 3)
    assert repr(queue.take(lambda owner: owner != "a")) == "b0"
    assert repr(queue.take(lambda owner: owner != "a")) == "b1"
    assert len(queue) == 3
    queue.resume("a")
    assert order(queue) == "a0 b2 a1"


def test_what_may_not_be_taken_yet_holds_up_nobody_else():
    queue: Queue[Job] = Queue()
    early = Job("a")
    early.claimable = False
    queue.put(early)
    put(queue, "b")
    assert order(queue) == "b0"
    early.claimable = True
    queue.may_be_taken(early)
    assert order(queue) == "a0"


def test_who_leaves_the_queue_is_passed_over_and_not_kept():
    queue: Queue[Job] = Queue()
    first, *others = put(queue, "a", 2_000)
    for job in others[:-1]:
        queue.remove(job)
    assert len(queue) == 2
    assert first.line is not None
    (lane,) = first.line._lanes.values()
    assert len(lane._items) <= 4
    assert order(queue) == "a0 a1999"


def test_a_position_counts_what_each_owner_may_get_before():
    queue: Queue[Job] = Queue()
    assert [queue.put(Job("a", n)) for n in range(50)] == list(range(50))
    assert queue.put(Job("b")) == 1
    assert queue.put(Job("c")) == 2
    assert queue.put(Job("b", 1)) == 4
    assert queue.put(Job("a", 50)) == 53


def test_a_long_wait_is_told_about_a_few_times():
    queue: Queue[Job] = Queue()
    put(queue, "a", 5_000)
    last = Job("a", 5_000)
    told = [queue.put(last)]
    while last.queued:
        queue.take(anybody)
        told += [position for job, position in queue.moved() if job is last]
    assert told == [5000, 2500, 1250, 625, 312, 156, 78, 39, 19, 9, 4, 2, 1, 0]


def test_newcomers_with_a_turn_before_it_delay_what_is_told_and_never_falsify_it():
    queue: Queue[Job] = Queue()
    put(queue, "a", 63)
    last = Job("a", 63)
    told = [(0, queue.put(last))]
    taken = 0
    while last.queued:
        queue.put(Job("b", taken))
        queue.take(anybody)
        taken += 1
        told += [(taken, position) for job, position in queue.moved() if job is last]
    positions = [position for _, position in told]
    assert positions[0] == 63
    assert positions == sorted(set(positions), reverse=True)
    assert 5 <= len(told) <= 8
    assert all(position <= taken - at for at, position in told), "more were ahead in the end, and fewer never"


# Against a queue so plain that it can be seen to be right


class Plain:
    """Lists, and a look at all of them each time."""

    def __init__(self) -> None:
        self.lanes: dict[str, list[Job]] = defaultdict(list)
        self.turns: list[str] = []

    def put(self, job: Job) -> None:
        if not self.lanes[job.owner] and job.owner not in self.turns:
            self.turns.append(job.owner)
        self.lanes[job.owner].append(job)

    def remove(self, job: Job) -> None:
        self.lanes[job.owner].remove(job)

    def take(self, held: set[str]) -> Job | None:
        for owner in list(self.turns):
            if not self.lanes[owner]:
                self.turns.remove(owner)
            elif owner not in held:
                self.turns.remove(owner)
                if len(self.lanes[owner]) > 1:
                    self.turns.append(owner)
                return self.lanes[owner].pop(0)
        return None

    def ahead(self, job: Job) -> int:
        """By trying it out."""
        copy = Plain()
        copy.lanes.update({owner: list(jobs) for owner, jobs in self.lanes.items()})
        copy.turns = list(self.turns)
        taken = iter(lambda: copy.take(set()), job)
        return sum(1 for _ in taken)


DEEDS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from("abcd")),
        st.tuples(st.just("put"), st.just("a")),
        st.tuples(st.just("take"), st.just("")),
        st.tuples(st.just("remove"), st.integers(0, 50)),
    ),
    max_size=80,
)


@given(DEEDS)
def test_whatever_happens_the_order_is_that_of_turns(deeds: list[tuple[str, str | int]]):
    queue: Queue[Job] = Queue()
    plain = Plain()
    waiting: list[Job] = []
    for n, (deed, what) in enumerate(deeds):
        if deed == "put":
            job = Job(str(what), n)
            position = queue.put(job)
            plain.put(job)
            waiting.append(job)
            owners = {each.owner for each in waiting}
            assert position - len(owners) < plain.ahead(job) <= position < len(waiting)
        elif deed == "remove" and waiting:
            job = waiting.pop(int(what) % len(waiting))
            queue.remove(job)
            plain.remove(job)
        elif deed == "take":
            taken = queue.take(anybody)
            assert taken is plain.take(set())
            if taken is not None:
                waiting.remove(taken)
            for job, position in queue.moved():
                assert plain.ahead(job) <= position < len(waiting)
        assert len(queue) == len(waiting)
    while (job := plain.take(set())) is not None:
        assert queue.take(anybody) is job
    assert queue.take(anybody) is None
    assert len(queue) == 0


@given(
    st.lists(st.sampled_from(["put a", "put a", "put b", "put c", "take", "take", "end"]), max_size=120),
    st.integers(0, 3),
    st.integers(0, 3),
)
def test_limits_hold_and_whatever_may_start_starts(deeds: list[str], running_limit: int, waiting_limit: int):
    limits = {"a": Limits(max_running=running_limit, max_waiting=waiting_limit)}
    queues: Queues[Job] = Queues(lambda owner: limits.get(owner, UNLIMITED))
    waiting, running = [], []
    for n, deed in enumerate(deeds):
        name, _, owner = deed.partition(" ")
        mine = [job for job in waiting if job.owner == owner]
        if name == "put" and owner == "a" and 0 < waiting_limit <= len(mine):
            with pytest.raises(QueueFull):
                queues.check_room(owner)
        elif name == "put":
            queues.check_room(owner)
            waiting.append(Job(owner, n, model="mn"[n % 2]))
            queues.put(waiting[-1])
        elif name == "take":
            full = 0 < running_limit <= sum(job.owner == "a" for job in running)
            ready = [job for job in waiting if job.model == "m" and not (full and job.owner == "a")]
            job = queues.take("m")
            assert (job is not None) == bool(ready)
            if job is not None:
                assert job == next(each for each in ready if each.owner == job.owner)
                waiting.remove(job)
                running.append(job)
        elif running:
            queues.ended(running.pop(0))
