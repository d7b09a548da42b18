"""`unspool keys …`: makes, shows, ends and replaces API keys, whether a server runs on the data folder or not."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import msgspec
import pydantic
import typer

from unspool.config import Settings
from unspool.errors import UnspoolError
from unspool.spool import open_keys
from unspool.spool.keys import Key, Keys, KeyState, OwnLimits, digest_of, new_text

MAX_NAME_LENGTH = 100
DAY_S = 24 * 3600

T = TypeVar("T")

app = typer.Typer(
    name="keys",
    help="API keys: who may use the server, and how much. Works while the server runs, which takes up each change"
    " within about a second.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

DataDir = Annotated[
    Path | None,
    typer.Option(help="The server's data folder [default: $UNSPOOL_DATA_DIR or unspool-data].", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]
Ref = Annotated[str, typer.Argument(help="The key's name, or its id.")]


def _limit(help: str) -> Any:
    return typer.Option(min=0, help=f"{help}; 0 is no limit [default: the server's setting].", show_default=False)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="A name to know it by.")],
    requests_per_minute: Annotated[int | None, _limit("Requests it may make in a minute")] = None,
    max_running: Annotated[int | None, _limit("Predictions that run at once; more of them wait")] = None,
    max_waiting: Annotated[int | None, _limit("Predictions that may wait")] = None,
    max_viewers: Annotated[int | None, _limit("Open streams of its predictions")] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Makes a key and shows it, this once: what is kept is a digest of it."""
    if not name.strip() or not name.isprintable() or len(name) > MAX_NAME_LENGTH:
        _fail(f"A name has 1 to {MAX_NAME_LENGTH} printable characters.")
    limits = OwnLimits(
        requests_per_minute=requests_per_minute,
        max_running=max_running,
        max_waiting=max_waiting,
        max_viewers=max_viewers,
    )
    text = new_text()
    key = _with_keys(data_dir, lambda keys: keys.create(name, digest_of(text), limits), make=True)
    _show_text(key, text, as_json)


@app.command(name="list")
def list_(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Shows all keys, also those that are revoked; never their texts."""
    keys = _with_keys(data_dir, lambda keys: keys.list())
    if as_json:
        typer.echo(json.dumps([_described(key) for key in keys], indent=2))
        return
    rows = [("ID", "NAME", "STATE", "CREATED", "LIMITS"), *(_row(key) for key in keys)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@app.command()
def revoke(ref: Ref, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Ends a key for ever. What it has submitted runs on; nobody can ask for it with this key any more."""
    key = _with_keys(data_dir, lambda keys: keys.revoke(ref))
    typer.echo(json.dumps(_described(key)) if as_json else f"Revoked: {key.name} ({key.id}).")


@app.command()
def rotate(
    ref: Ref,
    overlap_s: Annotated[float, typer.Option(min=0, help="How many seconds the old text stays good.")] = DAY_S,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Gives a key a new text and shows it, this once. Its id, its limits and its predictions stay."""
    text = new_text()
    key = _with_keys(data_dir, lambda keys: keys.rotate(ref, digest_of(text), overlap_s))
    _show_text(key, text, as_json)


def _with_keys(data_dir: Path | None, work: Callable[[Keys], Awaitable[T]], *, make: bool = False) -> T:
    """Does something with the keys of the data folder, which is made if need be, or must be there."""
    try:
        flags: dict[str, Any] = {} if data_dir is None else {"data_dir": data_dir}
        path = Settings(**flags).data_dir.absolute() / "unspool.db"
    except pydantic.ValidationError as error:
        _fail(f"A setting is wrong: {error.errors()[0]['msg']}")
    if not make and not path.exists():
        _fail(f"There are no keys in {path.parent}. Name the server's data folder with --data-dir.")

    async def do() -> T:
        async with open_keys(f"sqlite:///{path}") as keys:
            return await work(keys)

    try:
        return asyncio.run(do())
    except UnspoolError as error:
        _fail(str(error))


def _show_text(key: Key, text: str, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({**_described(key), "key": text}))
        return
    typer.echo(f"The key of {key.name} ({key.id}). It is not shown again:", err=True)
    typer.echo(text)


def _described(key: Key) -> dict[str, Any]:
    """A key for programs. `valid_until` has an entry for each text that is good: null is for ever."""
    return {
        "id": key.id,
        "name": key.name,
        "state": key.state,
        "created_at": _time(key.created_at_ns),
        "revoked_at": None if key.revoked_at_ns is None else _time(key.revoked_at_ns),
        "limits": _own(key),
        "valid_until": [None if until is None else _time(until) for until in _good_until(key)],
    }


def _row(key: Key) -> tuple[str, ...]:
    limits = ", ".join(f"{name}={value}" for name, value in _own(key).items())
    old = [until for until in _good_until(key) if until is not None]
    state = f"{key.state}, old text until {_time(max(old))}" if old else str(key.state)
    return (key.id, key.name, state, _time(key.created_at_ns), limits or "the server's")


def _own(key: Key) -> dict[str, int]:
    return {name: value for name, value in msgspec.structs.asdict(key.limits).items() if value is not None}


def _good_until(key: Key) -> list[int | None]:
    if key.state is not KeyState.ACTIVE:
        return []
    now = time.time_ns()
    return [text.expires_at_ns for text in key.texts if text.expires_at_ns is None or text.expires_at_ns > now]


def _time(time_ns: int) -> str:
    return f"{datetime.fromtimestamp(time_ns // 10**9, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _fail(message: str) -> NoReturn:
    typer.echo(f"unspool: {message}", err=True)
    raise typer.Exit(1)
