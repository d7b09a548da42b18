"""Tokens a second of one engine, called directly and through Unspool: same weights, settings, prompts and core.

Run as a program it is the direct side: it loads the engine of `llm_model.py`, generates, and prints one JSON object.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import harness
from harness import Bench, BenchmarkError, Server

STREAMS, TOKENS = 4, 128
SUBJECTS = ("a lighthouse", "a clock maker", "the deep sea", "a train at night")
SAMPLING = {"temperature": 0.0, "top_p": 1.0, "repeat_penalty": 1.1, "seed": 1}


def prompt(number: int) -> str:
    """What stream `number` asks for: something that is longer than it may get."""
    return f"Write a very long story about {SUBJECTS[number % len(SUBJECTS)]}, with every detail."


def measure(bench: Bench, *, direct_first: bool) -> dict[str, Any]:
    """One round: both sides, one after the other; tokens a second."""
    sides: list[Callable[[Bench], dict[str, Any]]] = [_direct, _through_unspool]
    found: dict[str, Any] = {}
    for side in sides if direct_first else reversed(sides):
        found |= side(bench)
    return found


def fetch_weights(bench: Bench) -> None:
    """Downloads the weights (93 MB) unless they are in the cache of Unspool."""
    code = "from unspool.demo.weights import smollm2; smollm2()"
    environ = {**harness.os.environ, "PYTHONPATH": harness.python_path()}
    subprocess.run([bench.python, "-c", code], check=True, timeout=600, env=environ)


def together(generate: Callable[[int], int], cpu_s: Callable[[], float]) -> dict[str, float]:
    """Runs all streams at once; tokens of all of them, by the second and by the CPU second of the engine's process."""
    with ThreadPoolExecutor(STREAMS) as pool:
        began, cpu_before = time.monotonic(), cpu_s()
        tokens = sum(pool.map(generate, range(STREAMS)))
        seconds, cpu = time.monotonic() - began, cpu_s() - cpu_before
    return {"tokens": tokens, "seconds": seconds, "tokens_per_s": tokens / seconds, "tokens_per_cpu_s": tokens / cpu}


# ---- through Unspool ----


def _through_unspool(bench: Bench) -> dict[str, Any]:
    with harness.unspool(bench, "llm_model.py", "/api/v3/bench/llm", ready_s=60) as server:
        _ask(server, 0, 8)
        found = together(lambda number: _ask(server, number, TOKENS), lambda: server.cpu_s()[1])
    return {f"unspool_{name}": value for name, value in found.items()}


def _ask(server: Server, number: int, max_tokens: int) -> int:
    """Follows one stream to its end; how many tokens it had."""
    body = {"prompt": prompt(number), "stream": True, "max_tokens": max_tokens, **SAMPLING}
    headers = {"Content-Type": "application/json", **dict(header.split(": ", 1) for header in server.headers)}
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request("POST", server.path("llm", 0), json.dumps(body), headers)
        last = b""
        for line in connection.getresponse():
            if line.startswith(b"data: "):
                last = line
    finally:
        connection.close()
    event = json.loads(last[6:] or b"{}")
    if event.get("type") != "complete":
        raise BenchmarkError(f"llm: a stream ended with {last[:300]!r}\n{server.tail()}")
    return int(event["usage"]["completion_tokens"])


# ---- directly ----


def _direct(bench: Bench) -> dict[str, Any]:
    process, log = bench.spawn(
        "llm-direct",
        [bench.python, harness.HERE / "llm.py"],
        core=bench.client_core,
        PYTHONPATH=harness.python_path(),
        BENCH_WORKER_CORE=str(bench.client_core),
    )
    try:
        process.wait(120)
    finally:
        harness.kill_all()
    lines = log.read_text(errors="replace").splitlines()
    if process.returncode or not lines:
        raise BenchmarkError("llm: the engine alone failed:\n" + "\n".join(lines[-20:]))
    return {f"direct_{name}": value for name, value in json.loads(lines[-1]).items()}


def _generate(engine: Any, number: int, max_tokens: int) -> int:
    request = {
        "messages": [{"role": "user", "content": prompt(number)}],
        "max_tokens": max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
        **SAMPLING,
    }
    chunks: list[bytes] = []
    engine.handle_chat_completions(json.dumps(request).encode(), chunks.append)
    return next(
        int(json.loads(chunk)["usage"]["completion_tokens"]) for chunk in reversed(chunks) if b'"usage"' in chunk
    )


def _main() -> None:
    from llm_model import llama

    llama.setup()
    engine = llama._server  # llama.cpp itself: from here on nothing of ours is in the way
    _generate(engine, 0, 8)
    print(json.dumps(together(lambda number: _generate(engine, number, TOKENS), time.process_time)), flush=True)


if __name__ == "__main__":
    _main()
    sys.exit()
