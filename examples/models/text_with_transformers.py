"""A language model of Hugging Face `transformers`: words as they are written, progress by tokens.

pip install torch transformers
MODEL=HuggingFaceTB/SmolLM2-135M-Instruct unspool serve examples/models/text_with_transformers.py
"""

import os
from typing import Annotated

from pydantic import Field
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed

from unspool import Run, model
from unspool.integrations.transformers import RunStreamer


@model("acme/transformers", streams=("progress", "log", "output"))
class Writer:
    """Goes on with a text."""

    def setup(self) -> None:
        """Loads a folder, or a name of the Hugging Face hub."""
        name = os.environ.get("MODEL", "HuggingFaceTB/SmolLM2-135M-Instruct")
        self.tokenizer = AutoTokenizer.from_pretrained(name)
        self.model = AutoModelForCausalLM.from_pretrained(name).eval()

    def __call__(
        self,
        run: Run,
        prompt: Annotated[str, Field(min_length=1, max_length=4000)],
        max_new_tokens: Annotated[int, Field(ge=1, le=1000)] = 100,
        seed: int = 0,
    ) -> None:
        """The streamer says everything; there is nothing to return."""
        set_seed(seed)
        inputs = self.tokenizer(prompt, return_tensors="pt")
        streamer = RunStreamer(run, self.tokenizer, max_new_tokens=max_new_tokens)
        self.model.generate(**inputs, streamer=streamer, max_new_tokens=max_new_tokens, do_sample=True)
