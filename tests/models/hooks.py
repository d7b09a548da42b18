"""One small model for predictions with webhooks, in one worker, so that a server is up soon."""

from __future__ import annotations

from gates import wait_for_gate

from unspool import ModelError, Run, model


@model("echo", slots=16)
def echo(run: Run, prompt: str = "x", gate: str | None = None, fail: bool = False) -> str:
    """Returns its prompt, once its gate lets it; or fails."""
    wait_for_gate(run, gate, 1)
    if fail:
        raise ModelError("The picture could not be made.")
    return prompt
