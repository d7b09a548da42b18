"""`unspool models` and `unspool readme`."""

from __future__ import annotations

import sys

from unspool.commands.completion import first_line
from unspool.commands.connection import connect
from unspool.commands.exits import told
from unspool.commands.options import ApiKey, AsJson, ModelId, Url
from unspool.commands.predictions import plain, plain_table
from unspool.commands.terminal import one_line, out, print_json, print_table

BADGES = {"output": "green", "progress": "cyan", "log": "yellow"}


def models(as_json: AsJson = False, url: Url = None, api_key: ApiKey = None) -> None:
    """Lists the models of the server, and what each of them streams."""
    with told(), connect(url, api_key) as client:
        found = client.models()
        if as_json:
            for model in found:
                print_json({"id": model.id, **plain(model)})
            return
        table = plain_table("MODEL", "STREAMS", "TYPE", "ABOUT")
        for model in found:
            badges = " ".join(f"[{BADGES.get(name, 'dim')}]{name}[/]" for name in model.streams) or "[dim]-[/]"
            about = one_line(first_line(model.description))
            table.add_row(model.id, badges, model.type, about.replace("[", "\\["))
        print_table(table)


def readme(model: ModelId, url: Url = None, api_key: ApiKey = None) -> None:
    """Shows the page of a model: what it does, its inputs, how to call it. Where it is piped to, as markdown."""
    with told(), connect(url, api_key) as client:
        text = client.readme(model)
        if sys.stdout.isatty():
            from rich.markdown import Markdown

            out().print(Markdown(text))
        else:
            sys.stdout.write(text if text.endswith("\n") else text + "\n")
