"""A process that uses a spool and tells, line by line, what it was promised and what it has read. Made to be killed.

Of every five predictions it finishes two, leaves one running and one in the queue, and cancels one.
"""

from __future__ import annotations

import asyncio
import json
import sys
from itertools import count

from unspool.spool import open_spool
from unspool.spool.base import Spool
from unspool.states import Status
from unspool.types import START, Submission


def tell(word: str, id: str, *more: str) -> None:
    """One write, so that the parent never sees half a line."""
    sys.stdout.write(json.dumps([word, id, *more]) + "\n")
    sys.stdout.flush()


async def read_along(spool: Spool, id: str) -> None:
    """A reader that tells each event as soon as it sees it."""
    at, done = START, False
    with spool.watch(id) as watch:
        while not done:
            page = await spool.read(id, at, 100)
            for batch in page.batches:
                for at, event in batch.cursors():
                    tell("seen", id, str(at), event.decode())
            done = page.done
            if not page.batches:
                await watch.wait(60)


async def live(spool: Spool, id: str, fate: int, readers: set[asyncio.Task[None]]) -> None:
    """One prediction, in a queue of its own."""
    await spool.submit(Submission(id=id, model=id, owner="alice", input=b'{"n":1}', max_attempts=9))
    tell("submitted", id)
    readers.add(asyncio.create_task(read_along(spool, id)))
    if fate == 4:
        await spool.cancel(id)
        tell("cancelled", id)
    elif fate != 3:
        await spool.claim({id: 1})
        for n in range(5):
            await spool.append(id, 1, [b'{"type":"output","output":"%d","index":0}' % n])
            await asyncio.sleep(0)
        if fate != 2:
            await spool.finish(id, 1, Status.COMPLETED, b'{"type":"complete","id":"%b","outputs":[]}' % id.encode())
            tell("finished", id)


async def main(url: str) -> None:
    spool = await open_spool(url)
    readers: set[asyncio.Task[None]] = set()
    for n in count():
        await asyncio.gather(*(live(spool, f"p{n}-{fate}", fate, readers) for fate in range(5)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
