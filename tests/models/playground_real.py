"""The demo's models and a voice: what the playground is for, on real weights."""

from __future__ import annotations

from unspool.demo import app
from unspool.demo.digits.model import MovingDigits
from unspool.demo.weights import smollm2
from unspool.engines.llama import Llama
from unspool.engines.speech import Speech

# One thread each, since several that wait for each other get nowhere on a machine that is busy.
smollm = Llama(
    app.smollm.id,
    weights=lambda: smollm2(progress=False),
    slots=2,
    context_tokens=1024,
    threads=1,
    readme=(app.__doc__ or "").partition("\n\n")[2],
)
digits = MovingDigits(threads=1)
voice = Speech("hibari/voice", slots=1)
