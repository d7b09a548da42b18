"""A server that you run already, or rent, as a model: vLLM, SGLang, llama-server, Ollama, a cloud.

UPSTREAM_URL=http://127.0.0.1:8000/v1 UPSTREAM_MODEL=Qwen/Qwen3-8B UPSTREAM_API_KEY=... \
    unspool serve examples/models/upstream.py
"""

import os
from pathlib import Path

from unspool.engines.openai import OpenAI

chat = OpenAI(
    "acme/chat",
    base_url=os.environ.get("UPSTREAM_URL", "http://127.0.0.1:8000/v1"),
    model=os.environ.get("UPSTREAM_MODEL", "default"),
    api_key_env="UPSTREAM_API_KEY" if "UPSTREAM_API_KEY" in os.environ else None,
    max_tokens=1024,
    readme=Path("upstream.md"),
)
