"""How far a run is while its loops report: alone, one after another, one inside another, or several at once.

Owns the arithmetic, and which loop is inside which. `Run.track` and a `tqdm` bar each are a `Bar` here.

1. A bar that begins while another one is open in the same context (thread, task) is inside of it. One that begins in a
   thread of the model's own is inside of the bar that is open where the run itself goes on.
2. A bar's share is its finished steps, and of the step that goes on what the bars inside of it say, by its total.
3. Inside a step there may be several bars. How many and how long is expected to be as in the step before. In the first
   one that is not known: each new bar takes its place beside the others, and the percentage waits until it is true.
4. The run itself is the outermost bar, of one step, and expects what the last run of this model was like.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

_SHORTEST_S = 1e-6


class Bar:
    """One loop, from its beginning to its end. Made by `Bars.begin`."""

    def __init__(self, bars: Bars, outer: Bar | None, total: float | None, stage: str | None, done: float = 0) -> None:
        self.outer = outer
        self.total = total
        self.stage = stage
        self.done = done
        """Steps that are finished. Whoever runs the loop counts here."""
        self.source: Callable[[], Any] | None = None
        """For whoever made it."""
        self._bars = bars
        self._began_s = time.perf_counter()
        self._ended_s: float | None = None
        self._inside: list[Bar] = []
        self._inside_at = done
        """The step that these are inside of."""
        self._expected_s: Sequence[float] = ()
        """How long each bar inside a step takes, as far as that is known."""

    def end(self) -> None:
        """The loop is over, whether all steps were done or not."""
        self._bars.end(self)

    @property
    def open(self) -> bool:
        """Whether what begins now may be inside of it."""
        return self._ended_s is None and (self.total is None or self.done < self.total)

    @property
    def seconds(self) -> float:
        """How long it took, or has taken so far."""
        ended_s = time.perf_counter() if self._ended_s is None else self._ended_s
        return max(ended_s - self._began_s, _SHORTEST_S)

    def share(self) -> float:
        """What part of it is done, 0 to 1. Nobody can tell without a total."""
        if not self.total:
            return 0.0
        inside = self._share_of_step() if self._inside and self._inside_at == self.done else 0.0
        return min(max((self.done + inside) / self.total, 0.0), 1.0)

    def expect(self, seconds: Sequence[float]) -> None:
        """So long do the bars inside a step take, in their order."""
        self._expected_s = seconds

    def took(self) -> list[float]:
        """How long each bar inside the last step took, in seconds."""
        return [bar.seconds for bar in self._inside]

    def _enter(self, bar: Bar) -> None:
        if self.done != self._inside_at:
            if self._inside and self.done > self._inside_at:
                # Several steps may have passed since it was last said how many are done.
                each = math.ceil(len(self._inside) / (self.done - self._inside_at))
                self._expected_s = self.took()[-each:]
            self._inside, self._inside_at = [], self.done
        self._inside.append(bar)

    def _share_of_step(self) -> float:
        expected, begun = list(self._expected_s), len(self._inside)
        usual = sum(expected) / len(expected) if expected else 1.0
        expected += [usual] * (begun - len(expected))
        # The last one may have been left early, or by an error: only what comes after it tells that it is over.
        shares = [1.0 if bar._ended_s is not None else bar.share() for bar in self._inside[:-1]]
        shares.append(self._inside[-1].share())
        return sum(seconds * share for seconds, share in zip(expected, shares, strict=False)) / sum(expected)


class Habit:
    """What the runs of one model are like: how long each outermost bar of the last one took."""

    def __init__(self) -> None:
        self.expected_s: Sequence[float] = ()


_innermost: ContextVar[Bar | None] = ContextVar("innermost_bar", default=None)


class Bars:
    """The bars of one run. Safe to use from any thread.

    Args:
        habit: what is known of the model's runs, and learns from this one.
    """

    def __init__(self, habit: Habit | None = None) -> None:
        self._habit = habit or Habit()
        self._lock = threading.Lock()
        self._whole = Bar(self, None, 1, None)
        self._whole.expect(self._habit.expected_s)
        self._at_home: Bar | None = None
        """The last one that began where the run itself goes on."""
        self._began_s = 0.0
        self._began_share: float | None = None

    def begin(self, total: float | None, stage: str | None, *, done: float = 0, at_home: bool = True) -> Bar:
        """A loop begins.

        Args:
            total: how many steps it has, if that is known.
            stage: what is done in it.
            done: steps that count as done already.
            at_home: whether this is where the run itself goes on, and not a thread that the model has started.
        """
        with self._lock:
            outer = self._nearest(_innermost.get()) or (None if at_home else self._nearest(self._at_home))
            bar = Bar(self, outer, total, stage, done)
            (outer or self._whole)._enter(bar)
            _innermost.set(bar)
            if at_home:
                self._at_home = bar
            if self._began_share is None:
                self._began_s, self._began_share = time.perf_counter(), self._whole.share()
            return bar

    def end(self, bar: Bar) -> None:
        """As `bar.end()`."""
        with self._lock:
            if bar._ended_s is None:
                bar._ended_s = time.perf_counter()
            if _innermost.get() is bar:
                _innermost.set(self._nearest(bar.outer))

    def _nearest(self, bar: Bar | None) -> Bar | None:
        """The bar itself, if one can be inside of it, or the nearest one around it."""
        while bar is not None and not (bar._bars is self and bar.open):
            bar = bar.outer
        return bar

    def report(self, bar: Bar) -> dict[str, Any]:
        """What to say now that something has moved in this bar: the arguments of `Run.progress`."""
        with self._lock:
            share = self._whole.share()
            passed = share - (self._began_share or 0.0)
            eta = (time.perf_counter() - self._began_s) * (1 - share) / passed if passed > 0 else None
            return {
                "percentage": 100 * share,
                "stage": self._stage(bar),
                "step": int(bar.done),
                "steps": int(bar.total) if bar.total else None,
                "eta_seconds": eta,
            }

    @staticmethod
    def _stage(bar: Bar) -> str | None:
        named: Bar | None = bar
        while named is not None and not named.stage:
            named = named.outer
        return named.stage if named is not None else None

    def learn(self) -> None:
        """The run has completed: the next one is expected to be like it."""
        with self._lock:
            if took := self._whole.took():
                self._habit.expected_s = took
