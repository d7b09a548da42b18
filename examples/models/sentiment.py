"""A class: `setup` loads what every prediction needs, once per process; `__call__` runs once per prediction.

unspool serve examples/models/sentiment.py
"""

from collections import Counter
from typing import Annotated

from pydantic import BaseModel, Field

from unspool import ModelError, Run, model

WORDS = {"good": 1, "great": 2, "love": 2, "fine": 1, "bad": -1, "awful": -2, "hate": -2, "slow": -1}


class Verdict(BaseModel):
    """What the model returns: an output may be any JSON, here made of a pydantic model."""

    text: str
    score: int
    found: dict[str, int]


@model("acme/sentiment", slots=8)
class Sentiment:
    """Scores short texts by a list of words."""

    def setup(self) -> None:
        """Stands for loading weights."""
        self.weights = dict(WORDS)

    def __call__(
        self, run: Run, texts: Annotated[list[str], Field(min_length=1, max_length=100, description="texts to score")]
    ) -> list[Verdict]:
        """Each text becomes one element of `outputs`."""
        if not any(text.strip() for text in texts):
            raise ModelError("All texts are empty; send at least one with a word in it.")
        return [self._score(text) for text in run.track(texts, stage="score")]

    def _score(self, text: str) -> Verdict:
        found = Counter(word for word in text.lower().split() if word in self.weights)
        score = sum(self.weights[word] * times for word, times in found.items())
        return Verdict(text=text, score=score, found=dict(found))
