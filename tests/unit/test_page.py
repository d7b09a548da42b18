"""The page of a model: whatever its author declares, there is one, and its example fits its schema."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unspool.api.page import example_of, page
from unspool.types import ModelInfo

SERVER = "http://127.0.0.1:8080"


def info(schema: dict[str, Any], readme: str = "", streams: tuple[str, ...] = ("output",)) -> ModelInfo:
    return ModelInfo(
        id="acme/x",
        schema=schema,
        streams=streams,
        readme=readme,
        slots=1,
        replicas=1,
        max_attempts=1,
        run_timeout_s=None,
    )


def of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def lines(schema: dict[str, Any]) -> list[str]:
    return [line for line in page(info(schema), SERVER).splitlines() if line.startswith("| `")]


def test_a_title_is_added_where_there_is_none() -> None:
    assert page(info({}, "Says things."), SERVER).startswith("# acme/x\n\nSays things.\n\n## Inputs\n")
    assert page(info({}, "# Mine\n\nSays things."), SERVER).startswith("# Mine\n")
    assert page(info({}, "## Part"), SERVER).startswith("# acme/x\n\n## Part")


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 9}, "integer, 1 to 9"),
        ({"type": "number", "exclusiveMinimum": 0}, "number, more than 0"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "integer or null"),
        ({"enum": ["a", 2]}, 'one of `"a"`, `2`'),
        ({"type": "array", "items": {"type": "array", "items": {"type": "boolean"}}}, "list of list of boolean"),
        ({"type": "string", "pattern": "a`|b"}, "string, like `` a`\\|b ``"),
        ({}, "any"),
        (True, "any"),
    ],
    ids=str,
)
def test_a_type_is_said_in_words(schema: Any, said: str) -> None:
    assert lines(of(x=schema)) == [f"| `x` | {said} | required |  |"]


def test_what_is_inside_an_input_follows_it() -> None:
    size = {"type": "object", "properties": {"w": {"type": "integer", "default": 8}}, "description": "Pixels."}
    schema = {**of(size={"$ref": "#/$defs/Size"}), "$defs": {"Size": size}}
    assert lines(schema) == ["| `size` | object | required | Pixels. |", "| `size.w` | integer | `8` |  |"]


def test_a_schema_that_contains_itself_has_a_page() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}, "required": ["next"]}
    assert len(lines({**of(node={"$ref": "#/$defs/Node"}), "$defs": {"Node": node}})) < 10


@pytest.mark.parametrize(
    "schema",
    [
        of(a={"type": "string", "minLength": 30, "maxLength": 40}),
        of(a={"type": "integer", "exclusiveMinimum": 0, "multipleOf": 8, "maximum": 64}),
        of(a={"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.5}),
        of(a={"type": "array", "minItems": 3, "items": {"type": "integer", "maximum": -5}}),
        of(a={"type": "boolean"}, b={"const": "x"}, c={"enum": [3]}),
        {"type": "object", "properties": {"p": {"type": "string"}, "q": {}}, "oneOf": [{"required": ["p"]}]},
        {"type": "object", "examples": [{"a": 1}]},
    ],
    ids=str,
)
def test_the_example_fits(schema: dict[str, Any]) -> None:
    example, certain = example_of(schema)
    assert certain
    assert jsonschema_rs.is_valid(schema, example)


def test_where_no_example_can_be_made_the_page_says_that_it_may_not_fit() -> None:
    text = page(info(of(code={"type": "string", "pattern": "^[A-Z]{3}$"})), SERVER)
    assert "Put values that suit the model" in text
    given_one = {"type": "string", "pattern": "^[A-Z]{3}$", "examples": ["ABC"]}
    assert "Put values that suit the model" not in page(info(of(code=given_one)), SERVER)


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3), lambda inner: st.lists(inner, max_size=2)
)
_schemas = st.recursive(
    st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["string", "integer", "number", "boolean", "array", "object", "null"]),
            "default": _json,
            "enum": st.lists(_json, min_size=1, max_size=2),
            "examples": st.lists(_json, max_size=2),
            "minimum": st.integers(-5, 5),
            "exclusiveMinimum": st.integers(-5, 5),
            "maximum": st.integers(-5, 5),
            "multipleOf": st.integers(1, 5) | st.floats(0.1, 2),
            "minLength": st.sampled_from([0, 1, 10**9]),
            "maxLength": st.integers(0, 5),
            "minItems": st.sampled_from([0, 1, 10**9]),
            "description": st.text(max_size=5),
            "$ref": st.sampled_from(["#/$defs/A", "#/$defs/B", "#/$defs/none"]),
            "x-ui-component": st.just("uploader"),
        },
    )
    | st.booleans(),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"type": st.just("array"), "items": inner}),
        st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=2)}),
        st.fixed_dictionaries(
            {
                "type": st.just("object"),
                "properties": st.dictionaries(st.text(max_size=4), inner, max_size=2),
                "required": st.lists(st.text(max_size=4), max_size=2),
            }
        ),
    ),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(max_size=4), _schemas, max_size=3), _schemas, _schemas, st.booleans())
def test_every_schema_has_a_page_of_one_table(properties: dict[str, Any], a: Any, b: Any, required: bool) -> None:
    """One page that cannot be made would take the list of all models down."""
    schema = {"type": "object", "properties": properties, "required": list(properties) if required else []}
    text = page(info({**schema, "$defs": {"A": a, "B": b}}, streams=("output", "log")), SERVER)
    assert text.count("```") == 12
    for line in text.split("\n"):
        if line.startswith("| `"):
            assert line.replace("\\|", "").count("|") == 5
    json.dumps(text)
