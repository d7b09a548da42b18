"""Models written with the usual libraries, as `examples/models/` shows them."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.client import Client
from support.server import Server
from support.services import missing
from support.stream import Event, check_log, text_of

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "models"
QUIET = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": ""}
DEADLINE_S = 180

MakeServer = Callable[..., Server]


def need(*modules: str) -> None:
    for module in modules:
        if importlib.util.find_spec(module) is None:
            missing(module, f"Install it: pip install {module}")


def build(module: str, folder: Path) -> None:
    """Weights, made in a process of their own: the libraries warn of things that are errors in tests."""
    command = [sys.executable, "-m", f"support.{module}", str(folder)]
    environment = {**os.environ, **QUIET, "PYTHONPATH": str(ROOT / "tests")}
    subprocess.run(command, env=environment, check=True, timeout=DEADLINE_S, capture_output=True)


def serve(make_server: MakeServer, file: str, **environment: str) -> Client:
    return make_server(EXAMPLES / file, ready=False, **QUIET, **environment).wait_until_ready(DEADLINE_S).client()


def watch(client: Client, model: str, **inputs: Any) -> list[Event]:
    with client.run(model, deadline_s=DEADLINE_S, **inputs) as stream:
        events = list(stream)
    check_log(events)
    return events


def progress(events: list[Event], stage: str) -> list[dict[str, Any]]:
    return [event.data for event in events if event.data.get("stage") == stage and "step" in event.data]


def cancel_at(client: Client, model: str, stage: str, **inputs: Any) -> list[Event]:
    """What comes after a cancel that was asked for at the first step of a stage."""
    with client.run(model, deadline_s=DEADLINE_S, **inputs) as stream:
        for event in stream:
            if event.data.get("stage") == stage and event.data.get("step"):
                break
        client.cancel(stream.id)
        return list(stream)


def test_nested_bars_move_one_percentage(make_server: MakeServer) -> None:
    client = serve(make_server, "nested_bars.py")
    events = watch(client, "acme/nested-bars", count=2, steps=20)
    assert events[-1].data["outputs"] == [0.0115, 0.0115]
    halves = [said["percentage"] for said in progress(events, "denoise")]
    assert {said["steps"] for said in progress(events, "denoise")} == {20}
    assert any(0 < percentage < 50 for percentage in halves)
    assert any(50 < percentage < 100 for percentage in halves)
    assert [said["percentage"] for said in progress(events, "picture")] == [50, 100]


def test_a_language_model_of_transformers_streams_its_words_and_its_progress(
    make_server: MakeServer, tmp_path: Path
) -> None:
    need("torch", "transformers")
    build("tiny_text", tmp_path / "model")
    client = serve(make_server, "text_with_transformers.py", MODEL=str(tmp_path / "model"))
    events = watch(client, "acme/transformers", prompt="a b c", max_new_tokens=64)
    complete = events[-1].data
    assert complete["usage"] == {"completion_tokens": 64}
    assert len([event for event in events if event.type == "output"]) > 30
    assert [text_of(events)] == complete["outputs"]
    assert len(complete["outputs"][0].split()) > 30
    assert not complete["outputs"][0].startswith("a b c")
    said = progress(events, "generate")
    assert (said[-1]["step"], said[-1]["steps"], said[-1]["percentage"]) == (64, 64, 100)
    again = watch(client, "acme/transformers", prompt="a b c", max_new_tokens=64)
    assert again[-1].data["outputs"] == complete["outputs"], "the same seed, the same text"
    rest = cancel_at(client, "acme/transformers", "generate", prompt="a", max_new_tokens=1000)
    assert rest[-1].data["status"] == "cancelled"
    assert max(said["step"] for said in progress(rest, "generate") or [{"step": 0}]) < 1000


def test_a_pipeline_of_diffusers_tells_each_step(make_server: MakeServer, tmp_path: Path) -> None:
    need("torch", "transformers", "diffusers")
    build("tiny_pipelines", tmp_path)
    client = serve(make_server, "image_with_diffusers.py", PIPELINE=str(tmp_path / "stable-diffusion"))
    events = watch(client, "acme/diffusers", prompt="a cat", steps=9)
    said = progress(events, "denoise")
    assert [(each["step"], each["percentage"]) for each in said] == [(n, 10 * n) for n in range(1, 10)]
    [url] = events[-1].data["outputs"]
    assert httpx.get(url).content.startswith(b"\x89PNG")
    rest = cancel_at(client, "acme/diffusers", "denoise", prompt="a cat", steps=100)
    assert rest[-1].data["status"] == "cancelled"
    assert len(progress(rest, "denoise")) < 99


def test_a_trainer_tells_its_callback_and_that_those_who_watch(make_server: MakeServer) -> None:
    need("torch", "transformers", "accelerate")
    client = serve(make_server, "training.py")
    events = watch(client, "acme/training", slope=3, steps=100)
    said = progress(events, "train")
    assert [each["step"] for each in said] == list(range(1, 101))
    assert said[-1]["percentage"] == 100
    printed = [event.data["message"] for event in events if event.type == "log"]
    losses = [float(match[1]) for match in map(re.compile(r"'loss': '?([\d.]+)").search, printed) if match]
    assert len(losses) == 4
    assert losses[-1] < losses[0] / 10
    [line] = events[-1].data["outputs"]
    assert line["slope"] == pytest.approx(3, abs=0.2)
    rest = cancel_at(client, "acme/training", "train", steps=1000)
    assert rest[-1].data["status"] == "cancelled"
    assert len(progress(rest, "train")) < 999
