"""The archive of the SQLite spool: what is finished is in the file, what is not is in the spool's memory.

A finished prediction enters the index `finished` once, with everything that a list filters by. So looking through a
long history reads that index and, of the rows themselves with their inputs and outputs, only those of one page.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import msgspec

from unspool.spool.archive import Filter, Listing, Usage
from unspool.spool.record import COLUMNS, Entry, prediction_of
from unspool.spool.sqlite_file import Execute, SqliteFile
from unspool.states import Status
from unspool.types import Prediction

DELETE_AT_ONCE = 50
"""So many predictions are deleted in one transaction: other writers wait for no more than that."""
_DAY_NS = 24 * 3600 * 10**9

OF_PREDICTIONS = {"deliveries": "id", "delivery_tries": "id", "parts": "seq", "predictions": "seq"}
"""Every table with rows of a prediction, and the column that says of which."""

_FOUND = """
SELECT created_at_ns, seq FROM predictions
WHERE owner = ? AND finished_at_ns IS NOT NULL AND {conditions}
UNION
SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?)
"""
_COUNTED = f"""
SELECT owner, created_at_ns / {_DAY_NS} AS day, model, count(*) AS requests, sum(status = 'completed') AS completed,
    sum(iif(status = 'completed', price, 0)) AS cost, max(created_at_ns) AS last_created_at_ns
FROM predictions WHERE {{conditions}} GROUP BY owner, day, model
"""  # noqa: S608, SQL of our own
_KEEP_COUNT = f"""
INSERT INTO usage {_COUNTED.format(conditions="seq IN (SELECT value FROM json_each(?))")}
ON CONFLICT (owner, day, model) DO UPDATE SET requests = requests + excluded.requests,
    completed = completed + excluded.completed, cost = cost + excluded.cost,
    last_created_at_ns = max(last_created_at_ns, excluded.last_created_at_ns)
"""  # noqa: S608, SQL of our own
_COUNT_OF = """
owner = ? AND finished_at_ns IS NOT NULL AND created_at_ns >= ? AND created_at_ns < ?
AND seq NOT IN (SELECT value FROM json_each(?))
"""
_EXPIRED = "SELECT id FROM predictions WHERE finished_at_ns < ? ORDER BY finished_at_ns LIMIT ?"
_ENDED = "SELECT seq, id FROM predictions WHERE finished_at_ns IS NOT NULL AND id IN (SELECT value FROM json_each(?))"
_SOME = f"SELECT {COLUMNS} FROM predictions WHERE seq IN (SELECT value FROM json_each(?))"  # noqa: S608


class SqliteArchive:
    """See `unspool.spool.archive.Archive` for what each method promises.

    Args:
        unfinished: the spool's memory of what has not ended, by id; always current.
        forget: takes a prediction out of the spool's memory of what has ended.
    """

    def __init__(self, file: SqliteFile, unfinished: Mapping[str, Entry], forget: Callable[[str], None]) -> None:
        self._file = file
        self._unfinished = unfinished
        self._forget = forget

    async def find(self, wanted: Filter, *, offset: int, limit: int, oldest_first: bool = False) -> Listing:
        """See `Archive.find`."""
        live = {entry.seq: entry for entry in self._unfinished.values() if _fits(wanted, entry)}
        conditions, parameters = _conditions(wanted)
        found = _FOUND.format(conditions=conditions)
        places = _json([(entry.created_at_ns, seq) for seq, entry in live.items()])
        total = (await self._file.query(f"SELECT count(*) FROM ({found})", *parameters, places))[0][0]  # noqa: S608
        order = "created_at_ns, seq" if oldest_first else "created_at_ns DESC, seq DESC"
        page = f"{found} ORDER BY {order} LIMIT ? OFFSET ?"
        rows = await self._file.query(page, *parameters, places, limit, offset)
        return Listing(await self._described([row["seq"] for row in rows], live), total)

    async def _described(self, seqs: Sequence[int], live: Mapping[int, Entry]) -> list[Prediction]:
        rows = await self._file.query(_SOME, _json([seq for seq in seqs if seq not in live]))
        known = {row["seq"]: prediction_of(row) for row in rows}
        known |= {seq: live[seq].prediction() for seq in seqs if seq in live}
        return [known[seq] for seq in seqs if seq in known]

    async def delete(self, ids: Sequence[str]) -> list[str]:
        """See `Archive.delete`."""
        deleted: list[str] = []
        for at in range(0, len(ids), DELETE_AT_ONCE):
            some = [id for id in ids[at : at + DELETE_AT_ONCE] if id not in self._unfinished]
            gone = await self._file.write(lambda execute, some=some: _delete(execute, some))  # type: ignore[misc]
            for id in gone:
                self._forget(id)
            deleted += gone
        return deleted

    async def expired(self, finished_before_ns: int, limit: int) -> list[str]:
        """See `Archive.expired`."""
        rows = await self._file.query(_EXPIRED, finished_before_ns, limit)
        return [row["id"] for row in rows if row["id"] not in self._unfinished]

    async def usage(self, owner: str, first: date, last: date) -> list[Usage]:
        """See `Archive.usage`."""
        begin, end = _day_number(first), _day_number(last)
        live = [entry for entry in self._unfinished.values() if entry.submission.owner == owner]
        counted = _COUNTED.format(conditions=_COUNT_OF)
        of_kept = (owner, begin * _DAY_NS, (end + 1) * _DAY_NS, _json([entry.seq for entry in live]))
        kept = await self._file.query(counted, *of_kept)
        gone = await self._file.query("SELECT * FROM usage WHERE owner = ? AND day BETWEEN ? AND ?", owner, begin, end)
        sums: dict[tuple[int, str], Usage] = {}
        for row in [*kept, *gone]:
            _add(sums, row["day"], row["model"], row["requests"], row["completed"], row["cost"], row[-1])
        for entry in live:
            day = entry.created_at_ns // _DAY_NS
            if begin <= day <= end:
                _add(sums, day, entry.submission.model, 1, 0, 0.0, entry.created_at_ns)
        return [sums[key] for key in sorted(sums)]


def _delete(execute: Execute, ids: Sequence[str]) -> list[str]:
    ended = execute(_ENDED, _json(ids))
    keys = {"seq": _json([row["seq"] for row in ended]), "id": _json([row["id"] for row in ended])}
    execute(_KEEP_COUNT, keys["seq"])
    there = {row["name"] for row in execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    for table, column in OF_PREDICTIONS.items():
        if table in there:
            delete = f"DELETE FROM {table} WHERE {column} IN (SELECT value FROM json_each(?))"  # noqa: S608, our names
            execute(delete, keys[column])
    return [row["id"] for row in ended]


def _fits(wanted: Filter, entry: Entry) -> bool:
    asked = entry.submission
    return (
        asked.owner == wanted.owner
        and wanted.model in (None, asked.model)
        and wanted.status in (None, entry.status)
        and (wanted.created_from_ns is None or entry.created_at_ns >= wanted.created_from_ns)
        and (wanted.created_before_ns is None or entry.created_at_ns < wanted.created_before_ns)
        and (wanted.ids is None or asked.id in wanted.ids)
        and not wanted.charged
    )


def _conditions(wanted: Filter) -> tuple[str, list[Any]]:
    """What the filter says of finished predictions, as SQL and its parameters, the owner first."""
    given = {
        "model = ?": wanted.model,
        "status = ?": wanted.status,
        "created_at_ns >= ?": wanted.created_from_ns,
        "created_at_ns < ?": wanted.created_before_ns,
        "id IN (SELECT value FROM json_each(?))": None if wanted.ids is None else _json(wanted.ids),
        "price > ? AND status = 'completed'": 0 if wanted.charged else None,
    }
    used = {condition: value for condition, value in given.items() if value is not None}
    return " AND ".join(["TRUE", *used]), [wanted.owner, *map(_plain, used.values())]


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Status) else value


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _day_number(day: date) -> int:
    return (day - date(1970, 1, 1)).days


def _add(
    sums: dict[tuple[int, str], Usage], day: int, model: str, requests: int, completed: int, cost: float, last_ns: int
) -> None:
    before = sums.get((day, model))
    if before is not None:
        requests, completed = requests + before.requests, completed + before.completed
        cost, last_ns = cost + before.cost, max(last_ns, before.last_created_at_ns)
    when = datetime.fromtimestamp(day * 24 * 3600, UTC).date()
    sums[day, model] = Usage(when, model, requests, completed, cost, last_ns)
