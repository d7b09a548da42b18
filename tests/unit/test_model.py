"""How a function or class becomes a model, and what a run of it can say."""

import contextlib
import dataclasses
import functools
import json
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unspool import model as public_model
from unspool.bars import Bars
from unspool.errors import ModelFileError
from unspool.model import (
    MARK,
    RESERVED_FIELDS,
    RESERVED_SEGMENTS,
    Cancelled,
    Model,
    Run,
    find_models,
    make_model,
    model,
    to_json,
)
from unspool.states import Status
from unspool.types import ModelInfo


def nothing() -> None:
    """Does nothing."""


# Declaring a model


def test_the_decorator_returns_the_function_unchanged():
    def countdown(start: int = 10) -> None: ...

    assert public_model("acme/countdown")(countdown) is countdown
    assert getattr(countdown, MARK).id == "acme/countdown"


def test_what_a_declaration_says_reaches_the_http_side():
    def shout(text: str, times: int = 2) -> str:
        """Shouts.

        Loudly.
        """
        return text.upper() * times

    declared = make_model("acme/shout", shout, slots=4, replicas=2, max_attempts=3, run_timeout_s=1.5)
    assert declared.info() == ModelInfo(
        id="acme/shout",
        schema={
            "type": "object",
            "title": "Inputs",
            "additionalProperties": False,
            "properties": {
                "text": {"title": "Text", "type": "string"},
                "times": {"title": "Times", "type": "integer", "default": 2},
            },
            "required": ["text"],
        },
        streams=("progress", "log"),
        readme="Shouts.\n\nLoudly.",
        slots=4,
        replicas=2,
        max_attempts=3,
        run_timeout_s=1.5,
    )


def test_the_defaults_are_one_slot_one_process_and_two_attempts():
    declared = make_model("m", nothing)
    assert (declared.slots, declared.replicas, declared.max_attempts, declared.run_timeout_s) == (1, 1, 2, None)


@pytest.mark.parametrize(
    "id",
    [
        "m",
        "M",
        "0",
        "a/b",
        "a/b/c/d",
        "acme/video/t2v-480p",
        "llama-3.1_8B",
        "a/models",
        "modelsx",
        "stream/a",
        "x" * 200,
    ],
)
def test_an_id_is_one_or_more_segments(id: str):
    assert make_model(id, nothing).id == id


@pytest.mark.parametrize(
    "id",
    [
        "",
        "/",
        "a/",
        "/a",
        "a//b",
        " a",
        "a ",
        "a b",
        "a\n",
        "a?b",
        "a%20b",
        "ä",
        "-a",
        ".a",
        "a/..",
        "_a",
        "x" * 201,
        "a/٣",
    ],
)
def test_an_id_that_is_no_path_is_refused(id: str):
    with pytest.raises(ModelFileError, match="use segments of letters"):
        make_model(id, nothing)


@pytest.mark.parametrize("segment", sorted(RESERVED_SEGMENTS))
def test_the_paths_of_the_api_itself_are_reserved(segment: str):
    for id in (segment, f"{segment}/a"):
        with pytest.raises(ModelFileError, match="is a path of the API itself"):
            make_model(id, nothing)


def test_the_reserved_words_are_those_of_the_wire():
    assert sorted(RESERVED_FIELDS) == ["enable_base64_output", "enable_sync_mode", "stream", "webhook_url"]
    assert sorted(RESERVED_SEGMENTS) == [
        "account",
        "balance",
        "billings",
        "media",
        "model",
        "models",
        "predictions",
        "upload",
        "user",
        "webhook",
    ]


@pytest.mark.parametrize("id", ["stream", "a/stream"])
def test_a_last_segment_that_means_streaming_is_refused(id: str):
    with pytest.raises(ModelFileError, match="means the stream of the model before it"):
        make_model(id, nothing)


@pytest.mark.parametrize("name", sorted(RESERVED_FIELDS))
def test_an_input_of_a_name_that_the_api_uses_is_refused(name: str):
    made: dict[str, Any] = {}
    exec(f"def target({name}: str): ...", made)
    with pytest.raises(ModelFileError, match=f"an input cannot be called '{name}'"):
        make_model("m", made["target"])


@pytest.mark.parametrize("option", ["slots", "replicas", "max_attempts"])
@pytest.mark.parametrize("value", [0, -1])
def test_counts_begin_at_one(option: str, value: int):
    with pytest.raises(ModelFileError, match=f"{option}={value} must be 1 or more"):
        make_model("m", nothing, **{option: value})


@pytest.mark.parametrize("value", [0, -1.5])
def test_a_run_timeout_is_more_than_nothing(value: float):
    with pytest.raises(ModelFileError, match="must be more than 0"):
        make_model("m", nothing, run_timeout_s=value)


def test_two_models_of_one_file_need_two_ids():
    def one() -> None: ...

    def two() -> None: ...

    namespace = {"one": model("m")(one), "two": model("m")(two)}
    with pytest.raises(ModelFileError, match="two models are called 'm'"):
        find_models(namespace)


def test_the_models_of_a_file_are_found_in_order_and_once():
    def one() -> None: ...

    def two() -> None: ...

    namespace = {"b": model("b")(one), "x": 1, "a": model("a")(two), "again": one, "none": None, "class": int}
    assert [found.id for found in find_models(namespace)] == ["b", "a"]


def test_a_ready_made_model_is_found_as_the_object_it_is():
    class Engine:
        def __init__(self, id: str) -> None:
            setattr(self, MARK, make_model(id, self))

        def __call__(self, prompt: str) -> str:
            return prompt

    assert [found.id for found in find_models({"a": Engine("a"), "b": Engine("b")})] == ["a", "b"]


# Inputs


def schema(target: Any) -> dict[str, Any]:
    return make_model("m", target).info().schema


def test_types_defaults_and_field_descriptions_make_the_schema():
    def paint(
        prompt: Annotated[str, pydantic.Field(description="what to paint", max_length=100)],
        steps: Annotated[int, pydantic.Field(ge=1, le=50)] = 20,
        size: Literal["s", "l"] = "s",
        seed: int | None = None,
    ) -> None: ...

    assert schema(paint) == {
        "type": "object",
        "title": "Inputs",
        "additionalProperties": False,
        "required": ["prompt"],
        "properties": {
            "prompt": {"title": "Prompt", "type": "string", "description": "what to paint", "maxLength": 100},
            "steps": {"title": "Steps", "type": "integer", "default": 20, "minimum": 1, "maximum": 50},
            "size": {"title": "Size", "type": "string", "enum": ["s", "l"], "default": "s"},
            "seed": {"title": "Seed", "anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
        },
    }


def test_a_model_may_take_nothing():
    assert schema(nothing) == {"type": "object", "title": "Inputs", "additionalProperties": False, "properties": {}}


def test_an_input_without_a_type_takes_anything():
    def anything(x, y=1) -> None: ...

    assert schema(anything)["properties"] == {"x": {"title": "X"}, "y": {"title": "Y", "default": 1}}


def test_extra_inputs_are_refused_unless_the_model_takes_them():
    def strict(a: int) -> None: ...

    def open_minded(a: int, **more: Any) -> None: ...

    assert schema(strict)["additionalProperties"] is False
    assert schema(open_minded)["additionalProperties"] is True
    assert set(schema(open_minded)["properties"]) == {"a"}


def test_keyword_only_parameters_are_inputs():
    def target(a: int, *, b: int = 1) -> None: ...

    assert set(schema(target)["properties"]) == {"a", "b"}


def by_type(start: int, context: Run) -> None: ...


def by_name(run, start: int) -> None: ...


def input_called_run(run: str) -> None: ...


@pytest.mark.parametrize(
    ("target", "parameter", "inputs"),
    [
        (by_type, "context", ["start"]),
        (by_name, "run", ["start"]),
        (input_called_run, None, ["run"]),
        (nothing, None, []),
    ],
)
def test_the_run_is_no_input(target: Any, parameter: str | None, inputs: list[str]):
    declared = make_model("m", target)
    assert declared.run_parameter == parameter
    assert list(declared.info().schema["properties"]) == inputs


def test_parameters_that_have_no_name_are_refused():
    def several(*texts: str) -> None: ...

    def positional(text: str, /) -> None: ...

    for target, name in ((several, "texts"), (positional, "text")):
        with pytest.raises(ModelFileError, match=f"parameter '{name}' must be one that can be passed by name"):
            make_model("m", target)


def test_a_type_that_has_no_schema_is_refused():
    class Opaque: ...

    def target(x: Any) -> None: ...

    target.__annotations__["x"] = Opaque
    with pytest.raises(ModelFileError, match="no JSON schema for its parameters"):
        make_model("m", target)


def test_annotations_that_cannot_be_read_are_refused():
    def target(x: "Missing") -> None: ...  # noqa: F821

    with pytest.raises(ModelFileError, match="its annotations cannot be read"):
        make_model("m", target)


@pytest.mark.parametrize("name", ["json", "schema", "copy", "validate", "model_name", "id", "type", "self_"])
def test_an_input_may_have_any_ordinary_name(name: str):
    """Also one that the library beneath uses itself."""
    made: dict[str, Any] = {}
    exec(f"def target({name}: str): ...", made)
    assert list(schema(made["target"])["properties"]) == [name]


@pytest.mark.parametrize("name", ["_x", "model_config"])
def test_no_input_is_dropped_in_silence(name: str):
    """A name that cannot be an input is refused, or the model would be called without it."""
    made: dict[str, Any] = {}
    exec(f"def target({name}: str): ...", made)
    with contextlib.suppress(ModelFileError):
        assert list(schema(made["target"])["properties"]) == [name]


def test_engines_may_say_their_inputs_themselves():
    class Inputs(pydantic.BaseModel):
        prompt: str

    def target(**inputs: Any) -> None: ...

    assert make_model("m", target, inputs=Inputs).inputs is Inputs


# Functions, classes and what they stream


class Counter:
    """Counts."""

    def setup(self) -> None: ...

    def __call__(self, run: Run, n: int):
        yield str(n)


def test_a_class_is_called_with_its_inputs_and_set_up_first():
    declared = make_model("m", Counter)
    assert declared.target is Counter
    assert declared.setup is Counter.setup
    assert (declared.run_parameter, list(declared.info().schema["properties"])) == ("run", ["n"])
    assert declared.readme == "Counts."


def test_a_class_need_not_have_a_setup():
    class Plain:
        def __call__(self) -> None: ...

    assert make_model("m", Plain).setup is None


def test_a_class_that_cannot_be_called_is_refused_in_these_words():
    class Mute:
        def run(self) -> None: ...

    for target in (Mute, Mute()):
        with pytest.raises(ModelFileError, match="Mute needs a __call__ method; it runs once per prediction"):
            make_model("m", target)


async def asynchronous() -> str:
    return ""


def generator():
    yield ""


async def async_generator():
    yield ""


class Returning:
    def __call__(self) -> str:
        return ""


class AsyncYielding:
    async def __call__(self):
        yield ""


@pytest.mark.parametrize(
    ("target", "streams"),
    [
        (nothing, ("progress", "log")),
        (asynchronous, ("progress", "log")),
        (generator, ("progress", "log", "output")),
        (async_generator, ("progress", "log", "output")),
        (Counter, ("progress", "log", "output")),
        (Returning, ("progress", "log")),
        (AsyncYielding, ("progress", "log", "output")),
        (Returning(), ("progress", "log")),
    ],
)
def test_what_a_model_streams_is_derived_from_what_it_is(target: Any, streams: tuple[str, ...]):
    assert make_model("m", target).streams == streams


@pytest.mark.parametrize(
    ("said", "streams"),
    [
        (False, ()),
        ([], ()),
        (["output"], ("output",)),
        (("output", "progress"), ("progress", "output")),
        ({"log", "output", "progress"}, ("progress", "log", "output")),
    ],
)
def test_what_a_model_streams_can_be_said(said: Any, streams: tuple[str, ...]):
    assert make_model("m", nothing, streams=said).streams == streams


@pytest.mark.parametrize("said", [["outputs"], ["output", "error"], "output"])
def test_a_model_streams_only_what_there_is(said: Any):
    with pytest.raises(ModelFileError, match="may name only progress, log, output"):
        make_model("m", nothing, streams=said)


def test_the_readme_is_the_docstring_unless_it_is_given():
    assert make_model("m", nothing).readme == "Does nothing."
    assert make_model("m", nothing, readme="\n    # Title\n\n    Text.\n").readme == "# Title\n\nText."
    assert make_model("m", Returning).readme == ""


# What a run says


class Said(list[bytes]):
    def run(self) -> Run:
        return Run("p", 1, self.append)


@pytest.fixture
def said() -> Said:
    return Said()


def outputs(run: Run, returned: Any = None) -> list[Any]:
    return json.loads(run.completed(returned))["outputs"]


def test_text_is_streamed_as_it_comes_and_joined_in_the_end(said: Said):
    run = said.run()
    run.output("Hello")
    run.output(" world")
    assert said == [
        b'{"type":"output","output":"Hello","index":0}',
        b'{"type":"output","output":" world","index":0}',
    ]
    assert outputs(run) == ["Hello world"]


def test_empty_text_says_nothing(said: Said):
    run = said.run()
    run.output("")
    assert said == []
    assert outputs(run) == []


def test_texts_of_several_indexes_are_joined_each_by_itself(said: Said):
    run = said.run()
    for text, index in (("a", 1), ("b", 0), ("c", 1)):
        run.output(text, index)
    assert said[0] == b'{"type":"output","output":"a","index":1}'
    assert outputs(run) == ["b", "ac"]


def test_parts_that_are_no_text_are_finished_and_take_the_next_index(said: Said):
    run = said.run()
    run.output({"url": "https://x/1.png"})
    run.output({"url": "https://x/2.png"})
    assert said == [
        b'{"type":"output","output":{"url":"https://x/1.png"},"index":0}',
        b'{"type":"output","output":{"url":"https://x/2.png"},"index":1}',
    ]
    assert outputs(run) == [{"url": "https://x/1.png"}, {"url": "https://x/2.png"}]


def test_pieces_of_an_element_are_streamed_under_its_index_and_only_the_whole_is_in_the_outputs(said: Said):
    run = said.run()
    run.output("a")
    run.output({"url": "https://x/1.wav"}, partial=True)
    run.output({"url": "https://x/2.wav"}, partial=True)
    assert said[1:] == [
        b'{"type":"output","output":{"url":"https://x/1.wav"},"index":1}',
        b'{"type":"output","output":{"url":"https://x/2.wav"},"index":1}',
    ]
    assert outputs(run, "https://x/whole.wav") == ["a", "https://x/whole.wav"]


def test_what_is_returned_comes_behind_what_was_yielded(said: Said):
    run = said.run()
    run.output("a")
    assert outputs(run, "b") == ["a", "b"]


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        (None, []),
        ("a", ["a"]),
        ("", [""]),
        (0, [0]),
        (["a", 1], ["a", 1]),
        (("a", 1), ["a", 1]),
        ([], []),
        ({"a": 1}, [{"a": 1}]),
        ([["a"]], [["a"]]),
    ],
)
def test_a_list_is_several_outputs_and_anything_else_is_one(said: Said, returned: Any, expected: list[Any]):
    assert outputs(said.run(), returned) == expected


def test_an_index_that_nothing_was_said_for_is_empty_text(said: Said):
    run = said.run()
    run.output("b", 1)
    assert outputs(run) == ["", "b"]


PIECE = st.one_of(
    st.tuples(st.text(max_size=3), st.none() | st.integers(0, 3)),
    st.tuples(st.integers() | st.dictionaries(st.text(max_size=2), st.integers(), max_size=2), st.none()),
)


@given(st.lists(PIECE, max_size=8))
def test_the_pieces_of_each_index_joined_are_its_output(pieces: list[tuple[Any, int | None]]):
    """Whatever a viewer puts together from the stream is what polling shows."""
    said = Said()
    run = said.run()
    for part, index in pieces:
        with contextlib.suppress(ValueError):  # a model may be told that an index is taken
            run.output(part, index)
    viewed: dict[int, Any] = {}
    for event in map(json.loads, said):
        index, part = event["index"], event["output"]
        if isinstance(part, str):
            assert isinstance(viewed.get(index, ""), str), f"text for index {index}, which is a finished part"
            viewed[index] = viewed.get(index, "") + part
        else:
            assert index not in viewed, f"a part for index {index}, which is taken"
            viewed[index] = part
    assert outputs(run) == [viewed.get(index, "") for index in range(max(viewed, default=-1) + 1)]


def test_long_text_is_several_events_and_one_output(said: Said):
    run = said.run()
    run.output("ä" * 5_000)
    assert len(said) > 1
    assert "".join(json.loads(event)["output"] for event in said) == "ä" * 5_000
    assert outputs(run) == ["ä" * 5_000]


def test_half_a_character_is_the_same_in_the_stream_and_in_the_outputs(said: Said):
    run = said.run()
    run.output("a\ud83d")
    run.output("\udc08b")
    assert [json.loads(event)["output"] for event in said] == ["a?", "?b"]
    assert outputs(run) == ["a??b"]


class Shape(pydantic.BaseModel):
    sides: int
    tags: tuple[str, ...] = ()


@dataclasses.dataclass
class Point:
    x: int


class Array:
    """As numpy's arrays and numbers are."""

    def tolist(self) -> list[float]:
        return [1.0, 2.5]


@pytest.mark.parametrize(
    ("value", "json_value"),
    [
        ("a", "a"),
        (1, 1),
        (None, None),
        ((1, (2,)), [1, [2]]),
        ({"a": {1}}, {"a": [1]}),
        (Shape(sides=3, tags=("x",)), {"sides": 3, "tags": ["x"]}),
        ([Shape(sides=3)], [{"sides": 3, "tags": []}]),
        (Point(1), {"x": 1}),
        (Array(), [1.0, 2.5]),
        ({"a": Array()}, {"a": [1.0, 2.5]}),
        (Status.FAILED, "failed"),
    ],
)
def test_what_models_hold_becomes_json(value: Any, json_value: Any):
    assert json.loads(json.dumps(to_json(value))) == json_value


def test_what_has_no_json_is_refused_with_what_would_do(said: Said):
    with pytest.raises(TypeError, match="a model cannot output object; return text, numbers, lists, dicts"):
        said.run().output(object())
    assert said == []


def test_progress_says_what_is_known(said: Said):
    run = said.run()
    run.progress(12.5, stage="denoise", step=1, steps=8, eta_seconds=3.14159, preview="https://x/p.png")
    (event,) = said
    assert event == (
        b'{"type":"progress","percentage":12.5,"stage":"denoise","step":1,"steps":8,"eta_seconds":3.1,'
        b'"preview":"https://x/p.png"}'
    )


@given(st.lists(st.floats(), max_size=20))
def test_progress_never_falls_and_stays_between_0_and_100(values: list[float]):
    said = Said()
    run = said.run()
    for value in values:
        run.progress(value)
    percentages = [json.loads(event)["percentage"] for event in said]
    assert len(percentages) == len(values)
    assert percentages == sorted(percentages)
    assert all(0 <= percentage <= 100 for percentage in percentages)


def test_a_lower_percentage_is_raised_to_the_last(said: Said):
    run = said.run()
    for value in (10, 50, 20, 60, 1_000):
        run.progress(value)
    assert [json.loads(event)["percentage"] for event in said] == [10, 50, 50, 60, 100]


def test_a_log_line_has_its_level(said: Said):
    said.run().log("careful", "warning")
    (event,) = map(json.loads, said)
    assert (event["type"], event["message"], event["level"]) == ("log", "careful", "warning")


class HandClock:
    """Stands in for the `time` module: each look at it takes so long."""

    def __init__(self, step_s: float) -> None:
        self.now_s, self.step_s = 1_000.0, step_s

    def perf_counter(self) -> float:
        self.now_s += self.step_s
        return self.now_s


def clock(monkeypatch: pytest.MonkeyPatch, step_s: float) -> None:
    for module in (Run.__module__, Bars.__module__):
        monkeypatch.setattr(sys.modules[module], "time", HandClock(step_s))


def test_track_reports_every_step_of_slow_work(said: Said, monkeypatch: pytest.MonkeyPatch):
    clock(monkeypatch, 1.0)
    assert list(said.run().track(["a", "b", "c", "d"], stage="denoise")) == ["a", "b", "c", "d"]
    assert said == [
        b'{"type":"progress","percentage":25,"stage":"denoise","step":1,"steps":4,"eta_seconds":3.0}',
        b'{"type":"progress","percentage":50,"stage":"denoise","step":2,"steps":4,"eta_seconds":2.0}',
        b'{"type":"progress","percentage":75,"stage":"denoise","step":3,"steps":4,"eta_seconds":1.0}',
        b'{"type":"progress","percentage":100,"stage":"denoise","step":4,"steps":4,"eta_seconds":0.0}',
    ]


def test_track_reports_fast_work_at_most_ten_times_a_second_and_its_end(said: Said, monkeypatch: pytest.MonkeyPatch):
    clock(monkeypatch, 1 / 1024)
    list(said.run().track(range(1_000)))
    steps = [json.loads(event)["step"] for event in said]
    assert steps[-1] == 1_000
    assert 8 <= len(steps) <= 12


def test_track_without_a_total_tells_steps_and_no_percentage(said: Said, monkeypatch: pytest.MonkeyPatch):
    clock(monkeypatch, 1.0)
    assert list(said.run().track(iter([1, 2]))) == [1, 2]
    assert said == [
        b'{"type":"progress","percentage":0,"step":1}',
        b'{"type":"progress","percentage":0,"step":2}',
    ]


def test_track_takes_a_total(said: Said, monkeypatch: pytest.MonkeyPatch):
    clock(monkeypatch, 1.0)
    list(said.run().track(iter("ab"), total=4))
    assert [json.loads(event)["percentage"] for event in said] == [25, 50]


def test_track_of_more_than_was_announced_stays_at_100(said: Said, monkeypatch: pytest.MonkeyPatch):
    clock(monkeypatch, 1.0)
    list(said.run().track("abc", total=2))
    events = list(map(json.loads, said))
    assert [event["percentage"] for event in events] == [50, 100, 100]
    assert all(event["eta_seconds"] >= 0 for event in events), "no time left is not less than none"


def test_track_of_nothing_says_nothing(said: Said):
    assert list(said.run().track([])) == []
    assert said == []


def test_complete_tells_timings_and_usage(said: Said, monkeypatch: pytest.MonkeyPatch):
    clock(monkeypatch, 1.5)
    run = said.run()
    run.report(usage={"tokens": 3}, timings={"load": 2.5})
    run.report(usage={"frames": 1})
    assert run.completed("a") == (
        b'{"type":"complete","id":"p","outputs":["a"],'
        b'"timings":{"load":2.5,"inference":1500.0},"usage":{"tokens":3,"frames":1}}'
    )


# Cancelling


@pytest.mark.parametrize("status", [Status.CANCELLED, Status.TIMEOUT])
def test_whatever_a_stopped_run_says_raises(said: Said, status: Status):
    run = said.run()
    run.stop_status = status
    for speak in (
        run.check,
        functools.partial(run.output, "a"),
        functools.partial(run.output, {}),
        functools.partial(run.progress, 1),
        functools.partial(run.log, "x"),
    ):
        with pytest.raises(Cancelled):
            speak()
    assert run.cancelled
    assert said == []


def test_a_run_that_goes_on_is_not_cancelled(said: Said):
    run = said.run()
    run.check()
    assert not run.cancelled


@pytest.mark.parametrize("total", [None, 1_000])
def test_track_ends_when_the_run_was_stopped(said: Said, total: int | None):
    run = said.run()
    tracked = run.track(iter(range(1_000)), total=total)
    assert [next(tracked) for _ in range(4)] == [0, 1, 2, 3]
    run.stop_status = Status.CANCELLED
    with pytest.raises(Cancelled):
        next(tracked)


def test_code_that_catches_every_exception_does_not_catch_cancelled():
    assert not issubclass(Cancelled, Exception)


def test_a_model_is_a_fact():
    declared = make_model("m", nothing)
    assert isinstance(declared, Model)
    with pytest.raises(dataclasses.FrozenInstanceError):
        declared.id = "other"


# Batches


class Question(pydantic.BaseModel):
    text: Annotated[str, pydantic.Field(min_length=1)]
    top_k: int = 3


@dataclasses.dataclass
class PlainQuestion:
    text: Annotated[str, pydantic.Field(min_length=1)]
    top_k: int = 3


ONE_QUESTION = {
    "type": "object",
    "title": "Inputs",
    "additionalProperties": False,
    "properties": {
        "text": {"title": "Text", "type": "string", "minLength": 1},
        "top_k": {"title": "Top K", "type": "integer", "default": 3},
    },
    "required": ["text"],
}


def of_objects(inputs: list[Question], runs: list[Run]) -> list[str]: ...
def of_dataclasses(inputs: Sequence[PlainQuestion]) -> list[str]: ...
def of_untyped_runs(runs, inputs: Annotated[list[Question], "what is asked"]) -> list[str]: ...


@pytest.mark.parametrize(
    ("target", "runs", "whole"),
    [(of_objects, "runs", "inputs"), (of_dataclasses, None, "inputs")],
)
def test_the_fields_of_a_batchs_objects_are_the_inputs_of_one_prediction(target: Any, runs: str | None, whole: str):
    declared = make_model("m", target, batch=8)
    assert declared.info().schema == ONE_QUESTION
    assert (declared.run_parameter, declared.whole_parameter) == (runs, whole)


def test_an_object_that_takes_more_says_so_in_the_schema():
    class Open(pydantic.BaseModel, extra="allow"):
        text: str

    def target(inputs: list[Open]) -> list[str]: ...

    assert make_model("m", target, batch=8).info().schema["additionalProperties"] is True


def test_each_list_of_a_batch_is_an_input_of_one_prediction():
    def target(
        text: list[str], size: list[Annotated[int, pydantic.Field(default=2, ge=1)]], any_of_it, runs
    ) -> Any: ...

    declared = make_model("m", target, batch=8)
    assert declared.info().schema == {
        "type": "object",
        "title": "Inputs",
        "additionalProperties": False,
        "properties": {
            "text": {"title": "Text", "type": "string"},
            "size": {"title": "Size", "type": "integer", "default": 2, "minimum": 1},
            "any_of_it": {"title": "Any of it"},
        },
        "required": ["text", "any_of_it"],
    }
    assert (declared.run_parameter, declared.whole_parameter) == ("runs", None)


def test_a_batched_model_takes_the_next_batch_while_it_runs_one():
    assert make_model("m", of_objects, batch=8).info().slots == 16
    assert make_model("m", of_objects, batch=8, slots=2).info().slots == 24


def no_list(text: str) -> list[str]: ...
def one_run(text: list[str], run: Run) -> list[str]: ...
def with_default(text: list[str], size: list[int] = [2]) -> list[str]: ...  # noqa: B006
def with_more(text: list[str], **more: Any) -> list[str]: ...
def with_nothing() -> list[str]: ...
def with_reserved(stream: list[str]) -> list[str]: ...


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (no_list, "parameter 'text' of a batched model gets a list"),
        (one_run, "parameter 'run' of a batched model gets a list"),
        (with_default, r"parameter 'size' of a batched model is always given; .*default=\[2\]"),
        (with_more, r"a batched model cannot take \*\*more"),
        (with_nothing, "a batched model needs a parameter"),
        (with_reserved, "an input cannot be called 'stream'"),
        (of_untyped_runs, r"is about each entry: write list\[Annotated"),
    ],
)
def test_a_batched_signature_that_says_nothing_of_one_prediction_is_refused(target: Any, message: str):
    with pytest.raises(ModelFileError, match=message):
        make_model("m", target, batch=8)


def test_a_batch_is_one_or_more_and_its_wait_not_negative():
    with pytest.raises(ModelFileError, match="batch=0 must be 1 or more"):
        make_model("m", of_objects, batch=0)
    with pytest.raises(ModelFileError, match="batch_wait_ms=-1 must be 0 or more"):
        make_model("m", of_objects, batch=1, batch_wait_ms=-1)


# Placement


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:0", "cuda:12", "mps", ["cuda:0"], ("cuda:1", "cuda:0")])
def test_a_device_is_known_by_its_name(device: Any):
    assert make_model("m", nothing, device=device).info().device == (
        (device,) if type(device) is str else tuple(device)
    )


@pytest.mark.parametrize(
    "device", ["gpu", "cuda:", "cuda:x", "cuda:01", "", "CPU", ["cpu"], ["cuda", "cuda:0"], ["cuda:0"] * 2]
)
def test_what_is_no_device_is_refused(device: Any):
    with pytest.raises(ModelFileError, match="must be 'cpu', 'cuda', 'mps', a GPU such as 'cuda:0', or a list of GPUs"):
        make_model("m", nothing, device=device)


@pytest.mark.parametrize("value", [0, -1])
def test_a_model_is_unloaded_after_some_time_or_never(value: float):
    with pytest.raises(ModelFileError, match="idle_unload_s"):
        make_model("m", nothing, idle_unload_s=value)
