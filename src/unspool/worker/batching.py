"""Several predictions in one call: gathers those that wait, calls the model, hands what it gives to each.

    waiting   inputs are checked and brought, one prediction by itself; whatever goes wrong here stays with it
    call      when it is full, or `batch_wait_s` after it could have begun; so many at once as the model has slots
    member    a prediction in a call: it may end before the call, when it is stopped or fails alone

A member that is stopped ends at once, and what is still said for it is dropped. When all are stopped, the call itself
is stopped like any run, and they end with it: so a call that does not stop is still the host's to end.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from unspool import batched
from unspool.errors import ModelError
from unspool.files.fetch import wanted
from unspool.files.file import may_hold_files
from unspool.model import Cancelled, Model, Run, current_run
from unspool.states import Status
from unspool.worker import capture, tracing
from unspool.worker.files import Job, Key, RunFiles, forget
from unspool.worker.outcomes import completed, drain, drain_async, failed, is_async, stopped
from unspool.worker.protocol import Finished


class WrongResults(TypeError):
    """A batched model did not give one result for each prediction. The message is fit for clients."""


class BatchRun(Run):
    """The run of one prediction in a batch. Once it was stopped, what is said through it is dropped, for the sake of
    the others; only when nobody is left who wants the call, saying something raises `Cancelled`.
    """

    call: Call | None = None
    """None while its inputs are brought, and while it waits."""
    ended = False
    """It has failed alone."""

    @property
    def mute(self) -> bool:
        """Whether nobody hears it any more."""
        return self.ended or self.stop_status is not None

    def check(self) -> None:
        """See `Run.check`."""
        if self.mute and (self.call is None or self.call.abandoned):
            raise Cancelled(self.stop_status)

    def output(self, part: Any, index: int | None = None, *, partial: bool = False) -> None:
        """See `Run.output`."""
        self._say(super().output, part, index, partial=partial)

    def progress(self, percentage: float, **fields: Any) -> None:
        """See `Run.progress`."""
        self._say(super().progress, percentage, **fields)

    def log(self, message: str, level: Any = "info") -> None:
        """See `Run.log`."""
        self._say(super().log, message, level)

    def _say(self, say: Callable[..., None], *what: Any, **how: Any) -> None:
        if not self.mute:
            try:
                return say(*what, **how)
            except BaseException:
                if not self.mute:
                    raise
        return self.check()


class Member(Job):
    """A prediction of a batched model."""

    make_run = BatchRun
    run: BatchRun
    speaks = False
    """What comes from nobody knows where is about a whole call."""

    def __init__(self) -> None:
        super().__init__()
        self.key: Key = ("", 0)
        self.on_stop: Callable[[Member], None] = lambda _: None
        self.value: Any = None
        """Its inputs, …"""
        self.fields: Mapping[str, Any] = {}
        """… one by one."""
        self.outcome: Finished | None = None

    def cancel_tasks(self) -> None:
        """See `Job.cancel_tasks`."""
        super().cancel_tasks()
        self.on_stop(self)

    def interrupts(self, key: Key) -> Key:
        """See `Job.interrupts`: nobody's thread, unless it was the last of its call."""
        call = self.run.call
        return call.key if call is not None and call.abandoned else key


class Call(Job):
    """One call of the model, for its members."""

    run: _Everyone

    def __init__(self, number: int, members: Sequence[Member]) -> None:
        super().__init__()
        self.key: Key = ("", number)
        self.members = members
        self.run = _Everyone(self)
        for member in members:
            member.run.call = self

    @property
    def abandoned(self) -> bool:
        """Whether nobody is left who waits for it."""
        return all(member.run.mute for member in self.members)

    def one_each(self, given: Any, verb: str) -> Sequence[Any]:
        """What the model gave, one for each member.

        Raises:
            WrongResults: it is something else.
        """
        count = len(self.members)
        if given is None:
            return [None] * count
        if isinstance(given, str | bytes | Mapping) or not (hasattr(given, "__len__") and hasattr(given, "__iter__")):
            raise WrongResults(
                f"The model {verb} {type(given).__name__} for a batch of {count}; it should be a list with one each."
            )
        if len(given) != count:
            raise WrongResults(
                f"The model {verb} {len(given)} for a batch of {count}; it should be a list with one each, in order."
            )
        return list(given)

    def deliver(self, returned: Any) -> None:
        """Each gets its own. What cannot be an output fails alone."""
        for member, result in zip(self.members, self.one_each(returned, "returned"), strict=True):
            member.outcome = member.outcome or _outcome(member.run, result)

    def fail(self, error: BaseException) -> None:
        """For all that have no outcome yet."""
        said = error
        if len(self.members) > 1 and not isinstance(error, ModelError | WrongResults):
            said = ModelError(
                f"{type(error).__name__} in a call for {len(self.members)} predictions. Its message is in the server's "
                "log only, since it may quote the inputs of any of them."
            )
        detail = "" if isinstance(error, ModelError) else "".join(traceback.format_exception(error))
        for member in self.members:
            if member.outcome is None:
                member.outcome = replace(failed(member.run, said), detail="")
                if detail and member.outcome.status is Status.FAILED:
                    member.outcome = replace(member.outcome, detail=detail)
                    detail = f"in the same call as {member.run.id}"

    def stream(
        self, given: Any, on_failure: Callable[[Member], None], index: int | None = None, *, partial: bool = False
    ) -> None:
        """A piece for each; `None` for nothing, an exception for the end of one."""
        for member, piece in zip(self.members, self.one_each(given, "yielded"), strict=True):
            if piece is None or member.run.mute:
                continue
            try:
                if isinstance(piece, BaseException):
                    raise piece
                member.run.output(piece, index, partial=partial)
            except Exception as error:
                member.outcome = failed(member.run, error)
                member.run.ended = True
                on_failure(member)


class _Everyone(Run):
    """All runs of a call: what code speaks to that does not know of predictions."""

    def __init__(self, call: Call) -> None:
        super().__init__("", 0, lambda _: None)
        self._call = call
        self.on_failure: Callable[[Member], None] = lambda _: None

    @property
    def cancelled(self) -> bool:
        """See `Run.cancelled`."""
        return self._call.abandoned

    def check(self) -> None:
        """See `Run.check`."""
        if self._call.abandoned:
            raise Cancelled(self._call.members[0].run.stop_status)

    def output(self, part: Any, index: int | None = None, *, partial: bool = False) -> None:
        """A list with a piece for each."""
        self.check()
        self._call.stream(part, self.on_failure, index, partial=partial)
        self.check()

    def progress(self, percentage: float, **fields: Any) -> None:
        """All are as far as that."""
        self.check()
        for member in self._call.members:
            member.run.progress(percentage, **fields)

    def log(self, message: str, level: str = "info") -> None:
        """To the server's own log: it may be about the inputs of any of them, and they may have different owners."""
        capture.to_server(f"{level}: {message}\n")


def _outcome(run: BatchRun, result: Any) -> Finished:
    if run.stop_status is not None:
        return stopped(run)
    try:
        if isinstance(result, BaseException):
            raise result
        return completed(run, result)
    except BaseException as error:
        return failed(run, error)


@dataclass(frozen=True)
class Desk:
    """What a batcher needs of its worker. All of it can be called from any thread."""

    loop: asyncio.AbstractEventLoop
    slots: ThreadPoolExecutor
    files: RunFiles
    jobs: dict[Key, Job]
    """Those that can be stopped; calls have keys that no prediction has."""
    leave_thread: Callable[[Key, Job], None]
    """Ends the time in which a thread can be interrupted for a job."""
    say: Callable[[Key, Finished], None]


class Batcher:
    """Calls a batched model. All methods but `add` and those of a call run in the event loop.

    Args:
        call: the model, ready to be called.
    """

    def __init__(self, model: Model, call: Callable[..., Any], desk: Desk) -> None:
        assert model.batch is not None
        self._model = model
        self._size = model.batch
        self._call = call
        self._desk = desk
        self._async = is_async(call)
        self._waiting: list[Member] = []
        self._running = 0
        self._begun = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, key: Key, job: Job, input: bytes) -> None:
        """Takes a prediction; from any thread."""
        assert isinstance(job, Member)
        job.key, job.on_stop = key, self._stopped
        self._desk.loop.call_soon_threadsafe(self._arrive, job, input)

    # Waiting

    def _arrive(self, member: Member, input: bytes) -> None:
        try:
            member.run.check()
            validated = self._model.inputs.model_validate_json(input)
            member.value = batched.value_of(validated)
            whole = self._model.whole_parameter is not None
            member.fields = batched.fields_of(member.value) if whole else arguments_of(validated)
        except BaseException as error:
            return self._end_alone(member, failed(member.run, error))
        if wanted(member.fields):
            self._desk.loop.create_task(self._bring(member))
            return None
        return self._wait(member)

    async def _bring(self, member: Member) -> None:
        member.add_current_task()
        try:
            await self._desk.files.bring_async(member, member.fields)
            member.run.check()
        except BaseException as error:
            self._end_alone(member, failed(member.run, error))
        else:
            member.tasks.clear()
            self._wait(member)

    def _wait(self, member: Member) -> None:
        self._waiting.append(member)
        self._look()

    def _look(self) -> None:
        """Begins what can begin now, and sets the time at which a smaller batch goes."""
        while len(self._waiting) >= self._size and self._running < self._model.slots:
            self._begin()
        if self._waiting and self._running < self._model.slots and self._timer is None:
            self._timer = self._desk.loop.call_later(self._model.batch_wait_s, self._time_is_up)

    def _time_is_up(self) -> None:
        self._timer = None
        if self._waiting and self._running < self._model.slots:
            self._begin()
        self._look()

    def _begin(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        members, self._waiting = self._waiting[: self._size], self._waiting[self._size :]
        self._running += 1
        self._begun += 1
        call = Call(self._begun, members)
        call.run.on_failure = self._failed_alone
        self._desk.jobs[call.key] = call
        if self._async:
            self._desk.loop.create_task(self._run_in_loop(call))
        else:
            self._desk.slots.submit(self._run_in_slot, call)

    # Calling

    def _arguments(self, call: Call) -> dict[str, Any]:
        model, members = self._model, call.members
        if model.whole_parameter is not None:
            arguments: dict[str, Any] = {model.whole_parameter: [member.value for member in members]}
        else:
            arguments = {name: [member.fields[name] for member in members] for name in members[0].fields}
        if model.run_parameter is not None:
            arguments[model.run_parameter] = [member.run for member in members]
        return arguments

    def _run_in_slot(self, call: Call) -> None:
        call.thread_id = threading.get_ident()
        copy_context().run(self._attempt_sync, call)
        self._desk.leave_thread(call.key, call)
        self._conclude(call)
        self._desk.loop.call_soon_threadsafe(self._called)

    def _attempt_sync(self, call: Call) -> None:
        tracing.enter_any(_traceparents(call))
        current_run.set(call.run)
        try:
            call.run.check()
            result = self._call(**self._arguments(call))
            if inspect.isgenerator(result):
                result = drain(call.run, result)
            call.deliver(result)
        except BaseException as error:
            call.fail(error)

    async def _run_in_loop(self, call: Call) -> None:
        call.add_current_task()
        tracing.enter_any(_traceparents(call))
        current_run.set(call.run)
        try:
            await self._attempt_async(call)
        except BaseException as error:
            call.fail(error)
        self._desk.jobs.pop(call.key, None)
        self._conclude(call)
        self._called()

    async def _attempt_async(self, call: Call) -> None:
        call.run.check()
        result = self._call(**self._arguments(call))
        if inspect.isasyncgen(result):
            await drain_async(call.run, result)
            result = None
        elif inspect.isawaitable(result):
            result = await result
        if may_hold_files(result):
            await asyncio.to_thread(call.deliver, result)
        else:
            call.deliver(result)

    # Ending

    def _stopped(self, member: Member) -> None:
        call = member.run.call
        if call is None:
            if member in self._waiting:
                self._waiting.remove(member)
                self._end_alone(member, stopped(member.run))
        elif call.abandoned:
            call.cancel_tasks()
        else:
            self._end(member, stopped(member.run))

    def _failed_alone(self, member: Member) -> None:
        assert member.run.call is not None
        assert member.outcome is not None
        if not member.run.call.abandoned:
            self._end(member, member.outcome)

    def _end_alone(self, member: Member, finished: Finished) -> None:
        """It has not come into a call, so nobody needs its files any more."""
        forget(member)
        self._end(member, finished)

    def _end(self, member: Member, finished: Finished) -> None:
        """The first last word is the last word."""
        if self._desk.jobs.pop(member.key, None) is not None:
            self._desk.say(member.key, finished)

    def _conclude(self, call: Call) -> None:
        capture.flush(call.run)
        for member in call.members:
            forget(member)
            self._end(member, member.outcome or failed(member.run, Cancelled()))

    def _called(self) -> None:
        self._running -= 1
        self._look()


def arguments_of(validated: Any) -> dict[str, Any]:
    """The inputs by the names of the parameters."""
    fields = type(validated).model_fields
    arguments = {field.alias or name: getattr(validated, name) for name, field in fields.items()}
    arguments.update(validated.model_extra or {})
    return arguments


def _traceparents(call: Call) -> Iterable[str]:
    return [member.traceparent for member in call.members if member.traceparent]
