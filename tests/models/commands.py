"""Models that show each thing that the command line shows."""

from __future__ import annotations

from typing import Annotated, Literal

from gates import wait_for_gate
from pydantic import Field
from words import again, words

from unspool import File, ModelError, Run, model

__all__ = ["again", "words"]


@model("say/letters", slots=4)
def letters(count: int):
    """Says very much."""
    for _ in range(count):
        yield "x" * 1000 + "\n"


@model("show/bar", slots=8)
def bar(run: Run, gate: str | None = None) -> dict[str, str]:
    """Goes through two stages; waits in each of them."""
    run.progress(25, stage="denoise", step=5, steps=20, eta_seconds=75)
    run.log("a secret of the house")
    run.log("half of it is blue", "warning")
    wait_for_gate(run, gate, 1)
    run.progress(90, stage="encode")
    wait_for_gate(run, gate, 2)
    return {"made": "it"}


@model("make/files", slots=4)
def files(names: list[str], text: str | None = None) -> list[File | str]:
    """Makes a file of each name."""
    made: list[File | str] = [File(data=name.encode(), filename=name) for name in names]
    return made if text is None else [*made, text]


@model("take/inputs", slots=4)
def inputs(
    text: str,
    count: Annotated[int, Field(ge=0)] = 1,
    scale: float = 1,
    on: bool = False,
    mood: Literal["calm", "wild"] = "calm",
    sizes: list[int] | None = None,
    options: dict[str, int] | None = None,
    file: File | None = None,
) -> dict[str, object]:
    """Returns what it was given."""
    given = {"text": text, "count": count, "scale": scale, "on": on, "mood": mood, "sizes": sizes, "options": options}
    return {**given, "file": file and file.read_bytes().decode()}


@model("go/wrong", slots=4)
def wrong(message: str = "The picture could not be made.") -> str:
    """Fails."""
    raise ModelError(message)


@model("go/nowhere", slots=4, streams=False)
def nowhere(prompt: str = "x") -> str:
    """Does not stream."""
    return prompt
