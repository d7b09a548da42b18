"""Models that take files and give files."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, Any

from PIL import Image
from pydantic import BaseModel

from unspool import Accept, File, Run, model


def facts(file: File) -> dict[str, Any]:
    return {
        "filename": file.filename,
        "content_type": file.content_type,
        "size_bytes": file.size_bytes,
        "sha256": hashlib.sha256(file.path.read_bytes()).hexdigest(),
        "path": str(file.path),
    }


class Layer(BaseModel):
    """A file inside an object."""

    picture: File
    opacity: float = 1


@model("files/facts", slots=4)
def say_facts(file: Annotated[File, Accept("image/*", "video/*")]) -> dict[str, Any]:
    """Tells what it was given."""
    return facts(file)


@model("files/facts-async", slots=4)
async def say_facts_async(file: File) -> dict[str, Any]:
    """The same, in an event loop."""
    return facts(file)


@model("files/many", slots=4)
def many(files: list[File], mask: File | None = None, layer: Layer | None = None) -> dict[str, Any]:
    """Files in every place an input has."""
    return {
        "files": [facts(file) for file in files],
        "mask": mask and facts(mask),
        "layer": layer and facts(layer.picture),
    }


@model("files/echo", slots=4)
def echo(file: File) -> File:
    """What comes in goes out."""
    return file


class Result(BaseModel):
    """A file inside an object of an output."""

    picture: File
    seed: int


@model("files/every-kind", slots=4)
def every_kind(run: Run) -> list[Any]:
    """All the ways to give back a file."""
    path = run.folder / "clip.MP4"
    path.write_bytes(b"a path")
    named = run.folder / "sound.wav"
    named.write_bytes(b"a File of a path")
    return [
        path,
        File(named),
        File(data=b"bytes", content_type="image/webp"),
        Image.new("RGB", (2, 3), "red"),
        {"nested": [File(data=b"{}", filename="scene.json")]},
        Result(picture=File(data=b"in a model", content_type="image/gif"), seed=7),
        "text",
    ]


@model("files/parts", slots=4)
def parts() -> Iterator[Any]:
    """Finished parts, one after the other."""
    yield File(data=b"first", content_type="image/png")
    yield {"number": 2, "file": File(data=b"second", content_type="text/plain")}


@model("files/parts-async", slots=4)
async def parts_async() -> AsyncIterator[Any]:
    """The same, in an event loop, and text beside it."""
    yield "text"
    yield File(data=b"first", content_type="image/png")
    yield [Image.new("RGB", (1, 1))]


@model("files/missing", slots=4)
def missing() -> Path:
    """Gives back what is not there."""
    return Path("/nowhere/at/all/lost.png")


@model("files/bytes", slots=4)
def untyped() -> bytes:
    """Nobody knows what these are."""
    return b"bytes"


@model("files/large", slots=4)
def large(size: int) -> File:
    """So many bytes."""
    return File(data=b"x" * size, content_type="application/zip")


@model("files/preview", slots=4)
def preview(run: Run) -> str:
    """Shows what it has so far."""
    run.progress(50, preview=Image.new("RGB", (4, 4)))
    return "done"


@model("files/die", max_attempts=1)
def die(run: Run, file: File) -> None:
    """Leaves its folder behind."""
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)
