"""The child process: imports a model file, becomes one of its models, runs predictions.

    main thread      imports the file, runs `setup`, then the event loop of asynchronous models
    control thread   takes orders, sends heartbeats; never runs model code, so a busy model cannot delay a cancel
    slot threads     one synchronous call each
    writer thread    sends what slots say (`outbox.py`)

Knows neither the spool nor HTTP. When its host is gone it leaves at once.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import importlib
import importlib.util
import inspect
import os
import queue
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import Any, cast

import uvloop

from unspool import events
from unspool.errors import ModelFileError
from unspool.files.file import may_hold_files
from unspool.model import Cancelled, Model, Run, current_run, find_models
from unspool.worker import capture, tracing
from unspool.worker.batching import Batcher, Desk, Member, arguments_of
from unspool.worker.files import Job, Key, RunFiles, forget
from unspool.worker.messages import public_message
from unspool.worker.outbox import Outbox
from unspool.worker.outcomes import completed, drain, drain_async, failed, is_async
from unspool.worker.protocol import (
    BadFile,
    Described,
    Finished,
    Frame,
    Heartbeat,
    Load,
    LoadFailed,
    Loading,
    Ready,
    Shutdown,
    Splitter,
    Start,
    Stop,
    encode,
    to_worker_decoder,
)

HEARTBEAT_S = 5.0
INTERRUPT_AFTER_S = 0.3
"""A synchronous model that has not noticed a stop by then has `Cancelled` raised wherever it is."""
LAST_SPANS_S = 0.5
"""How long a worker that is told to leave may take to send its spans."""
SWITCH_INTERVAL_S = 0.001
"""How long a model in a tight loop can keep its events from being sent."""


class Worker:
    """One model in this process."""

    def __init__(self, control: socket.socket, out: socket.socket) -> None:
        self._control = control
        self._outbox = Outbox(out)
        self._jobs: dict[Key, Job] = {}
        self._jobs_lock = threading.Lock()
        self._interrupts: list[tuple[float, Key]] = []
        self._control_lock = threading.Lock()
        self._to_load: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._model: Model
        self._call: Callable[..., Any]
        self._slots: ThreadPoolExecutor
        self._job_kind: type[Job]
        self._begin: Callable[[Key, Any, bytes], object]
        self._loop: asyncio.AbstractEventLoop
        self._files = RunFiles()

    # Becoming a model

    def main(self, file: str) -> None:
        """Runs until the host says `Shutdown` or is gone."""
        threading.Thread(target=self._obey, name="control", daemon=True).start()
        self._outbox.start()
        capture.install(self._only_run)
        if tracing.wanted() and tracing.installed():
            tracing.install(lambda text: capture.to_server(f"opentelemetry: {text}\n"))
        models = self._import(file)
        self._send(Described([declared.info() for declared in models]))
        wanted = self._to_load.get()
        self._model = next(declared for declared in models if declared.id == wanted)
        uvloop.run(self._serve())

    def _import(self, file: str) -> list[Model]:
        try:
            models = find_models(vars(import_file(file)))
            if not models:
                raise ModelFileError(f'{file} has no model; put @model("name") over a function or class')
        except ModelFileError as error:
            self._leave(BadFile(str(error)))
        except BaseException:
            self._leave(BadFile(f"{file} cannot be imported:\n{traceback.format_exc()}"))
        # Modules stay, and a look of the collector through all of them takes 50 ms and more, in which no run says a
        # word. What `setup` makes is not among it: a model that is replaced must be let go of.
        gc.freeze()
        return models

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._files.use(self._loop)
        try:
            self._call = await self._set_up()
        except BaseException as error:
            self._leave(LoadFailed(public_message(error), traceback.format_exc()))
        self._slots = ThreadPoolExecutor(self._model.slots, "slot")
        self._job_kind, self._begin = self._way_to_run()
        self._send(Ready())
        await asyncio.Event().wait()

    def _way_to_run(self) -> tuple[type[Job], Callable[[Key, Any, bytes], object]]:
        """What a run is, and who takes it."""
        loop, slots = self._loop, self._slots
        in_loop = is_async(self._call)
        if in_loop:
            self._outbox.use(loop)
        if self._model.batch is not None:
            desk = Desk(loop, slots, self._files, self._jobs, self._leave_thread, self._outbox.say)
            return Member, Batcher(self._model, self._call, desk).add
        if in_loop:
            return Job, lambda *run: loop.call_soon_threadsafe(self._start_task, *run)
        return Job, lambda *run: slots.submit(self._run_in_slot, *run)

    async def _set_up(self) -> Callable[..., Any]:
        current_run.set(_Setup(self._send))
        target, setup = self._model.target, self._model.setup
        if inspect.isclass(target):
            target = cast("Callable[..., Any]", target())
            setup = getattr(target, "setup", None)
        if setup is not None:
            result = setup()
            if inspect.isawaitable(result):
                await result
        current_run.set(None)
        return target

    # Orders

    def _obey(self) -> None:
        splitter = Splitter()
        heartbeat_at = 0.0
        poll = select.poll()  # `select` takes no descriptor above 1023, and a busy host's are higher
        poll.register(self._control, select.POLLIN)
        while True:
            now = time.monotonic()
            if now >= heartbeat_at:
                self._send(Heartbeat())
                heartbeat_at = now + HEARTBEAT_S
            wake_at = min([heartbeat_at, *(at for at, _ in self._interrupts)])
            if poll.poll(max(0, wake_at - now) * 1000):
                data = self._control.recv(1 << 20)
                if not data:
                    os._exit(0)
                for frame in splitter.feed(data):
                    self._take(to_worker_decoder.decode(frame))
            self._interrupt_late_ones()

    def _take(self, order: Load | Start | Stop | Shutdown) -> None:
        if isinstance(order, Start):
            self._start(order)
        elif isinstance(order, Stop):
            self._stop(order)
        elif isinstance(order, Load):
            self._to_load.put(order.model)
        else:
            tracing.shut_down(LAST_SPANS_S)
            os._exit(0)

    def _start(self, order: Start) -> None:
        key = (order.id, order.attempt)
        emit = self._outbox.emitter(key)
        job = self._jobs[key] = self._files.job(order.id, order.attempt, emit, order.base64_output, self._job_kind)
        job.traceparent = order.traceparent
        self._begin(key, job, order.input)

    def _stop(self, order: Stop) -> None:
        key = (order.id, order.attempt)
        job = self._jobs.get(key)
        if job is None:
            return
        job.run.stop_status = order.status
        self._interrupts.append((time.monotonic() + INTERRUPT_AFTER_S, job.interrupts(key)))
        self._loop.call_soon_threadsafe(job.cancel_tasks)

    def _interrupt_late_ones(self) -> None:
        now = time.monotonic()
        due = [key for at, key in self._interrupts if at <= now]
        self._interrupts = [(at, key) for at, key in self._interrupts if at > now]
        for key in due:
            with self._jobs_lock:
                job = self._jobs.get(key)
                if job is not None and job.thread_id is not None:
                    _raise_in_thread(job.thread_id, Cancelled)

    # Running

    def _run_in_slot(self, key: Key, job: Job, input: bytes) -> None:
        job.thread_id = threading.get_ident()
        context = copy_context()
        context.run(tracing.enter, job.traceparent)
        finished = context.run(self._attempt_sync, job, input)
        self._finish(key, job, finished)
        self._outbox.send_one_frame()

    def _attempt_sync(self, job: Job, input: bytes) -> Finished:
        run = job.run
        current_run.set(run)
        try:
            run.check()
            arguments = self._arguments(run, input)
            self._files.bring(job, arguments)
            result = self._call(**arguments)
            if inspect.isgenerator(result):
                result = drain(run, result)
            return completed(run, result)
        except BaseException as error:
            return failed(run, error)

    def _start_task(self, key: Key, job: Job, input: bytes) -> None:
        self._loop.create_task(self._run_in_loop(key, job, input))

    async def _run_in_loop(self, key: Key, job: Job, input: bytes) -> None:
        job.add_current_task()
        tracing.enter(job.traceparent)
        current_run.set(job.run)
        try:
            finished = await self._attempt_async(job, input)
        except BaseException as error:
            finished = failed(job.run, error)
        self._finish(key, job, finished)

    async def _attempt_async(self, job: Job, input: bytes) -> Finished:
        run = job.run
        run.check()
        arguments = self._arguments(run, input)
        await self._files.bring_async(job, arguments)
        result = self._call(**arguments)
        if inspect.isasyncgen(result):
            await drain_async(run, result)
            result = None
        elif inspect.isawaitable(result):
            result = await result
        if may_hold_files(result):
            return await asyncio.to_thread(completed, run, result)
        return completed(run, result)

    def _arguments(self, run: Run, input: bytes) -> dict[str, Any]:
        arguments = arguments_of(self._model.inputs.model_validate_json(input))
        if self._model.run_parameter is not None:
            arguments[self._model.run_parameter] = run
        return arguments

    def _finish(self, key: Key, job: Job, finished: Finished) -> None:
        self._leave_thread(key, job)
        forget(job)
        self._outbox.say(key, finished)

    def _leave_thread(self, key: Key, job: Job) -> None:
        """Forgets the job, so that nothing interrupts this thread any more."""
        while True:
            try:
                with self._jobs_lock:
                    del self._jobs[key]
                    if job.thread_id is not None:
                        _raise_in_thread(job.thread_id, None)
                break
            except Cancelled:
                continue
            except KeyError:
                break

    def _only_run(self) -> Run | None:
        """Whom output belongs to that comes from a thread which a model started: clear only if one run goes on."""
        jobs = [job for job in list(self._jobs.values()) if job.speaks]
        return jobs[0].run if len(jobs) == 1 else None

    def _send(self, message: Frame) -> None:
        try:
            with self._control_lock:
                self._control.sendall(encode(message))
        except OSError:
            os._exit(0)

    def _leave(self, last_words: Frame) -> None:
        self._send(last_words)
        capture.flush_all()
        os._exit(1)


class _Setup(Run):
    """What `setup` reports to: those who wait for the model see it as the stage "load" of their own progress."""

    def __init__(self, send: Callable[[Frame], None]) -> None:
        super().__init__("", 0, lambda event: None)
        self._send_frame = send

    def progress(self, percentage: float, **fields: Any) -> None:
        """Only steps and estimates are passed on: loading is no part of anyone's percentage."""
        kept = {name: fields.get(name) for name in ("step", "steps", "eta_seconds")}
        self._send_frame(Loading(events.progress(0, stage="load", **kept)))

    def log(self, message: str, level: str = "info") -> None:
        """To the server's own log."""
        capture.to_server(f"{level}: {message}\n")


def _raise_in_thread(thread_id: int, kind: type[BaseException] | None) -> None:
    """Raises an exception where a thread runs Python code, or takes back one that was not raised yet."""
    exception = ctypes.py_object(kind) if kind is not None else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), exception)


def import_file(file: str) -> Any:
    """The module of a model file: a path, or a dotted name.

    Raises:
        ModelFileError: there is no such file.
    """
    path = Path(file)
    if path.suffix != ".py" and not path.exists():
        sys.path.insert(0, str(Path.cwd()))
        return importlib.import_module(file)
    if not path.is_file():
        raise ModelFileError(f"there is no file {file}")
    sys.path.insert(0, str(path.resolve().parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ModelFileError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _die_with_parent() -> None:
    """On Linux the kernel ends this process when the host dies, even in a call that never returns."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def main() -> None:
    """`python -m unspool.worker.process FILE CONTROL_FD EVENTS_FD PARENT_PID`."""
    file, control, out, parent = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    _die_with_parent()
    if os.getppid() != parent:
        os._exit(0)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    Worker(socket.socket(fileno=control), socket.socket(fileno=out)).main(file)


if __name__ == "__main__":
    main()
