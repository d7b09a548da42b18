"""For models on Hugging Face `transformers`: what `generate` writes becomes output and progress of a run."""

from __future__ import annotations

import time
from typing import Any

from transformers import TextStreamer

from unspool.bars import Bar
from unspool.model import Run, current_run

PROGRESS_INTERVAL_S = 0.1


class RunStreamer(TextStreamer):  # type: ignore[misc]
    """A streamer for `generate`: whole words become output, the tokens of the answer progress and usage.

    ```python
    streamer = RunStreamer(run, tokenizer, max_new_tokens=200)
    model.generate(**inputs, streamer=streamer, max_new_tokens=200)
    ```

    The prompt is not repeated, and special tokens are left out. `generate` ends with `Cancelled` at the token after the
    prediction was cancelled. Inside of `run.track` the percentage moves within a step of that. As with every streamer
    of `transformers`, there is one prompt at a time, and no search with beams. Where a run calls `generate` several
    times one streamer will do, and its usage counts all of them.

    Args:
        run: the run that is told.
        tokenizer: what made the tokens of the prompt.
        max_new_tokens: how long the answer may get; without it there is no percentage.
        index: which element of `outputs` the text belongs to; default as in `Run.output`.
        decode_kwargs: for `tokenizer.decode`.
    """

    def __init__(
        self,
        run: Run,
        tokenizer: Any,
        *,
        max_new_tokens: int | None = None,
        index: int | None = None,
        **decode_kwargs: Any,
    ) -> None:
        super().__init__(tokenizer, skip_prompt=True, **{"skip_special_tokens": True, **decode_kwargs})
        self._run = run
        self._max_new_tokens = max_new_tokens
        self._index = index
        self._bar: Bar | None = None
        self._tokens = 0
        self._said_at = 0.0

    def put(self, value: Any) -> None:
        """Takes the prompt, and then each token."""
        self._run.check()
        is_prompt = self.next_tokens_are_prompt
        super().put(value)
        if is_prompt:
            at_home = current_run.get() is self._run
            self._bar = self._run.bars.begin(self._max_new_tokens, "generate", at_home=at_home)
        elif self._bar is not None:
            self._count(self._bar, value.numel())

    def _count(self, bar: Bar, tokens: int) -> None:
        self._tokens += tokens
        bar.done += tokens
        now = time.perf_counter()
        if now - self._said_at >= PROGRESS_INTERVAL_S:
            self._said_at = now
            self._run.progress(**self._run.bars.report(bar))

    def end(self) -> None:
        """The answer has ended."""
        super().end()
        if self._bar is not None:
            self._run.progress(**self._run.bars.report(self._bar))
            self._bar.end()
            self._bar = None
        self._run.report(usage={"completion_tokens": self._tokens})

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Says words that will not change any more."""
        self._run.output(text, self._index)
