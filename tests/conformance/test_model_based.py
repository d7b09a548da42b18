"""Random interleavings of everything that can happen, against the contract written down as a small model.

The model (`Expected`) is what the contract says of one prediction, in plain Python. Two things it leaves open on
purpose, as the contract does: whether readers see an attempt that was just claimed already, and whether an attempt
whose lease has run out still counts as running before a claim has noticed. After a crash it asks what is left, and
checks that this is one of the states that the contract allows.

Readers outlive every crash and remember all that they saw.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from unspool.errors import IdempotencyMismatch, QueueFull, StaleAttempt
from unspool.spool.base import Claim, Spool
from unspool.spool.keys import UNLIMITED, Limits
from unspool.states import ENDINGS, Change, Status, after
from unspool.types import START, Cursor, Prediction

from .kit import LEASE_S, LONG_S, Backend, flat, submission

EXAMPLES = int(os.environ.get("UNSPOOL_STATEFUL_EXAMPLES", "0"))
"""Set it for a long search with new random runs; the default is a short one that is the same every time."""
PROFILE = settings(
    max_examples=EXAMPLES or 50,
    stateful_step_count=40,
    derandomize=not EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)

DEADLINE_S = 5
LEASE_NS = int(LEASE_S * 10**9)
DAY_NS = 24 * 60 * 60 * 10**9
ADVANCES_S = [1.000001, 7.00001, 16.0001, 31.0, 90_000.0]
"""No sum of these is a lease, a start timeout or a day: nothing runs out in the very moment it is looked at."""

LIMITS = {"bob": Limits(max_running=2, max_waiting=4)}
"""Alice may do what she likes."""

T = TypeVar("T")


@dataclass
class Expected:
    """One prediction as the contract wants it."""

    id: str
    model: str
    owner: str
    max_attempts: int
    created_at_ns: int
    start_until_ns: float
    promised: bool = False
    """A slot was free when it was submitted, so its first attempt may be durable though nobody has begun it."""
    status: Status = Status.CREATED
    attempt: int = 0
    failures: int = 0
    running: bool = False
    lease_until_ns: int = 0
    cancel_requested: bool = False
    said: dict[int, list[bytes]] = field(default_factory=dict)
    """The events of each attempt from 1 on, but for a terminal event that the spool words itself."""
    end_attempt: int | None = None
    failures_at: dict[int, int] = field(default_factory=dict)
    """How many failures there were when each attempt began."""
    issued: dict[Cursor, bytes] = field(default_factory=dict)
    """Every event that any reader has ever seen."""

    @property
    def waiting(self) -> bool:
        return not self.running and not self.status.terminal

    @property
    def seen_attempt(self) -> int:
        return max((cursor.attempt for cursor in self.issued), default=0)

    def overdue(self, now_ns: int) -> bool:
        return self.running and self.lease_until_ns <= now_ns

    def begin(self, now_ns: int) -> None:
        self.status = after(self.status, Change.CLAIM)
        self.attempt += 1
        self.running = True
        self.lease_until_ns = now_ns + LEASE_NS
        self.failures_at[self.attempt] = self.failures
        self.said[self.attempt] = [
            b'{"type":"progress","percentage":0,"status":"processing","attempt":%d}' % self.attempt
        ]

    def lose(self, *, counted: bool) -> None:
        self.running = False
        self.status = after(self.status, Change.LOSE)
        self.failures += counted
        if self.cancel_requested:
            self.end(Status.CANCELLED, self.attempt + 1)
        elif self.failures >= self.max_attempts:
            self.end(Status.FAILED, self.attempt + 1)

    def end(self, status: Status, attempt: int) -> None:
        self.status = after(self.status, ENDINGS[status])
        self.running = False
        self.end_attempt = attempt

    def begin_never(self, attempt: int) -> None:
        """Forgets attempts behind this one: a crash came before anybody had seen them."""
        for forgotten in range(attempt + 1, self.attempt + 1):
            del self.said[forgotten], self.failures_at[forgotten]
        self.attempt = attempt
        if attempt == 0:
            self.status = Status.CREATED


@dataclass
class Reader:
    """Somebody who follows one prediction for ever."""

    id: str
    at: Cursor = START
    done: bool = False


class SpoolMachine(RuleBasedStateMachine):
    """What can happen to a spool, in any order."""

    def __init__(self, backend: Backend) -> None:
        super().__init__()
        self.backend = backend
        self.runner = asyncio.Runner()
        self.spool = self.limited(self.run(backend.open()))
        self.all: dict[str, Expected] = {}
        self.keys: dict[tuple[str, str], tuple[str, bytes, int]] = {}
        self.claims: list[Claim] = [Claim("unheard-of", 1)]
        self.readers: list[Reader] = []
        self.words = 0
        self.deeds = 0
        """How much was tried since the spool was opened; without any there is nothing to lose."""
        self.sound = True
        """Nothing has failed yet; or something is under way."""

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        self.sound = False

        async def before_the_deadline() -> T:
            try:
                async with asyncio.timeout(DEADLINE_S):
                    return await work
            except TimeoutError:
                pytest.fail(f"still waiting after {DEADLINE_S} s for something that the contract promises")

        return self.runner.run(before_the_deadline())

    @staticmethod
    def limited(spool: Spool) -> Spool:
        spool.limits = lambda owner: LIMITS.get(owner, UNLIMITED)
        return spool

    @property
    def now_ns(self) -> int:
        return self.backend.clock.now_ns

    # What clients do

    @initialize()
    def begin(self):
        self.submit("m", "alice", 2, None, None, b"f")
        self.submit("m", "alice", 2, None, None, b"f")
        self.submit("m", "bob", 3, None, None, b"f")
        self.claim(2, 0)

    @rule(
        model=st.sampled_from("mmn"),
        owner=st.sampled_from(["alice", "bob", "bob", "carol"]),
        max_attempts=st.integers(1, 3),
        start_timeout_s=st.sampled_from([None, None, 20.0]),
        key=st.sampled_from([None, None, None, "k", "l"]),
        fingerprint=st.sampled_from([b"f", b"f", b"g"]),
        free=st.booleans(),
    )
    def submit(
        self,
        model: str,
        owner: str,
        max_attempts: int,
        start_timeout_s: float | None,
        key: str | None,
        fingerprint: bytes,
        free: bool = False,
    ):
        self.settle()
        if free:
            self.claim(3, 3)
        self.deeds += 1
        made = submission(
            f"p{len(self.all)}",
            model,
            owner=owner,
            max_attempts=max_attempts,
            start_timeout_s=start_timeout_s,
            idempotency_key=key,
            fingerprint=fingerprint,
        )
        known = self.keys.get((owner, key or ""))
        if known and known[2] + DAY_NS > self.now_ns:
            if known[1] != fingerprint:
                with pytest.raises(IdempotencyMismatch):
                    self.run(self.spool.submit(made))
                return
            result = self.run(self.spool.submit(made))
            assert (result.prediction.id, result.new) == (known[0], False)
            return
        waiting = [each for each in self.all.values() if each.owner == owner and each.waiting]
        if owner in LIMITS and len(waiting) >= LIMITS[owner].max_waiting:
            with pytest.raises(QueueFull):
                self.run(self.spool.submit(made))
            return
        result = self.run(self.spool.submit(made))
        assert (result.prediction.id, result.new) == (made.id, True)
        deadline = math.inf if start_timeout_s is None else self.now_ns + start_timeout_s * 10**9
        self.all[made.id] = Expected(made.id, model, owner, max_attempts, self.now_ns, deadline, free)
        self.readers += [Reader(made.id), Reader(made.id)]
        if key is not None:
            self.keys[owner, key] = (made.id, fingerprint, self.now_ns)

    @precondition(lambda self: self.all)
    @rule(pick=st.integers(0, 99))
    def cancel(self, pick: int):
        self.deeds += 1
        expected = list(self.all.values())[pick % len(self.all)]
        answer = self.run(self.spool.cancel(expected.id))
        if expected.waiting or (expected.overdue(self.now_ns) and answer.status.terminal):
            expected.end(Status.CANCELLED, expected.attempt + 1 if expected.attempt else 0)
        elif expected.running:
            expected.cancel_requested = True
            assert answer.cancel_requested
        assert answer.status is expected.status

    @precondition(lambda self: self.readers)
    @rule(pick=st.integers(0, 99), limit=st.integers(1, 7))
    def read(self, pick: int, limit: int):
        self.run(self.read_on(self.readers[pick % len(self.readers)], limit))

    async def read_on(self, reader: Reader, limit: int) -> None:
        page = await self.spool.read(reader.id, reader.at, limit)
        events = flat(page, reader.at, limit)
        expected = self.all[reader.id]
        for cursor, event in events:
            assert not reader.done, "nothing comes behind the terminal event"
            if cursor.attempt > reader.at.attempt > 0:
                assert reader.at.n >= len(expected.said[reader.at.attempt]), f"a hole behind {reader.at}"
            self.see(expected, cursor, event)
            reader.at = cursor
            reader.done = json.loads(event)["type"] in {"complete", "error"}
        assert page.done == reader.done

    def see(self, expected: Expected, cursor: Cursor, event: bytes) -> None:
        assert expected.issued.setdefault(cursor, event) == event, f"{expected.id} {cursor} was another event before"

    # What hosts do

    @rule(m=st.integers(0, 3), n=st.integers(0, 3))
    def claim(self, m: int, n: int):
        self.deeds += 1
        self.time_demands()
        taken = self.run(self.spool.claim({"m": m, "n": n}))
        assert {prediction.model for prediction in taken} <= {"m", "n"}
        running = Counter(each.owner for each in self.all.values() if each.running)
        for model, room in (("m", m), ("n", n)):
            claimed = [self.all[prediction.id] for prediction in taken if prediction.model == model]
            self.the_right_ones_were_claimed(model, room, claimed, running)
            running.update(each.owner for each in claimed)
        for prediction in taken:
            self.all[prediction.id].begin(self.now_ns)
            assert prediction.status is Status.PROCESSING
            assert prediction.attempt == self.all[prediction.id].attempt
            self.claims.append(Claim(prediction.id, prediction.attempt))
        self.everybody_sees_the_ends()

    def time_demands(self) -> None:
        for expected in self.all.values():
            if expected.overdue(self.now_ns):
                expected.lose(counted=True)
            elif expected.status is Status.CREATED and expected.start_until_ns <= self.now_ns:
                expected.end(Status.TIMEOUT, 0)

    def the_right_ones_were_claimed(
        self, model: str, room: int, claimed: list[Expected], running: Counter[str]
    ) -> None:
        """As many as there is room for and as owners may have; lost ones first; in turns; own ones as they came."""
        here = [each for each in self.all.values() if each.model == model and each.waiting]
        allowed = {owner: LIMITS[owner].max_running - running[owner] for owner in LIMITS}
        for lost in (True, False):
            waiting = Counter(each.owner for each in here if bool(each.attempt) == lost)
            may = Counter({owner: min(count, allowed.get(owner, count)) for owner, count in waiting.items()})
            got = [each for each in claimed if bool(each.attempt) == lost]
            count = Counter(each.owner for each in got)
            assert len(got) == min(room, may.total()), "whatever may start starts"
            assert count <= may
            for owner in may:
                assert count[owner] == may[owner] or max(count.values(), default=0) <= count[owner] + 1, "in turns"
                if not lost:
                    mine = [each.id for each in here if each.owner == owner and not each.attempt]
                    assert [each.id for each in got if each.owner == owner] == mine[: count[owner]], "as they came"
            room -= len(got)
            allowed = {owner: left - count[owner] for owner, left in allowed.items()}

    def everybody_sees_the_ends(self) -> None:
        for expected in self.all.values():
            if expected.status.terminal:
                self.run(self.wait_until(expected.id, lambda prediction: prediction.status.terminal))

    async def wait_until(self, id: str, true: Callable[[Prediction], bool]) -> None:
        with self.spool.watch(id) as watch:
            while not true(await self.spool.get(id)):
                await watch.wait(LONG_S)

    def some_claim(self, pick: int, any_at_all: int) -> Claim:
        """A running attempt as a rule, and now and then any other that ever ran."""
        running = [Claim(each.id, each.attempt) for each in self.all.values() if each.running]
        candidates = running if running and any_at_all else self.claims
        return candidates[pick % len(candidates)]

    def attempt(self, claim: Claim, work: Coroutine[Any, Any, None]) -> Expected | None:
        """Does it; returns what it was done to, or nothing if the attempt was stale, as it must be or may be."""
        self.deeds += 1
        expected = self.all.get(claim.id)
        current = expected is not None and expected.running and expected.attempt == claim.attempt
        try:
            self.run(work)
        except StaleAttempt:
            assert expected is None or not current or expected.overdue(self.now_ns), f"{claim} is not stale"
            return None
        assert current, f"{claim} is stale"
        return expected

    @rule(pick=st.integers(0, 99), any_at_all=st.integers(0, 4), count=st.integers(1, 5))
    def append(self, pick: int, any_at_all: int, count: int):
        claim = self.some_claim(pick, any_at_all)
        events = [b'{"type":"output","output":"%d","index":0}' % (self.words + n) for n in range(count)]
        self.words += count
        if expected := self.attempt(claim, self.spool.append(*claim, events)):
            expected.said[claim.attempt] += events

    @rule(
        pick=st.integers(0, 99),
        any_at_all=st.integers(0, 4),
        status=st.sampled_from([Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.TIMEOUT]),
    )
    def finish(self, pick: int, any_at_all: int, status: Status):
        claim = self.some_claim(pick, any_at_all)
        self.words += 1
        terminal = b'{"type":"complete","id":"%b","outputs":[%d]}' % (claim.id.encode(), self.words)
        if expected := self.attempt(claim, self.spool.finish(*claim, status, terminal)):
            expected.said[claim.attempt].append(terminal)
            expected.end(status, claim.attempt)

    @rule(pick=st.integers(0, 99), any_at_all=st.integers(0, 4), counted=st.booleans())
    def lose(self, pick: int, any_at_all: int, counted: bool):
        claim = self.some_claim(pick, any_at_all)
        if expected := self.attempt(claim, self.spool.lose(*claim, "it crashed", counted=counted)):
            expected.lose(counted=counted)

    @rule(among=st.sampled_from(["running", "all"]))
    def renew(self, among: str):
        running = {Claim(each.id, each.attempt): each for each in self.all.values() if each.running}
        claims = list(running) if among == "running" else self.claims
        stale = set(self.run(self.spool.renew(claims)))
        for claim in claims:
            if claim not in running:
                assert claim in stale
            elif claim in stale:
                assert running[claim].overdue(self.now_ns)
            else:
                running[claim].lease_until_ns = self.now_ns + LEASE_NS

    @rule()
    def let_readers_see_everything(self):
        for expected in self.all.values():
            if expected.attempt:
                last = Cursor(expected.attempt, len(expected.said[expected.attempt]))
                if expected.said[expected.attempt]:
                    self.run(self.wait_for(expected.id, last))

    async def wait_for(self, id: str, last: Cursor) -> None:
        with self.spool.watch(id) as watch:
            while last not in [cursor for cursor, _ in flat(await self.spool.read(id, START, 9999), START, 9999)]:
                await watch.wait(LONG_S)

    # What happens to all of them

    @rule(seconds=st.sampled_from(ADVANCES_S))
    def advance(self, seconds: float):
        self.backend.clock.advance(seconds)

    @precondition(lambda self: self.backend.lasting and self.deeds > 2)
    @rule()
    def reopen(self):
        self.deeds = 0
        self.spool = self.limited(self.run(self.backend.reopen()))
        for expected in self.all.values():
            if expected.running and self.lost_its_process(expected):
                expected.lose(counted=True)
        self.settle()

    @precondition(lambda self: self.backend.lasting and self.deeds > 2)
    @rule()
    def crash(self):
        self.spool = self.limited(self.run(self.backend.crash()))
        self.recover()

    @precondition(lambda self: self.backend.lasting and self.deeds > 2)
    @rule(room=st.integers(1, 2), limit=st.integers(1, 9))
    def crash_while_readers_look_at_what_has_just_begun(self, room: int, limit: int):
        """Nothing has had time to become durable; what a reader sees all the same must last."""
        self.settle()
        self.run(self.begin_speak_read_and_crash({"m": room, "n": room}, limit))
        self.recover()

    async def begin_speak_read_and_crash(self, free_slots: dict[str, int], limit: int) -> None:
        for prediction in await self.spool.claim(free_slots):
            self.all[prediction.id].begin(self.now_ns)
            self.claims.append(Claim(prediction.id, prediction.attempt))
        for expected in self.all.values():
            if expected.running:
                self.words += 1
                event = b'{"type":"output","output":"%d","index":0}' % self.words
                await self.spool.append(expected.id, expected.attempt, [event])
                expected.said[expected.attempt].append(event)
        for reader in self.readers:
            await self.read_on(reader, limit)
        self.spool = self.limited(await self.backend.crash())

    def recover(self) -> None:
        """Finds out what is left; and every reader comes back."""
        self.deeds = 0
        for expected in self.all.values():
            if not expected.status.terminal:
                self.adopt_what_is_left(expected)
        for reader in self.readers:
            self.run(self.read_on(reader, 9999))
        self.settle()

    def lost_its_process(self, expected: Expected) -> bool:
        claim = Claim(expected.id, expected.attempt)
        if self.run(self.spool.renew([claim])):
            return True
        expected.lease_until_ns = self.now_ns + LEASE_NS
        return False

    def settle(self) -> None:
        self.time_demands()
        assert self.run(self.spool.claim({})) == []
        self.everybody_sees_the_ends()

    def adopt_what_is_left(self, expected: Expected) -> None:
        """Which of the states that the contract allows after a crash it is."""
        actual = self.run(self.spool.get(expected.id))
        left = actual.attempt
        if expected.promised and left == 1 and expected.attempt == 0:
            expected.begin(self.now_ns)
        assert expected.seen_attempt <= left <= expected.attempt, "a reader has seen more than is left"
        allowed = {expected.failures_at[left] + 1 if left else 0}
        if left < expected.attempt:
            allowed.add(expected.failures_at[left + 1])
        elif not expected.running:
            allowed.add(expected.failures)
        if left == expected.attempt and expected.running and not self.lost_its_process(expected):
            allowed = {expected.failures}
        else:
            expected.begin_never(left)
            expected.running = False
            expected.failures = actual.failures
        assert actual.failures in allowed
        assert actual.cancel_requested == expected.cancel_requested
        self.adopt_what_is_left_of_the_log(expected)
        if expected.waiting and left:
            if expected.cancel_requested:
                expected.end(Status.CANCELLED, left + 1)
            elif expected.failures >= expected.max_attempts:
                expected.end(Status.FAILED, left + 1)

    def adopt_what_is_left_of_the_log(self, expected: Expected) -> None:
        events = flat(self.run(self.spool.read(expected.id, START, 9999)), START, 9999)
        for attempt, said in expected.said.items():
            rest = [event for cursor, event in events if cursor.attempt == attempt]
            assert rest == said[: len(rest)], "what is left of an attempt is its beginning"
            expected.said[attempt] = rest

    # What is true at all times

    @invariant()
    def records_are_as_expected(self):
        unfinished = [each.id for each in self.all.values() if not each.status.terminal]
        assert [prediction.id for prediction in self.run(self.spool.unfinished())] == unfinished
        marked = {Claim(each.id, each.attempt) for each in self.all.values() if each.running and each.cancel_requested}
        assert set(self.run(self.spool.cancellations())) == marked
        for expected in self.all.values():
            actual = self.run(self.spool.get(expected.id))
            assert actual.status is expected.status
            assert actual.failures == expected.failures
            assert (actual.terminal is None) != actual.status.terminal
            if not actual.status.terminal:
                assert actual.attempt == expected.attempt
                assert actual.cancel_requested == expected.cancel_requested
        self.sound = True

    @invariant()
    def logs_are_as_expected(self):
        for expected in self.all.values():
            page = self.run(self.spool.read(expected.id, START, 9999))
            events = flat(page, START, 9999)
            for cursor, event in events:
                self.see(expected, cursor, event)
            self.the_log_is_as_expected(expected, events)
            assert page.done == expected.status.terminal
        self.sound = True

    def the_log_is_as_expected(self, expected: Expected, events: list[tuple[Cursor, bytes]]) -> None:
        shown = [(cursor, event) for cursor, event in events if cursor.attempt]
        said = [
            (Cursor(attempt, n), event)
            for attempt, events_of_it in expected.said.items()
            for n, event in enumerate(events_of_it, 1)
        ]
        queued = [json.loads(event) for cursor, event in events if not cursor.attempt]
        assert queued[0].items() >= {"type": "progress", "id": expected.id, "status": "created"}.items()
        ends = [cursor for cursor, event in events if json.loads(event)["type"] in {"complete", "error"}]
        if expected.end_attempt is None:
            assert ends == []
            assert shown == said[: len(shown)]
            assert all(event["type"] == "progress" for event in queued)
            return
        assert ends == [events[-1][0]], "exactly one terminal event, and it is the last"
        assert ends[0].attempt == expected.end_attempt
        if expected.end_attempt in expected.said:
            assert shown == said
        else:
            assert shown == [*said, *events[-1:]] if expected.end_attempt else shown == []
            assert json.loads(events[-1][1])["status"] == expected.status

    def teardown(self) -> None:
        try:
            if self.sound:
                self.backend.clock.advance(LEASE_S + 1)
                self.see_everything_through()
        finally:
            self.run(self.backend.close())
            self.runner.close()

    def see_everything_through(self) -> None:
        """Each prediction comes to its end, and each reader sees it."""
        while unfinished := [each for each in self.all.values() if not each.status.terminal]:
            self.claim(len(self.all), len(self.all))
            for expected in unfinished:
                if expected.running:
                    self.run(self.spool.finish(expected.id, expected.attempt, Status.COMPLETED, b'{"type":"complete"}'))
                    expected.said[expected.attempt].append(b'{"type":"complete"}')
                    expected.end(Status.COMPLETED, expected.attempt)
        self.logs_are_as_expected()
        for index, reader in enumerate(self.readers):
            while not reader.done:
                self.read(index, 5)


@pytest.mark.timeout(900)  # a failure takes its time to be made small
def test_no_interleaving_breaks_the_contract(new_backend: Callable[[], Backend]):
    run_state_machine_as_test(lambda: SpoolMachine(new_backend()), settings=PROFILE)
