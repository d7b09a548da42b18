"""The language model that `run.py llm` measures: SmolLM2 on llama.cpp, four slots, one thread for its one core."""

import os

from models import pin_to_core
from unspool.demo.weights import smollm2
from unspool.engines.llama import Llama

if "BENCH_WORKER_CORE" in os.environ:
    pin_to_core(int(os.environ["BENCH_WORKER_CORE"]))

llama = Llama("bench/llm", weights=lambda: smollm2(progress=False), slots=4, context_tokens=1024)
