"""Another server behind ours: llama.cpp's own, with real weights, behind a real server of Unspool."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.client import Client
from support.server import Server
from support.stream import check_log, text_of
from support.waiting import wait_until

EXAMPLE = Path(__file__).parents[2] / "examples" / "models" / "upstream.py"
KEY = secrets.token_hex(16)
CONTEXT_TOKENS = 4096
MODELS = """
from unspool.engines.openai import OpenAI

chat = OpenAI("acme/chat", base_url={url!r}, model="smollm2", api_key_env="ACME_UPSTREAM")
endless = OpenAI("acme/endless", base_url={url!r}, model="smollm2", api_key_env="ACME_UPSTREAM",
                 parameters={{"ignore_eos": True}})
stranger = OpenAI("acme/stranger", base_url={url!r}, model="smollm2", api_key="not-the-key-of-this")
"""


class LlamaServer:
    """llama.cpp's HTTP server on a port of its own, with one slot."""

    def __init__(self, gguf: Path) -> None:
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(gguf)
        params.hostnames, params.port = ["127.0.0.1"], 0
        params.api_keys, params.endpoint_slots, params.endpoint_metrics = [KEY], True, True
        params.n_parallel, params.n_ctx, params.n_batch = 1, CONTEXT_TOKENS, 64
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
        params.cache_ram_mib, params.n_threads_http, params.verbosity = 0, 4, 1
        self._server = xllamacpp.Server(params)
        self.url = self._server.listening_address
        self._http = httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {KEY}"})

    @property
    def is_busy(self) -> bool:
        """Whether its slot is taken."""
        (slot,) = self._http.get("/slots").json()
        return bool(slot["is_processing"])

    @property
    def tokens(self) -> int:
        """How many it has generated since it was started, in answers that have ended or were given up."""
        found = re.search(r"^llamacpp:tokens_predicted_total (\d+)", self._http.get("/metrics").text, re.MULTILINE)
        assert found is not None
        return int(found[1])

    def close(self) -> None:
        self._http.close()


@pytest.fixture(scope="module")
def upstream(gguf: Path) -> Iterator[LlamaServer]:
    upstream = LlamaServer(gguf)
    yield upstream
    upstream.close()


@pytest.fixture(scope="module")
def server(upstream: LlamaServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("openai")
    (folder / "models.py").write_text(MODELS.format(url=f"{upstream.url}/v1"))
    server = Server(folder / "models.py", folder / "data", {"ACME_UPSTREAM": KEY})
    try:
        yield server.start().wait_until_ready()
    finally:
        server.close()


@pytest.fixture
def client(server: Server) -> Client:
    return server.client()


@pytest.fixture
def example(upstream: LlamaServer, tmp_path: Path) -> Iterator[Server]:
    where = {"UPSTREAM_URL": f"{upstream.url}/v1", "UPSTREAM_API_KEY": KEY}
    server = Server(EXAMPLE, tmp_path, where)
    try:
        yield server.start().wait_until_ready()
    finally:
        server.close()


def run(client: Client, model: str = "acme/chat", **inputs: Any) -> list[Any]:
    with client.run(model, **inputs) as stream:
        events = list(stream)
    check_log(events)
    return events


def test_the_words_of_the_upstream_stream_through(client: Client) -> None:
    events = run(client, prompt="Say hello.", max_tokens=8, temperature=0)
    assert len([event for event in events if event.type == "output"]) > 3
    assert events[-1].data["outputs"] == [text_of(events)]
    assert events[-1].data["usage"]["completion_tokens"] == 8
    assert events[-1].data["usage"]["prompt_tokens"] > 8
    assert events[-1].data["timings"]["generate"] > 0


def test_the_inputs_reach_the_upstream(client: Client) -> None:
    first, again = (run(client, prompt="A story.", max_tokens=16, temperature=1, seed=7)[-1].data for _ in range(2))
    assert first["outputs"] == again["outputs"]
    whole = run(client, prompt="A story.", max_tokens=16, temperature=0)[-1].data["outputs"][0]
    stop = whole[20:26]
    stopped = run(client, prompt="A story.", max_tokens=16, temperature=0, stop=[stop])[-1].data["outputs"][0]
    assert stopped == whole.partition(stop)[0]


def test_a_cancel_frees_the_slot_of_the_upstream(client: Client, upstream: LlamaServer) -> None:
    """The model never ends by itself, so only the closed connection can free the slot before thousands of tokens."""
    assert run(client, prompt="Hi", max_tokens=1)[-1].type == "complete"
    before = upstream.tokens
    with client.run("acme/endless", prompt="A story.", max_tokens=CONTEXT_TOKENS - 100) as stream:
        stream.until("output", 3)
        assert upstream.is_busy
        client.cancel(stream.id)
        assert list(stream)[-1].data["status"] == "cancelled"
    wait_until(lambda: not upstream.is_busy, "the slot of the upstream is free", 20)
    assert run(client, prompt="Hi", max_tokens=1)[-1].type == "complete"
    assert before < upstream.tokens < before + CONTEXT_TOKENS // 4, "the answer went on after the cancel"


def test_a_prompt_that_is_too_long_is_told_with_both_lengths(client: Client) -> None:
    error = run(client, prompt="word " * (CONTEXT_TOKENS + 100))[-1].data["error"]
    assert f"prompt and answer together can be {CONTEXT_TOKENS} tokens" in error


def test_a_wrong_key_is_the_operators_matter(client: Client, server: Server, upstream: LlamaServer) -> None:
    events = run(client, "acme/stranger", prompt="Hi")
    assert "does not accept this server's API key (401)" in events[-1].data["error"]
    server.wait_for_log(r"it answered 401: .*Invalid API Key")
    assert upstream.url in server.log


def test_neither_key_nor_address_are_anywhere_where_clients_look(
    client: Client, server: Server, upstream: LlamaServer
) -> None:
    logs = [run(client, model, prompt="Hi", max_tokens=2) for model in ("acme/chat", "acme/stranger")]
    told = json.dumps([event.data for events in logs for event in events]) + client.http.get("models").text
    for secret in (KEY, "not-the-key-of-this", upstream.url, upstream.url.rpartition(":")[2]):
        assert secret not in told
    assert KEY not in server.log
    assert "not-the-key-of-this" not in server.log


def test_the_example_runs_and_its_readme_is_the_file_beside_it(example: Server) -> None:
    client = example.client()
    assert run(client, prompt="Hi", max_tokens=2)[-1].type == "complete"
    page = client.http.get("models/acme/chat/readme").text
    assert page.startswith(EXAMPLE.with_suffix(".md").read_text())
    assert "| `max_tokens` | integer, 1 to 1024 | `1024` |" in page
    assert '"prompt": "Why is the sky blue?"' in page
