"""Clips of one handwritten digit that moves, made on the fly from scikit-learn's `load_digits` (1,797 images of 8x8).

A clip is 24 frames of 32x32, values in [-1, 1], black ground. Its condition is three small numbers: the digit, the
direction and the speed; each has one more value, the last, that says "not given".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name that all of torch's users know
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

FRAMES = 24
SIZE = 32
DIGITS = tuple(range(10))
DIRECTIONS = ("right", "down-right", "down", "down-left", "left", "up-left", "up", "up-right", "still")
SPEEDS = ("slow", "fast")
STILL = DIRECTIONS.index("still")
NO_DIGIT, NO_DIRECTION, NO_SPEED = len(DIGITS), len(DIRECTIONS), len(SPEEDS)

TRAVEL_PX = (6.5, 14.0)
"""How far a slow and a fast digit gets along each axis it moves on, from the first frame to the last."""
_STEPS = ((1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (0, 0))
_UPSCALE = 4
_HALF = 8.0
"""The centre of a digit keeps this far from the border."""

HELD_OUT = tuple((digit, (3 * digit + 1) % (len(DIRECTIONS) - 1)) for digit in DIGITS)
"""Pairs of digit and direction that no training clip has, to see whether the model composes."""


@dataclass(frozen=True)
class Images:
    """Digits of one half of the data: `pixels` (n, 32, 32) in [0, 1], and what each shows."""

    pixels: torch.Tensor
    labels: torch.Tensor


def images() -> tuple[Images, Images]:
    """The images for training and those held back (20 %), split by image, as many of each digit in both parts."""
    data = load_digits()
    parts = train_test_split(data.images / 16.0, data.target, test_size=0.2, random_state=0, stratify=data.target)
    return tuple(Images(_sharp(parts[k]), torch.from_numpy(parts[k + 2]).long()) for k in (0, 1))  # type: ignore[return-value]


def _sharp(small: np.ndarray) -> torch.Tensor:
    """Enlarged, and with the soft edges that enlarging makes drawn tighter."""
    pixels = torch.from_numpy(small).float()[:, None]
    large = F.interpolate(pixels, scale_factor=_UPSCALE, mode="bicubic", align_corners=False)[:, 0]
    edge = ((large - 0.12) / (0.72 - 0.12)).clamp(0, 1)
    return edge * edge * (3 - 2 * edge)


@dataclass(frozen=True)
class Conditions:
    """What each of n clips shows, as three vectors of n numbers."""

    digit: torch.Tensor
    direction: torch.Tensor
    speed: torch.Tensor


def draw_conditions(n: int, random: torch.Generator, held_out: bool = False) -> Conditions:
    """Conditions drawn evenly, without the held-out pairs, or with nothing but them. A still digit has no speed."""
    out = torch.tensor(HELD_OUT)
    if held_out:
        digit, direction = out[torch.randint(len(out), (n,), generator=random)].unbind(1)
    else:
        digit = torch.randint(len(DIGITS), (n,), generator=random)
        # One direction of the eight is left out for each digit: the others move up to fill its place.
        direction = torch.randint(len(DIRECTIONS) - 1, (n,), generator=random)
        direction = direction + (direction >= out[digit, 1]).long()
    speed = torch.randint(len(SPEEDS), (n,), generator=random)
    return Conditions(digit, direction, torch.where(direction == STILL, NO_SPEED, speed))


def draw_clips(source: Images, conditions: Conditions, random: torch.Generator) -> torch.Tensor:
    """Clips (n, 24, 32, 32) that show the conditions, each with an image, a place and a slant of its own."""
    n = len(conditions.digit)
    chosen = torch.stack([_any_of(source.labels, int(digit), random) for digit in conditions.digit])
    centres = _paths(conditions, random)
    return 2 * paste(source.pixels[chosen], centres, *_slants(n, random)) - 1


def _any_of(labels: torch.Tensor, digit: int, random: torch.Generator) -> torch.Tensor:
    found = (labels == digit).nonzero()[:, 0]
    return found[torch.randint(len(found), (1,), generator=random)][0]


def _paths(conditions: Conditions, random: torch.Generator) -> torch.Tensor:
    """Where the digit's centre is in each frame: (n, 24, 2), x and y in pixels."""
    n = len(conditions.digit)
    speed = conditions.speed.clamp(max=len(SPEEDS) - 1)
    step = torch.tensor(_STEPS, dtype=torch.float)[conditions.direction]
    travel = step * torch.tensor(TRAVEL_PX)[speed][:, None]
    room = SIZE - 2 * _HALF - travel.abs()
    start = _HALF + torch.rand(n, 2, generator=random) * room + (-travel).clamp(min=0)
    share = torch.linspace(0, 1, FRAMES)[None, :, None]
    return start[:, None] + share * travel[:, None]


def _slants(n: int, random: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A size in pixels, an angle in radians and a shear for each clip."""
    uniform = torch.rand(3, n, generator=random)
    return 13.5 + 2 * uniform[0], (uniform[1] - 0.5) * math.radians(20), (uniform[2] - 0.5) * 0.3


def paste(
    pixels: torch.Tensor, centres: torch.Tensor, size: torch.Tensor, angle: torch.Tensor, shear: torch.Tensor
) -> torch.Tensor:
    """Draws each image into its frames with its centre where `centres` says: (n, frames, 32, 32) in [0, 1]."""
    n, frames = centres.shape[:2]
    axis = torch.arange(SIZE) + 0.5
    dx = (axis - centres[..., :1])[:, :, None, :] / (size / 2)[:, None, None, None]
    dy = (axis - centres[..., 1:])[:, :, :, None] / (size / 2)[:, None, None, None]
    cos, sin = angle.cos()[:, None, None, None], angle.sin()[:, None, None, None]
    x = cos * dx + sin * dy
    y = cos * dy - sin * dx
    grid = torch.stack((x + shear[:, None, None, None] * y, y), -1).view(n, frames * SIZE, SIZE, 2)
    drawn = F.grid_sample(pixels[:, None], grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return drawn.view(n, frames, SIZE, SIZE)
