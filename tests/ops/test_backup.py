"""The backup of docs/operating.md: taken while the server runs, and good for a new one."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from pathlib import Path

from conftest import MODELS, MakeServer
from support.gate import Gate
from support.server import Server


def test_a_backup_of_a_running_server_brings_back_what_had_ended_and_what_had_not(
    make_server: MakeServer, gate: Gate, tmp_path: Path
):
    server = make_server("few.py")
    client = server.client()
    ended, running = client.submit("test/echo", prompt="kept")["id"], None
    client.finished(ended)
    running = client.submit("test/count", n=2, gate=str(gate))["id"]
    gate.visitor()
    restored = tmp_path / "restored"
    restored.mkdir()
    with (
        closing(sqlite3.connect(server.data_dir / "unspool.db")) as source,
        closing(sqlite3.connect(restored / "unspool.db")) as copy,
    ):
        source.backup(copy)
    server.kill()
    gate.open()
    second = Server(MODELS / "few.py", restored)
    try:
        client = second.start().client()
        assert client.result(ended)["outputs"] == ["kept"]
        assert client.finished(running)["outputs"] == ["1 2 "]
    finally:
        second.close()


def test_the_data_folder_is_its_owners_alone(make_server: MakeServer):
    server = make_server("few.py", ready=False)
    assert stat.S_IMODE(server.data_dir.stat().st_mode) == 0o700
