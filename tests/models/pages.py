"""Models whose pages have samples with everything that is hard to write down in a program."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from unspool import Accept, File, model


class Scene(BaseModel):
    """One scene of a film."""

    caption: Annotated[str, Field(examples=['It\'s "late"; $HOME `date` \\ \n 你好 🐈 \u2028'])]
    seconds: Annotated[float, Field(gt=0, le=60)]


@model("pages/film", slots=8)
def film(
    scenes: Annotated[list[Scene], Field(min_length=2)],
    loud: bool,
    style: Literal["plain | simple", "loud"],
    title: Annotated[str | None, Field(max_length=20)] = None,
) -> dict[str, Any]:
    """Says what it was given."""
    return {"scenes": [scene.model_dump() for scene in scenes], "loud": loud, "style": style, "title": title}


@model("pages/collage", slots=8)
def collage(front: Annotated[File, Accept("image/*")], others: list[File]) -> Iterator[str]:
    """Says what is in its files."""
    for file in (front, *others):
        yield file.read_bytes().decode() + " "


@model("pages/quiet", slots=8, streams=False)
def quiet(number: Annotated[int, Field(ge=7, description="how | many")] = 7) -> int:
    """Says its number."""
    return number
