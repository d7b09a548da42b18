"""The Python SDK in the hands of its users: notebooks, threads, Ctrl-C, loops that are left, files, large outputs.

That streams survive every network is shown by the scenarios of `tests/sdk/`.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from support.gate import Gate
from support.server import KEY, Server
from support.waiting import wait_until
from unspool import AsyncClient, Client
from unspool.client import (
    ConnectionFailed,
    Output,
    PredictionFailed,
    Progress,
    StillRunning,
    errors,
)

MODELS = Path(__file__).parents[1] / "models"
DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def sdk_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    environment = {"UNSPOOL_DISCONNECT_GRACE_S": "0.05", "UNSPOOL_KEY_REQUESTS_PER_MINUTE": "0"}
    server = Server(MODELS / "python_sdk.py", tmp_path_factory.mktemp("sdk-server"), environment)
    try:
        yield server.start().wait_until_ready()
    finally:
        server.close()


@pytest.fixture
def client(sdk_server: Server) -> Iterator[Client]:
    with Client(sdk_server.url, KEY) as client:
        yield client


def connections(server: Server) -> int:
    """How many connections this process holds to the server."""
    port = int(server.url.rsplit(":", 1)[1])
    held = psutil.Process().net_connections("tcp")
    return sum(1 for one in held if one.raddr and one.raddr.port == port and one.status == psutil.CONN_ESTABLISHED)


# The first lines that anybody writes


def test_words_are_printed_as_they_come(client: Client):
    pieces = [event.output for event in client.stream("py/count", n=4) if event.type == "output"]
    assert pieces == ["1 ", "2 ", "3 ", "4 "]


def test_run_gives_the_prediction_and_tells_its_progress(client: Client, capsys: pytest.CaptureFixture[str]):
    told: list[Progress] = []
    events: list[Any] = []
    done = client.run("py/count", n=4, on_progress=told.append, on_event=events.append)
    assert (done.status, done.output, done.model) == ("completed", "1 2 3 4 ", "py/count")
    assert done.created_at
    assert done.urls["stream"]
    assert [event for event in events if event.type == "progress"] == told
    assert told[-1].percentage == 100
    client.run("py/count", n=2, on_progress=print)
    assert "50.0 %  count  1/2" in capsys.readouterr().out


def test_a_stream_tells_what_there_is_so_far(client: Client, tmp_path: Path):
    gate = Gate(tmp_path / "gate")
    with client.stream("py/count", n=3, gate=str(gate)) as stream:
        assert len(stream.id) == 32
        assert stream.prediction is None
        gate.let(2)
        while stream.text != "1 2 ":
            event = next(stream)
        assert stream.outputs == ["1 2 "]
        assert (stream.cursor, stream.attempt) == (event.cursor, 1)
        gate.open()
        assert [event.type for event in stream][-1] == "complete"
        assert (stream.text, stream.outputs, stream.percentage) == ("1 2 3 ", ["1 2 3 "], 100)
        assert stream.prediction is not None
        assert stream.prediction.output == "1 2 3 "


def test_inputs_that_are_called_like_options_come_in_a_dictionary(client: Client):
    assert client.run("py/options", {"timeout_s": 2.5, "idempotency_key": "x"}).output == "2.5 x"


def test_a_failed_run_is_raised_with_its_prediction(client: Client):
    with pytest.raises(PredictionFailed, match="The picture could not be made") as failure:
        client.run("py/fail")
    assert failure.value.prediction.status == "failed"
    assert failure.value.prediction.code == 1403
    (*_, last) = client.stream("py/fail")
    assert last.type == "error"
    assert last.error == "The picture could not be made."


def test_whoever_waits_too_long_gets_their_program_back(client: Client, tmp_path: Path):
    gate = Gate(tmp_path / "gate")
    with pytest.raises(StillRunning) as late:
        client.run("py/count", gate=str(gate), timeout_s=0.3)
    with pytest.raises(TimeoutError):
        client.wait(late.value.id, timeout_s=0)
    gate.open()
    assert client.wait(late.value.id, timeout_s=DEADLINE_S).output == "1 2 3 "


def test_the_address_of_a_stream_needs_no_key(client: Client, sdk_server: Server):
    done = client.run("py/count")
    with Client(sdk_server.url, "") as stranger:
        assert [event.type for event in stranger.follow(done.urls["stream"], after="1-1")][-1] == "complete"
        with pytest.raises(errors.Unauthenticated):
            list(stranger.follow(done.id))


def test_predictions_are_listed_page_by_page(client: Client):
    made = [client.submit("py/count", n=0).id for _ in range(5)]
    for id in made:
        client.wait(id)
    listed = client.list(model="py/count", status="completed", page_size=2)
    ids = [prediction.id for prediction in listed]
    assert ids[:5] == made[::-1]
    assert len(ids) == len(set(ids)) == listed.page().total
    assert [one.id for one in listed.page(2).items] == ids[2:4]


def test_a_model_tells_its_inputs(client: Client):
    model = client.model("py/count")
    assert model.streams == ["progress", "output"] or set(model.streams) >= {"output"}
    assert list(model.schema["properties"]) == ["n", "gate"]
    with pytest.raises(errors.UnknownModel, match="Did you mean py/count"):
        client.model("py/cuont")


def test_the_environment_says_where_and_who(sdk_server: Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("UNSPOOL_URL", sdk_server.url + "/api/v3/")
    monkeypatch.setenv("UNSPOOL_API_KEY", KEY)
    with Client() as client:
        assert client.url == sdk_server.url
        assert client.run("py/count", n=1).output == "1 "


def test_a_server_that_is_not_there_is_told_soon():
    with Client("http://127.0.0.1:9") as client, pytest.raises(ConnectionFailed, match="Does the server run"):
        client.models()


# Files


def test_files_are_uploaded_wherever_they_stand(client: Client, tmp_path: Path):
    path = tmp_path / "一 cat.png"
    path.write_bytes(os.urandom(1_000_000))
    with path.open("rb") as opened:
        opened.seek(10)
        done = client.run("py/read", files=[path, opened, b"raw"], one=io.BytesIO(b""))
    expected = [path.read_bytes(), path.read_bytes()[10:], b"raw", b""]
    assert [one["sha256"] for one in done.outputs] == [hashlib.sha256(data).hexdigest() for data in expected]
    assert done.outputs[0]["name"].endswith("cat.png")


def test_a_pipe_is_uploaded_too(client: Client):
    with subprocess.Popen(["/bin/echo", "from a pipe"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        url = client.upload(process.stdout, filename="pipe.txt")
    done = client.run("py/read", files=[url])
    assert done.outputs[0]["sha256"] == hashlib.sha256(b"from a pipe\n").hexdigest()


def test_a_text_file_that_is_open_is_refused_with_a_reason(client: Client, tmp_path: Path):
    (tmp_path / "a.txt").write_text("x")
    with (tmp_path / "a.txt").open() as opened, pytest.raises(TypeError, match="open it with 'rb'"):
        client.run("py/read", files=[opened])


# Large, and many


def test_a_large_output_comes_whole(client: Client):
    with client.stream("py/long", size=1_000_000) as stream:
        for _ in stream:
            pass
    assert stream.text == "世" * 1_000_000
    assert stream.outputs == [stream.text]


def test_one_client_serves_many_threads(client: Client):
    def work(n: int) -> str:
        return str(client.run("py/count", n=n).output)

    with ThreadPoolExecutor(16) as pool:
        said = list(pool.map(work, range(1, 49)))
    assert said == ["".join(f"{i} " for i in range(1, n + 1)) for n in range(1, 49)]


async def _many(url: str) -> list[Any]:
    async with AsyncClient(url, KEY) as client:
        done = await asyncio.gather(*(client.run("py/count", n=n) for n in range(1, 49)))
    return [prediction.output for prediction in done]


def test_one_client_serves_many_tasks(sdk_server: Server):
    said = asyncio.run(_many(sdk_server.url))
    assert said == ["".join(f"{i} " for i in range(1, n + 1)) for n in range(1, 49)]


# Leaving


def test_a_loop_that_is_left_closes_its_connection(client: Client, sdk_server: Server, tmp_path: Path):
    before = connections(sdk_server)
    for _ in client.stream("py/count", gate=str(Gate(tmp_path / "gate"))):
        assert connections(sdk_server) > before
        break
    assert connections(sdk_server) == before


async def _cancelled(client: AsyncClient, id: str) -> None:
    """Waits until the server has noticed that nobody is there; whoever waits by a stream would be somebody."""
    async with asyncio.timeout(DEADLINE_S):
        while (await client.get(id)).status != "cancelled":
            await asyncio.sleep(0.02)


def test_a_task_that_leaves_its_loop_closes_its_connection(sdk_server: Server, tmp_path: Path):
    async def leave() -> str:
        async with AsyncClient(sdk_server.url, KEY) as client:
            async for event in client.stream("py/count", gate=str(Gate(tmp_path / "gate")), on_disconnect="cancel"):
                assert isinstance(event, Progress)
                id = event.id
                break
            await _cancelled(client, id or "")
        return id or ""

    assert asyncio.run(leave())


def test_a_task_that_is_cancelled_closes_its_connection(sdk_server: Server, tmp_path: Path):
    async def main() -> None:
        async with AsyncClient(sdk_server.url, KEY) as client:
            stream = await client.stream("py/count", gate=str(Gate(tmp_path / "gate")), on_disconnect="cancel")

            async def read() -> None:
                async for _ in stream:
                    pass

            task = asyncio.create_task(read())
            while stream.cursor != "1-1":
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            id = stream.id
            await _cancelled(client, id)

    asyncio.run(main())


def test_nothing_is_left_open_by_a_program_that_leaves_its_streams(sdk_server: Server, tmp_path: Path):
    """No ResourceWarning, no complaint of a garbage collector, at the end of the interpreter too."""
    program = f"""
import asyncio
from unspool import AsyncClient, Client
client = Client({sdk_server.url!r}, {KEY!r})
for event in client.stream("py/count", gate={str(tmp_path / "none")!r}):
    break
kept = client.stream("py/count", n=3)
next(kept)
with client.stream("py/count", n=3) as left:
    next(left)
client.close()
forgotten = Client({sdk_server.url!r}, {KEY!r})
forgotten.models()
del forgotten

async def main():
    async with AsyncClient({sdk_server.url!r}, {KEY!r}) as client:
        async for event in client.stream("py/count", n=3):
            break
        kept = await client.stream("py/count", n=3)
        await anext(kept)
        await kept.close()
asyncio.run(main())
"""
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S)
    assert (done.returncode, done.stderr) == (0, "")


def test_ctrl_c_ends_the_loop_and_the_stream_can_be_read_on(client: Client, tmp_path: Path):
    gate = Gate(tmp_path / "gate")
    gate.let(1)
    stream = client.stream("py/count", n=3, gate=str(gate))
    seen = []

    def read() -> None:
        for event in stream:
            seen.append(event.cursor)
            if stream.text == "1 " and len(seen) == 4:
                threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT]).start()

    with pytest.raises(KeyboardInterrupt):
        read()
    assert stream.text == "1 "
    gate.open()
    read()
    assert stream.text == "1 2 3 "
    assert seen == ["0-1", *(f"1-{n}" for n in range(1, len(seen)))], "no event is missing or doubled"


def test_another_thread_can_close_a_stream_that_is_read(client: Client, tmp_path: Path):
    gate = Gate(tmp_path / "gate")
    stream = client.stream("py/count", gate=str(gate))
    reading = threading.Event()
    ended: list[str] = []

    def read() -> None:
        for event in stream:
            if event.cursor == "1-1":
                reading.set()
        ended.append("by itself")

    thread = threading.Thread(target=read)
    thread.start()
    assert reading.wait(DEADLINE_S)
    stream.close()
    thread.join(DEADLINE_S)
    assert ended == ["by itself"]
    assert client.get(stream.id).status == "processing", "the prediction goes on"


def test_another_task_can_close_a_stream_that_is_read(sdk_server: Server, tmp_path: Path):
    async def main() -> None:
        async with AsyncClient(sdk_server.url, KEY) as client:
            stream = await client.stream("py/count", gate=str(Gate(tmp_path / "gate")))

            async def read() -> None:
                async for _ in stream:
                    pass

            task = asyncio.create_task(read())
            while stream.cursor != "1-1":
                await asyncio.sleep(0.01)
            await stream.close()
            await asyncio.wait_for(task, DEADLINE_S)

    asyncio.run(main())


def test_another_thread_can_cancel_what_is_streamed(client: Client, tmp_path: Path):
    stream = client.stream("py/count", gate=str(Gate(tmp_path / "gate")))
    for event in stream:
        if event.cursor == "1-1":
            threading.Thread(target=stream.cancel).start()
    assert stream.prediction is not None
    assert stream.prediction.status == "cancelled"


# Event loops


def test_the_synchronous_client_works_where_a_loop_runs_as_in_notebooks(client: Client):
    async def cell() -> Any:
        return client.run("py/count", n=3).output, "".join(
            event.output for event in client.stream("py/count", n=3) if isinstance(event, Output)
        )

    assert asyncio.run(cell()) == ("1 2 3 ", "1 2 3 ")


def test_callbacks_of_the_asynchronous_client_may_be_either(sdk_server: Server):
    told: list[Any] = []

    async def later(event: Any) -> None:
        await asyncio.sleep(0)
        told.append(event)

    async def main() -> None:
        async with AsyncClient(sdk_server.url, KEY) as client:
            await client.run("py/count", n=2, on_progress=told.append)
            await client.run("py/count", n=2, on_event=later)

    asyncio.run(main())
    assert {event.type for event in told} == {"progress", "output", "complete"}


def test_what_is_known_of_a_stream_that_is_not_open_is_said(sdk_server: Server):
    async def main() -> str:
        async with AsyncClient(sdk_server.url, KEY) as client:
            stream = client.stream("py/count", n=1)
            with pytest.raises(RuntimeError, match="await stream"):
                _ = stream.id
            return (await stream).id

    assert len(asyncio.run(main())) == 32


def test_a_deleted_prediction_is_gone(client: Client, tmp_path: Path):
    running = client.submit("py/count", gate=str(Gate(tmp_path / "gate")))
    wait_until(lambda: client.get(running.id).status == "processing", "it runs")
    client.delete(running.id)
    with pytest.raises(errors.NotFound):
        client.get(running.id)
    with pytest.raises(errors.NotFound):
        client.delete(running.id)
