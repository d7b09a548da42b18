"""Frames to mp4."""

import importlib.util
import itertools
from pathlib import Path

import pytest

from support.services import missing
from unspool.engines.video import write_mp4

for needed in ("av", "numpy"):
    if importlib.util.find_spec(needed) is None:
        pytestmark = pytest.mark.usefixtures("absent")


@pytest.fixture
def absent():
    missing("av or numpy", "Install it: ./scripts/install")


def waves(height=64, width=64, count=9):
    import numpy

    y, x = numpy.mgrid[0:height, 0:width] / max(height, width)
    return [numpy.stack([x, y, (x + y + n / count) % 1], -1).astype("float32") for n in range(count)]


def read(path):
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)], stream


def test_the_video_holds_the_frames_in_order_nearly_as_they_were(tmp_path):
    frames = waves()
    write_mp4(tmp_path / "a.mp4", frames, 12)
    shown, stream = read(tmp_path / "a.mp4")
    assert stream.average_rate == 12
    assert stream.codec_context.name == "h264"
    assert len(shown) == len(frames)
    for frame, was in zip(shown, frames, strict=True):
        assert abs(frame / 255 - was).mean() < 0.05


def test_the_same_frames_give_the_same_bytes(tmp_path):
    made = set()
    for n in range(12):
        write_mp4(tmp_path / f"{n}.mp4", waves(), 16)
        made.add((tmp_path / f"{n}.mp4").read_bytes())
    assert len(made) == 1


@pytest.mark.parametrize(("height", "width"), [(33, 64), (64, 33), (33, 35), (2, 2)])
def test_odd_sides_lose_a_pixel(tmp_path, height, width):
    write_mp4(tmp_path / "a.mp4", waves(height, width, 3), 16)
    shown, _ = read(tmp_path / "a.mp4")
    assert shown[0].shape[:2] == (height // 2 * 2, width // 2 * 2)


def test_pictures_of_pil_and_bytes_are_frames_too(tmp_path):
    from PIL import Image

    bytes_ = [(frame * 255).round().astype("uint8") for frame in waves()]
    for name, frames in (("a", bytes_), ("b", [Image.fromarray(frame) for frame in bytes_]), ("c", waves())):
        write_mp4(tmp_path / f"{name}.mp4", frames, 16)
    made = [(tmp_path / f"{name}.mp4").read_bytes() for name in "abc"]
    assert all(one == other for one, other in itertools.pairwise(made))


def test_it_plays_before_all_of_it_is_there(tmp_path):
    write_mp4(tmp_path / "a.mp4", waves(), 16)
    content = Path(tmp_path / "a.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_each_frame_is_told_and_none_is_an_error(tmp_path):
    told = []
    write_mp4(tmp_path / "a.mp4", waves(), 16, lambda: told.append(1))
    assert len(told) == 9
    with pytest.raises(ValueError, match="at least one frame"):
        write_mp4(tmp_path / "b.mp4", [], 16)
