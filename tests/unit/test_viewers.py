"""What is left of a stream when it has ended."""

from __future__ import annotations

import asyncio
import gc
import weakref
from pathlib import Path
from typing import Any

from unspool.api.stream import Viewers
from unspool.config import Settings
from unspool.observer import Outlet
from unspool.spool.sqlite import SqliteSpool
from unspool.states import Status
from unspool.types import START, Submission

ID = "1" * 32


def test_a_stream_that_has_ended_leaves_nothing_for_the_garbage_collector(tmp_path: Path) -> None:
    """What each run leaves in rings stays until the collector comes, which then stops every stream for a while."""
    asyncio.run(asyncio.wait_for(stream_without_collector(tmp_path), 60))


async def stream_without_collector(folder: Path) -> None:
    spool = await SqliteSpool.open(":memory:")
    viewers = Viewers(spool, Settings(data_dir=folder))
    await spool.submit(Submission(id=ID, model="m", owner="o", input=b"{}"))
    sent = asyncio.Queue[bytes]()
    streams: list[weakref.ref[Any]] = []

    async def send(message: Any) -> None:
        sent.put_nowait(message.get("body", b""))
        streams.extend(weakref.ref(one) for one in viewers._all())

    serving = viewers.serve(asyncio.Event().wait, Outlet(send), id=ID, after=START, headers=[], cancel_when_left=False)
    gc.collect()
    gc.disable()
    try:
        task = asyncio.create_task(serving)
        while b"created" not in await sent.get():
            pass
        await spool.claim({"m": 1})
        await spool.append(ID, 1, [b'{"type":"output","output":"x","index":0}'])
        while b"output" not in await sent.get():
            pass
        await spool.finish(ID, 1, Status.COMPLETED, b'{"type":"complete"}')
        await task
        del task, serving
        assert streams
        assert [stream for stream in streams if stream() is not None] == []
    finally:
        gc.enable()
    await spool.close()
