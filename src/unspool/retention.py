"""Letting go of predictions: at a client's wish, and when they have been kept long enough.

Their files go first and their rows after them. A crash in between leaves a prediction without files, which the next
round finds and finishes; the other way round would leave files that nobody knows of.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import structlog

from unspool.config import Settings
from unspool.errors import SpoolUnavailable
from unspool.spool import Spool

BATCH = 50
PAUSE_S = 0.02
"""Between two batches, so that whoever else wants to write comes first."""
_DAY_NS = 24 * 3600 * 10**9

ForgetFiles = Callable[[Sequence[str]], Awaitable[None]]
"""Deletes every file of these predictions. Files that are not there are no error."""

_log = structlog.get_logger("unspool.retention")


async def _no_files(ids: Sequence[str]) -> None:
    """For a server that stores none."""


class Retention:
    """Deletes predictions with everything of theirs.

    Args:
        forget_files: deletes the files of predictions, before their rows.
    """

    def __init__(self, spool: Spool, settings: Settings, forget_files: ForgetFiles = _no_files) -> None:
        self._archive = spool.archive
        self._settings = settings
        self._forget_files = forget_files

    async def delete(self, ids: Sequence[str]) -> list[str]:
        """Deletes those of these predictions that have ended, which all must have. Returns the ids of the deleted.

        Raises:
            SpoolUnavailable: the store cannot be written now.
        """
        await self._forget_files(ids)
        return await self._archive.delete(ids)

    async def keep_expiring(self) -> None:
        """For ever: deletes what has been kept for longer than `retention_days`, a few at a time."""
        while self._settings.retention_days:
            try:
                await self.expire()
            except (SpoolUnavailable, OSError) as error:
                _log.warning("old predictions could not be deleted; it is tried again", error=str(error))
            await asyncio.sleep(self._settings.retention_interval_s)

    async def expire(self) -> int:
        """One round; returns how many were deleted."""
        before_ns = time.time_ns() - int(self._settings.retention_days * _DAY_NS)
        deleted = 0
        while ids := await self._archive.expired(before_ns, BATCH):
            gone = await self.delete(ids)
            deleted += len(gone)
            if not gone:
                break
            await asyncio.sleep(PAUSE_S)
        if deleted:
            _log.info("deleted old predictions", count=deleted, days=self._settings.retention_days)
        return deleted
