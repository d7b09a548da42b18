"""A disk that is full: clear errors, nothing accepted that cannot be kept, nothing lost that was, and recovery."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest

from conftest import MODELS
from support.client import Client, data_of, error_of
from support.gate import Gate
from support.server import Server
from support.services import missing
from support.waiting import wait_until

SIZE = "8m"


class Disk:
    """A small file system of the test's own, with ballast that takes all of its room when asked to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self) -> None:
        """Until not one byte more fits."""
        with self._ballast.open("ab", buffering=0) as ballast:
            for size in (1 << 16, 1 << 10, 1):
                with pytest.raises(OSError, match="No space left on device"):
                    self._write_for_ever(ballast, size)

    @staticmethod
    def _write_for_ever(file: BinaryIO, size: int) -> None:
        while True:
            file.write(b"x" * size)

    def make_room(self) -> None:
        self._ballast.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "unspool-test", str(path)]
    try:
        mounted = subprocess.run(mount, capture_output=True, timeout=10, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        missing("The right to mount a small file system", "Run the tests as root on Linux.")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], timeout=10, check=True)


@pytest.fixture
def server(disk: Disk) -> Iterator[Server]:
    server = Server(MODELS / "few.py", disk.path / "data", {"UNSPOOL_DRAIN_TIMEOUT_S": "0"})
    try:
        yield server.start().wait_until_ready()
    finally:
        server.close()


def fill_until_refused(client: Client, disk: Disk) -> list[str]:
    """Fills the disk and submits until the first refusal; returns what was accepted by then."""
    disk.fill()
    accepted = []
    while True:
        answer = client.http.post("test/echo", json={"prompt": "x" * 10_000})
        if answer.status_code != 200:
            refused(client)
            return accepted
        accepted.append(data_of(answer)["id"])


def refused(client: Client) -> str:
    """Submits in vain and returns the message."""
    answer = client.http.post("test/echo", json={"prompt": "x"})
    body = error_of(answer, 503, "unavailable")
    assert answer.headers["retry-after"] == "1"
    assert "x-prediction-id" not in answer.headers
    assert "Nothing was accepted" in body["message"]
    return str(body["message"])


def accepts_again(client: Client) -> None:
    def accepted() -> bool:
        answer = client.http.post("test/echo", json={"prompt": "again"})
        return answer.status_code == 200 and client.finished(data_of(answer)["id"])["outputs"] == ["again"]

    wait_until(accepted, "submits were accepted again", 20)


def all_ended_well(client: Client, accepted: list[str]) -> None:
    for id in accepted:
        assert client.finished(id)["outputs"] == ["x" * 10_000]


def test_with_a_full_disk_submits_are_refused_until_there_is_room_and_nothing_accepted_is_lost(
    server: Server, disk: Disk
) -> None:
    client = server.client()
    accepted = fill_until_refused(client, disk)
    for _ in range(5):
        refused(client)
    disk.make_room()
    accepts_again(client)
    all_ended_well(client, accepted)
    server.kill()
    all_ended_well(server.restart().client(), accepted)


def test_a_run_that_ends_while_the_disk_is_full_has_ended_when_there_is_room(
    server: Server, disk: Disk, gate: Gate
) -> None:
    client = server.client()
    with client.run("test/count", n=300, gate=str(gate)) as stream, ThreadPoolExecutor(1) as pool:
        gate.let(100)
        stream.until("output", 100)
        accepted = fill_until_refused(client, disk)
        gate.let(100)
        stream.until("output", 100)
        gate.open()
        stream.until("output", 100)
        end = pool.submit(stream.until, "complete")
        refused(client)
        assert client.result(stream.id)["status"] == "processing", "its end is not told before it is kept"
        assert not end.done()
        disk.make_room()
        assert end.result().data["outputs"] == ["".join(f"{i} " for i in range(1, 301))]
    log = client.log(stream.id)
    assert len(log) == 303
    accepts_again(client)
    all_ended_well(client, accepted)
    server.kill()
    assert server.restart().client().log(stream.id) == log


def test_the_refusal_tells_no_path_of_the_server(server: Server, disk: Disk) -> None:
    client = server.client()
    fill_until_refused(client, disk)
    assert "/" not in refused(client)
    server.wait_for_log(str(server.data_dir))


def test_reading_goes_on_while_the_disk_is_full(server: Server, disk: Disk) -> None:
    client = server.client()
    id = client.submit("test/count", n=100)["id"]
    log, result = client.log(id), client.result(id)
    fill_until_refused(client, disk)
    assert client.log(id) == log
    assert client.result(id) == result
    assert client.events(id)["done"]
    assert client.http.get(f"{server.url}/health/live").status_code == 200
    disk.make_room()
    accepts_again(client)


def test_a_cancel_while_the_disk_is_full_holds_when_there_is_room(server: Server, disk: Disk, gate: Gate) -> None:
    client = server.client()
    id = client.submit("test/count", n=2, gate=str(gate))["id"]
    assert gate.visitor() == id
    fill_until_refused(client, disk)
    with ThreadPoolExecutor(1) as pool:
        cancel = pool.submit(client.http.post, f"predictions/{id}/cancel")
        refused(client)
        disk.make_room()
        assert cancel.result().status_code in (200, 503)
        if cancel.result().status_code == 503:
            client.cancel(id)
    assert client.finished(id)["status"] == "cancelled"


@pytest.mark.parametrize("how", ["kill", "terminate"])
def test_a_server_that_ends_while_the_disk_is_full_has_lost_nothing_at_its_next_start(
    server: Server, disk: Disk, gate: Gate, how: str
) -> None:
    client = server.client()
    running = client.submit("test/count", n=2, gate=str(gate))["id"]
    assert gate.visitor() == running
    accepted = fill_until_refused(client, disk)
    if how == "kill":
        server.kill()
    else:
        assert server.terminate() == 0
    disk.make_room()
    gate.open()
    client = server.restart().client()
    assert client.finished(running)["outputs"] == ["1 2 "]
    all_ended_well(client, accepted)


def test_a_server_that_starts_with_a_full_disk_says_so_and_leaves_everything_as_it_was(
    server: Server, disk: Disk
) -> None:
    accepted = fill_until_refused(server.client(), disk)
    server.kill()
    command = [sys.executable, "-m", "unspool", *server.arguments, "--port", "0", "--data-dir", str(server.data_dir)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith(
        f"unspool: {server.data_dir / 'unspool.db'}: The spool does not work"
    )
    assert "Traceback" not in ended.stderr
    disk.make_room()
    all_ended_well(server.restart().client(), accepted)
