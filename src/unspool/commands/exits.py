"""How a command ends: its exit codes, and what is said about an error."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any, NoReturn

import typer

from unspool.commands.inputs import BadValue
from unspool.commands.terminal import forget_stdout


class ExitCode(IntEnum):
    """The exit codes of all commands. Part of the interface: scripts rely on them."""

    COMPLETED = 0
    ERROR = 1
    USAGE = 2
    FAILED = 3
    CANCELLED = 4
    TIMEOUT = 5
    UNREACHABLE = 6
    UNAUTHENTICATED = 7
    NOT_FOUND = 8
    BUSY = 9
    INTERRUPTED = 130
    BROKEN_PIPE = 141


MEANINGS = {
    ExitCode.COMPLETED: "it worked; of a prediction: it has `completed`",
    ExitCode.ERROR: "an error without a code of its own",
    ExitCode.USAGE: "the command line or an input is wrong",
    ExitCode.FAILED: "the prediction has `failed`",
    ExitCode.CANCELLED: "the prediction was `cancelled`",
    ExitCode.TIMEOUT: "the prediction ended with `timeout`",
    ExitCode.UNREACHABLE: "the server cannot be reached",
    ExitCode.UNAUTHENTICATED: "the API key is missing or wrong, or may not do this",
    ExitCode.NOT_FOUND: "there is no such prediction or model",
    ExitCode.BUSY: "not now: a limit is reached, a queue is full, or the server is about to stop",
    ExitCode.INTERRUPTED: "left by Ctrl-C; the prediction runs on",
    ExitCode.BROKEN_PIPE: "whoever read the output has left; the prediction runs on",
}
OF_STATUS = {
    "completed": ExitCode.COMPLETED,
    "failed": ExitCode.FAILED,
    "cancelled": ExitCode.CANCELLED,
    "timeout": ExitCode.TIMEOUT,
}
OF_HTTP_STATUS = {
    400: ExitCode.USAGE,
    401: ExitCode.UNAUTHENTICATED,
    403: ExitCode.UNAUTHENTICATED,
    404: ExitCode.NOT_FOUND,
    409: ExitCode.USAGE,
    413: ExitCode.USAGE,
    429: ExitCode.BUSY,
    503: ExitCode.BUSY,
}


def fail(message: str, code: ExitCode = ExitCode.ERROR) -> NoReturn:
    """Says what is wrong, on stderr, and ends the command."""
    typer.echo(f"unspool: {message}", err=True)
    raise typer.Exit(code)


@contextmanager
def told() -> Iterator[None]:
    """Around what a command does: errors become a line on stderr and an exit code, a broken pipe the code alone."""
    from unspool.client import ApiError, ConnectionFailed, SdkError

    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        forget_stdout()
        raise typer.Exit(ExitCode.BROKEN_PIPE) from None
    except BadValue as error:
        fail(str(error), ExitCode.USAGE)
    except ApiError as error:
        fail(_told(error), OF_HTTP_STATUS.get(error.status, ExitCode.ERROR))
    except ConnectionFailed as error:
        fail(f"{error} (UNSPOOL_URL and --url name the server.)", ExitCode.UNREACHABLE)
    except SdkError as error:
        fail(str(error))


def _told(error: Any) -> str:
    """An answer of the server, with every wrong field on a line of its own, and what to do about a missing key."""
    lines = [str(error)]
    if error.status == 401:
        lines.append("Put the API key into UNSPOOL_API_KEY, or name it with --api-key.")
    return "\n".join(lines)
