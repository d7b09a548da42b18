"""Code that already shows a tqdm bar and prints needs no change: viewers see the bar as progress, the rest as log.

pip install tqdm
unspool serve examples/models/denoise.py
"""

import time
from typing import Annotated

from pydantic import Field
from tqdm import tqdm

from unspool import model


def sample(steps: int) -> list[float]:
    """Stands for a sampler in a library that knows nothing of Unspool."""
    noise = 1.0
    history = []
    for _ in tqdm(range(steps), desc="denoise"):
        time.sleep(0.05)
        noise *= 0.8
        history.append(round(noise, 4))
    return history


@model("acme/denoise")
def denoise(steps: Annotated[int, Field(ge=1, le=200)] = 20) -> dict[str, list[float]]:
    """Removes noise, step by step."""
    print(f"sampling with {steps} steps")
    return {"noise": sample(steps)}
