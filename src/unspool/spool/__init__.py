"""The store of predictions and their logs. `open_spool` picks the implementation by URL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from unspool.observer import Observer
from unspool.spool.base import Spool
from unspool.spool.keys import Keys

__all__ = ["Spool", "open_keys", "open_spool"]


async def open_spool(url: str, *, lease_s: float = 30.0, observer: Observer | None = None) -> Spool:
    """Opens the spool that `url` names: `sqlite:///path/to/file`, or `sqlite:///:memory:` for one that forgets.

    Args:
        lease_s: how long a claim holds without being renewed, in seconds.
        observer: is told what happens to predictions.

    Raises:
        ValueError: no spool has this scheme.
        SpoolUnavailable: the store cannot be opened.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite":
        from unspool.spool.sqlite import SqliteSpool

        return await SqliteSpool.open(rest.removeprefix("/"), lease_s=lease_s, observer=observer)
    raise ValueError(f"{url!r} names no spool: use sqlite:///path/to/unspool.db")


@asynccontextmanager
async def open_keys(url: str) -> AsyncIterator[Keys]:
    """Opens nothing but the API keys of the spool that `url` names, also while a server has it open.

    Raises:
        ValueError: no spool has this scheme.
        SpoolUnavailable: the store cannot be opened.
    """
    scheme, _, rest = url.partition("://")
    if scheme != "sqlite":
        raise ValueError(f"{url!r} names no spool: use sqlite:///path/to/unspool.db")
    from unspool.spool.sqlite_keys import open_sqlite_keys

    async with open_sqlite_keys(rest.removeprefix("/")) as keys:
        yield keys
