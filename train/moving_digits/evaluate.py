"""Measures a model: `python -m moving_digits.evaluate FILE`, where FILE is a checkpoint or an ONNX file.

First the metric itself, on clips made of the images that were held back. Then clips that are drawn as the server draws
them, with its own sampler.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from unspool.demo.digits import sampler

from .data import Conditions, draw_clips, draw_conditions, images
from .metric import Reader, Score, score

BATCH = 25
SEED = 777_000_000
"""Far from the seeds of training, which are the numbers of its steps."""


def main() -> None:
    """Prints the scores."""
    options = _options()
    torch.set_num_threads(options.threads)
    train, held_back = images()
    reader = Reader(train)
    random = torch.Generator().manual_seed(SEED)
    wanted = draw_conditions(1000, random)
    print("true clips  ", score(reader.read(draw_clips(held_back, wanted, random)), wanted), flush=True)
    forward = network(options.file, options.threads)
    for name, held_out in (("seen pairs  ", False), ("unseen pairs", True)):
        wanted = draw_conditions(options.clips, torch.Generator().manual_seed(options.prompts), held_out)
        print(name, _measure(reader, forward, wanted, options), flush=True)


def _measure(reader: Reader, forward: sampler.Forward, wanted: Conditions, options: argparse.Namespace) -> Score:
    clips = draw(forward, wanted, options.prompts, options.steps, options.guidance)
    return score(reader.read(clips), wanted)


def draw(forward: sampler.Forward, wanted: Conditions, seed: int, steps: int, guidance: float) -> torch.Tensor:
    """One clip for each condition, the k-th with the seed `seed + k`."""
    made = []
    for begin in range(0, len(wanted.digit), BATCH):
        part = slice(begin, begin + BATCH)
        shown = sampler.Conditions(*(ids[part].numpy() for ids in (wanted.digit, wanted.direction, wanted.speed)))
        noise = np.concatenate([sampler.noise(seed + begin + k) for k in range(len(shown.digit))])
        *_, clips = sampler.sample(forward, noise, shown, steps=steps, guidance=guidance)
        made.append(torch.from_numpy(clips))
    return torch.cat(made)


def network(file: Path, threads: int) -> sampler.Forward:
    """The network in a file, as the sampler wants it."""
    return _onnx(file, threads) if file.suffix == ".onnx" else _checkpoint(file)


def _onnx(file: Path, threads: int) -> sampler.Forward:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file, options)
    names = [one.name for one in session.get_inputs()]
    return lambda *given: session.run(None, dict(zip(names, given, strict=True)))[0]


def _checkpoint(file: Path) -> sampler.Forward:
    from .net import Net

    net = Net()
    net.load_state_dict(torch.load(file, weights_only=True)["average"])
    net.eval()

    def forward(*given: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return net(*(torch.from_numpy(one) for one in given)).numpy()

    return forward


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--clips", type=int, default=200, help="how many of each kind")
    parser.add_argument("--prompts", type=int, default=SEED + 1, help="seed of the prompts, and of the first clip")
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
