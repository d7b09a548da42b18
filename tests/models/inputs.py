"""Models with inputs that are more than text and numbers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from unspool import model


class Scene(BaseModel):
    """One scene of a film. Takes no other fields."""

    model_config = ConfigDict(extra="forbid")

    caption: str
    seconds: float = 1


class Size(BaseModel):
    """Pixels."""

    width: Annotated[int, Field(ge=1)]
    height: Annotated[int, Field(ge=1)]


class Even(BaseModel):
    """What only pydantic can check."""

    number: int

    @field_validator("number")
    @classmethod
    def _is_even(cls, number: int) -> int:
        if number % 2:
            raise ValueError("must be even")
        return number


@model("inputs/nested", slots=4)
def nested(scenes: list[Scene], size: Size) -> dict[str, Any]:
    """Objects in a list."""
    return {"scenes": len(scenes), "pixels": size.width * size.height}


@model("inputs/extras", slots=4)
def extras(known: str, **others: Any) -> dict[str, Any]:
    """Takes whatever it is given."""
    return {"known": known, **others}


@model("inputs/validator", slots=4)
def validator(even: Even) -> int:
    """The JSON schema does not say that it must be even."""
    return even.number
