"""The command line: `unspool serve` and `unspool demo` are here, the other commands in modules of their own.

What a command needs is imported when it runs: `unspool --help` and the commands that only talk to a server do not wait
for the server's parts.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer
from typer.core import TyperGroup

from unspool import __version__
from unspool.commands import follow, init, models, predictions, run, webhooks
from unspool.commands.lazily import LateEpilog, LateGroup
from unspool.errors import UnspoolError

if TYPE_CHECKING:
    from unspool.config import Settings

DEMO_MODEL = "smollm2/135m-instruct"


def _settings_table() -> str:
    """Every setting with its variable, default and meaning, for `--help`."""
    from unspool.config import Settings

    lines = ["Settings, by environment variable:", ""]
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        shown = "none" if default in (None, []) else f"{default}"
        if default and isinstance(default, list):
            shown = ",".join(f"{item:g}" for item in default)
        lines.append(f"UNSPOOL_{name.upper()} — {field.description} [default: {shown}]\n")
    return "\n".join(lines)


def _keys() -> typer.Typer:
    from unspool import cli_keys

    return cli_keys.app


class _Commands(TyperGroup):
    """All commands, those included that are imported late."""

    def __init__(self, **attrs: Any) -> None:
        super().__init__(**attrs)
        self.add_command(LateGroup("keys", "API keys: who may use the server, and how much.", _keys, **_ON_SERVER))


_ON_SERVER: Any = {"rich_help_panel": "The server"}
_OF_PREDICTIONS: Any = {"rich_help_panel": "Predictions"}
_OF_MODELS: Any = {"rich_help_panel": "Models"}

app = typer.Typer(
    name="unspool",
    cls=_Commands,
    help="Any generative model behind one HTTP API, with a live stream that survives disconnects and restarts.",
    epilog="`UNSPOOL_URL` names the server, `UNSPOOL_API_KEY` the key. The server's settings: `unspool serve --help`.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,
)
for command, panel in (
    (run.run, _OF_PREDICTIONS),
    (follow.follow, _OF_PREDICTIONS),
    (predictions.ps, _OF_PREDICTIONS),
    (predictions.cancel, _OF_PREDICTIONS),
    (predictions.logs, _OF_PREDICTIONS),
    (models.models, _OF_MODELS),
    (models.readme, _OF_MODELS),
    (init.init, _OF_MODELS),
):
    app.command(**panel)(command)
app.add_typer(webhooks.app, **_OF_PREDICTIONS)

Host = Annotated[str | None, typer.Option(help="Address to listen on [default: 127.0.0.1].", show_default=False)]
Port = Annotated[int | None, typer.Option(help="Port to listen on; 0 picks one [default: 8080].", show_default=False)]
DataDir = Annotated[
    Path | None, typer.Option(help="Folder for everything that lasts [default: unspool-data].", show_default=False)
]


@app.command(cls=LateEpilog, epilog=_settings_table, **_ON_SERVER)  # type: ignore[arg-type]
def serve(
    file: Annotated[str, typer.Argument(help="A Python file with models, or the dotted name of a module.")],
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
) -> None:
    """Serves the models of a file."""
    _serve(file, _settings(host=host, port=port, data_dir=data_dir))


@app.command(cls=LateEpilog, epilog=_settings_table, **_ON_SERVER)  # type: ignore[arg-type]
def demo(host: Host = None, port: Port = None, data_dir: DataDir = None) -> None:
    """Serves a small language model, fetched once, and a small video model, to try everything with."""
    settings = _settings(host=host, port=port, data_dir=data_dir)
    try:
        from unspool.demo.weights import smollm2

        smollm2()
    except ImportError as error:
        _fail(f'The demo needs a runtime for its model: pip install "unspool[demo]" ({error})')
    except UnspoolError as error:
        _fail(str(error))
    _serve("unspool.demo.app", settings, example_model=DEMO_MODEL)


def _settings(**flags: Any) -> Settings:
    import pydantic

    from unspool.config import Settings

    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except pydantic.ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        _fail(f"A setting is wrong: {wrong}")
        raise


def _serve(file: str, settings: Settings, example_model: str | None = None) -> None:
    import uvloop

    from unspool.log_lines import configure_logging
    from unspool.server import serve

    configure_logging(settings.log_level)

    def listening(url: str, key: str | None) -> None:
        print(f"Listening on {url}", flush=True)  # noqa: T201
        if key is None:
            print("No API key is needed: UNSPOOL_AUTH is off.", flush=True)  # noqa: T201
        elif settings.api_key is None:
            print(f"API key: {key}", flush=True)  # noqa: T201
        if settings.playground:
            print(f"Playground: {_link(url, key, settings)}", flush=True)  # noqa: T201
        if example_model is not None:
            print(f"\nTry it:\n\n{_curl(url, key, example_model)}\n", flush=True)  # noqa: T201

    try:
        uvloop.run(serve(file, settings, listening))
    except UnspoolError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"Cannot listen on {settings.host}:{settings.port}: {error}")


def _link(url: str, key: str | None, settings: Settings) -> str:
    """The page to try the models with. A key that the operator has chosen is not shown."""
    shown = key is not None and settings.api_key is None
    return f"{url}/#key={quote(key or '', safe='')}" if shown else f"{url}/"


def _curl(url: str, key: str | None, model: str) -> str:
    body = '{"prompt": "Why is the sky blue?", "stream": true}'
    authorization = "" if key is None else f"-H {shlex.quote(f'Authorization: Bearer {key}')} "
    return (
        f"curl -N {url}/api/v3/{model} \\\n"
        f"  {authorization}-H 'Content-Type: application/json' \\\n"
        f"  --data-raw {shlex.quote(body)}"
    )


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"unspool {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """Any generative model behind one HTTP API, with a live stream that survives disconnects and restarts."""


def _fail(message: str) -> None:
    typer.echo(f"unspool: {message}", err=True)
    sys.stderr.flush()
    raise typer.Exit(1)


def main() -> None:
    """The `unspool` command."""
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    app(prog_name="unspool")


if __name__ == "__main__":
    main()
