"""How noise becomes a clip: the steps from one to the other, and what pulls towards the prompt on the way.

Pure computing on numpy arrays. The network is whatever `Forward` it is given: the one that is served, or the one that
is being trained. A clip is 24 frames of 32x32, values in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Ids = NDArray[np.int64]
    Forward = Callable[[Floats, Floats, Ids, Ids, Ids], Floats]

FRAMES, SIZE = 24, 32
DIRECTIONS = ("right", "down-right", "down", "down-left", "left", "up-left", "up", "up-right", "still")
SPEEDS = ("slow", "fast")
NOT_GIVEN = (10, len(DIRECTIONS), len(SPEEDS))
"""What the network takes for a digit, a direction and a speed that are not given."""

SHIFT = 6.0
"""How much longer it stays in the noise than with steps of one size: what a clip shows is decided there."""

_MOTION = 0.5
"""How hard it is pushed on to the motion, where 1 is as much as the motion changes on its own."""


@dataclass(frozen=True)
class Conditions:
    """What each of n clips shows, as ids: three vectors of n numbers."""

    digit: Ids
    direction: Ids
    speed: Ids

    @classmethod
    def of(cls, digit: int, direction: str, speed: str | None) -> Conditions:
        """One clip's. A speed of `None` is "not given", which is what a digit that stands still has."""
        import numpy as np

        ids = (digit, DIRECTIONS.index(direction), NOT_GIVEN[2] if speed is None else SPEEDS.index(speed))
        return cls(*(np.array([id], dtype=np.int64) for id in ids))


def noise(seed: int) -> Floats:
    """What one clip begins with: (1, 24, 32, 32)."""
    import numpy as np

    return np.random.Generator(np.random.PCG64(seed)).standard_normal((1, FRAMES, SIZE, SIZE), dtype=np.float32)


def times(steps: int) -> list[float]:
    """From 0, all noise, to 1, none: `steps + 1` of them."""
    even = (step / steps for step in range(steps + 1))
    return [share / (share + SHIFT * (1 - share)) for share in even]


def sample(forward: Forward, noisy: Floats, shown: Conditions, *, steps: int, guidance: float) -> Iterator[Floats]:
    """Yields, after each step, the clips as they look by then, without the noise; the last ones are the result.

    Each step is Heun's: it looks where a straight step would lead, and takes the mean of the directions at both ends.
    """
    ts = times(steps)
    for t, later in pairwise(ts):
        clean = _guided(forward, noisy, t, shown, guidance)
        slope = (clean - noisy) / (1 - t)
        ahead = noisy + (later - t) * slope
        if later < 1:
            clean = _guided(forward, ahead, later, shown, guidance)
            slope = (slope + (clean - ahead) / (1 - later)) / 2
            ahead = noisy + (later - t) * slope
        noisy = ahead
        yield clean


def _guided(forward: Forward, noisy: Floats, t: float, shown: Conditions, guidance: float) -> Floats:
    """What the network sees with the whole prompt, pushed on by what the digit and the motion change on their own.

    Pushing them on one by one makes them hold in pairs that the network never saw together. It gets the motion right
    anyway, and pushed hard it would get it wrong. Less and less is pushed as the noise goes: which digit it is gets
    decided early, and later a push only exaggerates its strokes until they break.
    """
    import numpy as np

    n = len(noisy)
    digit, direction, speed = (
        np.concatenate([np.full(n, absent) if hidden else ids for hidden in hiding])
        for ids, absent, hiding in (
            (shown.digit, NOT_GIVEN[0], (False, False, True, True)),
            (shown.direction, NOT_GIVEN[1], (False, True, False, True)),
            (shown.speed, NOT_GIVEN[2], (False, True, False, True)),
        )
    )
    seen = forward(np.tile(noisy, (4, 1, 1, 1)), np.full(4 * n, t, dtype=np.float32), digit, direction, speed)
    whole, only_digit, only_motion, nothing = seen.reshape(4, *noisy.shape)
    push = np.float32(guidance) * (only_digit - nothing) + _MOTION * (only_motion - nothing)
    guided: Floats = whole + np.float32((1 - t) ** 2) * push
    return guided
