"""What the signature of a batched function says of one prediction.

Two ways to write one, told apart by the annotations:

    def classify(inputs: list[Input])                    Input has fields: they are the inputs of a prediction
    def embed(text: list[str], size: list[int])          each parameter is an input, with one entry per prediction
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, cast, get_args, get_origin, is_typeddict

import pydantic

from unspool.errors import ModelFileError

_LISTS = (list, Sequence, Iterable)


def entry(id: str, name: str, hint: Any) -> Any:
    """What a parameter has for each prediction: `T` of `list[T]`; anything, if it is not annotated.

    Raises:
        ModelFileError: it is annotated, and not as a list.
    """
    bare = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if bare is Any or bare is list:
        return Any
    if get_origin(bare) not in _LISTS:
        raise ModelFileError(
            f"model {id!r}: parameter {name!r} of a batched model gets a list with one entry for each prediction; "
            f"annotate it as list[…], what can be left out as list[Annotated[…, Field(default=…)]]"
        )
    if bare is not hint:
        raise ModelFileError(
            f"model {id!r}: what is said of parameter {name!r} is about each entry: write list[Annotated[…, Field(…)]]"
        )
    return get_args(bare)[0]


def has_fields(kind: Any) -> bool:
    """Whether it is a class whose fields can be the inputs of a prediction."""
    if not inspect.isclass(kind):
        return False
    return issubclass(kind, pydantic.BaseModel) or dataclasses.is_dataclass(kind) or is_typeddict(kind)


class _Whole(pydantic.RootModel[Any]):
    """Inputs that are validated as an object of the author's own class."""

    @classmethod
    def model_json_schema(cls, *_: Any, **__: Any) -> dict[str, Any]:
        """That of the class; fields that it does not have are refused, unless it says that it takes them."""
        kind: Any = cls.model_fields["root"].annotation
        schema = pydantic.TypeAdapter(kind).json_schema()
        return {"additionalProperties": False, **schema, "title": "Inputs"}


def whole_inputs(kind: Any) -> type[pydantic.BaseModel]:
    """The inputs of one prediction, made of a class with fields. `value_of` gives the object."""
    return cast(type[pydantic.BaseModel], pydantic.create_model("Inputs", __base__=_Whole, root=(kind, ...)))


def value_of(validated: pydantic.BaseModel) -> Any:
    """What stands for one prediction in the list that the function is called with."""
    return validated.root if isinstance(validated, _Whole) else validated


def fields_of(value: Any) -> Mapping[str, Any]:
    """The fields of such an object, by name; those of its own fields are not looked at."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, pydantic.BaseModel):
        return {name: getattr(value, name) for name in type(value).model_fields}
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
