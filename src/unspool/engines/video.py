"""Frames to mp4 (H.264, as every browser plays it), by `av`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

CRF = 18
"""Quality by x264's scale: 0 loses nothing, 18 nothing that one sees, 51 is worst."""


def write_mp4(path: Path, frames: Sequence[Any], fps: float, on_frame: Callable[[], None] = lambda: None) -> None:
    """Writes a video that plays while it is still being loaded.

    Args:
        frames: pictures of PIL, or arrays of height x width x 3: uint8, or floats from 0 to 1. Odd sides lose a pixel.
        on_frame: called after each frame.

    Raises:
        ValueError: there are no frames.
    """
    import av

    if not len(frames):
        raise ValueError("a video needs at least one frame")
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream: Any = None
        for frame in frames:
            array = to_uint8(frame)
            if stream is None:
                stream = _stream(container, fps, *array.shape[:2])
            array = array[: stream.height, : stream.width]
            for packet in stream.encode(av.VideoFrame.from_ndarray(array, format="rgb24")):
                container.mux(packet)
            on_frame()
        for packet in stream.encode():
            container.mux(packet)


def _stream(container: Any, fps: float, height: int, width: int) -> Any:
    from fractions import Fraction

    # Otherwise x264 gives slightly different videos of the same frames, from one call to the next.
    options = {"crf": str(CRF), "x264-params": "cpu-independent=1"}
    stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000), options=options)
    # Colours are at half the resolution, so sides are even.
    stream.width, stream.height, stream.pix_fmt = max(width // 2 * 2, 2), max(height // 2 * 2, 2), "yuv420p"
    return stream


def to_uint8(frame: Any) -> Any:
    """One frame as a contiguous array of height x width x 3 bytes."""
    import numpy

    array = numpy.asarray(frame.convert("RGB") if hasattr(frame, "convert") else frame)
    if array.dtype != numpy.uint8:
        array = (array.clip(0, 1) * 255).round().astype(numpy.uint8)
    return numpy.ascontiguousarray(array)
