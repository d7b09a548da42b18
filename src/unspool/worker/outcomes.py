"""How what a model gives becomes the last word of its run, and what a generator yields its output."""

from __future__ import annotations

import asyncio
import inspect
import traceback
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import suppress
from typing import Any

import pydantic

from unspool import events
from unspool.errors import InvalidInput, ModelError
from unspool.events import TaskCode
from unspool.files.file import may_hold_files
from unspool.model import Cancelled, Run
from unspool.states import Status
from unspool.worker import capture
from unspool.worker.messages import public_message
from unspool.worker.protocol import Finished


def completed(run: Run, result: Any) -> Finished:
    """Its outputs are what it has streamed, then the result.

    Raises:
        TypeError: there is no JSON for the result.
        Cancelled: the run was stopped.
    """
    capture.flush(run)
    return Finished(run.id, run.attempt, Status.COMPLETED, run.completed(result))


def failed(run: Run, error: BaseException) -> Finished:
    """The error, unless it is only how the run was stopped."""
    with suppress(Cancelled):
        capture.flush(run)
    if run.stop_status is not None:
        return stopped(run)
    if isinstance(error, InvalidInput):
        wrong = events.error(run.id, error.message, TaskCode.INVALID_PARAMETER, Status.FAILED, errors=error.errors)
        return Finished(run.id, run.attempt, Status.FAILED, wrong)
    code = TaskCode.EXECUTION_FAILED
    if isinstance(error, pydantic.ValidationError):
        code = TaskCode.INVALID_PARAMETER
    terminal = events.error(run.id, public_message(error), code, Status.FAILED)
    detail = "" if isinstance(error, ModelError) else "".join(traceback.format_exception(error))
    return Finished(run.id, run.attempt, Status.FAILED, terminal, detail)


def stopped(run: Run) -> Finished:
    """It was cancelled, or ran out of time."""
    if run.stop_status is Status.TIMEOUT:
        return Finished(run.id, run.attempt, Status.TIMEOUT, events.timed_out(run.id))
    return Finished(run.id, run.attempt, Status.CANCELLED, events.cancelled(run.id))


def is_async(call: Callable[..., Any]) -> bool:
    """Whether it runs in the event loop."""
    if not inspect.isroutine(call):
        call = type(call).__call__
    return inspect.iscoroutinefunction(call) or inspect.isasyncgenfunction(call)


def drain(run: Run, pieces: Generator[Any, Any, Any]) -> Any:
    """Streams what a generator yields, and returns what it returns."""
    returned: list[Any] = []

    def to_the_end() -> Generator[Any, Any, None]:
        returned.append((yield from pieces))

    outer = to_the_end()
    try:
        for piece in outer:
            run.output(piece)
    except Cancelled as stop:
        _throw_until_it_ends(outer, stop)
    return returned[0]


def _throw_until_it_ends(pieces: Generator[Any, Any, Any], stop: Cancelled) -> None:
    """Lets the generator clean up. One that goes on yielding is told again and again."""
    while True:
        pieces.throw(stop)


async def drain_async(run: Run, pieces: AsyncGenerator[Any, Any]) -> None:
    """Streams what an asynchronous generator yields."""
    try:
        async for piece in pieces:
            if not isinstance(piece, str) and may_hold_files(piece):
                await asyncio.to_thread(run.output, piece)
            else:
                run.output(piece)
    finally:
        await pieces.aclose()
