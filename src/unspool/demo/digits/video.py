"""Clips as people see them: the pictures of the video, and the small moving preview."""

from __future__ import annotations

import io
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


def enlarged(clip: Pixels, px: int, format: str) -> list[Any]:
    """Its frames as PyAV's, `px` wide and high, with soft edges."""
    import av

    grey = (av.VideoFrame.from_ndarray(frame, format="gray") for frame in clip)
    return [frame.reformat(px, px, format, interpolation="BICUBIC") for frame in grey]


def pictures(clip: Pixels) -> list[Pixels]:
    """Its frames as they are shown: (rows, columns, 3)."""
    return [frame.to_ndarray() for frame in enlarged(clip, VIDEO_PX, "rgb24")]


def preview(clip: Pixels) -> bytes:
    """An animated WebP of all frames, small."""
    import av

    out, frames = io.BytesIO(), enlarged(clip, PREVIEW_PX, "yuv420p")
    with av.open(out, "w", format="webp", options={"loop": "0"}) as container:
        codec = {"quality": "60", "compression_level": "0"}
        stream: Any = container.add_stream("libwebp_anim", rate=FRAMES_PER_S, options=codec)
        stream.width, stream.height, stream.pix_fmt = PREVIEW_PX, PREVIEW_PX, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return out.getvalue()
