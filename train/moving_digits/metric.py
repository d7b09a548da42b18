"""Reads clips: which digit, which way, how fast, and how much it flickers.

The reader is a support vector machine on the digit cut out round its centre of brightness. It knows the training
images only, and is itself tried on clips of the images held back before it judges anything.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name that all of torch's users know
from numpy.typing import NDArray
from sklearn.svm import SVC

from .data import DIRECTIONS, SIZE, STILL, TRAVEL_PX, Conditions, Images, draw_clips, draw_conditions

CROP = 16
_FLOOR = 0.15
"""What is darker counts as ground."""
_STILL_PX = 3.0
_FAST_PX = sum(TRAVEL_PX) / 2
_UNIT = np.array([[np.cos(k * np.pi / 4), np.sin(k * np.pi / 4)] for k in range(STILL)])


@dataclass(frozen=True)
class Reading:
    """What n clips show."""

    digit: NDArray[np.int64]
    frame_digits: NDArray[np.int64]
    direction: NDArray[np.int64]
    fast: NDArray[np.bool_]
    change: NDArray[np.float64]
    """Mean difference of a pixel (0 to 1) from one frame to the next, both cut out round the digit."""


class Reader:
    """Reads clips (n, 24, 32, 32) with values in [-1, 1]."""

    def __init__(self, source: Images, seed: int = 12345) -> None:
        random = torch.Generator().manual_seed(seed)
        crops, labels = [], []
        for _ in range(6):
            conditions = draw_conditions(len(source.labels), random)
            clips = draw_clips(source, conditions, random)[:, ::23]
            crops.append(_cut_out((clips + 1) / 2, _centres((clips + 1) / 2)).flatten(0, 1))
            labels.append(conditions.digit.repeat_interleave(clips.shape[1]))
        self._svm = SVC(C=10).fit(_features(torch.cat(crops)), torch.cat(labels).numpy())

    def read(self, clips: torch.Tensor) -> Reading:
        """Everything about them."""
        pixels = ((clips + 1) / 2).clamp(0, 1)
        n, frames = pixels.shape[:2]
        centres = _centres(pixels)
        crops = _cut_out(pixels, centres)
        digits = self._svm.predict(_features(crops.flatten(0, 1))).reshape(n, frames)
        travel = _travel(centres.double().numpy())
        still = (np.abs(travel) < _STILL_PX).all(1)
        return Reading(
            digit=np.array([np.bincount(row, minlength=10).argmax() for row in digits]),
            frame_digits=digits,
            direction=np.where(still, STILL, (travel @ _UNIT.T).argmax(1)),
            fast=np.abs(travel).max(1) > _FAST_PX,
            change=crops.diff(dim=1).abs().mean((1, 2, 3)).double().numpy(),
        )


@dataclass(frozen=True)
class Score:
    """Shares in percent, and the mean change."""

    digit: float
    frames: float
    direction: float
    speed: float
    change: float
    clips: int

    def __str__(self) -> str:
        return (
            f"{self.clips} clips: digit {self.digit:.1f} % (by frame {self.frames:.1f} %), "
            f"direction {self.direction:.1f} %, speed {self.speed:.1f} %, change {self.change:.4f}"
        )


def score(reading: Reading, wanted: Conditions) -> Score:
    """How much of what was wanted is there."""
    digit, direction = wanted.digit.numpy(), wanted.direction.numpy()
    moving = direction != STILL
    return Score(
        digit=100 * float((reading.digit == digit).mean()),
        frames=100 * float((reading.frame_digits == digit[:, None]).mean()),
        direction=100 * float((reading.direction == direction).mean()),
        speed=100 * float((reading.fast == wanted.speed.numpy())[moving].mean()),
        change=float(reading.change.mean()),
        clips=len(digit),
    )


def describe(wanted: Conditions) -> list[str]:
    """Each in words, for those who look at the clips."""
    pairs = zip(wanted.digit.tolist(), wanted.direction.tolist(), strict=True)
    return [f"{digit} {DIRECTIONS[direction]}" for digit, direction in pairs]


def _centres(pixels: torch.Tensor) -> torch.Tensor:
    """The centre of brightness of each frame: (n, frames, 2), x and y in pixels."""
    weight = (pixels - _FLOOR).clamp(min=0)
    whole = weight.sum((2, 3)).clamp(min=1e-6)
    axis = torch.arange(SIZE) + 0.5
    return torch.stack(((weight.sum(2) * axis).sum(-1) / whole, (weight.sum(3) * axis).sum(-1) / whole), -1)


def _cut_out(pixels: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """16x16 pixels round the centre of each frame: (n, frames, 16, 16)."""
    n, frames = pixels.shape[:2]
    offset = torch.arange(CROP) + 0.5 - CROP / 2
    x = (centres[..., 0].flatten()[:, None, None] + offset[None, None]).expand(-1, CROP, -1)
    y = (centres[..., 1].flatten()[:, None, None] + offset[None, :, None]).expand(-1, -1, CROP)
    grid = torch.stack((x, y), -1) * 2 / SIZE - 1
    cut = F.grid_sample(pixels.flatten(0, 1)[:, None], grid, padding_mode="zeros", align_corners=False)
    return cut.view(n, frames, CROP, CROP)


def _features(crops: torch.Tensor) -> NDArray[np.float64]:
    """8x8, as the images are from which all came."""
    small = F.avg_pool2d(crops[:, None], 2)
    return small.flatten(1).double().numpy()


def _travel(centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far they get from the first frame to the last, by the straight line that fits best: (n, 2)."""
    frames = centres.shape[1]
    at = np.arange(frames) - (frames - 1) / 2
    slope = (centres * at[None, :, None]).sum(1) / (at**2).sum()
    return slope * (frames - 1)
