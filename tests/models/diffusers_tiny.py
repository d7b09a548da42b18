"""The engine for diffusers on tiny pipelines with random weights; TINY_PIPELINES is the folder that they are in."""

import os
import resource
import sys
from pathlib import Path

from unspool.engines.diffusers import Diffusers

ROOT = Path(os.environ["TINY_PIPELINES"])
ROOM_BYTES = 700 * 1024 * 1024


class Cramped(Diffusers):
    """In a process that may not grow much once it is loaded."""

    def setup(self) -> None:
        super().setup()
        if sys.platform == "linux":
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            most = pages * resource.getpagesize() + ROOM_BYTES
            resource.setrlimit(resource.RLIMIT_AS, (most, most))


video = Diffusers(
    "tiny/video",
    weights=ROOT / "wan",
    options={"max_sequence_length": 64},
    defaults={"width": 64, "height": 64, "num_frames": 9, "num_inference_steps": 6},
    max_steps=100_000,
    max_side_px=256,
    preview_interval_s=0.05,
    threads=1,
)
picture = Cramped(
    "tiny/picture",
    weights=str(ROOT / "stable-diffusion"),
    defaults={"num_inference_steps": 6},
    max_steps=100_000,
    preview_interval_s=0.05,
    threads=1,
)
variation = Diffusers("tiny/variation", weights=ROOT / "image-to-image", max_side_px=64, threads=1)
