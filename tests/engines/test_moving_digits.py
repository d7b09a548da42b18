"""The demo's video model: its own weights on the real runtime, and behind a real server."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.client import Client, error_of
from support.server import Server
from support.services import missing
from support.stream import check_log
from unspool.demo.digits.model import ID, README, SHA256, WEIGHTS, MovingDigits
from unspool.errors import ModelFileError
from unspool.model import MARK, Cancelled, Run
from unspool.states import Status

STEPS = 10
DEADLINE_S = 150
MODELS = """
from unspool.demo.digits.model import MovingDigits

digits = MovingDigits(threads=1)
"""


@pytest.fixture(scope="module", autouse=True)
def libraries() -> None:
    for library in ("numpy", "onnxruntime", "av"):
        if importlib.util.find_spec(library) is None:
            missing(library, 'Install it: pip install ".[demo]"')


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("digits")
    file = folder / "models.py"
    file.write_text(MODELS, encoding="utf-8")
    server = Server(file, folder / "data")
    try:
        yield server.start().wait_until_ready().client()
    finally:
        server.close()


@pytest.fixture(scope="module")
def model() -> MovingDigits:
    model = MovingDigits(threads=1)
    model.setup()
    return model


def draw(client: Client, prompt: str, seed: int, steps: int = STEPS) -> list[Any]:
    return client.log(client.submit(ID, prompt=prompt, seed=seed, steps=steps)["id"], DEADLINE_S)


def video(events: list[Any]) -> bytes:
    (url,) = events[-1].data["outputs"]
    response = httpx.get(url)
    assert response.headers["content-type"] == "video/mp4"
    return response.content


def frames(content: bytes) -> Any:
    """Grey values, (frames, rows, columns)."""
    import av
    import numpy as np

    with av.open(io.BytesIO(content)) as container:
        return np.stack([frame.to_ndarray(format="gray") for frame in container.decode(video=0)])


def travel(clip: Any) -> tuple[float, ...]:
    """How far the centre of brightness gets from the first frame to the last, in shares of the picture."""
    import numpy as np

    weight = np.maximum(clip.astype(float) - 50, 0)
    axis = (np.arange(clip.shape[1]) + 0.5) / clip.shape[1]
    whole = weight.sum((1, 2))
    x, y = (weight.sum(1) * axis).sum(1) / whole, (weight.sum(2) * axis).sum(1) / whole
    return tuple(np.polyfit(range(len(clip)), one, 1)[0] * (len(clip) - 1) for one in (x, y))


def messages(events: list[Any]) -> list[str]:
    return [event.data["message"] for event in events if event.type == "log"]


# What it draws


@pytest.mark.parametrize(
    ("prompt", "seed", "way"),
    [
        ("the digit 7 moving right, fast", 1, (1, 0)),
        ("three, to the left, quickly", 2, (-1, 0)),
        ("a 5 falling fast", 3, (0, 1)),
        ("an eight racing up", 4, (0, -1)),
        ("0, diagonally, down and to the left, fast", 5, (-1, 1)),
        ("a 2 that stands still", 6, (0, 0)),
    ],
)
def test_the_digit_moves_where_the_prompt_says(served: Client, prompt: str, seed: int, way: tuple[int, int]) -> None:
    clip = frames(video(draw(served, prompt, seed)))
    assert clip.shape == (24, 256, 256)
    assert clip.max() > 180
    for found, wanted in zip(travel(clip), way, strict=True):
        # A fast digit travels 14 of 32 pixels.
        assert found == pytest.approx(wanted * 14 / 32, abs=0.12)


def test_slow_is_slower_than_fast(served: Client) -> None:
    slow, fast = (travel(frames(video(draw(served, f"4 right, {speed}", 7))))[0] for speed in ("slow", "fast"))
    assert 0.1 < slow < 0.3 < fast


def test_the_same_seed_gives_the_same_file_and_another_seed_another(served: Client) -> None:
    first, again, other = (video(draw(served, "a 6 moving up", seed)) for seed in (11, 11, 12))
    assert first == again != other


def test_without_a_seed_clips_differ_and_the_log_says_how_to_have_one_again(served: Client) -> None:
    events, others = (draw(served, "a 6 moving up, slow", -1) for _ in range(2))
    assert video(events) != video(others)
    (said,) = messages(events)
    seed = int(said.rpartition("Seed ")[2].rstrip("."))
    assert events[-1].data["usage"]["seed"] == seed
    assert video(draw(served, "a 6 moving up, slow", seed)) == video(events)


def test_the_video_can_be_played_before_all_of_it_is_there(served: Client) -> None:
    import av

    content = video(draw(served, "a 1 moving up", 1))
    assert 0 < content.find(b"moov") < content.find(b"mdat")
    with av.open(io.BytesIO(content)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 12)


# What it says


def test_the_stages_come_in_order_with_their_steps_and_a_percentage_that_never_falls(served: Client) -> None:
    events = draw(served, "the digit 7 moving right, fast", 1)
    check_log(events)
    said = [event.data for event in events if event.data.get("stage") not in (None, "load")]
    assert list(dict.fromkeys(event["stage"] for event in said)) == ["denoise", "decode", "write"]
    steps = [event["step"] for event in said if event["stage"] == "denoise"]
    assert steps == sorted(steps)
    assert (steps[0], steps[-1]) == (0, STEPS)
    assert all(event["steps"] == STEPS for event in said if event["stage"] == "denoise")
    assert said[-1]["percentage"] == 100
    assert any(event.get("eta_seconds", 0) > 0 for event in said)
    assert events[-1].data["usage"]["frames"] == 24
    assert events[-1].data["timings"]["denoise"] > 0


def test_previews_are_small_moving_pictures_of_all_frames(served: Client) -> None:
    # Long enough for a preview on any machine.
    with served.run(ID, prompt="the digit 7 moving right, fast", seed=1, steps=1000, deadline_s=DEADLINE_S) as stream:
        url = next(event.data["preview"] for event in stream if event.data.get("preview"))
        content = httpx.get(url)
        served.cancel(stream.id)
    assert content.headers["content-type"] == "image/webp"
    assert len(content.content) < 30_000
    assert content.content.count(b"ANMF") == 24


def test_the_log_says_what_is_drawn_and_what_of_the_prompt_is_not(served: Client) -> None:
    events = draw(served, "42 left and right, fast", 3, 4)
    assert messages(events) == [
        "The prompt names several digits (4, 2); a clip has one: 4.",
        "The prompt says both left and right; a digit moves one way only: left.",
        "Drawing the digit 4 moving left, fast. Seed 3.",
    ]


# Stopping, and what it refuses


def test_a_cancelled_prediction_ends_as_cancelled(served: Client) -> None:
    with served.run(ID, prompt="a 3", steps=1000, deadline_s=DEADLINE_S) as stream:
        next(event for event in stream if event.data.get("step", 0) >= 2)
        served.cancel(stream.id)
        *_, last = stream
    assert last.data["status"] == "cancelled"
    assert draw(served, "a 3", 1, 4)[-1].type == "complete"


def test_a_cancel_stops_within_a_step(model: MovingDigits, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0
    forward = model._forward

    def counted(*given: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked == 5:  # in the first half of the third step
            run.stop_status = Status.CANCELLED
        return forward(*given)

    run = Run("p1", 1, lambda event: None, keep=lambda file: "https://example.com/preview.webp")
    monkeypatch.setattr(model, "_forward", counted)
    with pytest.raises(Cancelled):
        model(run, "the digit 7", seed=1, steps=20)
    assert asked == 6


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 3},
        {"steps": 1001},
        {"guidance": -0.5},
        {"guidance": 5.1},
        {"seed": -2},
        {"prompt": "x" * 501},
        {"size": 64},
    ],
)
def test_inputs_outside_their_limits_are_refused(served: Client, wrong: dict[str, Any]) -> None:
    error_of(served.http.post(ID, json={"prompt": "a 7", **wrong}), 400, "invalid_input")


def test_a_prompt_without_any_digit_is_fine(served: Client) -> None:
    events = draw(served, "surprise me", 5, 4)
    assert events[-1].type == "complete"
    assert messages(events)[0].startswith("Drawing the digit ")


# The weights


def test_the_weights_are_small_and_say_nothing_of_the_machine_they_were_made_on() -> None:
    content = WEIGHTS.read_bytes()
    assert len(content) <= 10_000_000
    assert b"/home/" not in content
    assert b"/tmp/" not in content


def test_weights_that_were_changed_are_not_loaded(tmp_path: Path) -> None:
    content = bytearray(WEIGHTS.read_bytes())
    content[len(content) // 2] ^= 1
    damaged = tmp_path / "weights.onnx"
    damaged.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"weights\.onnx is not the file .* install unspool again"):
        MovingDigits(weights=damaged, sha256=SHA256).setup()


def test_weights_that_are_not_there_are_named_without_their_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"weights gone\.onnx cannot be read") as caught:
        MovingDigits(weights=tmp_path / "gone.onnx").setup()
    assert str(tmp_path) not in str(caught.value)


def test_its_page_is_its_readme() -> None:
    info = getattr(MovingDigits(), MARK).info()
    assert info.readme == README.read_text().strip()
    assert info.category == "text-to-video"
