"""The inputs of a diffusers pipeline, derived from the signature of its class.

The class is read as source and not imported: every worker of a model file learns the inputs of all models in it, and
importing torch would cost each of them seconds and hundreds of megabytes. Knows no weights and no run.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import pydantic
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from unspool.files.file import Accept, File

SIZE_MULTIPLE_PX = 8
"""Every VAE shrinks pictures at least so much; pipelines that need more say so themselves."""
_SMALLEST_SIDE_PX = 16
_HIGHEST_GUIDANCE = 30
_NOTHING: Any = SkipJsonSchema[None]  # type: ignore[misc]
"""What an input is that may be left out. Clients are not shown that they could send null."""


@dataclass(frozen=True)
class Limits:
    """What one prediction may ask for at most."""

    side_px: int
    frames: int
    steps: int
    images: int
    prompt_chars: int


class Parameter(NamedTuple):
    """One parameter of a pipeline's call."""

    default: Any
    """`None` also where it is no literal."""
    required: bool
    """By its annotation: a parameter that may not be `None` has to be given, even where its default is `None`."""


Signature = Mapping[str, Parameter]


def read_signature(class_name: str) -> Signature | None:
    """The parameters of a pipeline's `__call__`, by the source of the installed diffusers.

    Returns:
        `None` if diffusers has no such pipeline.

    Raises:
        ModuleNotFoundError: diffusers is not installed.
    """
    spec = importlib.util.find_spec("diffusers")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("diffusers")
    source = _source_of(class_name, Path(spec.submodule_search_locations[0]))
    if source is None:
        return None
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef) and node.name == class_name:
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and method.name == "__call__":
                    return dict(_parameters(method))
            bases = (read_signature(base.id) for base in node.bases if isinstance(base, ast.Name))
            return next((found for found in bases if found), None)
    return None


def _source_of(class_name: str, package: Path) -> str | None:
    begin = re.compile(rf"^class {re.escape(class_name)}\b".encode(), re.MULTILINE)
    for file in sorted((package / "pipelines").rglob("*.py")):
        content = file.read_bytes()
        if begin.search(content):
            return content.decode()
    return None


def _parameters(method: ast.FunctionDef) -> Any:
    named = method.args.args[1:]
    defaults: list[ast.expr | None] = [None] * (len(named) - len(method.args.defaults))
    for argument, default in zip(named, [*defaults, *method.args.defaults], strict=True):
        annotation = ast.unparse(argument.annotation) if argument.annotation else "None"
        yield argument.arg, Parameter(_literal(default), not re.search(r"\bNone\b|\bOptional\b", annotation))


def _literal(node: ast.expr | None) -> Any:
    try:
        return None if node is None else ast.literal_eval(node)
    except ValueError:
        return None


def is_video(signature: Signature) -> bool:
    """Whether the pipeline makes a video; others make pictures."""
    return "num_frames" in signature


def category(signature: Signature) -> str:
    """As `make_model` takes it: "text-to-video", "image-to-image", …"""
    takes_image = "image" in signature and (signature["image"].required or "prompt" not in signature)
    return f"{'image' if takes_image else 'text'}-to-{'video' if is_video(signature) else 'image'}"


Made = tuple[Any, Any]
"""Annotation and default of a field."""


def make_inputs(
    signature: Signature, limits: Limits, defaults: Mapping[str, Any], default_fps: int
) -> type[pydantic.BaseModel]:
    """The inputs of a pipeline: those of its parameters that mean something in JSON, with limits, and a seed.

    Args:
        defaults: of the model's author; they take the place of the pipeline's own.

    Raises:
        ValueError: a default is of no input, or not allowed.
    """
    fields: dict[str, Made] = {}
    for name, make in _FIELDS.items():
        if _parameter_of(name) in signature:
            parameter = signature[_parameter_of(name)]
            if name in defaults:
                parameter = Parameter(defaults[name], required=False)
            fields[name] = make(parameter, limits)
    if is_video(signature):
        shown = Field(ge=1, le=60, description="Frames a second in which the video is played.")
        fields["fps"] = (Annotated[int, shown], defaults.get("fps", default_fps))
    seed = Field(ge=-1, le=2**31 - 1, description="The same seed gives the same result; -1 picks one.")
    fields["seed"] = (Annotated[int, seed], defaults.get("seed", -1))
    if unknown := set(defaults) - set(fields):
        raise ValueError(f"defaults name {sorted(unknown)}, but its inputs are {', '.join(fields)}")
    config = pydantic.ConfigDict(title="Inputs", extra="forbid", json_schema_extra=_without_null_defaults)
    made = pydantic.create_model("Inputs", __config__=config, **fields)  # type: ignore[call-overload]
    _check_defaults(made, defaults)
    return made  # type: ignore[no-any-return]


def _parameter_of(name: str) -> str:
    """What a pipeline calls an input."""
    return "num_images_per_prompt" if name == "num_images" else name


def _check_defaults(made: type[pydantic.BaseModel], defaults: Mapping[str, Any]) -> None:
    for name in defaults:
        alone = pydantic.create_model("Default", **{name: (made.model_fields[name].rebuild_annotation(), ...)})  # type: ignore[call-overload]
        try:
            alone.model_validate(defaults)
        except pydantic.ValidationError as error:
            raise ValueError(f"defaults: {name} {error.errors()[0]['msg']}") from error


def _without_null_defaults(schema: dict[str, Any]) -> None:
    """What may be left out has no default in JSON."""
    for field in schema["properties"].values():
        if field.get("default", ...) is None:
            del field["default"]


def _text(description: str) -> Callable[[Parameter, Limits], Made]:
    def make(parameter: Parameter, limits: Limits) -> Made:
        if parameter.required and parameter.default is None:
            return Annotated[str, Field(min_length=1, max_length=limits.prompt_chars, description=description)], ...
        shown = Field(max_length=limits.prompt_chars, description=description)
        return Annotated[str, shown], parameter.default or ""

    return make


def _optional_text(description: str) -> Callable[[Parameter, Limits], Made]:
    make = _text(description)
    return lambda parameter, limits: make(parameter._replace(required=False), limits)


def _picture(description: str) -> Callable[[Parameter, Limits], Made]:
    def make(parameter: Parameter, limits: Limits) -> Made:
        shown = (Accept("image/*"), Field(description=description))
        if parameter.required:
            return Annotated[File, *shown], ...
        optional: Any = File | _NOTHING
        return Annotated[optional, *shown], None

    return make


def _whole(
    lowest: int, highest: Callable[[Limits], int], description: str, multiple: int | None = None
) -> Callable[[Parameter, Limits], Made]:
    def make(parameter: Parameter, limits: Limits) -> Made:
        most = highest(limits)
        number: Any = Annotated[int, Field(ge=lowest, le=most, multiple_of=multiple)]
        if isinstance(parameter.default, int):
            return Annotated[number, Field(description=description)], min(parameter.default, most)
        return Annotated[number | _NOTHING, Field(description=description)], None

    return make


def _real(lowest: float, highest: float, description: str) -> Callable[[Parameter, Limits], Made]:
    def make(parameter: Parameter, limits: Limits) -> Made:
        number: Any = Annotated[float, Field(ge=lowest, le=highest)]
        if isinstance(parameter.default, int | float):
            return Annotated[number, Field(description=description)], float(parameter.default)
        return Annotated[number | _NOTHING, Field(description=description)], None

    return make


def _side(what: str) -> Callable[[Parameter, Limits], Made]:
    text = f"{what} in pixels. Left out, it is what the model was made for."
    return _whole(_SMALLEST_SIDE_PX, lambda limits: limits.side_px, text, SIZE_MULTIPLE_PX)


_FIELDS: dict[str, Callable[[Parameter, Limits], Made]] = {
    "prompt": _text("What to show."),
    "negative_prompt": _optional_text("What not to show."),
    "image": _picture("The picture to begin with."),
    "last_image": _picture("The picture to end with."),
    "mask_image": _picture("White where the picture may change, black where it stays."),
    "control_image": _picture("The picture that guides, as lines, depths or poses."),
    "strength": _real(0.01, 1, "How far the result may go from the picture: 1 forgets it."),
    "width": _side("Width"),
    "height": _side("Height"),
    "num_frames": _whole(1, lambda limits: limits.frames, "How many frames the video has."),
    "num_images": _whole(1, lambda limits: limits.images, "How many pictures to make."),
    "num_inference_steps": _whole(
        1, lambda limits: limits.steps, "More steps take longer and look better, to a point."
    ),
    "guidance_scale": _real(0, _HIGHEST_GUIDANCE, "How closely to follow the prompt."),
    "guidance_scale_2": _real(0, _HIGHEST_GUIDANCE, "The same for the second, low-noise transformer."),
    "true_cfg_scale": _real(0, _HIGHEST_GUIDANCE, "How closely to keep away from the negative prompt."),
    "image_guidance_scale": _real(0, _HIGHEST_GUIDANCE, "How closely to follow the picture."),
}
"""By input, in the order in which a form shows them."""
