"""Long text of Chinese and emoji, cut wherever a tokenizer might cut it."""

from __future__ import annotations

import random
import time
from typing import Annotated

from pydantic import Field

from unspool import Run, model

PHRASES = [
    "人工智能正在改变世界，",
    "机器学习模型一个字一个字地说话。",
    "春江潮水连海平，海上明月共潮生。",
    "「引号」与“引号”",
    "\u3000全角空格 ",
    "𠮷野家的𠮷是四字节的字。",
    "한국어와 日本語も、",
    "naïve café — “quotes” ",
    "\t制表\n换行\r\n",
    "👍🏽👨‍👩‍👧‍👦",
    "🏳️‍🌈",
    "🇩🇪🇯🇵🇨🇳",
    "👩🏿‍🚀🧑‍💻",
    "❤️‍🔥",
    "e\u0301 n\u0303",
    "\u200f\u2028\u2029\u0085\ufeff",
    'data: "id: 1-1"\\ ',
]
"""Wide and four-byte characters, ZWJ sequences, flags, combining marks, direction marks, every kind of line break."""


def pieces_of(seed: int, pieces: int) -> list[str]:
    """A text in so many pieces, the same for the same seed; a piece may end inside a grapheme, as tokens do."""
    rng = random.Random(seed)
    found: list[str] = []
    text = ""
    while len(found) < pieces:
        if len(text) < 8:
            text += rng.choice(PHRASES)
        size = rng.choice([1, 1, 1, 2, 2, 3, 5, 8])
        found.append(text[:size])
        text = text[size:]
    return found


@model("test/chinese-emoji", slots=32)
def chinese_emoji(
    run: Run,
    prompt: str = "",
    seed: int = 0,
    pieces: Annotated[int, Field(ge=1, le=100_000)] = 400,
    interval_s: float = 0.001,
):
    """Writes a text as a language model does: piece by piece."""
    for piece in pieces_of(seed, pieces):
        if interval_s:
            time.sleep(interval_s)
        yield piece
