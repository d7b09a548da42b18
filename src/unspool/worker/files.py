"""Files of the runs in this process: inputs are brought before a model is called, outputs are kept as it says them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from unspool.bars import Habit
from unspool.files import scratch
from unspool.files.config import WorkerFiles, from_environment
from unspool.files.fetch import fetch, wanted
from unspool.files.keep import Keeper
from unspool.files.storage import Storage
from unspool.model import Run

Key = tuple[str, int]
"""A prediction's id and its attempt."""


class Job:
    """A run that goes on, and how to interrupt it."""

    make_run: ClassVar[type[Run]] = Run
    run: Run
    speaks = True
    """Whether output of unknown origin may be its."""

    def __init__(self) -> None:
        self.traceparent = ""
        """The attempt's span, if it is traced."""
        self.thread_id: int | None = None
        self.tasks: set[asyncio.Task[Any]] = set()
        """What goes on for it in the event loop."""

    def add_current_task(self) -> None:
        """First thing in a task. Cancelled before its first step, it would not even hear of it."""
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)

    def cancel_tasks(self) -> None:
        """In the event loop."""
        for task in self.tasks:
            task.cancel()

    def interrupts(self, key: Key) -> Key:
        """Whose thread is interrupted if it does not stop. `key` is its own."""
        return key


J = TypeVar("J", bound=Job)


class RunFiles:
    """Makes runs that can handle files.

    Args:
        config: what the parent process has told. Without it a model that meets a file fails.
    """

    def __init__(self, config: WorkerFiles | None = None) -> None:
        self._config = config or from_environment()
        self._habit = Habit()
        self._loop: asyncio.AbstractEventLoop
        self._loop_thread_id = -1
        if self._config is not None:
            self._storage = Storage(self._config.storage_url, self._config.retention_s)
            self._scratch = scratch.Scratch(Path(self._config.scratch_dir))
            self._scratch.clean()

    def use(self, loop: asyncio.AbstractEventLoop) -> None:
        """The event loop that is running in this thread does the work."""
        self._loop, self._loop_thread_id = loop, threading.get_ident()

    def job(self, id: str, attempt: int, emit: Callable[[bytes], None], base64_output: bool, kind: type[J]) -> J:
        """A new run."""
        job = kind()
        if self._config is None:
            job.run = kind.make_run(id, attempt, emit, habit=self._habit)
            return job

        def write(name: str, content: Path | bytes) -> None:
            self._write(job, name, content)

        keeper = Keeper(id, self._config.base_url, write, self._config.max_base64_output_bytes)
        embed = keeper.to_base64 if base64_output else None
        make_folder, habit = self._scratch.folder, self._habit
        job.run = kind.make_run(
            id, attempt, emit, keep=keeper.to_url, embed=embed, make_folder=make_folder, habit=habit
        )
        return job

    def _write(self, job: Job, name: str, content: Path | bytes) -> None:
        if threading.get_ident() == self._loop_thread_id:
            self._storage.write_now(name, content)
        else:
            self._in_loop(job, self._storage.write(name, content))

    def bring(self, job: Job, arguments: Mapping[str, Any]) -> None:
        """Brings the inputs that are files, for a synchronous model; from a slot's thread.

        Raises:
            InvalidInput: some cannot be had.
        """
        if wanted(arguments):
            self._in_loop(job, self.bring_async(job, arguments))

    async def bring_async(self, job: Job, arguments: Mapping[str, Any]) -> None:
        """As `bring`, in the event loop."""
        files, run = wanted(arguments), job.run
        if not files:
            return
        if self._config is None:
            raise RuntimeError("this worker was not told how to handle files")

        def say(done: int) -> None:
            run.progress(0, stage="fetch", step=done, steps=len(files))

        say(0)
        await fetch(files, run.folder, self._config, self._storage, say)

    def _in_loop(self, job: Job, work: Coroutine[Any, Any, None]) -> None:
        """Waits, in another thread, for what the event loop does. A stop of the run ends it.

        Raises:
            Cancelled: the run was stopped.
        """

        async def tracked() -> None:
            task = asyncio.ensure_future(work)
            job.tasks.add(task)
            if job.run.cancelled:
                task.cancel()
            try:
                await task
            finally:
                job.tasks.discard(task)

        try:
            asyncio.run_coroutine_threadsafe(tracked(), self._loop).result()
        except CancelledError:
            job.run.check()
            raise


def forget(job: Job) -> None:
    """The run has ended: what it has left on the disk is removed."""
    if job.run.has_folder:
        scratch.remove(job.run.folder)
