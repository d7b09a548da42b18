"""Where workers compute. The machine of a test need not have a GPU: what counts is what a worker is told to see."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import MODELS, MakeServer
from support.client import Client
from support.gate import Gate
from support.server import Server
from unspool.errors import ModelFileError
from unspool.model import make_model
from unspool.placement import place, visible_gpus

DEADLINE_S = 60


def tool(folder: Path, gpus: int, *more: str) -> Path:
    """A folder with an `nvidia-smi` that tells of so many GPUs, as the driver's own prints it."""
    folder.mkdir(exist_ok=True)
    lines = "".join(f"echo 'GPU {n}: NVIDIA H200 (UUID: GPU-0000000{n})'\n" for n in range(gpus))
    script = folder / "nvidia-smi"
    script.write_text(f"#!/bin/sh\n{lines}" + "\n".join(more))
    script.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def placed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that may use three of the machine's GPUs."""
    folder = tmp_path_factory.mktemp("placed")
    path = f"{tool(folder / 'bin', 8)}:{os.environ['PATH']}"
    environment = {"CUDA_VISIBLE_DEVICES": "4,GPU-9,6", "PATH": path}
    server = Server(MODELS / "placed.py", folder / "data", environment)
    try:
        yield server.start().wait_until_ready()
    finally:
        server.close()


@pytest.fixture
def client(placed: Server) -> Client:
    return placed.client()


@pytest.mark.parametrize(
    ("model", "sees"),
    [
        ("placed/first", "GPU-9"),
        ("placed/same", "GPU-9"),
        ("placed/cpu", ""),
        ("placed/all", "4,GPU-9,6"),
        ("placed/anywhere", "4,GPU-9,6"),
    ],
)
def test_a_worker_sees_the_devices_of_its_model_from_its_first_line_on(client: Client, model: str, sees: str) -> None:
    now, at_import, _ = client.finished(client.submit(model)["id"])["outputs"]
    assert (now, at_import) == (sees, sees)


def test_replicas_are_spread_over_the_devices(client: Client, tmp_path: Path) -> None:
    gates = [Gate(tmp_path / f"gate-{n}") for n in range(3)]
    ids = [client.submit("placed/spread", gate=str(gate))["id"] for gate in gates]
    for gate in gates:
        gate.visitor()
        gate.open()
    outputs = [client.finished(id)["outputs"] for id in ids]
    assert sorted(now for now, _, _ in outputs) == ["4", "4", "6"]
    assert len({pid for _, _, pid in outputs}) == 3


def test_the_process_that_imported_the_file_is_used_where_nothing_was_said(client: Client, placed: Server) -> None:
    pid = client.finished(client.submit("placed/all")["id"])["outputs"][2]
    assert pid == placed.worker_pids()[0]
    assert len(placed.worker_pids()) == 8, "and no process is idle"


def test_it_is_ended_where_every_model_has_a_place_of_its_own(make_server: MakeServer) -> None:
    server = make_server("from unspool import model\n\n@model('m', device='cpu')\ndef m() -> str:\n    return 'x'\n")
    (worker,) = server.worker_pids()
    assert server.client().finished(server.client().submit("m")["id"])["outputs"] == ["x"]
    assert server.worker_pids() == [worker]


@pytest.mark.parametrize(("visible", "sees"), [("0,9,1", "cuda:0"), ("", "no GPU"), (None, "cuda:0, cuda:1")])
def test_a_device_that_is_not_there_ends_the_start_and_says_so(tmp_path: Path, visible: str | None, sees: str) -> None:
    file = tmp_path / "m.py"
    file.write_text("from unspool import model\n\n@model('m', device='cuda:2')\ndef m() -> None: ...\n")
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    environment["PATH"] = f"{tool(tmp_path / 'bin', 2)}:{os.environ['PATH']}"
    if visible is not None:
        environment["CUDA_VISIBLE_DEVICES"] = visible
    command = [sys.executable, "-m", "unspool", "serve", str(file), "--port", "0", "--data-dir", str(tmp_path / "data")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 1
    assert f"model 'm': device 'cuda:2' is not there; this server sees {sees}" in done.stderr


def test_the_gpu_memory_of_a_worker_is_shown(make_server: MakeServer, tmp_path: Path) -> None:
    """The tool here tells of whatever is asked in a file, as the driver's own prints it."""
    table = tmp_path / "table"
    table.touch()
    path = f"{tool(tmp_path / 'bin', 1, f'test $1 = -L || cat {table}')}:{os.environ['PATH']}"
    source = "from unspool import model\n\n@model('m')\ndef m() -> str:\n    return 'x'\n"
    server = make_server(source, PATH=path)
    (pid,) = server.worker_pids()
    metrics = "unspool_worker_gpu_memory_bytes{"
    assert metrics not in server.client().http.get(f"{server.url}/metrics").text
    table.write_text(f"1, 999\n{pid}, 512\n{pid}, 1024\n2, [N/A]\n")
    said = server.client().http.get(f"{server.url}/metrics").text
    assert f'{metrics}model="m",replica="0"}} 1.610612736e+09' in said
    assert said.count(metrics) == 1


# The rules


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four GPUs, all of which the server sees."""
    monkeypatch.setenv("PATH", f"{tool(tmp_path / 'bin', 4)}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return


def nothing() -> None: ...


@pytest.mark.parametrize(
    ("device", "replicas", "seen"),
    [
        (None, 2, [None, None]),
        ("cpu", 2, ["", ""]),
        ("cuda", 1, [None]),
        ("cuda", 2, ["0,2", "1,3"]),
        ("cuda", 4, ["0", "1", "2", "3"]),
        ("cuda", 5, ["0", "1", "2", "3", "0"]),
        ("cuda:3", 2, ["3", "3"]),
        (["cuda:3", "cuda:1"], 1, ["3,1"]),
    ],
)
@pytest.mark.usefixtures("machine")
def test_gpus_are_dealt_out_like_cards(device: str | list[str] | None, replicas: int, seen: list[str | None]) -> None:
    info = make_model("m", nothing, device=device, replicas=replicas).info()
    assert [one.get("CUDA_VISIBLE_DEVICES") for one in place([info])["m"]] == seen


def test_without_a_driver_only_a_list_by_hand_is_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("unspool.placement._DRIVER", tmp_path / "proc")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus() == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5, 7")
    assert visible_gpus() == ["5", "7"]
    for number in range(3):
        (tmp_path / "proc" / str(number)).mkdir(parents=True)
    assert visible_gpus() == []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert visible_gpus() == ["0", "1", "2"]


def test_a_tool_that_fails_tells_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tool(tmp_path / "bin", 0, "exit 9")) + ":/bin")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert visible_gpus() == ["0"]


@pytest.mark.skipif(sys.platform == "darwin", reason="mps is there")
def test_mps_is_there_on_macos_only() -> None:
    with pytest.raises(ModelFileError, match="macOS only"):
        place([make_model("m", nothing, device="mps").info()])
