"""The API keys in the SQLite file of the spool.

    keys        a row each, never deleted: predictions name it as their owner
    key_texts   the digests of the texts of each key

Every change writes a `revision` that is larger than all before into the rows that it changes.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from unspool.errors import KeyExists, UnknownKey
from unspool.spool.keys import ID_LENGTH, Key, KeyState, OwnLimits, Text
from unspool.spool.sqlite_file import Execute, SqliteFile

_NEXT_REVISION = "(SELECT coalesce(max(revision), 0) + 1 FROM keys)"
_INSERT = f"INSERT INTO keys VALUES (?, ?, ?, ?, ?, NULL, ?, {_NEXT_REVISION})"  # noqa: S608
_SUSPEND_OTHERS = f"""
UPDATE keys SET state = iif(id = ?, 'active', 'suspended'), revision = {_NEXT_REVISION}
WHERE adopted AND state != 'revoked' AND state != iif(id = ?, 'active', 'suspended')
"""  # noqa: S608
_REVOKE = f"UPDATE keys SET state = 'revoked', revoked_at_ns = ?, revision = {_NEXT_REVISION} WHERE id = ?"  # noqa: S608
_TOUCH = f"UPDATE keys SET revision = {_NEXT_REVISION} WHERE id = ?"  # noqa: S608
_EXPIRE = "UPDATE key_texts SET expires_at_ns = ? WHERE key_id = ? AND coalesce(expires_at_ns, ?) >= ?"
_KEYS = """
SELECT id, name, state, keys.created_at_ns AS created_at_ns, revoked_at_ns, limits, digest, expires_at_ns
FROM keys JOIN key_texts ON key_id = id
ORDER BY keys.created_at_ns, keys.rowid, key_texts.created_at_ns, key_texts.rowid
"""


class SqliteKeys:
    """See `unspool.spool.keys.Keys` for what each method promises."""

    def __init__(self, file: SqliteFile, clock: Callable[[], int]) -> None:
        self._file = file
        self._clock = clock

    async def adopt(self, name: str, digest: bytes) -> Key:
        """See `Keys.adopt`."""
        now = self._clock()

        def adopt(execute: Execute) -> Key:
            known = execute("SELECT key_id FROM key_texts WHERE digest = ?", digest)
            id = known[0]["key_id"] if known else digest.hex()[:ID_LENGTH]
            if not known:
                execute(_INSERT, id, name, True, KeyState.ACTIVE, now, msgspec.json.encode(OwnLimits()))
                execute("INSERT INTO key_texts VALUES (?, ?, ?, NULL)", digest, id, now)
            execute(_SUSPEND_OTHERS, id, id)
            return _one(execute, id)

        return await self._file.write(adopt)

    async def create(self, name: str, digest: bytes, limits: OwnLimits) -> Key:
        """See `Keys.create`."""
        now = self._clock()

        def create(execute: Execute) -> Key:
            if execute("SELECT 1 FROM keys WHERE name = ? AND state != ?", name, KeyState.REVOKED):
                raise KeyExists(f"There is a key {name!r} already. Choose another name, or revoke or rotate that one.")
            _check_new(execute, digest)
            id = digest.hex()[:ID_LENGTH]
            execute(_INSERT, id, name, False, KeyState.ACTIVE, now, msgspec.json.encode(limits))
            execute("INSERT INTO key_texts VALUES (?, ?, ?, NULL)", digest, id, now)
            return _one(execute, id)

        return await self._file.write(create)

    async def list(self) -> list[Key]:
        """See `Keys.list`."""
        return _keys(await self._file.query(_KEYS))

    async def revoke(self, ref: str) -> Key:
        """See `Keys.revoke`."""
        now = self._clock()

        def revoke(execute: Execute) -> Key:
            key = _find(execute, ref)
            if key.state is not KeyState.REVOKED:
                execute(_REVOKE, now, key.id)
            return _one(execute, key.id)

        return await self._file.write(revoke)

    async def rotate(self, ref: str, digest: bytes, overlap_s: float) -> Key:
        """See `Keys.rotate`."""
        now = self._clock()
        until = now + round(overlap_s * 10**9)

        def rotate(execute: Execute) -> Key:
            key = _find(execute, ref)
            if key.state is not KeyState.ACTIVE:
                raise UnknownKey(f"The key {ref!r} is {key.state}; only an active key can be rotated.")
            _check_new(execute, digest)
            execute(_EXPIRE, until, key.id, until, until)
            execute("INSERT INTO key_texts VALUES (?, ?, ?, NULL)", digest, key.id, now)
            execute(_TOUCH, key.id)
            return _one(execute, key.id)

        return await self._file.write(rotate)

    async def revision(self) -> int:
        """See `Keys.revision`."""
        rows = await self._file.query("SELECT coalesce(max(revision), 0) FROM keys")
        return int(rows[0][0])


@asynccontextmanager
async def open_sqlite_keys(path: str) -> AsyncIterator[SqliteKeys]:
    """The keys of a file, also while a server has it open."""
    file = SqliteFile(path)
    try:
        await file.open(exclusive=False)
        yield SqliteKeys(file, time.time_ns)
    finally:
        await file.close()


def _check_new(execute: Execute, digest: bytes) -> None:
    if execute("SELECT 1 FROM key_texts WHERE digest = ?", digest):
        raise KeyExists("This key is known already.")


def _find(execute: Execute, ref: str) -> Key:
    keys = _keys(execute(_KEYS))
    by_id = [key for key in keys if key.id == ref]
    named = [key for key in keys if key.name == ref]
    good = [key for key in named if key.state is KeyState.ACTIVE]
    for found in (by_id, good, named):
        if len(found) == 1:
            return found[0]
        if found:
            raise UnknownKey(f"Several keys have the name {ref!r}. Name one by its id; `unspool keys list` shows it.")
    raise UnknownKey(f"There is no key {ref!r}. `unspool keys list` shows those that there are.")


def _one(execute: Execute, id: str) -> Key:
    return next(key for key in _keys(execute(_KEYS)) if key.id == id)


def _keys(rows: list[Any]) -> list[Key]:
    found: dict[str, Key] = {}
    texts: dict[str, list[Text]] = {}
    for row in rows:
        if row["id"] not in found:
            mine = texts[row["id"]] = []
            found[row["id"]] = Key(
                id=row["id"],
                name=row["name"],
                state=KeyState(row["state"]),
                created_at_ns=row["created_at_ns"],
                revoked_at_ns=row["revoked_at_ns"],
                limits=msgspec.json.decode(row["limits"], type=OwnLimits),
                texts=mine,
            )
        texts[row["id"]].append(Text(digest=row["digest"], expires_at_ns=row["expires_at_ns"]))
    return list(found.values())
