"""`unspool follow`, and what it has in common with `unspool run`: a prediction is watched until it ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, NoReturn
from urllib.parse import urlsplit

import typer

from unspool.commands.connection import connect
from unspool.commands.exits import OF_STATUS, ExitCode, told
from unspool.commands.options import (
    ApiKey,
    AsJson,
    Final,
    Interrupted,
    Logs,
    OnInterrupt,
    Open,
    Output,
    PredictionId,
    Quiet,
    Url,
)
from unspool.commands.saving import STDOUT, Saver
from unspool.commands.terminal import can_ask, err, harmless, one_line
from unspool.commands.view import JsonView, LiveView, PlainView, View
from unspool.commands.watching import Interrupt, Watching
from unspool.commands.words import Words

if TYPE_CHECKING:
    from unspool.client import Client, Complete, Error, Stream


@dataclass
class Showing:
    """How a prediction is shown, where its outputs go, and what Ctrl-C does."""

    output: str | None = None
    open: bool = False
    logs: bool = False
    quiet: bool = False
    final: bool = False
    as_json: bool = False
    on_interrupt: OnInterrupt = OnInterrupt.ASK
    midway: bool = False
    """Its beginning was seen elsewhere and is not shown again."""


def follow(
    id: PredictionId,
    after: Annotated[str | None, typer.Option(metavar="CURSOR", help="Only what follows this event, as 1-17.")] = None,
    output: Output = None,
    open: Open = False,
    logs: Logs = False,
    quiet: Quiet = False,
    final: Final = False,
    on_interrupt: Interrupted = OnInterrupt.ASK,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Follows a prediction from its beginning until it ends, whether it waits, runs or has ended.

    In place of its id, the `urls.stream` of a prediction will do; that needs no key.
    A stream that is cut is taken up again where it was. The exit code says how the prediction ended.
    """
    showing = Showing(output, open, logs, quiet, final, as_json, on_interrupt, midway=after is not None)
    if "://" in id:
        parts = urlsplit(id)
        url = url or f"{parts.scheme}://{parts.netloc}"
    else:
        with told(), connect(url, api_key) as client:
            client.get(id)  # says at once if there is no server, or no such prediction
    with told(), connect(url, api_key, patient=True) as client:
        watch(client, lambda: client.follow(id, after=after), showing)


def watch(client: Client, open: Callable[[], Stream], showing: Showing) -> None:
    """Shows the prediction of a stream until it ends, writes its outputs, and exits as it ended.

    Raises:
        typer.Exit: with the code of how it ended, unless it has completed.
    """
    words = Words(live=not showing.final, midway=showing.midway)
    watching = Watching(open)
    view = _view(words, showing)
    try:
        end = _until_end(client, watching, view, showing)
        view.pause()
        if end is not None and end.type == "complete":
            _write_outputs(client, end, words, showing)
        else:
            words.break_line()
    except BaseException as error:
        view.pause()
        words.break_line()
        if isinstance(error, KeyboardInterrupt):
            _left(watching)
        raise
    finally:
        view.close()
    if end is None:  # there was nothing after its cursor
        status = client.get(watching.stream.id).status if watching.stream else ""
    else:
        status = "completed" if end.type == "complete" else end.status
        if not showing.as_json:
            _tell(end, showing)
    code = OF_STATUS.get(status, ExitCode.ERROR)
    if code is not ExitCode.COMPLETED:
        raise typer.Exit(code)


def _tell(end: Complete | Error, showing: Showing) -> None:
    if end.type == "error":
        err().print(f"{end.status}: {harmless(end.error)}", style="red", markup=False)
    elif not showing.quiet:
        err().print(_summary(end), style="green", markup=False)


def _view(words: Words, showing: Showing) -> View:
    if showing.as_json:
        return JsonView()
    kind = LiveView if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else PlainView
    return kind(words, logs=showing.logs, quiet=showing.quiet)


def _until_end(client: Client, watching: Watching, view: View, showing: Showing) -> Complete | Error | None:
    end: Complete | Error | None = None
    for item in watching.items():
        if isinstance(item, Interrupt):
            view.pause()
            _interrupted(client, watching, showing)
        else:
            view.event(item, last=not watching.behind)
            end = item if item.type in ("complete", "error") else None
    return end


# Ctrl-C


def _interrupted(client: Client, watching: Watching, showing: Showing) -> None:
    """Returns if the prediction is to be watched on: it was cancelled, or somebody wants to see more."""
    stream = watching.stream
    if stream is None or not stream.id:
        _left(watching)
    chosen = showing.on_interrupt
    if chosen is OnInterrupt.ASK:
        chosen = _ask(stream.id) if can_ask() else OnInterrupt.LEAVE
    if chosen is OnInterrupt.LEAVE:
        _left(watching)
    if chosen is OnInterrupt.CANCEL:
        err().print("Cancelling. Ctrl-C leaves at once.", style="dim")
        client.cancel(stream.id)


def _ask(id: str) -> OnInterrupt:
    """Asks once what to do; `ASK` stands for watching on. Ctrl-C, and anything that is no answer, leaves."""
    err().print(
        f"\nPrediction {id} is still running. \\[l] leave it running, \\[c] cancel it, \\[k] keep watching: ", end=""
    )
    try:
        key = typer.getchar().lower()
    except (KeyboardInterrupt, EOFError):
        key = "l"
    chosen = {"c": OnInterrupt.CANCEL, "k": OnInterrupt.ASK}.get(key, OnInterrupt.LEAVE)
    err().print({OnInterrupt.CANCEL: "cancel", OnInterrupt.ASK: "keep watching"}.get(chosen, "leave"))
    return chosen


def _left(watching: Watching) -> NoReturn:
    """Ends the command; the prediction runs on."""
    stream = watching.stream
    if stream is None or not stream.id:
        err().print("Interrupted. If it was submitted, it runs on: unspool ps")
    else:
        cursor = stream.cursor
        after = f" --after {cursor}" if cursor else ""
        err().print(
            f"Left running. Follow it: unspool follow {stream.id}{after}   Cancel it: unspool cancel {stream.id}"
        )
    raise typer.Exit(ExitCode.INTERRUPTED)


# The end


def _write_outputs(client: Client, end: Complete, words: Words, showing: Showing) -> None:
    """Saves files and writes everything else."""
    saver = Saver(showing.output, lambda: _file_name(client, end.id), client.url)
    if not showing.as_json or showing.output is not None:
        lines = [_saved(saver, output, showing) for output in end.outputs]
    if not showing.as_json:
        words.finish(end.outputs, lines)
    if showing.open:
        for path in saver.saved:
            typer.launch(str(path))


def _saved(saver: Saver, output: Any, showing: Showing) -> str | None:
    """What stands for an output once it is saved: paths; `None` for one that is written out."""
    paths = saver.save(output)
    if paths is None and isinstance(output, str) and showing.output not in (None, STDOUT):
        saver.save_text(output)
    return paths


def _file_name(client: Client, id: str) -> str:
    from unspool.client import SdkError

    try:
        model = client.get(id).model.rpartition("/")[2]
    except SdkError:  # whoever was given a link to watch has no key to ask with
        model = "output"
    return f"{model}-{id[:8]}"


def _summary(end: Complete) -> str:
    took_ms = end.timings.get("inference")
    took = f" in {took_ms / 1000:.1f} s" if isinstance(took_ms, int | float) else ""
    used = "".join(f", {_number(count)} {one_line(name).replace('_', ' ')}" for name, count in end.usage.items())
    return f"completed{took}{used}"


def _number(value: Any) -> str:
    return f"{round(value, 2)}" if isinstance(value, int | float) else one_line(str(value))
