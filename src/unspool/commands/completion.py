"""What a shell completes: ids of models and predictions, and names of inputs, as the server knows them.

The server is asked with a short time-out, and whatever goes wrong means that nothing is proposed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import typer

from unspool.commands.connection import connect

if TYPE_CHECKING:
    from unspool.client import Client

TIMEOUT_S = 1.5
MAX_PREDICTIONS = 30


def model_ids(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """The models, each with the first line of what its author says."""
    with suppress(Exception), _client(ctx) as client:
        return [(m.id, first_line(m.description)) for m in client.models() if m.id.startswith(incomplete)]
    return []


def prediction_ids(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """The latest predictions, each with its model and status."""
    with suppress(Exception), _client(ctx) as client:
        latest = client.list(page_size=MAX_PREDICTIONS).page().items
        return [(p.id, f"{p.model} {p.status}") for p in latest if p.id.startswith(incomplete)]
    return []


def input_names(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """The inputs of the model that stands before, as `name=`; behind the `=`, the values that it may have."""
    from unspool.commands.inputs import alternatives

    with suppress(Exception), _client(ctx) as client:
        schema = client.model(ctx.params["model"]).schema
        fields: dict[str, Any] = schema.get("properties", {})
        name, equals, _ = incomplete.partition("=")
        if not equals:
            found = [(f"{key}=", first_line(field.get("description", ""))) for key, field in fields.items()]
        else:
            kinds = alternatives(fields.get(name, {}), schema)
            found = [(f"{name}={value}", "") for kind in kinds for value in _values(kind)]
        return [(text, help) for text, help in found if text.startswith(incomplete)]
    return []


def _values(kind: dict[str, Any]) -> list[str]:
    if kind.get("type") == "boolean":
        return ["true", "false"]
    options = [kind["const"]] if "const" in kind else kind.get("enum", [])
    return [option if isinstance(option, str) else json.dumps(option) for option in options]


@contextmanager
def _client(ctx: typer.Context) -> Iterator[Client]:
    with connect(ctx.params.get("url"), ctx.params.get("api_key"), timeout_s=TIMEOUT_S) as client:
        yield client


def first_line(markdown: str) -> str:
    """The first line of prose, or the title if there is none."""
    lines = [line.strip() for line in markdown.splitlines() if line.strip()]
    return next((line for line in lines if line[0] not in "#<![|"), lines[0].lstrip("# ") if lines else "")
