"""The store of predictions and their logs. `open_spool` picks the implementation by URL."""

from __future__ import annotations

from unspool.spool.base import Spool

__all__ = ["Spool", "open_spool"]


async def open_spool(url: str) -> Spool:
    """Opens the spool that `url` names: `sqlite:///path/to/file`, or `sqlite:///:memory:` for one that forgets.

    Raises:
        ValueError: no spool has this scheme.
        SpoolUnavailable: the store cannot be opened.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite":
        from unspool.spool.sqlite import SqliteSpool

        return await SqliteSpool.open(rest.removeprefix("/"))
    raise ValueError(f"{url!r} names no spool: use sqlite:///path/to/unspool.db")
