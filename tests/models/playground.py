"""What a person meets in the playground: fields, outputs and troubles of every kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from basic import count, echo, fail, no_stream, parts
from gates import wait_for_gate
from PIL import Image
from pydantic import Field

from files import say_facts
from unspool import Run, model

__all__ = ["count", "echo", "fail", "no_stream", "parts", "say_facts"]

STEPS = 4
MARKUP = "<img src=x onerror=\"window.ran='img'\"><script>window.ran='script'</script><b>bold</b>"
"""What a page that takes text for markup would run."""


@model("page/film", slots=1, category="text-to-video")
def film(
    run: Run,
    prompt: Annotated[str, Field(examples=["a cat on a skateboard"])],
    quality: Literal["draft", "final"] = "draft",
    guidance: Annotated[float, Field(ge=0, le=10)] = 5,
    loop: bool = False,
    gate: str | None = None,
) -> dict[str, Any]:
    """Goes through its stages one step at a time; each step shows a preview.

    Args:
        gate: path of a `support.gate.Gate`; the i-th step waits until i were let through.
    """
    run.log(f"Drawing {prompt!r}.")
    for step in range(1, STEPS + 1):
        wait_for_gate(run, gate, step)
        shade = 60 * step
        picture = Image.new("RGB", (16, 9), (shade, 0, 255 - shade))
        eta = 3000.0 * (STEPS - step)
        run.progress(100 * step / STEPS, stage="denoise", step=step, steps=STEPS, eta_seconds=eta, preview=picture)
    wait_for_gate(run, gate, STEPS + 1)
    return {"prompt": prompt, "quality": quality, "guidance": guidance, "loop": loop}


@model(
    "page/hostile",
    slots=4,
    readme=f"""# {MARKUP}

Read [this](javascript:window.ran='link'), [that](data:text/html,<script>window.ran='data'</script>) and
<a href="javascript:window.ran='anchor'">more</a>. {MARKUP}

![{MARKUP}](javascript:window.ran='picture')

```html
{MARKUP}
```

- {MARKUP}

<iframe srcdoc="<script>parent.ran='frame'</script>"></iframe><svg onload="window.ran='svg'"></svg>
<style>body {{ display: none }}</style>

| a | b |
|---|---|
| {MARKUP} | `{MARKUP}` |
""",
)
def hostile(
    run: Run,
    text: Annotated[str, Field(title=f"Text {MARKUP}", description=MARKUP, examples=[MARKUP])] = MARKUP,
    choice: Literal["plain", "<script>window.ran='choice'</script>"] = "plain",
) -> Iterator[Any]:
    """Says markup wherever something can be said."""
    run.log(MARKUP, "warning")
    run.progress(50, stage=MARKUP, step=1, steps=2)
    yield text + choice
    yield {MARKUP: MARKUP, "url": "javascript:window.ran='output'"}
    yield {"url": "data:text/html,<script>window.ran='data'</script>"}
    run.output("javascript:window.ran='text'", 9)


@model("page/refusal", slots=4)
def refusal(run: Run) -> str:
    """Fails with a message that is markup."""
    from unspool import ModelError

    run.log("It will not work.", "error")
    raise ModelError(f"Refused: {MARKUP}")


@model("page/flood", slots=4)
def flood(run: Run, events: Annotated[int, Field(ge=1, le=100_000)] = 5_000) -> Iterator[str]:
    """So many events, half of them log lines, half of them words."""
    for number in range(events // 2):
        run.log(f"line {number}")
        yield f"word{number} "
