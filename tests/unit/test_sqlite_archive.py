"""A delete has to know every table that keeps something of a prediction."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from unspool.spool import open_spool
from unspool.spool.sqlite_archive import OF_PREDICTIONS

NOT_OF_PREDICTIONS = {"journal", "key_texts", "keys", "models", "secrets", "usage", "webhook_secrets"}
"""What they keep is of the whole installation, or (the journal) ends with the run."""


def test_every_table_is_known_to_a_delete_or_keeps_nothing_of_a_prediction(tmp_path: Path):
    file = tmp_path / "unspool.db"

    async def make() -> None:
        await (await open_spool(f"sqlite:///{file}")).close()

    asyncio.run(make())
    with closing(sqlite3.connect(file)) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        for table in tables & OF_PREDICTIONS.keys():
            columns = {row[1] for row in database.execute(f"PRAGMA table_info({table})")}
            assert OF_PREDICTIONS[table] in columns
    assert tables <= OF_PREDICTIONS.keys() | NOT_OF_PREDICTIONS, "say for a new table where it belongs"
