"""The storage itself: in a folder, and in S3 as moto serves it; and a server that keeps its files there."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import boto3
import httpx
import pytest
from moto.server import ThreadedMotoServer

from conftest import MakeServer
from support.client import data_of
from support.files import ECHO, put, ticket, upload
from unspool.errors import Unavailable
from unspool.files.storage import Storage, key_of, local_url, name_in, output_name, upload_name

BUCKET = "bucket"
PREDICTION = "0123456789abcdef" * 2
DAY_S = 86_400


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """The environment under which S3 is moto."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    environment = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    }
    yield environment
    server.stop()


@pytest.fixture
def bucket(s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=s3["AWS_ENDPOINT_URL"], region_name="us-east-1")
    client.create_bucket(Bucket=BUCKET)
    yield client
    for item in client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        client.delete_object(Bucket=BUCKET, Key=item["Key"])
    client.delete_bucket(Bucket=BUCKET)


@pytest.fixture(params=["folder", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return local_url(tmp_path / "a folder")
    request.getfixturevalue("bucket")
    return f"s3://{BUCKET}/some/prefix"


async def content(storage: Storage, name: str, start: int = 0, end: int = 10**9) -> bytes:
    info = await storage.info(name)
    assert info is not None
    return b"".join([piece async for piece in storage.read(name, start, min(end, info.size))])


async def pieces(count: int, size: int, fail: bool = False) -> AsyncIterator[bytes]:
    for number in range(count):
        yield bytes([number]) * size
    if fail:
        raise KeyError("the source broke off")


def test_what_was_written_is_read(url: str, tmp_path: Path):
    async def check() -> None:
        storage = Storage(url, DAY_S)
        names = [upload_name("a b.png", None), output_name(PREDICTION, ".mp4"), output_name(PREDICTION, ".bin")]
        (tmp_path / "source").write_bytes(b"from a path")
        await storage.write(names[0], b"bytes")
        await storage.write(names[1], tmp_path / "source")
        await storage.write(names[2], pieces(7, 1_000_000))
        assert [await content(storage, name) for name in names[:2]] == [b"bytes", b"from a path"]
        whole = await content(storage, names[2])
        assert whole == b"".join([bytes([number]) * 1_000_000 for number in range(7)])
        assert await content(storage, names[2], 999_999, 1_000_001) == b"\0\1"
        info = await storage.info(names[1])
        assert info is not None
        assert (info.size, info.content_type) == (11, "video/mp4")
        storage.write_now(output_name(PREDICTION, ".txt"), b"now")

    asyncio.run(check())


def test_a_write_that_fails_leaves_nothing(url: str):
    async def check() -> None:
        storage = Storage(url, DAY_S)
        name = upload_name("a.bin", None)
        with pytest.raises(KeyError, match="broke off"):
            await storage.write(name, pieces(8, 1_000_000, fail=True))
        assert await storage.info(name) is None

    asyncio.run(check())


def test_delete_of_a_prediction_deletes_its_files_and_no_others(url: str):
    async def check() -> None:
        storage = Storage(url, DAY_S)
        mine = [output_name(PREDICTION, ".png") for _ in range(3)]
        others = [output_name(secrets.token_hex(16), ".png"), upload_name("a.png", None)]
        for name in mine + others:
            await storage.write(name, b"x")
        await storage.delete_of(PREDICTION)
        assert [await storage.info(name) for name in mine] == [None] * 3
        assert [await content(storage, name) for name in others] == [b"x"] * 2
        await storage.delete_of(PREDICTION)
        for nobody in ("", "..", "/", "x"):
            await storage.delete_of(nobody)
        assert [await content(storage, name) for name in others] == [b"x"] * 2

    asyncio.run(check())


def test_what_has_expired_is_gone_at_once_and_swept_later(url: str):
    async def check() -> None:
        keeping, forgetting = Storage(url, DAY_S), Storage(url, 0)
        names = [upload_name("a.png", None), output_name(PREDICTION, ".png")]
        for name in names:
            await keeping.write(name, b"x")
        assert [await forgetting.info(name) for name in names] == [None, None]
        assert await keeping.sweep() == 0
        assert await forgetting.sweep() == 2
        assert [await keeping.info(name) for name in names] == [None, None]

    asyncio.run(check())


def test_a_sweep_removes_what_killed_writers_have_left(tmp_path: Path):
    storage = Storage(local_url(tmp_path), DAY_S)
    asyncio.run(storage.write(upload_name("a.png", None), b"x"))
    old, young = tmp_path / "uploads" / "u1.png#1", tmp_path / "uploads" / "u2.png#1"
    old.write_bytes(b"x")
    young.write_bytes(b"x")
    os.utime(old, (0, 0))
    asyncio.run(storage.sweep())
    assert (old.exists(), young.exists()) == (False, True)


def test_a_storage_that_does_not_work_says_so(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unavailable, match="storage of files"):
        Storage(local_url(tmp_path / "file"), DAY_S).open()
    with pytest.raises(Unavailable, match="storage of files"):
        Storage("nonsense://x", DAY_S).open()


def test_a_server_that_cannot_keep_files_says_where(tmp_path: Path):
    (tmp_path / "echo.py").write_text(ECHO)
    command = [sys.executable, "-m", "unspool", "serve", "echo.py", "--port", "0"]
    environment = {**os.environ, "UNSPOOL_FILES_URL": "nonsense://x"}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert "unspool: Files cannot be kept in nonsense://x: " in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    "name", ["", "u", "..", "u" + "0" * 31, f"{PREDICTION}-{'0' * 32}/x", f"{PREDICTION}-..", "\n"]
)
def test_only_names_of_ours_have_a_place(name: str):
    assert key_of(name) is None


def test_names_cannot_be_guessed():
    names = {upload_name("cat.png", None) for _ in range(100)} | {output_name(PREDICTION, ".png") for _ in range(100)}
    assert len(names) == 200
    assert all(key_of(name) for name in names)


@pytest.mark.parametrize("base", ["http://127.0.0.1:8080", "https://x.example/some/path", ""])
def test_a_name_is_found_in_its_url(base: str):
    name = upload_name("a b.png", None)
    assert name_in(f"{base}/files/{name}") == name
    assert name_in(f"{base}/files/{name}?a=b#c") == name
    assert name_in(f"{base}/other/{name}") is None
    assert name_in(f"{base}/files/{name}/x") is None


def test_a_server_keeps_its_files_in_s3(make_server: MakeServer, bucket: object, s3: dict[str, str]):
    server = make_server(ECHO, UNSPOOL_FILES_URL=f"s3://{BUCKET}/unspool", **s3)
    client = server.client()
    data = bytes(range(256)) * 30_000
    url = upload(client, data, "clip.mp4")
    form = data_of(client.http.post("media/upload/binary", files={"file": ("a.png", b"form")}))
    assert httpx.get(form["download_url"]).content == b"form"
    done = client.finished(client.submit("echo", file=url)["id"])
    [output] = done["outputs"]
    answer = httpx.get(output)
    assert (answer.content, answer.headers["content-type"]) == (data, "video/mp4")
    assert httpx.get(output, headers={"Range": "bytes=-3"}).content == data[-3:]
    assert put(ticket(client, "a.txt", 5), b"four").status_code == 400
    keys = [item["Key"] for item in bucket.list_objects_v2(Bucket=BUCKET)["Contents"]]  # type: ignore[attr-defined]
    assert sorted(key.split("/")[1] for key in keys) == ["outputs", "uploads", "uploads"]
    assert f"unspool/outputs/{done['id']}/" in " ".join(keys)
    assert not (server.data_dir / "files").exists()


SLOW_STORE = """
from unspool import File, model

@model("sync")
def sync() -> File:
    return File(data=b"x", content_type="image/png")

@model("async")
async def asynchronous() -> File:
    return File(data=b"x", content_type="image/png")
"""


def test_a_cancel_does_not_wait_for_a_storage_that_does_not_answer(make_server: MakeServer, s3: dict[str, str]):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(20)
        where = {**s3, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        server = make_server(SLOW_STORE, UNSPOOL_FILES_URL=f"s3://{BUCKET}", UNSPOOL_CANCEL_GRACE_S="20", **where)
        client = server.client()
        sweeping, _ = silent.accept()
        for model in ("sync", "async"):
            id = client.submit(model)["id"]
            storing, _ = silent.accept()
            assert storing.recv(4).startswith(b"PUT")
            client.cancel(id)
            assert client.finished(id, deadline_s=10)["status"] == "cancelled"
            storing.close()
        sweeping.close()
