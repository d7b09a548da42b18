"""Videos from the weights of a diffusers pipeline: a folder, or a repository of the hub.

pip install "unspool[diffusers]"
WEIGHTS=Wan-AI/Wan2.1-T2V-1.3B-Diffusers unspool serve examples/models/video.py
"""

import os

from unspool.engines.diffusers import Diffusers

video = Diffusers(
    "acme/video",
    weights=os.environ["WEIGHTS"],
    defaults={"width": 480, "height": 320, "num_frames": 33, "num_inference_steps": 30},
    max_side_px=832,
    max_frames=81,
)
