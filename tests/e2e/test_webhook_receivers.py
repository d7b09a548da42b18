"""The receivers in docs/webhooks.md take what the server sends, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from conftest import MODELS
from support.client import Client, data_of
from support.pages import blocks
from support.receiver import free_port
from support.server import Server
from support.services import program
from support.waiting import wait_until

PAGE = Path(__file__).parents[2] / "docs" / "webhooks.md"
SETTINGS = {
    "UNSPOOL_WEBHOOK_ALLOW_HTTP": "1",
    "UNSPOOL_WEBHOOK_ALLOW_HOSTS": "127.0.0.1",
    "UNSPOOL_WEBHOOK_RETRY_DELAYS_S": ",".join(["0.2"] * 100),
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    server = Server(MODELS / "hooks.py", tmp_path_factory.mktemp("hooked"), SETTINGS)
    try:
        yield server.start().wait_until_ready().client()
    finally:
        server.close()


def start(name: str, folder: Path, secret: str, port: int) -> subprocess.Popen[str]:
    """The receiver of the page, as its reader would start it."""
    (source,) = [block.content for block in blocks(PAGE) if block.argument == name]
    (folder / name).write_text(source, encoding="utf-8")
    runtime = sys.executable if name.endswith(".py") else program("node", "Install Node.js.")
    environment = {**os.environ, "WEBHOOK_SECRET": secret, "PORT": str(port)}
    return subprocess.Popen([runtime, folder / name], env=environment, stdout=subprocess.PIPE, encoding="utf-8")


@pytest.mark.parametrize("name", ["receiver.py", "receiver.mjs"])
def test_a_receiver_of_the_docs_takes_what_is_genuine_and_nothing_else(client: Client, tmp_path: Path, name: str):
    secret = data_of(client.http.get("webhook/secret"))["secret"]
    port = free_port()
    url = f"http://127.0.0.1:{port}/hook"
    receiver = start(name, tmp_path, secret, port)
    try:
        id = client.submit("echo", prompt="hällo", webhook_url=url)["id"]
        delivered = f"predictions/{id}/deliveries"
        wait_until(lambda: data_of(client.http.get(delivered))["status"] == "delivered", "the webhook was taken")
        forged = {"webhook-id": id, "webhook-timestamp": "1", "webhook-signature": "v3," + "0" * 64}
        assert httpx.post(url, content=b"{}", headers=forged).status_code == 401
        assert httpx.post(url, content=b"{}").status_code == 401
    finally:
        receiver.kill()
    printed, _ = receiver.communicate(timeout=30)
    assert printed.splitlines()[-1].split(maxsplit=2)[:2] == [id, "completed"]
    assert printed.count("completed") == 1
    assert "hällo" in printed


def test_a_receiver_with_another_secret_takes_nothing(client: Client, tmp_path: Path):
    port = free_port()
    receiver = start("receiver.py", tmp_path, "whsec_of-someone-else", port)
    try:
        id = client.submit("echo", webhook_url=f"http://127.0.0.1:{port}/hook")["id"]
        deliveries = f"predictions/{id}/deliveries"
        wait_until(lambda: data_of(client.http.get(deliveries))["status"] == "failed", "the webhook was refused")
        assert data_of(client.http.get(deliveries))["attempts"][-1]["status"] == 401
    finally:
        receiver.kill()
        receiver.communicate(timeout=30)
