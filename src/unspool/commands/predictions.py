"""`unspool ps`, `unspool cancel` and `unspool logs`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import chain, islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unspool.commands import completion
from unspool.commands.connection import connect
from unspool.commands.exits import ExitCode, fail, told
from unspool.commands.options import ApiKey, AsJson, PredictionId, Url
from unspool.commands.terminal import harmless, one_line, out, print_json, print_table
from unspool.commands.view import LEVELS, duration, line_of
from unspool.states import Status

if TYPE_CHECKING:
    from rich.table import Table

    from unspool.client import Client, Prediction

WATCH_INTERVAL_S = 1.0
MAX_PAGE_SIZE = 100
STYLES = {"processing": "cyan", "completed": "green", "failed": "red", "timeout": "red", "cancelled": "yellow"}
UNFINISHED = [Status.CREATED, Status.PROCESSING]

Rows = Callable[[], "list[Prediction]"]


def ps(
    every: Annotated[bool, typer.Option("--all", "-a", help="Those that have ended, too.")] = False,
    status: Annotated[
        list[Status] | None, typer.Option(help="Only with this status; may be given more than once.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Only of this model.", autocompletion=completion.model_ids)] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many, the newest first.")] = 50,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Go on until Ctrl-C. With --json: a line for each that has changed.")
    ] = False,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Lists predictions, the newest first: those that wait or run, or all of them."""
    if watch and not as_json and not sys.stdout.isatty():
        fail("--watch needs a terminal. With --json it writes a line for each change.", ExitCode.USAGE)
    wanted: Sequence[Status | None] = status or ([None] if every else UNFINISHED)
    with told(), connect(url, api_key) as client:

        def rows() -> list[Prediction]:
            return _latest(client, wanted, model, limit)

        if watch:
            _watch(rows, as_json)
        elif as_json:
            for prediction in rows():
                print_json(plain(prediction))
        else:
            print_table(_table(rows()))


def _latest(client: Client, wanted: Sequence[Status | None], model: str | None, limit: int) -> list[Prediction]:
    size = min(limit, MAX_PAGE_SIZE)
    found = (islice(client.list(status=status, model=model, page_size=size), limit) for status in wanted)
    return sorted(chain.from_iterable(found), key=lambda one: one.created_at, reverse=True)[:limit]


def _watch(rows: Rows, as_json: bool) -> None:
    try:
        _watch_lines(rows) if as_json else _watch_table(rows)
    except KeyboardInterrupt:
        raise typer.Exit from None


def _watch_lines(rows: Rows) -> None:
    said: dict[str, Any] = {}
    while True:
        for prediction in reversed(rows()):
            if said.get(prediction.id) != prediction:
                said[prediction.id] = prediction
                print_json(plain(prediction))
        time.sleep(WATCH_INTERVAL_S)


def _watch_table(rows: Rows) -> None:
    from rich.live import Live

    with Live(console=out(), auto_refresh=False) as live:
        while True:
            live.update(_table(rows()), refresh=True)
            time.sleep(WATCH_INTERVAL_S)


def _table(rows: list[Prediction]) -> Table:
    table = plain_table("ID", "MODEL", "STATUS", "%", "ATTEMPT", "AGE")
    for one in rows:
        status = f"[{STYLES.get(one.status, 'dim')}]{one.status}[/]"
        table.add_row(
            one.id, one_line(one.model), status, f"{one.progress:.0f}", str(one.attempt), _age(one.created_at)
        )
    return table


def plain_table(*columns: str) -> Table:
    """A table without lines, which other programs can take apart as well. If it is too wide, its last column wraps."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=column != columns[-1])
    return table


def plain(value: Any) -> dict[str, Any]:
    """What the SDK gave, as JSON types."""
    from msgspec import to_builtins

    values: dict[str, Any] = to_builtins(value)
    return values


def _age(created_at: str) -> str:
    begun = datetime.fromisoformat(created_at[:19]).replace(tzinfo=UTC)
    return duration(max(0.0, (datetime.now(UTC) - begun).total_seconds()))


def cancel(
    ids: Annotated[
        list[str], typer.Argument(metavar="ID…", help="Predictions.", autocompletion=completion.prediction_ids)
    ],
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Cancels predictions. One that runs stops within seconds; one that has ended stays as it is."""
    from unspool.client import ApiError

    wrong: ApiError | None = None
    with told(), connect(url, api_key) as client:
        for id in ids:
            try:
                prediction = client.cancel(id)
            except ApiError as error:
                typer.echo(f"unspool: {id}: {error}", err=True)
                wrong = error
            else:
                print_json(plain(prediction)) if as_json else typer.echo(_cancelled(prediction))
        if wrong is not None:
            raise wrong


def _cancelled(prediction: Prediction) -> str:
    if prediction.status in (*UNFINISHED, Status.CANCELLED):
        return f"{prediction.id} {'is being' if prediction.status != Status.CANCELLED else 'was'} cancelled"
    return f"{prediction.id} had ended: {prediction.status}"


def logs(
    id: PredictionId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for more lines, until it ends.")] = False,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Writes the log of a prediction: what its model printed and logged."""
    with told(), connect(url, api_key) as client:
        if follow:
            _follow_log(client, id, as_json)
        else:
            for entry in client.get(id, logs=True).logs or []:
                _log_line({"type": "log", **entry}, as_json)


def _follow_log(client: Client, id: str, json: bool) -> None:
    try:
        for event in client.follow(id):
            if event.type == "log":
                _log_line(line_of(event), json)
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None


def _log_line(entry: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(entry)
    else:
        style = LEVELS.get(entry["level"], "")
        line = f"{entry['timestamp']} {entry['level']:7} {harmless(entry['message'])}"
        out().print(line, style=style, markup=False, soft_wrap=True)
