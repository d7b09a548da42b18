"""The public interface for authors of models, written out for the type checker. Never executed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field

from unspool import Accept, Cancelled, File, ModelError, Run, model
from unspool.engines.llama import Llama


@model("typed/plain")
def plain(prompt: str) -> str:
    return prompt


@model("typed/all", slots=4, replicas=2, max_attempts=1, run_timeout_s=60, streams=["output", "log"], readme="# It")
def everything(run: Run, prompt: Annotated[str, Field(min_length=1)], steps: int = 4) -> Iterator[str]:
    identity: tuple[str, int] = (run.id, run.attempt)
    for step in run.track(range(steps), total=steps, stage="think"):
        run.progress(
            12.5, stage="think", step=step, steps=steps, eta_seconds=1.5, preview="https://example.test/p.webp"
        )
        run.log(f"step {step} of {identity}", "debug")
        run.output("a", index=0)
        if run.cancelled:
            return
        run.check()
        yield prompt
    run.report(usage={"tokens": 3}, timings={"decode": 1.5})


@model("typed/async", streams=False)
async def asynchronous(prompt: str) -> AsyncIterator[str]:
    yield prompt


@model("typed/class")
class Holder:
    def setup(self) -> None:
        self.prefix = "> "

    def __call__(self, run: Run, prompt: str) -> list[str]:
        try:
            return [self.prefix, prompt]
        except Cancelled:
            raise ModelError("cancelled") from None


class Question(BaseModel):
    text: str


@model("typed/batch", batch=8, batch_wait_ms=2.5, device=["cuda:0", "cuda:1"], replicas=2, idle_unload_s=600)
def batched(inputs: list[Question], runs: list[Run]) -> list[str | Exception]:
    for run in runs:
        run.progress(50)
    return [one.text or ModelError("nothing") for one in inputs]


@model("typed/batch-of-lists", batch=8, device="cuda")
async def batched_lists(text: list[str], size: list[Annotated[int, Field(default=3)]]) -> list[str]:
    return [one * count for one, count in zip(text, size, strict=True)]


@model("typed/files")
def files(
    run: Run, image: Annotated[File, Accept("image/*")], masks: list[File], layer: File | None = None
) -> list[File | Path]:
    read: tuple[Path, str, str, int, bytes] = (
        image.path,
        image.content_type,
        image.filename,
        image.size_bytes,
        image.read_bytes(),
    )
    made: Path = run.folder / "clip.mp4"
    run.progress(50, preview=made)
    return [File(made), File(data=read[-1], content_type="image/png"), made]


text: str = plain("it stays callable")
pieces: Iterator[str] = everything(Run("id", 1, print), "prompt")
held: list[str] = Holder()(Run("id", 1, print), "prompt")
llm: Llama = Llama("typed/llm", weights=Path("weights.gguf"), slots=2, device="cpu", idle_unload_s=60)
