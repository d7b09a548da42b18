"""A pipeline of `diffusers` that you call yourself: `callback_on_step_end` tells how far it is.

For pipelines as they are, `unspool.engines.diffusers` does this and more.

pip install torch diffusers transformers
PIPELINE=path/or/hub-id unspool serve examples/models/image_with_diffusers.py
"""

import os
from typing import Annotated, Any

import torch
from diffusers import DiffusionPipeline
from pydantic import Field

from unspool import Run, model


@model("acme/diffusers", category="text-to-image")
class Painter:
    """Draws a picture of a prompt."""

    def setup(self) -> None:
        """Loads a folder, or a name of the Hugging Face hub."""
        self.pipeline = DiffusionPipeline.from_pretrained(os.environ["PIPELINE"])
        self.pipeline.set_progress_bar_config(disable=True)  # the callback says more

    def __call__(self, run: Run, prompt: str, steps: Annotated[int, Field(ge=1, le=100)] = 20, seed: int = 0) -> Any:
        """Returns a picture of PIL, which becomes a PNG."""

        def on_step_end(pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            # It also ends the run here if it was cancelled. The last tenth is for decoding.
            run.progress(90 * (step + 1) / steps, stage="denoise", step=step + 1, steps=steps)
            return tensors

        images = self.pipeline(
            prompt,
            num_inference_steps=steps,
            generator=torch.Generator().manual_seed(seed),
            callback_on_step_end=on_step_end,
        ).images
        return images[0]
