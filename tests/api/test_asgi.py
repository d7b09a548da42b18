"""The application is plain ASGI: nothing in it needs the server that we ship it with."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import httpx
import uvicorn

from unspool.api.app import App
from unspool.api.auth import Auth
from unspool.api.files import Downloads
from unspool.api.media import Media
from unspool.api.models import Catalog
from unspool.api.stream import Viewers
from unspool.config import Settings
from unspool.files.storage import Storage, local_url
from unspool.host import Host
from unspool.spool import open_spool
from unspool.views import Views

KEY = "key-of-the-test"
SOURCE = """
from unspool import model

@model("shout")
def shout(text: str):
    for word in text.split():
        yield word.upper() + " "
"""


def test_a_prediction_is_streamed_resumed_and_polled_on_uvicorn(tmp_path: Path):
    (tmp_path / "shout.py").write_text(SOURCE)
    asyncio.run(asyncio.wait_for(stream_resume_and_poll(tmp_path), 60))


async def stream_resume_and_poll(folder: Path) -> None:
    settings = Settings(data_dir=folder / "data", api_key=KEY)
    spool = await open_spool(f"sqlite:///{settings.data_dir / 'unspool.db'}")
    host = Host(spool, str(folder / "shout.py"), settings)
    starting = asyncio.create_task(host.start())
    viewers = Viewers(spool, settings)
    auth = await Auth.open(spool, settings, KEY)
    storage = Storage(local_url(folder / "files"), retention_s=3600)
    app = App(
        spool,
        Catalog(spool, starting),
        auth,
        viewers,
        Views(spool, auth.stream_token),
        settings,
        health=lambda: host.models(),
        downloads=Downloads(storage, settings),
        media=Media(storage, auth, await spool.secret(), settings),
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="warning"))
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            await use(f"http://127.0.0.1:{listening.getsockname()[1]}")
        finally:
            server.should_exit = True
            await serving
            await host.stop()
            await spool.close()


async def use(base_url: str) -> None:
    async with httpx.AsyncClient(
        base_url=base_url, headers={"Authorization": f"Bearer {KEY}"}, timeout=30, trust_env=False
    ) as client:
        whole = await client.post("/api/v3/shout", json={"text": "to be", "stream": True})
        id = whole.headers["x-prediction-id"]
        *_, first, second, complete = events(whole.text)
        assert [first["output"], second["output"], complete["outputs"]] == ["TO ", "BE ", ["TO BE "]]

        resumed = await client.get(f"/api/v3/predictions/{id}/stream", headers={"Last-Event-ID": "1-2"})
        assert events(resumed.text)[-1] == complete

        polled = (await client.get(f"/api/v3/predictions/{id}/result")).json()["data"]
        assert [polled["status"], polled["outputs"]] == ["completed", ["TO BE "]]


def events(text: str) -> list[dict]:
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
