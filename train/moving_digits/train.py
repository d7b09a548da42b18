"""Trains the network for a fixed number of steps: `python -m moving_digits.train --out run`.

An interrupted training goes on from its last checkpoint. Each step draws from a generator of its own, made from the
seed and the number of the step, so that it comes to the same with and without an interruption.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import torch

from .data import NO_DIGIT, NO_DIRECTION, NO_SPEED, Conditions, draw_clips, draw_conditions, images
from .net import Net

BATCH = 32
LEARNING_RATE = 1e-3
WARM_UP_STEPS, COSINE_STEPS, COOL_DOWN_STEPS = 200, 9_000, 1_500
"""The rate rises, follows a cosine that would end at 9,000 steps, and is brought to nothing over the last 1,500.

So what is learned before the last 1,500 steps does not depend on how many steps there are.
"""
DROP = {"digit": 0.12, "direction": 0.12, "speed": 0.15, "all": 0.08}
"""How often each condition is hidden, on its own, and how often all are."""
NOISE = (-1.7, 1.15)
"""Mean and spread of the logit of t. Lower than usual: 96 noisy values that show one thing say more than one does."""


def main() -> None:
    """Trains, saves every few hundred steps, and prints the loss."""
    options = _options()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    run = Run(options.steps, options.seed)
    checkpoint = options.out / "checkpoint.pt"
    if checkpoint.exists():
        run.restore(checkpoint)
    source, _ = images()
    losses: list[float] = []
    began = time.monotonic()
    while run.step < options.steps:
        losses.append(run.train(source))
        if run.step % options.every == 0 or run.step == options.steps:
            run.save(checkpoint)
            mean, step_s = sum(losses) / len(losses), (time.monotonic() - began) / len(losses)
            print(f"step {run.step} loss {mean:.4f} {step_s:.3f} s a step", flush=True)
            losses, began = [], time.monotonic()


class Run:
    """A training: network, its running average, optimiser, and the number of steps done."""

    def __init__(self, steps: int, seed: int) -> None:
        self.steps, self.seed, self.step = steps, seed, 0
        self.net, self.average = Net(), Net()
        self.average.load_state_dict(self.net.state_dict())
        self.optimiser = torch.optim.AdamW(self.net.parameters(), LEARNING_RATE, betas=(0.9, 0.99), weight_decay=0.01)

    def train(self, source: object) -> float:
        """One step. Returns its loss."""
        random = torch.Generator().manual_seed(self.seed * 1_000_003 + self.step)
        conditions = draw_conditions(BATCH, random)
        clean = draw_clips(source, conditions, random)  # type: ignore[arg-type]
        mean, spread = NOISE
        t = torch.sigmoid(mean + spread * torch.randn(BATCH, generator=random))
        wide = t[:, None, None, None]
        noisy = wide * clean + (1 - wide) * torch.randn(clean.shape, generator=random)
        shown = hide(conditions, random)
        with torch.autocast("cpu", torch.bfloat16):
            found = self.net(noisy, t, shown.digit, shown.direction, shown.speed)
        loss = ((found.float() - clean) / (1 - wide).clamp(min=0.05)).square().mean()
        self._learn(loss)
        return float(loss.detach())

    def _learn(self, loss: torch.Tensor) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = LEARNING_RATE * _rate(self.step, self.steps)
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        kept = min(0.999, self.step / (self.step + 9))
        with torch.no_grad():
            old, new = list(self.average.parameters()), list(self.net.parameters())
            torch._foreach_lerp_(old, new, 1 - kept)

    def save(self, path: Path) -> None:
        """Writes everything that is needed to go on; the old file stays until the new one is whole."""
        parts = {"net": self.net, "average": self.average, "optimiser": self.optimiser}
        state = {name: part.state_dict() for name, part in parts.items()}
        scratch = path.with_suffix(".part")
        torch.save({**state, "step": self.step, "steps": self.steps, "seed": self.seed}, scratch)
        scratch.replace(path)

    def restore(self, path: Path) -> None:
        """Goes on from a checkpoint of the same training.

        Raises:
            SystemExit: it is of another training.
        """
        state = torch.load(path, weights_only=True)
        if (state["steps"], state["seed"]) != (self.steps, self.seed):
            raise SystemExit(f"{path} is of a training with --steps {state['steps']} --seed {state['seed']}.")
        for name in ("net", "average", "optimiser"):
            getattr(self, name).load_state_dict(state[name])
        self.step = state["step"]


def hide(conditions: Conditions, random: torch.Generator) -> Conditions:
    """The conditions with some of them not given, each independently of the others."""
    n = len(conditions.digit)
    drawn = torch.rand(4, n, generator=random)
    everything = drawn[3] < DROP["all"]
    return Conditions(
        torch.where(everything | (drawn[0] < DROP["digit"]), NO_DIGIT, conditions.digit),
        torch.where(everything | (drawn[1] < DROP["direction"]), NO_DIRECTION, conditions.direction),
        torch.where(everything | (drawn[2] < DROP["speed"]), NO_SPEED, conditions.speed),
    )


def _rate(step: int, steps: int) -> float:
    if step < WARM_UP_STEPS:
        return (step + 1) / WARM_UP_STEPS
    share = min((step - WARM_UP_STEPS) / (COSINE_STEPS - WARM_UP_STEPS), 1.0)
    cosine = 0.02 + 0.98 * (1 + math.cos(math.pi * share)) / 2
    return cosine * min((steps - step) / COOL_DOWN_STEPS, 1.0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoint")
    parser.add_argument("--steps", type=int, default=9_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--every", type=int, default=250, help="steps between two checkpoints")
    return parser.parse_args()


if __name__ == "__main__":
    main()
