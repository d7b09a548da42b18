"""One honest percentage over a run of several stages: load, encode, denoise, decode, write, …

Owns the estimate of how much of a run's time has passed, and the memory it rests on: what each stage of a model cost in
its last runs, by unit of work, so that a run with twice the steps is expected to take twice as long. Knows no model.

How a percentage comes about:
1. When a run begins, each stage is expected to take what it took in the runs nearest in work (`Costs.expect`), or,
   as long as nothing is known, its `share` of the whole.
2. While it goes on, what is left of the current stage comes from the measured times of its steps, and what is left
   after it from the expectation, stretched by how much slower this run is than expected (`Progress._left_s`).
3. The percentage is the time that has passed, of that and what is left. It never falls, and stays below 100 until the
   end.
"""

from __future__ import annotations

import hashlib
import heapq
import logging
import math
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median_low
from types import TracebackType
from typing import Any, Self

import msgspec

from unspool.model import Run

VARIABLE = "UNSPOOL_WORKER_LEARNED"
"""Environment variable by which a worker is told the folder where its model's costs are remembered."""
EVENTS_PER_S = 10.0
HIGHEST_BEFORE_END = 99.0
"""What a run that takes longer than expected waits at."""

_REMEMBERED_RUNS = 24
"""How many runs of each stage are remembered. What is older was another machine, or another version."""
_NEAREST_RUNS = 5
_PRIOR_SHARE = 0.1
"""Until so much of the expected time has passed, the expectation weighs more than how this run differs from it."""
_MAX_FILE_BYTES = 1 << 20
_SHORTEST_S, _LONGEST_S = 1e-9, 1e9

_log = logging.getLogger(__name__)


class Stages:
    """The stages of a model, and what they cost. One for each model; any number of runs at once.

    In a worker the costs are kept in a file, and survive it. Elsewhere they are kept in memory.

    ```python
    stages = Stages("acme/video", {"encode": 1, "denoise": 20, "decode": 4})

    def draw(run: Run, prompt: str, steps: int = 20, frames: int = 16):
        with stages.follow(run, {"denoise": steps * frames, "decode": frames}) as progress:
            progress.stage("encode")
            ...
            progress.stage("denoise", steps=steps)
            for _ in range(steps):
                ...
                progress.step()
            progress.stage("decode")
            ...
    ```

    Args:
        model: the model's id: under it the costs are remembered.
        shares: the stages in their order. As a mapping, with a guess of which share of the time each takes (any unit),
            which counts until a run has been measured.
        folder: where costs are remembered; default is what the host has told this worker.
        events_per_s: how many `progress` events a run says a second at most. A new stage and a preview are always said.
        clock: seconds, for tests.

    Raises:
        ValueError: there are no stages, or a share is not above 0.
    """

    def __init__(
        self,
        model: str,
        shares: Mapping[str, float] | Sequence[str],
        *,
        folder: Path | None = None,
        events_per_s: float = EVENTS_PER_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.shares = dict(shares) if isinstance(shares, Mapping) else dict.fromkeys(shares, 1.0)
        if not self.shares or not all(share > 0 for share in self.shares.values()):
            raise ValueError(f"stages of {model!r}: name at least one, each with a share above 0")
        if folder is None and (told := os.environ.get(VARIABLE)):
            folder = Path(told)
        self.costs = Costs(None if folder is None else folder / file_name(model))
        self.events_per_s = events_per_s
        self.clock = clock

    def follow(self, run: Run, work: Mapping[str, float] | None = None) -> Progress:
        """The progress of one run: a context manager around all of its stages.

        Args:
            work: how much each stage has to do, in units that the time grows with (steps * pixels, tokens, bytes).
                Default 1: the stage always takes about the same.

        Raises:
            ValueError: the work is of an unknown stage, or not above 0.
        """
        return Progress(self, run, work or {})


class Progress:
    """How far one run is. Made by `Stages.follow`; used by one thread at a time."""

    def __init__(self, stages: Stages, run: Run, work: Mapping[str, float]) -> None:
        self._run = run
        self._costs = stages.costs
        self._clock = stages.clock
        self._interval_s = 1 / stages.events_per_s
        self._names = list(stages.shares)
        self._work = dict.fromkeys(self._names, 1.0)
        for name, units in work.items():
            self._set_work(name, units)
        self._expected_s, self._learned = _expect(stages, self._work)
        self._took_s: dict[str, float] = {}
        self._index = -1
        self._done, self._steps = 0.0, 0
        self._percentage = 0.0
        self._said_at = -math.inf

    def __enter__(self) -> Self:
        self._began = self._stage_began = self._clock()
        return self

    def stage(self, name: str, *, steps: int = 0, work: float | None = None) -> None:
        """The stage before has ended and this one begins. Stages that are passed over did not happen.

        Args:
            steps: in how many steps it goes, if `step` will be called.
            work: how much it has to do, where that was not known when the run began.

        Raises:
            Cancelled: the prediction was cancelled.
            ValueError: there is no such stage, or it is not after the one before.
        """
        index = self._position(name)
        if index <= self._index:
            raise ValueError(f"stage {name!r} does not come after {self._names[self._index]!r}")
        now = self._end_stage()
        if work is not None:
            before = self._work[name]
            self._set_work(name, work)
            self._expected_s[name] = max(self._expected_s[name] * (work / before), _SHORTEST_S)
        self._index, self._stage_began = index, now
        self._done, self._steps = 0.0, steps
        self._say(now, step=0 if steps else None)

    def step(self, done: float | None = None, *, preview: Any = None) -> None:
        """Another step of this stage is done; to be called where a step ends.

        Args:
            done: how many are done by now, if not one more than before. Half a step counts, too.
            preview: a picture of the unfinished result, as in `Run.progress`.

        Raises:
            Cancelled: the prediction was cancelled.
            ValueError: the stage was begun without `steps`, or there was none.
        """
        if not self._steps:
            raise ValueError("step() belongs to a stage that was begun with steps")
        self._done = min(max(self._done, self._done + 1 if done is None else done), self._steps)
        now = self._clock()
        if preview is not None or self._done == self._steps or now - self._said_at >= self._interval_s:
            self._say(now, step=int(self._done), preview=preview)
        else:
            self._run.check()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self._end_stage()
        self._costs.add({name: (self._work[name], seconds) for name, seconds in self._took_s.items()})
        if kind is None:
            self._percentage = 100.0
            self._run.progress(100, stage=self._names[self._index] if self._index >= 0 else None)

    @property
    def percentage(self) -> float:
        """The last one, 0 to 100, whether it was said or not."""
        return self._percentage

    def eta_s(self) -> float | None:
        """How many seconds are left, if there is anything to tell it from."""
        left = self._left_s(self._clock())
        return left if math.isfinite(left) else None

    def _position(self, name: str) -> int:
        if name not in self._work:
            raise ValueError(f"there is no stage {name!r}; they are {', '.join(self._names)}")
        return self._names.index(name)

    def _set_work(self, name: str, units: float) -> None:
        self._position(name)
        if not (units > 0 and math.isfinite(units)):
            raise ValueError(f"the work of stage {name!r} is {units!r}; it must be above 0")
        self._work[name] = units

    def _end_stage(self) -> float:
        now = self._clock()
        if self._index >= 0:
            self._took_s[self._names[self._index]] = max(now - self._stage_began, 0.0)
        return now

    def _say(self, now: float, *, step: int | None, preview: Any = None) -> None:
        self._said_at = now
        left = self._left_s(now)
        self._percentage = max(self._percentage, min(self._share_passed(now, left), HIGHEST_BEFORE_END))
        self._run.progress(
            self._percentage,
            stage=self._names[self._index],
            step=step,
            steps=self._steps or None,
            eta_seconds=left if math.isfinite(left) else None,
            preview=preview,
        )

    def _share_passed(self, now: float, left: float) -> float:
        """In percent."""
        passed = now - self._began
        if math.isfinite(left) and passed + left > 0:
            return 100 * passed / (passed + left)
        return 100 * self._expected_passed_s() / sum(self._expected_s.values())

    def _left_s(self, now: float) -> float:
        """The seconds that are left. Infinite as long as nothing is known."""
        if self._index < 0:
            return sum(self._expected_s.values()) if self._learned else math.inf
        pace = self._pace(now)
        name = self._names[self._index]
        stage_s = self._stage_s(name, now, pace)
        if not self._learned and self._done:
            # The shares are only a guess, but how long this one takes has been seen.
            pace = stage_s / self._expected_s[name]
        later = sum(self._expected_s[later] for later in self._names[self._index + 1 :])
        if math.isinf(pace):
            return math.inf
        return max(stage_s - self._stage_passed_s(now, stage_s), 0.0) + later * pace

    def _stage_s(self, name: str, now: float, pace: float) -> float:
        """How long this stage takes from its beginning to its end: by its measured steps, the expectation being one."""
        expected = self._expected_s[name] * pace
        if not self._done:
            return expected
        passed = now - self._stage_began
        if not self._learned:
            return passed / self._done * self._steps
        return (passed + self._expected_s[name] / self._steps) / (self._done + 1) * self._steps

    def _stage_passed_s(self, now: float, stage_s: float) -> float:
        """What counts as done of this stage: its steps where it has any, for they do not lie."""
        return stage_s * self._done / self._steps if self._steps else min(now - self._stage_began, stage_s)

    def _expected_passed_s(self) -> float:
        """What was expected for all that is done."""
        passed = sum(self._expected_s[name] for name in self._names[: max(self._index, 0)])
        if self._index >= 0 and self._steps:
            passed += self._expected_s[self._names[self._index]] * self._done / self._steps
        return passed

    def _pace(self, now: float) -> float:
        """How many times longer this run takes than expected. Infinite where that cannot be said."""
        prior = _PRIOR_SHARE * sum(self._expected_s.values()) if self._learned else 0.0
        expected = sum(self._expected_s[name] for name in self._took_s) + prior
        passed = sum(self._took_s.values()) + prior
        if self._done:
            expected += self._expected_s[self._names[self._index]] * self._done / self._steps
            passed += now - self._stage_began
        return passed / expected if expected > 0 and passed > 0 else math.inf


def _expect(stages: Stages, work: Mapping[str, float]) -> tuple[dict[str, float], bool]:
    """How long each stage is expected to take, in seconds, and whether that rests on anything but the shares."""
    known = {name: stages.costs.expect(name, units) for name, units in work.items()}
    learned_s = sum(seconds for seconds in known.values() if seconds is not None)
    learned_share = sum(stages.shares[name] for name, seconds in known.items() if seconds is not None)
    if learned_s <= 0:
        return dict(stages.shares), False
    per_share = learned_s / learned_share
    return {name: stages.shares[name] * per_share if s is None else s for name, s in known.items()}, True


# What is remembered


class _Remembered(msgspec.Struct):
    """The file: of each stage, work and seconds of its last runs, the newest last."""

    stages: dict[str, list[tuple[float, float]]] = {}


class Costs:
    """What the stages of one model cost in its last runs. Safe to use from any thread.

    Several processes may share a file: each reads it before a run and replaces it whole after one. Two that write at
    the same moment lose the figures of one run, never the file. A file that cannot be read is as good as none.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._remembered = _Remembered()

    def expect(self, stage: str, work: float) -> float | None:
        """How many seconds so much work of a stage will take, from the runs nearest in work, if there were any."""
        with self._lock:
            runs = self._read().stages.get(stage, [])
            # Of runs that are equally near, the newest ones come first.
            nearest = heapq.nsmallest(_NEAREST_RUNS, reversed(runs), key=lambda ran: abs(math.log(ran[0] / work)))
        if not nearest:
            return None
        return min(median_low(seconds / units for units, seconds in nearest) * work, _LONGEST_S)

    def add(self, ran: Mapping[str, tuple[float, float]]) -> None:
        """Remembers a run: work and seconds of each of its stages."""
        if not ran:
            return
        with self._lock:
            remembered = self._read()
            for stage, (work, seconds) in ran.items():
                runs = remembered.stages.setdefault(stage, [])
                runs.append((work, seconds))
                del runs[:-_REMEMBERED_RUNS]
            self._remembered = remembered
            if self._file is not None:
                self._write(self._file, msgspec.json.encode(remembered))

    def _read(self) -> _Remembered:
        if self._file is None:
            return self._remembered
        try:
            if self._file.stat().st_size <= _MAX_FILE_BYTES:
                self._remembered = _plausible(msgspec.json.decode(self._file.read_bytes(), type=_Remembered))
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            pass  # What this process has seen itself is still there.
        return self._remembered

    @staticmethod
    def _write(file: Path, content: bytes) -> None:
        """Whole or not at all. A disk that is full or read-only costs the memory, not the run."""
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=".", suffix=".tmp")
        except OSError as error:
            _log.debug("costs of stages are not remembered: %s", error)
            return
        try:
            with os.fdopen(descriptor, "wb") as out:
                out.write(content)
            Path(name).replace(file)
        except OSError as error:
            _log.debug("costs of stages are not remembered: %s", error)
            with suppress(OSError):
                Path(name).unlink()


def _plausible(remembered: _Remembered) -> _Remembered:
    """Without figures that nothing can have measured."""
    for stage, runs in remembered.stages.items():
        kept = [(work, seconds) for work, seconds in runs if 0 < work < math.inf and 0 <= seconds <= _LONGEST_S]
        remembered.stages[stage] = kept[-_REMEMBERED_RUNS:]
    return remembered


def file_name(model: str) -> str:
    """A name for any id: what one can read of it, and what tells it from all others."""
    readable = re.sub(r"[^A-Za-z0-9._-]", "-", model)[:80].strip(".")
    return f"{readable}-{hashlib.sha256(model.encode()).hexdigest()[:12]}.json"
