"""The predictions that wait, and in which order they may run: owners take turns.

Plain memory, no storage and no clock. A spool tells it what happens and asks who is next.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from unspool.errors import QueueFull
from unspool.spool.keys import Limits


class Waiting:
    """The part of a prediction that its queue keeps: what a queue holds must be one."""

    __slots__ = ("claimable", "line", "model", "owner", "queued", "ticket", "told")

    def __init__(self, model: str, owner: str) -> None:
        self.model = model
        self.owner = owner
        self.queued = False
        self.claimable = False
        """It has its place, but nobody may take it before this is set."""
        self.line: Line[Any] | None = None
        """Where it waits."""
        self.ticket = 0
        """Its number in the lane of its owner."""
        self.told = 0
        """The position that was last told."""


W = TypeVar("W", bound=Waiting)


class _Depths:
    """How many lanes are at least so long, for every length; sums up a range in logarithmic time (a Fenwick tree)."""

    def __init__(self) -> None:
        self._tree = [0, 0]

    def add(self, length: int, change: int) -> None:
        """So many more lanes, or fewer, are at least this long."""
        while length >= len(self._tree):
            total = self._tree[-1]
            self._tree += [0] * (len(self._tree) - 1)
            self._tree[-1] = total
        while length < len(self._tree):
            self._tree[length] += change
            length += length & -length

    def first(self, length: int) -> int:
        """How many wait in all lanes together, if of each only the first so many are counted."""
        length = min(length, len(self._tree) - 1)
        total = 0
        while length:
            total += self._tree[length]
            length &= length - 1
        return total


class _Lane(Generic[W]):
    """What one owner has waiting, in order of arrival."""

    __slots__ = ("_gone", "_items", "length", "owner", "takes_turns")

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self._items: deque[W] = deque()
        self._gone = 0
        """How many have left `_items`, taken or passed over."""
        self.length = 0
        """How many of `_items` still wait."""
        self.takes_turns = False

    def append(self, item: W) -> None:
        """Adds one at the end."""
        item.ticket = self._gone + len(self._items)
        self._items.append(item)
        self.length += 1

    def head(self) -> W | None:
        """The first that still waits."""
        while self._items and not self._items[0].queued:
            self._pop()
        return self._items[0] if self._items else None

    def pop(self) -> W:
        """Takes out the head."""
        self.length -= 1
        return self._pop()

    def _pop(self) -> W:
        self._gone += 1
        return self._items.popleft()

    def dropped(self) -> None:
        """One of them waits no more. When most do not, lets go of them."""
        self.length -= 1
        if len(self._items) > 2 * self.length:
            self._items = deque(item for item in self._items if item.queued)
            self._gone = 0
            for ticket, item in enumerate(self._items):
                item.ticket = ticket

    def index(self, item: W) -> int:
        """How many of its owner are before it; at most twice as many as wait."""
        return item.ticket - self._gone


class Line(Generic[W]):
    """Lanes of owners that take turns: who is next gives one and goes to the end.

    An owner that may not start anything steps aside, and comes back to the front when it may (`resume`).
    """

    def __init__(self) -> None:
        self._lanes: dict[str, _Lane[W]] = {}
        self._turns: deque[_Lane[W]] = deque()
        self._aside: dict[str, _Lane[W]] = {}
        self._depths = _Depths()
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    def put(self, item: W) -> None:
        """Adds it at the end of its owner's lane."""
        lane = self._lanes.get(item.owner)
        if lane is None:
            lane = self._lanes[item.owner] = _Lane(item.owner)
        item.queued = True
        item.line = self
        lane.append(item)
        self._waiting += 1
        self._depths.add(lane.length, +1)
        self.may_be_taken(item)

    def may_be_taken(self, item: W) -> None:
        """Its owner takes turns from now on, if the item is claimable."""
        lane = self._lanes[item.owner]
        if item.claimable and not lane.takes_turns:
            lane.takes_turns = True
            self._turns.append(lane)

    def remove(self, item: W) -> None:
        """Takes one out that will not be claimed."""
        item.queued = False
        lane = self._lanes[item.owner]
        lane.dropped()
        self._left(lane)

    def _left(self, lane: _Lane[W]) -> None:
        self._waiting -= 1
        self._depths.add(lane.length + 1, -1)
        if not lane.length and not lane.takes_turns:
            del self._lanes[lane.owner]

    def take(self, may_start: Callable[[str], bool]) -> W | None:
        """Takes out the next one of the next owner that may start something."""
        while self._turns:
            lane = self._turns.popleft()
            item = lane.head()
            if item is None:
                del self._lanes[lane.owner]
            elif not item.claimable:
                lane.takes_turns = False
            elif not may_start(lane.owner):
                self._aside[lane.owner] = lane
            else:
                lane.pop().queued = False
                lane.takes_turns = lane.length > 0
                if lane.takes_turns:
                    self._turns.append(lane)
                self._left(lane)
                return item
        return None

    def resume(self, owner: str) -> None:
        """Lets an owner that stepped aside be the next."""
        lane = self._aside.pop(owner, None)
        if lane is not None:
            self._turns.appendleft(lane)

    def ahead(self, item: W) -> int:
        """How many may be taken before it: of each owner as many as it has itself up to here.

        At most one of each other owner too many, and some that were cancelled since it came.
        """
        lane = self._lanes[item.owner]
        return self._depths.first(lane.index(item) + 1) - 1


class Queue(Generic[W]):
    """The predictions of one model that wait: those that lost an attempt first, then the others; owners take turns in
    both, and each owner's own stay in order of arrival."""

    def __init__(self) -> None:
        self._again: Line[W] = Line()
        self._fresh: Line[W] = Line()
        self._taken = 0
        self._looked = 0
        self._looks: dict[int, list[W]] = {}
        """Whose position is looked at when so many were taken."""

    def __len__(self) -> int:
        return len(self._again) + len(self._fresh)

    def put(self, item: W) -> int:
        """Adds a new one and returns its position: how many are ahead of it. See `moved`."""
        self._fresh.put(item)
        item.told = self._position(item)
        self._look_later(item, item.told)
        return item.told

    def put_again(self, item: W) -> None:
        """Adds one that lost an attempt, ahead of all that have had none."""
        self._again.put(item)

    def may_be_taken(self, item: W) -> None:
        """It is claimable now."""
        self._line_of(item).may_be_taken(item)

    def remove(self, item: W) -> None:
        """Takes one out that will not be claimed."""
        self._line_of(item).remove(item)

    @staticmethod
    def _line_of(item: W) -> Line[W]:
        assert item.line is not None, "it waits nowhere"
        return item.line

    def take(self, may_start: Callable[[str], bool]) -> W | None:
        """Takes the next one out, if there is one whose owner may start something."""
        item = self._again.take(may_start) or self._fresh.take(may_start)
        self._taken += item is not None
        return item

    def resume(self, owner: str) -> None:
        """The owner may start something again."""
        self._again.resume(owner)
        self._fresh.resume(owner)

    def _position(self, item: W) -> int:
        return len(self._again) + self._fresh.ahead(item)

    def moved(self) -> list[tuple[W, int]]:
        """Those whose position has halved since it was last told, with the new position.

        Telling at every halving makes the number of reports the logarithm of the queue's length, so a long queue
        costs its owner next to nothing. The position is what it would be if nobody else came: an owner that has
        less waiting and comes later still gets its turn. It is never below the truth of its moment.
        """
        found = []
        while self._looked < self._taken:
            self._looked += 1
            for item in self._looks.pop(self._looked, ()):
                if item.queued and item.line is self._fresh:
                    position = self._position(item)
                    if position <= item.told // 2:
                        item.told = position
                        found.append((item, position))
                    self._look_later(item, position)
        return found

    def _look_later(self, item: W, position: int) -> None:
        """When it can have halved at the earliest: each claim brings it one place forward at most."""
        if item.told > 0:
            self._looks.setdefault(self._taken + position - item.told // 2, []).append(item)


class Queues(Generic[W]):
    """The queues of all models, and how much each owner has waiting and running in all of them together.

    Args:
        limits: what an owner may have at once.
    """

    def __init__(self, limits: Callable[[str], Limits]) -> None:
        self._limits = limits
        self._queues: dict[str, Queue[W]] = {}
        self._waiting: Counter[str] = Counter()
        self._running: Counter[str] = Counter()
        self._held: set[str] = set()
        """Owners that stepped aside somewhere because they have as many running as they may."""

    def check_room(self, owner: str) -> None:
        """Raises:
        QueueFull: the owner has as many waiting as it may.
        """
        limit = self._limits(owner).max_waiting
        if 0 < limit <= self._waiting[owner]:
            raise QueueFull(
                f"Your API key has {limit} predictions waiting, which is as many as it may have."
                " Submit again when some of them have started, or cancel some."
            )

    def waiting(self) -> dict[str, int]:
        """How many wait, by model."""
        return {model: len(queue) for model, queue in self._queues.items()}

    def waits(self, model: str) -> int:
        """How many wait for this model."""
        return len(self._queues.get(model, ()))

    def put(self, item: W) -> int:
        """See `Queue.put`."""
        self._waiting[item.owner] += 1
        return self._queue(item).put(item)

    def put_again(self, item: W) -> None:
        """See `Queue.put_again`."""
        self._waiting[item.owner] += 1
        self._queue(item).put_again(item)

    def may_be_taken(self, item: W) -> None:
        """It may be taken from now on."""
        item.claimable = True
        self._queue(item).may_be_taken(item)

    def remove(self, item: W) -> None:
        """Takes one out that will not be claimed."""
        self._count_down(self._waiting, item.owner)
        self._queue(item).remove(item)

    def take(self, model: str) -> W | None:
        """Takes the next one of a model out, if there is one that may start. It runs from now on."""
        queue = self._queues.get(model)
        item = queue.take(self._may_start) if queue else None
        if item is not None:
            self._count_down(self._waiting, item.owner)
            self.runs(item)
        return item

    def runs(self, item: W) -> None:
        """It runs, though it was not taken here: before a restart, perhaps."""
        self._running[item.owner] += 1

    def _may_start(self, owner: str) -> bool:
        limit = self._limits(owner).max_running
        if 0 < limit <= self._running[owner]:
            self._held.add(owner)
            return False
        return True

    def ended(self, item: W) -> bool:
        """One that was taken runs no more. Returns whether something waited for that."""
        self._count_down(self._running, item.owner)
        if item.owner not in self._held:
            return False
        self._held.discard(item.owner)
        for queue in self._queues.values():
            queue.resume(item.owner)
        return True

    def moved(self, model: str) -> list[tuple[W, int]]:
        """See `Queue.moved`."""
        queue = self._queues.get(model)
        return queue.moved() if queue else []

    def _queue(self, item: W) -> Queue[W]:
        queue = self._queues.get(item.model)
        if queue is None:
            queue = self._queues[item.model] = Queue()
        return queue

    @staticmethod
    def _count_down(counts: Counter[str], owner: str) -> None:
        counts[owner] -= 1
        if not counts[owner]:
            del counts[owner]
