"""The models that the official clients run, all in one file so that one server does for all of them."""

from __future__ import annotations

from typing import Any

from basic import count, echo, fail, single, steps
from gates import wait_for_gate
from PIL import Image

from unspool import File, ModelError, Run, model

__all__ = ["copy", "count", "draw", "echo", "fail", "refuse", "single", "steps", "wait"]


@model("test/copy", slots=4)
def copy(file: File) -> File:
    """What comes in goes out."""
    return file


@model("test/draw", slots=4, category="text-to-image", price=0.25)
def draw(prompt: str, image: File | None = None, **others: Any) -> File | Image.Image:
    """Draws a green picture, or gives back the one it is shown. Takes any other input, and makes nothing of it.

    Args:
        prompt: what is to be seen.
    """
    return image if image is not None else Image.new("RGB", (2, 3), "green")


@model("test/wait", slots=4)
def wait(run: Run, prompt: str, **others: Any) -> str:
    """Waits at the gate whose path is its prompt: for clients that send no inputs of one's own."""
    wait_for_gate(run, prompt, 1)
    return "let through"


@model("test/refuse", slots=4)
def refuse(prompt: str, **others: Any) -> str:
    """Fails with its prompt."""
    raise ModelError(prompt)
