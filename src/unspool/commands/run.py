"""`unspool run`: submits a prediction and follows it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unspool.commands import completion
from unspool.commands.connection import connect
from unspool.commands.exits import told
from unspool.commands.follow import Showing, watch
from unspool.commands.inputs import BadValue, parse_inputs
from unspool.commands.options import (
    ApiKey,
    AsJson,
    Final,
    Interrupted,
    Logs,
    ModelId,
    OnInterrupt,
    Open,
    Output,
    Quiet,
    Url,
)
from unspool.commands.terminal import print_json

if TYPE_CHECKING:
    from unspool.client import Client, Model, Stream

Pairs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE",
        help="Inputs. The model's schema says how a value is read: text, numbers, true and false, JSON. `@FILE` is the"
        " text of a file, `-` the standard input; an input that is a file is a path or URL. `KEY:=…` is JSON.",
        autocompletion=completion.input_names,
    ),
]


def run(
    model: ModelId,
    inputs: Pairs = None,
    input_file: Annotated[
        str | None,
        typer.Option("--input", "-i", metavar="FILE", help="A file with the inputs as a JSON object; `-` is stdin."),
    ] = None,
    output: Output = None,
    open: Open = False,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Only submit, and print the id of the prediction.")
    ] = False,
    logs: Logs = False,
    quiet: Quiet = False,
    final: Final = False,
    on_interrupt: Interrupted = OnInterrupt.ASK,
    webhook_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Where the server sends the prediction when it ends.")
    ] = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="The same key with the same request gives the same prediction, for 24 hours."),
    ] = None,
    start_timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Seconds that it may wait for its start.")
    ] = None,
    run_timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Seconds that one attempt may take.")
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Runs a model and shows it at work: words as they come, a bar with stage, step and time left.

    Text is written to stdout, files are saved and their paths written to stdout; everything else goes to stderr.
    Ctrl-C asks whether to leave the prediction running or to cancel it. The exit code says how it ended.
    """
    showing = Showing(output, open, logs, quiet, final, as_json, on_interrupt)
    options: dict[str, Any] = {
        "webhook_url": webhook_url,
        "idempotency_key": idempotency_key,
        "start_timeout": start_timeout,
        "run_timeout": run_timeout,
    }
    with told(), connect(url, api_key) as client:
        known = _find(client, model)
        given = parse_inputs(inputs or (), known.schema if known else {}, _base(input_file))
        if detach:
            submitted = client.submit(model, given, **options)
            print_json({"id": submitted.id, "status": submitted.status}) if as_json else typer.echo(submitted.id)
            return
    with told(), connect(url, api_key, patient=True) as client:

        def open_stream() -> Stream:
            if known is not None and not known.streams:
                return client.follow(client.submit(model, given, **options).id)
            return client.stream(model, given, **options)

        watch(client, open_stream, showing)


def _find(client: Client, id: str) -> Model | None:
    """The model, or nothing: then the answer to the submit names those that are near."""
    return next((model for model in client.models() if model.id == id), None)


def _base(file: str | None) -> dict[str, Any]:
    """The inputs in a file."""
    if file is None:
        return {}
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        inputs = json.loads(text)
    except OSError as error:
        raise BadValue(f"Cannot read {file}: {error.strerror}.") from None
    except ValueError as error:
        raise BadValue(f"{file} is not JSON: {error}.") from None
    if not isinstance(inputs, dict):
        raise BadValue(f"{file} has to hold one JSON object, with the inputs by name.")
    return inputs
