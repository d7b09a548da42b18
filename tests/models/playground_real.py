"""The demo's models and a voice: what the playground is for, on real weights."""

from __future__ import annotations

from unspool.demo.app import smollm
from unspool.demo.digits.model import MovingDigits
from unspool.engines.speech import Speech

__all__ = ["digits", "smollm", "voice"]

# One thread, since several that wait for each other get nowhere on a machine that is busy.
digits = MovingDigits(threads=1)
voice = Speech("test/voice", slots=1)
