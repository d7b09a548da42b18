"""`unspool doctor URL`: what between here and the server buffers, compresses or cuts streams, and what to change."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from unspool.doctor import Finding, Level, Report

DEFAULT_URL = "http://127.0.0.1:8080"
SIGNS: dict[Level, tuple[str, str]] = {
    "ok": ("✓", "green"),
    "note": ("•", "yellow"),
    "found": ("✗", "bold red"),
    "unknown": ("?", "magenta"),
}
VERDICTS = {
    0: "All well.",
    1: "Something is to be mended, and the lines to change stand above.",
    2: "Not everything could be measured.",
}


def doctor(
    url: Annotated[
        str, typer.Argument(envvar="UNSPOOL_URL", help="The server, as clients reach it.", show_default=False)
    ] = DEFAULT_URL,
    api_key: Annotated[
        str | None, typer.Option(envvar="UNSPOOL_API_KEY", help="An API key of the server.", show_default=False)
    ] = None,
    idle_s: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=400,
            help="Longest silence to try, in seconds; 0 tries none [default: the server's keep-alive and 5 s].",
            show_default=False,
        ),
    ] = None,
    body_bytes: Annotated[int, typer.Option(min=1, help="Size of the request body to try.")] = 2_000_000,
    timeout_s: Annotated[float, typer.Option(min=0.1, help="How long a connection may take, in seconds.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Answer in JSON.")] = False,
) -> None:
    """Measures whether anything between here and a server buffers, compresses or cuts streams.

    Says which line of which proxy's configuration to change. Ends with 0 when all is well, 1 when something is to be
    mended, 2 when it could not be told.
    """
    from rich.console import Console

    from unspool.doctor import examine

    console = Console(stderr=True)
    waiting = f"Measuring the way to {url}" + ("" if idle_s == 0 else ", silences too: this takes a while")
    with console.status(waiting):
        examining = examine(
            _with_scheme(url), api_key or None, idle_s=idle_s, body_bytes=body_bytes, timeout_s=timeout_s
        )
        report = asyncio.run(examining)
    if as_json:
        typer.echo(json.dumps(report.as_dict(), indent=2, ensure_ascii=False))
    else:
        show(report, Console(no_color=True if os.environ.get("NO_COLOR") else None, highlight=False))
    raise typer.Exit(report.exit_code)


def show(report: Report, console: Console) -> None:
    """For people: a line for each check, and under it what to change."""
    from rich.text import Text

    for finding in report.findings:
        console.print(_line(finding), soft_wrap=True)
        for advice in finding.advice:
            console.print(Text(f"    in {advice.where}: {advice.line}"), soft_wrap=True)
    between = " and ".join(report.proxies) or "nothing that shows itself"
    console.print(Text(f"\nBetween here and the server: {between}. {VERDICTS[report.exit_code]}"), soft_wrap=True)


def _line(finding: Finding) -> Text:
    from rich.text import Text

    sign, style = SIGNS[finding.level]
    return Text.assemble((f"{sign} ", style), (f"{finding.check}: ", "bold"), finding.said)


def _with_scheme(url: str) -> str:
    return url if "://" in url else f"https://{url}"
