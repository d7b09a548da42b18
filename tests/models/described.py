"""Models that are quick whatever they are given, for tests that try everything that the description allows."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from unspool import ModelError, Run, model


class Size(BaseModel):
    width: Annotated[int, Field(ge=1, le=64)] = 8
    height: Annotated[int, Field(ge=1, le=64)] = 8


@model("acme/picture", slots=8, category="text-to-image", price=0.01)
def picture(
    run: Run,
    prompt: Annotated[str, Field(max_length=200)],
    size: Size | None = None,
    style: Literal["plain", "loud"] = "plain",
    seeds: Annotated[list[int], Field(max_length=4)] = [],  # noqa: B006
) -> list[str]:
    """Makes no picture, but says which."""
    run.progress(50, stage="denoise", step=1, steps=2)
    run.log("half")
    return [f"{style}: {prompt}", *map(str, seeds)]


@model("talk", slots=8, category="text-to-text")
def talk(prompt: str = "", fail: bool = False):
    """Says everything again."""
    yield prompt
    if fail:
        raise ModelError("as you like")


@model("quiet", slots=8, streams=False)
def quiet(number: Annotated[float, Field(ge=-1e6, le=1e6)] = 0) -> float:
    """Does not stream."""
    return number
