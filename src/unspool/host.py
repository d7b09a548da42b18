"""The part that claims predictions and feeds its workers. One per machine.

    look      claim as many predictions as there are free slots; stop those whose cancellation was asked for
    relay     what workers say goes into the spool, batch by batch
    keep      each replica of each model is one worker process, restarted with growing pauses when it ends

Everything that must outlast this process is in the spool. What is kept here is only which run is in which worker.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from enum import StrEnum
from typing import Any, TypeVar

import structlog

from unspool import events
from unspool.config import Settings
from unspool.errors import ModelFileError, SpoolUnavailable, StaleAttempt
from unspool.events import TaskCode
from unspool.metrics import WorkerState
from unspool.observer import Observer
from unspool.placement import place
from unspool.spool import Spool
from unspool.spool.base import Claim
from unspool.states import Status
from unspool.types import ModelInfo, Prediction, Spoken
from unspool.worker.protocol import Finished, Stop, Turn
from unspool.worker.supervisor import WorkerGone, WorkerProcess

LOOK_INTERVAL_S = 1.0
"""A lost wake-up costs at most this."""
RETRY_S = 0.5
STEADY_S = 30.0
"""A worker that lived so long is restarted as quickly as the first time."""
T = TypeVar("T")
_FAILED_MODEL_CLAIMS = 100
"""How many predictions of a model that cannot be loaded end with an error at a time."""

_log = structlog.get_logger("unspool.host")


class ModelState(StrEnum):
    """How a model of this host does."""

    LOADING = "loading"
    READY = "ready"
    UNLOADED = "unloaded"
    """Nobody has used it for long, so it was unloaded; its next prediction loads it again, and may be doing so."""
    FAILED = "failed"
    """It could not be loaded several times in a row. It is tried again, but nobody waits for it."""


class _Run:
    """A claimed attempt on this host."""

    def __init__(self, prediction: Prediction, replica: _Replica) -> None:
        self.id = prediction.id
        self.attempt = prediction.attempt
        self.input = prediction.input
        self.base64_output = prediction.base64_output
        limits = [limit for limit in (prediction.run_timeout_s, replica.info.run_timeout_s) if limit is not None]
        self.run_timeout_s = min(limits, default=None)
        self.replica = replica
        self.sent = False
        self.stopping: Status | None = None
        self.timers: list[asyncio.TimerHandle] = []

    @property
    def claim(self) -> Claim:
        return Claim(self.id, self.attempt)

    def forget_timers(self) -> None:
        for timer in self.timers:
            timer.cancel()
        self.timers.clear()


class _Replica:
    """A place for one worker of a model, and the runs that are in it."""

    def __init__(self, info: ModelInfo, environment: Mapping[str, str]) -> None:
        self.info = info
        self.environment = environment
        """Variables by which its workers differ from this process."""
        self.worker: WorkerProcess | None = None
        self.ready = False
        self.failed_loads = 0
        self.failed = False
        self.served = False
        """Its worker has brought a run to its end."""
        self.wanted = asyncio.Event()
        """There shall be a worker. Not set while the model is unloaded and nobody asks for it."""
        self.wanted.set()
        self.unloading = False
        """Its worker was told to leave because it had nothing to do."""
        self.unloaded = False
        """So it was, and no worker has been ready since."""
        self.idle_since = 0.0
        self.cause = ""
        self.runs: dict[str, _Run] = {}

    @property
    def free_slots(self) -> int:
        return self.info.slots - len(self.runs)


class Host:
    """Serves the models of one file.

    Args:
        file: the model file.
        worker_environment: variables of the workers, beside those of this process.
        observer: is told what becomes of workers, and says how attempts are traced.
    """

    def __init__(
        self,
        spool: Spool,
        file: str,
        settings: Settings,
        worker_environment: Mapping[str, str] | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._worker_environment = worker_environment
        self._observer = observer or Observer()
        self._spool = spool
        self._file = file
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._replicas: dict[str, list[_Replica]] = {}
        self._keepers: set[asyncio.Task[None]] = set()
        self._background: set[asyncio.Task[None]] = set()
        self._finishing: set[asyncio.Task[None]] = set()
        self._looking = self._look_again = False
        self._draining = False
        self._stopping = asyncio.Event()
        self._released = asyncio.Event()

    # Starting

    async def start(self) -> None:
        """Imports the file in a first worker, announces its models, and sets off to load them.

        Raises:
            ModelFileError: the file cannot be served.
        """
        worker = await self._spawn(_Replica(_NO_MODEL, {}))
        relaying = asyncio.ensure_future(worker.relay())
        try:
            models = await worker.described()
        except WorkerGone as gone:
            await relaying
            raise ModelFileError(worker.bad_file or f"{self._file} cannot be imported: {gone}") from None
        try:
            places = await asyncio.to_thread(place, models)
        except ModelFileError:
            worker.shut_down()
            await relaying
            raise
        await self._spool.announce(models)
        for info in models:
            self._replicas[info.id] = [_Replica(info, environment) for environment in places[info.id]]
        self._adopt(worker, relaying)
        self._start_task(self._look_again_and_again(), self._background)
        self._start_task(self._renew_leases(), self._background)

    def _adopt(self, worker: WorkerProcess, relaying: asyncio.Future[str]) -> None:
        """The process that described the file becomes the first worker of a model; the others get their own.

        Of a model that shall see what the server sees: importing the file may have begun to use the GPUs, after which a
        process cannot be given others. If there is none, it has done its work.
        """
        into = next((replica for replica in self._all_replicas() if not replica.environment), None)
        if into is not None:
            worker.on_said = lambda said: self._said(into, said)
            worker.on_loading = lambda event: self._tell_loading(into, event)
        else:
            worker.shut_down()
            self._start_task(_ended(relaying), self._keepers)
        for replica in self._all_replicas():
            keeping = self._keep(replica, worker, relaying) if replica is into else self._keep(replica)
            self._start_task(keeping, self._keepers)

    async def _spawn(self, replica: _Replica) -> WorkerProcess:
        worker = WorkerProcess(
            self._file,
            on_said=lambda said: self._said(replica, said),
            on_loading=lambda event: self._tell_loading(replica, event),
            environment={**(self._worker_environment or {}), **replica.environment},
        )
        await worker.start()
        return worker

    def _start_task(self, work: Coroutine[Any, Any, None], among: set[asyncio.Task[None]]) -> None:
        task = self._loop.create_task(work)
        among.add(task)
        task.add_done_callback(among.discard)
        task.add_done_callback(_log_failure)

    def models(self) -> dict[str, ModelState]:
        """Every model of the file and how it does."""
        return {model: _state(replicas) for model, replicas in self._replicas.items()}

    def workers(self) -> list[WorkerState]:
        """Every worker's place, as it stands."""
        return [
            WorkerState(model, number, replica.worker.pid if replica.worker else None, replica.ready, len(replica.runs))
            for model, replicas in self._replicas.items()
            for number, replica in enumerate(replicas)
        ]

    # Keeping workers

    async def _keep(
        self, replica: _Replica, worker: WorkerProcess | None = None, relaying: asyncio.Future[str] | None = None
    ) -> None:
        """One worker after the other, until the host stops."""
        backoff_s = self._settings.restart_backoff_s
        while await replica.wanted.wait() and not self._stopping.is_set():
            began, replica.served = self._loop.time(), False
            try:
                worker = worker or await self._spawn(replica)
                relaying = relaying or asyncio.ensure_future(worker.relay())
                replica.worker = worker
                await self._load(replica, worker)
            except WorkerGone as gone:
                replica.failed_loads += 1
                cause = str(gone)
            if relaying is not None:
                cause = await relaying
            on_purpose = await self._worker_gone(replica, cause)
            worker = relaying = None
            if on_purpose or replica.served or self._loop.time() - began > STEADY_S:
                backoff_s = self._settings.restart_backoff_s
            if not (on_purpose or self._stopping.is_set()):
                _log.warning("a worker ended; it is restarted", model=replica.info.id, cause=cause, in_s=backoff_s)
                await self._pause(backoff_s)
                backoff_s = min(backoff_s * 2, self._settings.max_restart_backoff_s)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _load(self, replica: _Replica, worker: WorkerProcess) -> None:
        began = self._loop.time()
        await worker.described()
        await worker.load(replica.info.id)
        replica.ready, replica.failed, replica.failed_loads = True, False, 0
        replica.unloaded, replica.idle_since = False, self._loop.time()
        took_s = round(self._loop.time() - began, 2)
        self._observer.worker_ready(replica.info.id, took_s)
        _log.info("a model is ready", model=replica.info.id, pid=worker.pid, took_s=took_s)
        for run in replica.runs.values():
            self._send(run)
        await self._look()

    async def _worker_gone(self, replica: _Replica, cause: str) -> bool:
        """Every run that was in it lost its attempt; those that only waited for it wait for the next one.

        Returns whether it was ended on purpose: for the sake of a run that did not stop, or to unload the model.
        """
        was_ready, replica.ready, replica.worker, replica.cause = replica.ready, False, None, cause
        unloaded, replica.unloading = replica.unloading, False
        if not self._stopping.is_set() and not unloaded:
            self._observer.worker_ended(replica.info.id, loaded=was_ready)
        replica.failed = not was_ready and replica.failed_loads >= self._settings.load_attempts
        sent = [run for run in replica.runs.values() if run.sent]
        on_purpose = any(run.stopping for run in sent)
        for run in sent:
            self._release(run)
            if run.stopping is not None:
                self._finish_soon(run, run.stopping, _terminal(run.id, run.stopping))
            else:
                await self._lose(run, cause, counted=not (on_purpose or self._stopping.is_set()))
        if replica.failed:
            await self._fail_waiting(replica)
        return on_purpose or unloaded

    def _unload_idle(self) -> None:
        """Ends workers that have had nothing to do for as long as their model says."""
        now = self._loop.time()
        for replica in self._all_replicas():
            limit_s = replica.info.idle_unload_s
            if limit_s is None or not replica.ready or replica.runs or now - replica.idle_since < limit_s:
                continue
            assert replica.worker is not None
            _log.info("a model that nobody uses is unloaded", model=replica.info.id, pid=replica.worker.pid)
            replica.ready, replica.unloading, replica.unloaded = False, True, True
            replica.wanted.clear()
            replica.worker.shut_down()

    async def _fail_waiting(self, replica: _Replica) -> None:
        for run in list(replica.runs.values()):
            self._release(run)
            self._finish_soon(run, Status.FAILED, _load_error(run.id, replica))
        await self._look()

    # Claiming

    async def _look_again_and_again(self) -> None:
        with self._spool.watch_work() as work:
            while not self._draining:
                await self._look()
                self._kill_silent_workers()
                self._unload_idle()
                await work.wait(LOOK_INTERVAL_S)
        while not self._stopping.is_set():
            await self._look_for_cancellations()
            await self._pause(0.1)

    async def _look(self) -> None:
        """Claims what there is room for, and stops what is to be cancelled.

        One look at a time, since the room is counted before the spool has answered.
        """
        self._look_again = True
        if self._looking:
            return
        self._looking = True
        try:
            while self._look_again and not self._draining:
                self._look_again = False
                for prediction in await self._spool.claim(self._room()):
                    await self._take(prediction)
                await self._look_for_cancellations()
        except SpoolUnavailable as error:
            _log.warning("the spool does not answer", error=str(error))
        finally:
            self._looking = False

    async def _look_for_cancellations(self) -> None:
        for claim in await self._spool.cancellations():
            run = self._find(claim)
            if run is not None and run.stopping is None:
                self._stop(run, Status.CANCELLED)

    def _room(self) -> dict[str, int]:
        return {model: self._room_of(replicas) for model, replicas in self._replicas.items()}

    @staticmethod
    def _room_of(replicas: list[_Replica]) -> int:
        if _state(replicas) is ModelState.FAILED:
            return _FAILED_MODEL_CLAIMS
        return sum(replica.free_slots for replica in replicas)

    async def _take(self, prediction: Prediction) -> None:
        replicas = self._replicas[prediction.model]
        replica = replicas[0] if len(replicas) == 1 else max(replicas, key=_fitness)
        run = _Run(prediction, replica)
        if _state(replicas) is ModelState.FAILED:
            self._finish_soon(run, Status.FAILED, _load_error(run.id, replica))
            return
        replica.runs[run.id] = run
        if replica.ready:
            self._send(run)
        else:
            replica.wanted.set()
            self._set_start_timeout(run, prediction)
            await self._tell_waiting(run, events.progress(0, stage="load"))

    def _send(self, run: _Run) -> None:
        assert run.replica.worker is not None
        run.sent = True
        run.forget_timers()
        if run.run_timeout_s is not None:
            run.timers.append(self._loop.call_later(run.run_timeout_s, self._stop, run, Status.TIMEOUT))
        traceparent = self._observer.traceparent(run.id)
        run.replica.worker.run(run.id, run.attempt, run.input, run.base64_output, traceparent)

    def _find(self, claim: Claim) -> _Run | None:
        for replica in self._all_replicas():
            run = replica.runs.get(claim.id)
            if run is not None and run.attempt == claim.attempt:
                return run
        return None

    def _all_replicas(self) -> Iterable[_Replica]:
        return (replica for replicas in self._replicas.values() for replica in replicas)

    # Relaying

    async def _said(self, replica: _Replica, turns: list[Turn]) -> None:
        """What a worker said. What a run says last must find its events in the log."""
        await self._append(replica, _together(turns, len(replica.runs)))
        for turn in turns:
            for said in turn.finished:
                run = replica.runs.get(said.id)
                if run is not None and run.attempt == said.attempt:
                    self._run_ended(run, said)
        if any(turn.finished for turn in turns):
            await self._look()

    async def _append(self, replica: _Replica, spoken: list[Spoken]) -> None:
        if not spoken:
            return
        for claim in await _kept(self._spool.append_all, spoken):
            run = replica.runs.get(claim.id)
            if run is not None and run.attempt == claim.attempt:
                self._stop(run, Status.CANCELLED)

    def _run_ended(self, run: _Run, said: Finished) -> None:
        self._release(run)
        run.replica.served = True
        if said.detail:
            _log.info("a run failed", id=run.id, model=run.replica.info.id, attempt=run.attempt, detail=said.detail)
        self._finish_soon(run, said.status, said.terminal)

    async def _tell_waiting(self, run: _Run, event: bytes) -> None:
        with suppress(StaleAttempt):
            await _kept(self._spool.append, run.id, run.attempt, [event])

    def _tell_loading(self, replica: _Replica, event: bytes) -> None:
        for run in list(replica.runs.values()):
            if not run.sent:
                self._start_task(self._tell_waiting(run, event), self._background)

    def _release(self, run: _Run) -> None:
        """The run's slot is free."""
        run.forget_timers()
        run.replica.runs.pop(run.id, None)
        run.replica.idle_since = self._loop.time()
        self._released.set()

    def _finish_soon(self, run: _Run, status: Status, terminal: bytes) -> None:
        task = self._loop.create_task(self._finish(run, status, terminal))
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)

    async def _finish(self, run: _Run, status: Status, terminal: bytes) -> None:
        with suppress(StaleAttempt):
            await _kept(self._spool.finish, run.id, run.attempt, status, terminal)

    async def _lose(self, run: _Run, cause: str, *, counted: bool) -> None:
        with suppress(StaleAttempt):
            await _kept(self._spool.lose, run.id, run.attempt, cause, counted=counted)

    # Stopping a run

    def _set_start_timeout(self, run: _Run, prediction: Prediction) -> None:
        """A first attempt that waits for its model to load has not started yet."""
        if prediction.start_timeout_s is not None and prediction.attempt == 1:
            waited_s = (time.time_ns() - prediction.created_at_ns) / 1e9
            left_s = max(prediction.start_timeout_s - waited_s, 0)
            run.timers.append(self._loop.call_later(left_s, self._stop, run, Status.TIMEOUT))

    def _stop(self, run: _Run, status: Status) -> None:
        """First it is asked; then its worker is told to end; then it is killed. Its slot is free in any case."""
        if run.stopping is not None:
            return
        run.stopping = status
        if not run.sent or run.replica.worker is None:
            self._release(run)
            message = "The model was not loaded within start_timeout."
            terminal = events.error(run.id, message, TaskCode.TIMEOUT, status)
            self._finish_soon(run, status, terminal if status is Status.TIMEOUT else events.cancelled(run.id))
            return
        run.replica.worker.stop(Stop(run.id, run.attempt, status))
        grace_s, kill_s = self._settings.cancel_grace_s, self._settings.kill_grace_s
        run.timers.append(self._loop.call_later(grace_s, self._kill, run, signal.SIGTERM))
        run.timers.append(self._loop.call_later(grace_s + kill_s, self._kill, run, signal.SIGKILL))

    def _kill(self, run: _Run, how: signal.Signals) -> None:
        worker = run.replica.worker
        if worker is not None:
            _log.warning("a run did not stop when asked; its worker is ended", id=run.id, pid=worker.pid, how=how.name)
            worker.kill(how, "Another prediction in the same worker did not stop when it was cancelled.")

    def _kill_silent_workers(self) -> None:
        limit_s = self._settings.heartbeat_timeout_s
        for replica in self._all_replicas():
            worker = replica.worker
            if worker is not None and self._loop.time() - worker.heard_at > limit_s:
                _log.error("a worker gives no sign of life; it is killed", model=replica.info.id, pid=worker.pid)
                worker.kill(signal.SIGKILL, f"The worker process gave no sign of life for {limit_s:g} s.")

    async def _renew_leases(self) -> None:
        while True:
            await asyncio.sleep(self._spool.lease_s / 3)
            claims = [run.claim for replica in self._all_replicas() for run in replica.runs.values()]
            try:
                stale = await self._spool.renew(claims)
            except SpoolUnavailable:
                continue
            for claim in stale:
                run = self._find(claim)
                if run is not None:
                    self._stop(run, Status.CANCELLED)

    # Stopping the host

    @property
    def running(self) -> int:
        """How many runs go on."""
        return sum(len(replica.runs) for replica in self._all_replicas())

    async def drain(self, timeout_s: float) -> None:
        """Claims nothing more and lets the runs that go on finish, for at most so many seconds."""
        self._draining = True
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._until_idle()

    async def _until_idle(self) -> None:
        while self.running:
            self._released.clear()
            await self._released.wait()
        while self._finishing:
            await asyncio.wait(self._finishing)

    async def stop(self) -> None:
        """Ends all workers at once. Runs that still go on wait for their next attempt, and nobody is blamed."""
        self._draining = True
        self._stopping.set()
        for replica in self._all_replicas():
            replica.wanted.set()
        for task in self._background:
            task.cancel()
        workers = [replica.worker for replica in self._all_replicas() if replica.worker is not None]
        for worker in workers:
            worker.shut_down()
        if self._keepers:
            await asyncio.wait(self._keepers, timeout=1)
        for worker in workers:
            worker.kill(signal.SIGKILL)
        remaining = self._keepers | self._finishing
        if remaining:
            await asyncio.wait(remaining, timeout=2)
        for replica in self._all_replicas():
            for run in list(replica.runs.values()):
                self._release(run)
                await self._lose(run, "The server was stopped.", counted=False)


_NO_MODEL = ModelInfo(id="", schema={}, streams=(), readme="", slots=1, replicas=1, max_attempts=1, run_timeout_s=None)


def _state(replicas: list[_Replica]) -> ModelState:
    if any(replica.ready for replica in replicas):
        return ModelState.READY
    if all(replica.failed for replica in replicas):
        return ModelState.FAILED
    resting = all(replica.unloaded or replica.failed for replica in replicas)
    return ModelState.UNLOADED if resting else ModelState.LOADING


def _fitness(replica: _Replica) -> tuple[bool, bool, bool, int]:
    """How well a replica can take one more prediction."""
    return (replica.free_slots > 0, replica.ready, not replica.unloaded, replica.free_slots)


def _together(turns: list[Turn], runs: int) -> list[Spoken]:
    """What was said in several turns, with what each run said in one piece: who is behind has less to do than to keep
    up would have taken.

    Args:
        runs: how many go on. If there are no more pieces than these, it is not worth a look.
    """
    if len(turns) == 1:
        return turns[0].events
    spoken = [one for turn in turns for one in turn.events]
    if len(spoken) <= runs:
        return spoken
    by_run: dict[tuple[str, int], list[Spoken]] = {}
    for one in spoken:
        by_run.setdefault((one.id, one.attempt), []).append(one)
    return [some[0] if len(some) == 1 else _joined(some) for some in by_run.values()]


def _joined(some: list[Spoken]) -> Spoken:
    packed = b"\n".join([one.packed for one in some])
    return Spoken(some[0].id, some[0].attempt, packed, sum(one.number for one in some))


async def _ended(relaying: asyncio.Future[str]) -> None:
    await relaying


async def _kept(say: Callable[..., Awaitable[T]], *what: Any, **how: Any) -> T:
    """Tells the spool, again and again while it cannot keep what it is told: nobody else knows it.

    Raises:
        StaleAttempt: the attempt is not running any more.
    """
    while True:
        try:
            return await say(*what, **how)
        except SpoolUnavailable:
            await asyncio.sleep(RETRY_S)


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        _log.error("a task of the host failed", exc_info=task.exception())


def _terminal(id: str, status: Status) -> bytes:
    return events.cancelled(id) if status is Status.CANCELLED else events.timed_out(id)


def _load_error(id: str, replica: _Replica) -> bytes:
    message = f"The model {replica.info.id} could not be loaded. {replica.cause}"
    return events.error(id, message, TaskCode.UNAVAILABLE, Status.FAILED)
