"""Options that several commands have, each declared once."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from unspool.commands import completion


class OnInterrupt(StrEnum):
    """What Ctrl-C does to a prediction that is followed."""

    ASK = "ask"
    LEAVE = "leave"
    CANCEL = "cancel"


Url = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="The server [default: $UNSPOOL_URL or http://127.0.0.1:8080].", show_default=False
    ),
]
ApiKey = Annotated[
    str | None, typer.Option(help="The API key [default: $UNSPOOL_API_KEY].", show_default=False, metavar="KEY")
]
AsJson = Annotated[bool, typer.Option("--json", help="One line of JSON for each event or entry, and nothing else.")]
ModelId = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="The model's id, as in acme/countdown.", autocompletion=completion.model_ids),
]
PredictionId = Annotated[
    str, typer.Argument(metavar="ID", help="The prediction's id.", autocompletion=completion.prediction_ids)
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="PATH",
        help="Where to save the outputs: a file, or a folder. `-` writes a file's bytes to stdout. Without it, files"
        " are saved in the current folder and text is not saved.",
    ),
]
Open = Annotated[bool, typer.Option("--open", help="Open saved files with the program for their kind.")]
Logs = Annotated[bool, typer.Option("--logs", help="Show every log line of the model; else warnings and errors only.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Nothing on stderr but what went wrong.")]
Final = Annotated[
    bool,
    typer.Option("--final", help="Write text when the prediction has completed, not as it comes."),
]
Interrupted = Annotated[
    OnInterrupt,
    typer.Option(help="What Ctrl-C does. Where nobody can be asked, `ask` leaves the prediction running."),
]
