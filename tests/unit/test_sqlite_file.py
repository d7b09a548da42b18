"""The file of the spool: what happens beside its transactions."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from unspool.errors import SpoolUnavailable
from unspool.spool import sqlite_file
from unspool.spool.sqlite_file import SqliteFile, Transaction

DEADLINE_S = 60
PIECE = b"x" * 1_000_000


def writing(number: int) -> Transaction:
    transaction = Transaction()
    transaction.journal, transaction.journal_id = PIECE, number
    return transaction


def test_what_was_written_is_folded_into_the_file_beside_the_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the writer's own checkpoints out of the way, so that these cannot be it."""
    monkeypatch.setattr(sqlite_file, "_LATEST_CHECKPOINT_PAGES", 1_000_000)
    path = tmp_path / "unspool.db"

    async def test() -> None:
        file = SqliteFile(str(path))
        await file.open()
        try:
            before = path.stat().st_size
            for number in range(1, 21):
                await file.commit(writing(number))
            while path.stat().st_size < before + 10 * len(PIECE):
                await asyncio.sleep(0.01)
        finally:
            await file.close()

    asyncio.run(asyncio.wait_for(test(), DEADLINE_S))


def test_a_file_that_was_let_go_of_takes_nothing_more(tmp_path: Path) -> None:
    async def test() -> None:
        file = SqliteFile(str(tmp_path / "unspool.db"))
        await file.open()
        await file.commit(writing(1))
        file.abandon()
        with pytest.raises((RuntimeError, SpoolUnavailable)):
            await file.commit(writing(2))
        again = SqliteFile(str(tmp_path / "unspool.db"))
        await again.open()
        try:
            assert [row["id"] for row in await again.query("SELECT id FROM journal")] == [1]
        finally:
            await again.close()

    asyncio.run(asyncio.wait_for(test(), DEADLINE_S))
