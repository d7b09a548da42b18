"""The model file that `unspool demo` serves.

# SmolLM2 135M Instruct

A very small language model, here to try the server with. It runs on any laptop without a GPU, and writes fluent
English. **It is a demo model: what it says is often wrong, it repeats itself, and it is poor at other languages.** Do
not rely on its answers; for real work serve another model, the requests stay the same.

- Give it a `prompt`, or a conversation as `messages`.
- `max_tokens` is how long the answer may get. Prompt and answer together can have 2,048 tokens, about 1,500 words.
- A `seed` of 0 or more makes an answer repeatable.

Four predictions run at once; more wait their turn.

Weights: SmolLM2-135M-Instruct by Hugging Face, 4-bit GGUF, Apache-2.0.
"""

from __future__ import annotations

from unspool.demo.digits.model import MovingDigits
from unspool.demo.weights import smollm2
from unspool.engines.llama import Llama

_README = __doc__.partition("\n\n")[2]

# The command has fetched the weights, with a progress bar, before it serves this file.
smollm = Llama(
    "smollm2/135m-instruct",
    weights=lambda: smollm2(progress=False),
    slots=4,
    context_tokens=2048,
    readme=_README,
)

# Its weights come with the package.
moving_digits = MovingDigits()
