"""The deliveries in the file of the SQLite spool.

    deliveries        a row each, written in the transaction that ends the prediction
    delivery_tries    a row for each request that was sent
    webhook_secrets   a row for each owner

What has been tried while a transaction was under way is written together in the next one, so that many webhooks do
not cost the predictions as many syncs to disk.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from typing import NamedTuple

from unspool.errors import SpoolUnavailable
from unspool.spool.deliveries import Delivery, Due, Secrets, State, Target, Try
from unspool.spool.live import LocalWatch
from unspool.spool.sqlite_file import Execute, SqliteFile

_TARGETS = """
WITH RECURSIVE targets(name) AS (
    SELECT min(target) FROM deliveries WHERE next_try_at_ns IS NOT NULL
    UNION ALL
    SELECT (SELECT min(target) FROM deliveries WHERE next_try_at_ns IS NOT NULL AND target > targets.name)
    FROM targets WHERE targets.name IS NOT NULL
)
SELECT name, (SELECT min(next_try_at_ns) FROM deliveries WHERE next_try_at_ns IS NOT NULL AND target = targets.name)
FROM targets WHERE name IS NOT NULL
"""
"""From one target to the next through the index, instead of over every delivery."""
_DUE = """
SELECT id, tries, round FROM deliveries WHERE target = ? AND next_try_at_ns <= ? ORDER BY next_try_at_ns LIMIT ?
"""
_ADD_TRY = """
INSERT INTO delivery_tries (id, number, started_at_ns, duration_ns, http_status, error, answer, next_try_at_ns)
SELECT id, (SELECT coalesce(max(number), 0) + 1 FROM delivery_tries WHERE id = deliveries.id), ?, ?, ?, ?, ?, ?
FROM deliveries WHERE id = ?
"""
_SETTLE = "UPDATE deliveries SET state = ?, tries = tries + 1, next_try_at_ns = ? WHERE id = ? AND round = ?"
_TRIES = """
SELECT started_at_ns, duration_ns, http_status, error, answer, next_try_at_ns FROM delivery_tries
WHERE id = ? ORDER BY number
"""
_SEND_AGAIN = """
UPDATE deliveries SET state = 'pending', tries = 0, round = round + 1, next_try_at_ns = ? WHERE id = ? RETURNING id
"""
_ROTATE = """
INSERT INTO webhook_secrets (owner, current) VALUES (?1, ?2) ON CONFLICT (owner) DO UPDATE
SET previous = current, previous_until_ns = ?3, current = excluded.current
"""


class _Record(NamedTuple):
    due: Due
    tried: Sequence[Try]
    state: State
    done: asyncio.Future[None]


class SqliteDeliveries:
    """See `unspool.spool.deliveries.Deliveries` for what each method promises."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._loop = asyncio.get_running_loop()
        self._records: list[_Record] = []
        self._writing: asyncio.Task[None] | None = None
        self._watches: set[LocalWatch] = set()

    async def targets(self) -> list[Target]:
        """See `Deliveries.targets`."""
        return [Target(*row) for row in await self._file.query(_TARGETS)]

    async def due(self, target: str, now_ns: int, limit: int) -> list[Due]:
        """See `Deliveries.due`."""
        return [Due(*row) for row in await self._file.query(_DUE, target, now_ns, limit)]

    async def record(self, due: Due, tried: Sequence[Try], state: State) -> None:
        """See `Deliveries.record`."""
        record = _Record(due, tried, state, self._loop.create_future())
        self._records.append(record)
        if self._writing is None:
            self._writing = self._loop.create_task(self._write_records())
        await record.done

    async def _write_records(self) -> None:
        while self._records:
            records, self._records = self._records, []
            failure: SpoolUnavailable | None = None
            try:
                await self._file.write(lambda execute, records=records: _record(execute, records))  # type: ignore[misc]
            except SpoolUnavailable as error:
                failure = error
            for record in records:
                if not record.done.done():
                    record.done.set_result(None) if failure is None else record.done.set_exception(failure)
        self._writing = None

    async def get(self, id: str) -> Delivery | None:
        """See `Deliveries.get`."""
        rows = await self._file.query("SELECT state, next_try_at_ns FROM deliveries WHERE id = ?", id)
        if not rows:
            return None
        tries = [
            Try(
                started_at_ns=row["started_at_ns"],
                duration_ns=row["duration_ns"],
                http_status=row["http_status"],
                error=row["error"],
                answer=row["answer"],
                next_try_at_ns=row["next_try_at_ns"],
            )
            for row in await self._file.query(_TRIES, id)
        ]
        return Delivery(state=rows[0]["state"], next_try_at_ns=rows[0]["next_try_at_ns"], tries=tries)

    async def send_again(self, id: str, now_ns: int) -> bool:
        """See `Deliveries.send_again`."""
        found = await self._file.write(lambda execute: execute(_SEND_AGAIN, now_ns, id))
        self.wake()
        return bool(found)

    async def delete(self, ids: Sequence[str]) -> None:
        """See `Deliveries.delete`."""
        await self._file.write(lambda execute: delete(execute, ids))

    async def secrets(self, owner: str, now_ns: int) -> Secrets:
        """See `Deliveries.secrets`."""
        rows = await self._file.query(_SECRETS, owner)
        if not rows:
            made = _new_secret()
            rows = await self._file.write(lambda execute: _make_secret(execute, owner, made))
        return _secrets(rows[0], now_ns)

    async def rotate(self, owner: str, now_ns: int, previous_until_ns: int) -> Secrets:
        """See `Deliveries.rotate`."""

        def rotate(execute: Execute) -> list[tuple[str, str | None, int | None]]:
            execute(_ROTATE, owner, _new_secret(), previous_until_ns)
            return execute(_SECRETS, owner)

        return _secrets((await self._file.write(rotate))[0], now_ns)

    def watch(self) -> LocalWatch:
        """See `Deliveries.watch`."""
        watch = LocalWatch(on_close=self._watches.discard)
        self._watches.add(watch)
        return watch

    def wake(self) -> None:
        """Wakes all that watch: a prediction with a webhook has ended."""
        for watch in self._watches:
            watch.wake()


def delete(execute: Execute, ids: Sequence[str]) -> None:
    """Deletes deliveries inside a transaction of someone else."""
    for id in ids:
        execute("DELETE FROM delivery_tries WHERE id = ?", id)
        execute("DELETE FROM deliveries WHERE id = ?", id)


def _record(execute: Execute, records: list[_Record]) -> None:
    for due, tried, state, _ in records:
        for one in tried:
            facts = (one.started_at_ns, one.duration_ns, one.http_status, one.error, one.answer, one.next_try_at_ns)
            execute(_ADD_TRY, *facts, due.id)
        next_try_at_ns = tried[-1].next_try_at_ns if state == "pending" else None
        execute(_SETTLE, state, next_try_at_ns, due.id, due.round)


_SECRETS = "SELECT current, previous, previous_until_ns FROM webhook_secrets WHERE owner = ?"


def _make_secret(execute: Execute, owner: str, made: str) -> list[tuple[str, str | None, int | None]]:
    execute("INSERT OR IGNORE INTO webhook_secrets (owner, current) VALUES (?, ?)", owner, made)
    return execute(_SECRETS, owner)


def _secrets(row: tuple[str, str | None, int | None], now_ns: int) -> Secrets:
    current, previous, until_ns = row
    good = until_ns is not None and now_ns < until_ns
    return Secrets(current, previous, until_ns) if good else Secrets(current, None, None)


def _new_secret() -> str:
    return "whsec_" + secrets.token_hex(32)
