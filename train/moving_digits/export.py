"""Writes the network of a checkpoint as ONNX: `python -m moving_digits.export CHECKPOINT ONNX`.

Large weights are kept as 16-bit floats and widened when the file is loaded, which halves it. All is computed with 32.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from .data import FRAMES, SIZE
from .evaluate import network
from .net import Net

_LARGE = 256
MAX_BYTES = 10_000_000


def main() -> None:
    """Writes the file, compares it with the network it came from, and prints its digest."""
    options = _options()
    net = Net()
    net.load_state_dict(torch.load(options.checkpoint, weights_only=True)["average"])
    net.eval()
    onnx.save(_halved(_as_onnx(net)), options.onnx)
    content = options.onnx.read_bytes()
    if len(content) > MAX_BYTES:
        raise SystemExit(f"{options.onnx} has {len(content)} bytes; at most {MAX_BYTES} are allowed.")
    print(f"largest difference {_difference(net, options.onnx):.2e}, {len(content)} bytes")
    print(f"sha256 {hashlib.sha256(content).hexdigest()}")


def _inputs(n: int) -> tuple[torch.Tensor, ...]:
    random = torch.Generator().manual_seed(0)
    noisy = torch.randn(n, FRAMES, SIZE, SIZE, generator=random)
    return noisy, torch.rand(n, generator=random), *(torch.randint(3, (n,), generator=random) for _ in range(3))


def _as_onnx(net: Net) -> onnx.ModelProto:
    n = torch.export.Dim("n", min=2, max=1024)
    names = ["noisy", "t", "digit", "direction", "speed"]
    program = torch.onnx.export(
        net,
        _inputs(4),
        input_names=names,
        output_names=["clean"],
        dynamic_shapes=[{0: n}] * len(names),
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    # Where each part came from in the source: of no use to the runtime, and it names the folders of this machine.
    for thing in (model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        del thing.metadata_props[:]
        thing.doc_string = ""
    del model.metadata_props[:]
    return model


def _halved(model: onnx.ModelProto) -> onnx.ModelProto:
    casts = []
    for weights in model.graph.initializer:
        values = numpy_helper.to_array(weights)
        if values.dtype != np.float32 or values.size < _LARGE:
            continue
        name = weights.name
        weights.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], name=f"{name}.wide", to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    return model


def _difference(net: Net, file: Path) -> float:
    given = _inputs(4)
    with torch.inference_mode():
        wanted = net(*given).numpy()
    return float(np.abs(network(file, 1)(*(one.numpy() for one in given)) - wanted).max())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("onnx", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
