"""The models of the SDKs' scenarios: Chinese, emoji and line breaks, one word at a time, held wherever a test wants."""

from __future__ import annotations

from crash import die
from gates import wait_for_gate

from unspool import ModelError, Run, model

WORDS = ["你好", "，世界", " 👩🏿‍🚀", "🇯🇵 e\u0301", "\u2028\r\n𠮷", " data: id: 1-1\n\n", "naïve", " »end«"]
"""Two to four bytes a character, joined emoji, combining marks, line breaks of each kind, the words of the stream."""


@model("sdk/words", slots=8)
def words(
    run: Run, n: int = 4, gate: str | None = None, held_from: int = 0, dies_at: int | None = None, steps: bool = False
):
    """Says so many words.

    Args:
        gate: path of a `support.gate.Gate`; words from `held_from` on wait until so many of them were let through.
        dies_at: the process of the first attempt dies in place of saying this word.
        steps: tells progress and a line of log with each word.
    """
    for i in range(n):
        if i >= held_from:
            wait_for_gate(run, gate, i - held_from + 1)
        if i == dies_at and run.attempt == 1:
            die("kill")
        if steps:
            run.progress(100 * i / n, stage="say", step=i + 1, steps=n)
            run.log(f"word {i + 1}: {WORDS[i % len(WORDS)]}")
        yield WORDS[i % len(WORDS)]


@model("sdk/fails", slots=4)
def fails(run: Run):
    """Says a word and fails."""
    yield WORDS[0]
    raise ModelError("世界 could not be made.")


@model("sdk/still", slots=4, streams=False)
def still(run: Run, prompt: str = "x", gate: str | None = None) -> str:
    """Does not stream."""
    wait_for_gate(run, gate, 1)
    return prompt


@model("sdk/json", slots=4)
def parts(run: Run) -> None:
    """Outputs that are not text."""
    run.output({"kind": "part", "名": "一"})
    run.output([1, 2.5, None])
