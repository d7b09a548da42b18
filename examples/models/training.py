"""A trainer with callbacks, as Hugging Face's `Trainer` or Lightning: one callback makes progress of a training.

What the trainer prints, its loss, becomes log by itself.

pip install torch transformers accelerate
unspool serve examples/models/training.py
"""

from typing import Annotated, Any

import torch
from pydantic import Field
from transformers import Trainer, TrainerCallback, TrainingArguments

from unspool import Run, model


class Report(TrainerCallback):  # type: ignore[misc]  # where transformers is not installed
    """What the trainer tells its callbacks becomes progress. A run that was cancelled ends in the next call."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """After each step of the optimizer."""
        percentage = 100 * state.global_step / state.max_steps
        self.run.progress(percentage, stage="train", step=state.global_step, steps=state.max_steps)


class Line(torch.nn.Module):  # type: ignore[misc]
    """The smallest thing that can be trained: y = ax + b."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(1, 1)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """What a `Trainer` asks for: the loss among the outputs."""
        return {"loss": torch.nn.functional.mse_loss(self.linear(x), labels)}


@model("acme/training")
def training(
    run: Run,
    slope: Annotated[float, Field(ge=-5, le=5)] = 2,
    steps: Annotated[int, Field(ge=1, le=1000)] = 100,
) -> dict[str, float]:
    """Learns a line from points on it."""
    torch.manual_seed(0)
    points = [{"x": x, "labels": slope * x + 1} for x in torch.linspace(-1, 1, 64).reshape(-1, 1)]
    arguments = TrainingArguments(
        output_dir=str(run.folder),
        max_steps=steps,
        learning_rate=0.1,
        logging_steps=25,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,  # its bar would be progress, too
    )
    line = Line()
    Trainer(line, arguments, train_dataset=points, callbacks=[Report(run)]).train()
    return {"slope": round(line.linear.weight.item(), 3), "offset": round(line.linear.bias.item(), 3)}
