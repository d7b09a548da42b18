"""`key=value` becomes what the model's schema says."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, create_model

from unspool import File
from unspool.commands.inputs import BadValue, parse_inputs


class Layer(BaseModel):
    opacity: float = 1


def parse(annotation: Any, *values: str, base: dict[str, Any] | None = None) -> Any:
    """What `x=value` gives for an input of that type."""
    schema = create_model("Inputs", x=(annotation, ...)).model_json_schema()
    return parse_inputs([f"x={value}" for value in values], schema, base)["x"]


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (str, "a red fox", "a red fox"),
        (str, "5", "5"),
        (str, "", ""),
        (str, "a=b", "a=b"),
        (str, "null", "null"),
        (str, "@@home", "@home"),
        (int, "5", 5),
        (int, "-5", -5),
        (Annotated[int, Field(ge=1)] | None, "5", 5),
        (int | None, "null", None),
        (float, "0.5", 0.5),
        (float, "1e-3", 0.001),
        (float, "5", 5),
        (bool, "true", True),
        (bool, "No", False),
        (bool, "0", False),
        (Literal["small", "large"], "large", "large"),
        (Literal[1, 2], "2", 2),
        (list[int], "[1, 2]", [1, 2]),
        (list[int], "3", [3]),
        (list[str], "a,b", ["a,b"]),
        (dict[str, int], '{"a": 1}', {"a": 1}),
        (Layer, '{"opacity": 0.5}', {"opacity": 0.5}),
        (Layer | None, '{"opacity": 0.5}', {"opacity": 0.5}),
        (int | str, "7", 7),
        (int | str, "seven", "seven"),
        (Any, "7", 7),
        (Any, "seven", "seven"),
        (File, "https://example.com/a.png", "https://example.com/a.png"),
        (File, "data:image/png;base64,AA", "data:image/png;base64,AA"),
    ],
)
def test_a_value_has_the_type_of_its_input(annotation: Any, text: str, value: Any) -> None:
    parsed = parse(annotation, text)
    assert (type(value), value) == (type(parsed), parsed)


@pytest.mark.parametrize(
    ("annotation", "text", "advice"),
    [
        (int, "many", "whole number"),
        (int, "1.5", "whole number"),
        (float, "nan", "a number"),
        (bool, "maybe", "true or false"),
        (list[int], "[1, 2", "JSON"),
        (dict[str, int], "a", "JSON"),
        (str, "@nowhere.txt", "@@"),
        (File, "nowhere.png", "no such file"),
    ],
)
def test_a_value_that_cannot_be_that_is_refused_with_advice(annotation: Any, text: str, advice: str) -> None:
    with pytest.raises(BadValue, match=advice):
        parse(annotation, text)


def test_a_list_is_a_key_given_more_than_once() -> None:
    assert parse(list[int], "1", "2") == [1, 2]
    assert parse(list[str], "a", "[b]") == ["a", "[b]"]
    with pytest.raises(BadValue, match="2 times"):
        parse(int, "1", "2")


def test_text_comes_from_a_file_or_from_stdin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "prompt.txt").write_text("a ❤ fox\n", encoding="utf-8")
    assert parse(str, f"@{tmp_path}/prompt.txt") == "a ❤ fox\n"
    monkeypatch.setattr("sys.stdin", io.StringIO("from elsewhere"))
    assert parse(str, "-") == "from elsewhere"


def test_a_file_input_is_a_path_with_or_without_an_at(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    assert tmp_path / "a.png" == parse(File, f"{tmp_path}/a.png") == parse(File | None, f"@{tmp_path}/a.png")
    assert parse(list[File], f"{tmp_path}/a.png", "https://e.org/b.png") == [tmp_path / "a.png", "https://e.org/b.png"]


def test_json_is_given_as_it_is_with_a_colon() -> None:
    assert parse_inputs(["x:=null"], {"properties": {"x": {"type": "string"}}}, {"y": "kept"}) == {
        "x": None,
        "y": "kept",
    }
    with pytest.raises(BadValue, match="not JSON"):
        parse_inputs(["x:=nul"], {})


@pytest.mark.parametrize("pair", ["prompt", "=x", "webhook_url=https://example.com", "stream=true"])
def test_what_is_no_input_is_refused_with_what_to_do(pair: str) -> None:
    with pytest.raises(BadValue, match="is not an input"):
        parse_inputs([pair], {})
