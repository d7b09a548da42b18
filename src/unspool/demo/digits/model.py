"""The model `unspool/moving-digits`: a prompt becomes a clip of a handwritten digit that moves.

Owns how a run goes, from the prompt to the mp4. `prompt.py` reads the prompt, `sampler.py` computes, `video.py` shows.
The network is `weights.onnx`, made by `train/moving_digits/`; it runs on onnxruntime.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydantic
from pydantic import Field

from unspool.demo.digits import sampler
from unspool.demo.digits.prompt import Scene, settle, understand
from unspool.engines.video import write_mp4
from unspool.errors import ModelFileError
from unspool.files.file import File
from unspool.model import MARK, Run, make_model
from unspool.readme import Readme
from unspool.stages import Progress, Stages

if TYPE_CHECKING:
    from unspool.demo.digits.sampler import Floats, Ids

ID = "unspool/moving-digits"
WEIGHTS = Path(__file__).with_name("weights.onnx")
README = Path(__file__).with_name("README.md")
SHA256 = "3a68890743450aff46e75689a1ad3d141b11563a49fa5846a89577bf18955a01"
STEPS, MOST_STEPS = 120, 1000
GUIDANCE = 2.0
HIGHEST_SEED = 2**31 - 1
PREVIEW_INTERVAL_S, MOST_PREVIEWS = 0.5, 16
"""A preview takes about 15 ms: with at most one every half second, about 3 % of a run."""


class Inputs(pydantic.BaseModel):
    """What to draw, and how carefully."""

    model_config = pydantic.ConfigDict(extra="forbid")

    prompt: str = Field(
        max_length=500,
        description="A digit, a direction and a speed, in words. What is missing is chosen by the seed.",
        examples=["the digit 7 moving right, fast"],
    )
    seed: int = Field(-1, ge=-1, le=HIGHEST_SEED, description="The same seed gives the same clip; -1 picks one.")
    steps: int = Field(STEPS, ge=4, le=MOST_STEPS, description="In how many steps noise becomes a clip.")
    guidance: float = Field(
        GUIDANCE, ge=0, le=5, description="How hard it is pulled to the digit. Too hard breaks its strokes."
    )


class MovingDigits:
    """The model, to be named at the top of a model file.

    Args:
        id: the path after `/api/v3/`.
        weights: the network as an ONNX file.
        sha256: what the digest of that file must be.
        threads: how many threads compute; default is one for each core that this process may use.
        readme: markdown for those who use the model, or a file of it.
        replicas: how many worker processes there are.

    Raises:
        ModelFileError: the declaration cannot be served; the message says why.
    """

    def __init__(
        self,
        id: str = ID,
        *,
        weights: Path = WEIGHTS,
        sha256: str = SHA256,
        threads: int | None = None,
        readme: Readme | None = None,
        replicas: int = 1,
    ) -> None:
        if threads is not None and threads < 1:
            raise ModelFileError(f"model {id!r}: threads={threads!r} must be 1 or more")
        self.id = id
        self.threads = threads or _usable_cores()
        self._weights, self._sha256 = weights, sha256
        self._session: Any = None
        self._stages = Stages(id, {"denoise": 40, "decode": 1, "write": 2})
        declared = make_model(
            id,
            self,
            replicas=replicas,
            streams=("progress", "log"),
            category="text-to-video",
            readme=readme or README,
            inputs=Inputs,
        )
        setattr(self, MARK, declared)

    def setup(self) -> None:
        """Loads the network.

        Raises:
            ModelFileError: a library is not installed, or the weights are not what they should be.
        """
        try:
            import av  # noqa: F401 - looked for now, so that the first prediction does not fail
            import numpy  # noqa: F401
            import onnxruntime
        except ModuleNotFoundError as error:
            raise ModelFileError(
                f'model {self.id!r} needs {error.name}, which is not installed; run: pip install "unspool[demo]"'
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        # A thread that waits for work by spinning takes the core from the server beside it.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        content = _checked(self.id, self._weights, self._sha256)
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def __call__(self, run: Run, prompt: str, seed: int = -1, steps: int = STEPS, guidance: float = GUIDANCE) -> File:
        """Draws a clip.

        Raises:
            Cancelled: the prediction was cancelled.
        """
        from unspool.demo.digits import video

        seed = secrets.randbelow(HIGHEST_SEED + 1) if seed < 0 else seed
        scene = _scene(run, prompt, seed)
        with self._stages.follow(run, {"denoise": steps}) as progress:
            began = time.monotonic()
            clip = self._denoise(progress, scene, seed, steps, guidance)
            run.report(timings={"denoise": round(1000 * (time.monotonic() - began), 3)})
            progress.stage("decode")
            pictures = video.pictures(video.pixels(clip))
            progress.stage("write")
            file = run.folder / "moving-digits.mp4"
            write_mp4(file, pictures, video.FRAMES_PER_S)
        run.report(usage={"frames": sampler.FRAMES, "steps": steps, "seed": seed})
        return File(file)

    def _denoise(self, progress: Progress, scene: Scene, seed: int, steps: int, guidance: float) -> Floats:
        from unspool.demo.digits import video

        shown = sampler.Conditions.of(scene.digit, scene.direction, scene.speed)
        progress.stage("denoise", steps=steps)
        previewed_at, previewed = time.monotonic(), 0
        clips = sampler.sample(self._forward, sampler.noise(seed), shown, steps=steps, guidance=guidance)
        for step, clip in enumerate(clips, 1):
            preview = None
            due = step - previewed >= steps / MOST_PREVIEWS and time.monotonic() - previewed_at >= PREVIEW_INTERVAL_S
            if due and step < steps:
                preview = File(data=video.preview(video.pixels(clip[0])), content_type="image/webp")
                previewed_at, previewed = time.monotonic(), step
            progress.step(preview=preview)
        result: Floats = clip[0]
        return result

    def _forward(self, noisy: Floats, t: Floats, digit: Ids, direction: Ids, speed: Ids) -> Floats:
        given = {"noisy": noisy, "t": t, "digit": digit, "direction": direction, "speed": speed}
        clean: Floats = self._session.run(None, given)[0]
        return clean


def _scene(run: Run, prompt: str, seed: int) -> Scene:
    """What is drawn, said in the log together with what could not be granted."""
    wish = understand(prompt)
    scene = settle(wish, seed)
    for note in wish.notes:
        run.log(note, "warning")
    run.log(f"Drawing {scene}. Seed {seed}.")
    return scene


def _checked(id: str, file: Path, sha256: str) -> bytes:
    """Clients may see these messages, so they name the file and not its folder; the cause has it all."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ModelFileError(f"model {id!r}: its weights {file.name} cannot be read: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ModelFileError(
            f"model {id!r}: {file.name} is not the file that this version was made for (its SHA-256 differs); "
            "install unspool again"
        ) from ValueError(str(file))
    return content


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
