"""Frames to files: the mp4, and the small moving preview."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from unspool.demo.digits.sampler import Floats

    Pixels = NDArray[np.uint8]

FRAMES_PER_S = 12
VIDEO_PX = 256
PREVIEW_PX = 96


def pixels(clip: Floats) -> Pixels:
    """A clip with values in [-1, 1], (frames, rows, columns), as grey values."""
    import numpy as np

    return ((clip + 1) * 127.5).clip(0, 255).round().astype(np.uint8)


def enlarged(clip: Pixels, px: int = VIDEO_PX) -> list[Any]:
    """Its frames as PyAV's, `px` wide and high, with soft edges."""
    import av

    grey = (av.VideoFrame.from_ndarray(frame, format="gray") for frame in clip)
    return [frame.reformat(px, px, "yuv420p", interpolation="BICUBIC") for frame in grey]


def write(frames: Sequence[Any], file: Path) -> None:
    """Writes an mp4 that every browser plays, and begins to play before it has all of it."""
    # bitexact: the same frames give the same file.
    how = {"movflags": "+faststart", "fflags": "+bitexact"}
    codec = {"crf": "18", "preset": "fast", "tune": "animation", "threads": "1"}
    _encode(str(file), "mp4", how, "libx264", codec, frames)


def preview(clip: Pixels) -> bytes:
    """An animated WebP of all frames, small."""
    out = io.BytesIO()
    codec = {"quality": "60", "compression_level": "0"}
    _encode(out, "webp", {"loop": "0"}, "libwebp_anim", codec, enlarged(clip, PREVIEW_PX))
    return out.getvalue()


def _encode(
    out: Any, format: str, how: dict[str, str], codec: str, options: dict[str, str], frames: Sequence[Any]
) -> None:
    import av

    with av.open(out, "w", format=format, options=how) as container:
        stream: Any = container.add_stream(codec, rate=FRAMES_PER_S, options=options)
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, frames[0].format.name
        for frame in frames:
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
