"""The file of the SQLite spool: its schema, its SQL, and the threads that touch it.

The only place that names the driver; its errors leave as `SpoolUnavailable`.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

from unspool.errors import SpoolUnavailable
from unspool.spool.record import COLUMNS, OUTCOME

T = TypeVar("T")


class Execute(Protocol):
    """Executes one statement and returns its rows."""

    def __call__(self, sql: str, *parameters: Any) -> list[Any]:
        """The statement's parameters follow it."""
        ...


_CHECKPOINT_PAGES = 2_000
"""When so many pages, roughly, were added to the write-ahead log, they are folded into the file: beside the writer, by
a thread that runs when nobody else wants the processor. A commit that has to do this keeps all that are behind it, and
where there is one core, the streams, too."""
_LATEST_CHECKPOINT_PAGES = 8_000
"""When the log has so many, the writer folds what is left, so that the log can begin anew."""

_PAGE_BYTES = 4096

_SCHEMA = """
CREATE TABLE IF NOT EXISTS predictions (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    model TEXT NOT NULL,
    owner TEXT NOT NULL,
    input BLOB NOT NULL,
    max_attempts INTEGER NOT NULL,
    run_timeout_s REAL,
    start_timeout_s REAL,
    on_disconnect TEXT NOT NULL,
    base64_output INTEGER NOT NULL,
    price REAL NOT NULL,
    idempotency_key TEXT,
    fingerprint BLOB NOT NULL,
    created_at_ns INTEGER NOT NULL,
    created_event BLOB NOT NULL,
    status TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    cancel_requested INTEGER NOT NULL,
    started_at_ns INTEGER,
    finished_at_ns INTEGER,
    terminal BLOB,
    terminal_attempt INTEGER,
    terminal_n INTEGER,
    webhook_url TEXT,
    base_url TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS unfinished ON predictions (seq) WHERE finished_at_ns IS NULL;
CREATE INDEX IF NOT EXISTS by_idempotency_key ON predictions (owner, idempotency_key, seq)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX IF NOT EXISTS finished ON predictions (owner, created_at_ns, seq, model, status, price)
    WHERE finished_at_ns IS NOT NULL;
CREATE INDEX IF NOT EXISTS by_end ON predictions (finished_at_ns) WHERE finished_at_ns IS NOT NULL;
CREATE TABLE IF NOT EXISTS parts (
    seq INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    last INTEGER NOT NULL,
    first INTEGER NOT NULL,
    events BLOB NOT NULL,
    PRIMARY KEY (seq, attempt, last)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS usage (
    owner TEXT NOT NULL,
    day INTEGER NOT NULL,
    model TEXT NOT NULL,
    requests INTEGER NOT NULL,
    completed INTEGER NOT NULL,
    cost REAL NOT NULL,
    last_created_at_ns INTEGER NOT NULL,
    PRIMARY KEY (owner, day, model)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS journal (id INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS models (id TEXT PRIMARY KEY, info BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS deliveries (
    id TEXT PRIMARY KEY,
    target TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending',
    tries INTEGER NOT NULL DEFAULT 0,
    round INTEGER NOT NULL DEFAULT 1,
    next_try_at_ns INTEGER
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS pending_deliveries ON deliveries (target, next_try_at_ns) WHERE next_try_at_ns IS NOT NULL;
CREATE TABLE IF NOT EXISTS delivery_tries (
    id TEXT NOT NULL,
    number INTEGER NOT NULL,
    started_at_ns INTEGER NOT NULL,
    duration_ns INTEGER NOT NULL,
    http_status INTEGER,
    error TEXT NOT NULL,
    answer BLOB NOT NULL,
    next_try_at_ns INTEGER,
    PRIMARY KEY (id, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS webhook_secrets (
    owner TEXT PRIMARY KEY,
    current TEXT NOT NULL,
    previous TEXT,
    previous_until_ns INTEGER
);
CREATE TABLE IF NOT EXISTS keys (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    adopted INTEGER NOT NULL,
    state TEXT NOT NULL,
    created_at_ns INTEGER NOT NULL,
    revoked_at_ns INTEGER,
    limits BLOB NOT NULL,
    revision INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS keys_by_revision ON keys (revision);
CREATE TABLE IF NOT EXISTS key_texts (
    digest BLOB PRIMARY KEY,
    key_id TEXT NOT NULL,
    created_at_ns INTEGER NOT NULL,
    expires_at_ns INTEGER
);
PRAGMA user_version = 1;
"""

IDEMPOTENT = """
SELECT id, fingerprint FROM predictions
WHERE owner = ? AND idempotency_key = ? AND created_at_ns > ? ORDER BY seq DESC LIMIT 1
"""
PARTS_AFTER = """
SELECT attempt, first, events FROM parts
WHERE seq = ? AND (attempt, last) > (?, ?) ORDER BY attempt, last LIMIT 1
"""
LAST_PART = "SELECT attempt, last, events FROM parts WHERE seq = ? ORDER BY attempt DESC, last DESC LIMIT 1"
PART_BEFORE = """
SELECT attempt, last, events FROM parts
WHERE seq = ? AND (attempt, last) < (?, ?) ORDER BY attempt DESC, last DESC LIMIT 1
"""
ANY_PART_AFTER = "SELECT 1 FROM parts WHERE seq = ? AND (attempt, last) > (?, ?) LIMIT 1"
ONE = f"SELECT {COLUMNS} FROM predictions WHERE id = ?"  # noqa: S608, column names of our own
UNFINISHED = f"SELECT {COLUMNS} FROM predictions WHERE finished_at_ns IS NULL ORDER BY seq"  # noqa: S608
LAST_PARTS = """
SELECT seq, attempt, max(last) AS last FROM parts
WHERE seq IN (SELECT seq FROM predictions WHERE finished_at_ns IS NULL)
GROUP BY seq, attempt ORDER BY seq, attempt
"""
_NEW_VALUES = ", ".join(f"{name} = new.column{number}" for number, name in enumerate(OUTCOME, start=2))
_UPDATE = f"UPDATE predictions SET {_NEW_VALUES} FROM (VALUES {{}}) AS new WHERE seq = new.column1"  # noqa: S608
_INSERT = f"INSERT INTO predictions ({COLUMNS}) VALUES {{}}"  # noqa: S608
_INSERT_PARTS = "INSERT INTO parts (seq, attempt, last, first, events) VALUES {}"
_INSERT_DELIVERIES = "INSERT INTO deliveries (id, target, next_try_at_ns) VALUES {}"


class Transaction:
    """What one commit writes."""

    def __init__(self) -> None:
        self.sync = True
        """Whether it must survive a loss of power, too, and not only the death of every process."""
        self.predictions: list[tuple[Any, ...]] = []
        """New rows, in the order of `COLUMNS`."""
        self.outcomes: list[tuple[Any, ...]] = []
        """Rows that end: seq, then in the order of `OUTCOME`."""
        self.parts: list[tuple[Any, ...]] = []
        self.deliveries: list[tuple[str, str, int]] = []
        """Webhooks that become due: id of the prediction, target, when."""
        self.journal: bytes | None = None
        self.journal_id = 0
        self.cut_journal_below = 0

    def pages(self) -> int:
        """How many pages it changes, roughly."""
        rows = len(self.predictions) + len(self.outcomes) + len(self.parts) + len(self.deliveries)
        size = len(self.journal or b"") + sum(len(part[-1]) for part in self.parts)
        return 4 + 4 * rows + size // _PAGE_BYTES


class SqliteFile:
    """The file, and its connections, each in a thread of its own: one writes, one reads, one makes checkpoints.

    Every method raises `SpoolUnavailable` when the file cannot do what is asked.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        """For the log of the server; never for clients."""
        self._in_memory = path == ":memory:"
        self._loop = asyncio.get_running_loop()
        self._lock: int | None = None
        self._syncs = True
        self._writing: sqlite3.Connection
        self._reading: sqlite3.Connection
        self._writer = ThreadPoolExecutor(1, "unspool-writer")
        self._reader = self._writer if self._in_memory else ThreadPoolExecutor(1, "unspool-reader")
        self._folding: sqlite3.Connection | None = None
        self._folder = ThreadPoolExecutor(1, "unspool-checkpoint", initializer=_yield_to_others)
        self._unfolded_pages = 0
        """Roughly, how many the write-ahead log was given since the last checkpoint."""

    async def open(self, *, exclusive: bool = True) -> None:
        """Opens the file, making it if needed.

        Args:
            exclusive: one process at a time has the file for itself like this, and only such a one may touch
                predictions. Others may use the tables that have no state in anybody's memory.
        """
        try:
            await self._in_thread(self._writer, self._open, exclusive)
        except SpoolUnavailable as error:
            raise SpoolUnavailable(f"{self.path}: {error}") from error

    def _open(self, exclusive: bool) -> None:
        if not self._in_memory:
            Path(self.path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if exclusive:
                self._acquire_lock()
        self._writing = self._connect()
        self._writing.executescript(_SCHEMA)
        self._reading = self._writing if self._in_memory else self._connect()

    def _acquire_lock(self) -> None:
        self._lock = os.open(self.path + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SpoolUnavailable(
                "Another server uses this file. Stop it, or give this one a --data-dir of its own."
            ) from None

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA busy_timeout = 5000")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_LATEST_CHECKPOINT_PAGES}")
        return connection

    def commit(self, transaction: Transaction) -> asyncio.Future[None]:
        """Writes it; durable when the future is done."""
        return self._loop.run_in_executor(self._writer, self._guarded, self._commit, transaction)

    def _commit(self, transaction: Transaction) -> None:
        if transaction.sync != self._syncs:
            self._set_sync(transaction.sync)
        with self._transaction() as connection:
            _many_rows(connection, _INSERT, transaction.predictions)
            _many_rows(connection, _UPDATE, transaction.outcomes)
            _many_rows(connection, _INSERT_PARTS, transaction.parts)
            _many_rows(connection, _INSERT_DELIVERIES, transaction.deliveries)
            if transaction.journal is not None:
                row = (transaction.journal_id, transaction.journal)
                connection.execute("INSERT INTO journal VALUES (?, ?)", row)
            if transaction.cut_journal_below:
                connection.execute("DELETE FROM journal WHERE id < ?", (transaction.cut_journal_below,))
        self._unfolded_pages += transaction.pages()
        if self._unfolded_pages >= _CHECKPOINT_PAGES and not self._in_memory:
            self._unfolded_pages = 0
            self._folder.submit(self._fold)

    def _fold(self) -> None:
        """What cannot be done now is done with the next one, or by the writer; a disk that fails tells the writer."""
        with suppress(sqlite3.Error):
            self._folding = self._folding or self._connect()
            self._folding.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def _set_sync(self, sync: bool) -> None:
        """Without it, what is committed is in the hands of the system, and on disk with the next one that has it."""
        self._writing.execute(f"PRAGMA synchronous = {'FULL' if sync else 'NORMAL'}")
        self._syncs = sync

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._writing.execute("BEGIN IMMEDIATE")
        try:
            yield self._writing
            self._writing.execute("COMMIT")
        except BaseException:
            if self._writing.in_transaction:
                self._writing.execute("ROLLBACK")
            raise

    async def write(self, work: Callable[[Execute], T]) -> T:
        """Runs `work` in the writer thread, in one transaction of its own; durable when this returns.

        Args:
            work: gets a function that executes one statement and returns its rows. It must not keep it.
        """
        result: T = await self._in_thread(self._writer, self._write, work)
        return result

    def _write(self, work: Callable[[Execute], T]) -> T:
        if not self._syncs:
            self._set_sync(True)
        with self._transaction() as connection:
            return work(lambda sql, *parameters: connection.execute(sql, parameters).fetchall())

    async def replace_models(self, rows: list[tuple[str, bytes]]) -> None:
        """Stores what is announced, in place of what was."""

        def replace(execute: Execute) -> None:
            execute("DELETE FROM models")
            for row in rows:
                execute("INSERT INTO models (id, info) VALUES (?, ?)", *row)

        await self.write(replace)

    async def secret(self) -> bytes:
        """The file's secret, made at the first call."""

        def get_or_make(execute: Execute) -> bytes:
            execute("INSERT OR IGNORE INTO secrets VALUES ('signing', ?)", secrets.token_bytes(32))
            return bytes(execute("SELECT value FROM secrets WHERE name = 'signing'")[0][0])

        return await self.write(get_or_make)

    async def query(self, sql: str, *parameters: Any) -> list[Any]:
        """The rows."""
        rows: list[Any] = await self._in_thread(self._reader, self._query, sql, parameters)
        return rows

    def _query(self, sql: str, parameters: tuple[Any, ...]) -> list[Any]:
        return self._reading.execute(sql, parameters).fetchall()

    async def _in_thread(self, executor: ThreadPoolExecutor, work: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return await self._loop.run_in_executor(executor, self._guarded, work, *arguments)
        except RuntimeError as error:
            raise SpoolUnavailable("The spool is closed.") from error

    def _guarded(self, work: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return work(*arguments)
        except (sqlite3.Error, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise SpoolUnavailable(f"The spool does not work: {reason}.") from error

    async def close(self) -> None:
        """Waits for what is under way, then closes."""
        await self._loop.run_in_executor(None, self._shut_down)

    def _shut_down(self) -> None:
        self._reader.shutdown()
        self._writer.shutdown()
        self._folder.shutdown()
        self._close_files()

    def abandon(self) -> None:
        """Drops what waits to be written. A transaction under way may still end well: so it is with kill -9."""
        self._reader.shutdown(cancel_futures=True)
        self._writer.shutdown(cancel_futures=True)
        self._folder.shutdown(cancel_futures=True)
        self._close_files()

    def _close_files(self) -> None:
        if self._folding is not None:
            self._folding.close()
        for name in ("_reading", "_writing"):
            if hasattr(self, name):
                getattr(self, name).close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _yield_to_others() -> None:
    """Lets this thread run when no other wants its processor. On Linux each thread has a policy of its own."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.sched_setscheduler(threading.get_native_id(), os.SCHED_IDLE, os.sched_param(0))


def _many_rows(connection: sqlite3.Connection, sql: str, rows: list[tuple[Any, ...]]) -> None:
    """Executes `sql` with its `{}` replaced by as many rows as a statement may have.

    In powers of two, so that a few statements are prepared again and again.
    """
    at = 0
    while at < len(rows):
        count = min(1 << ((len(rows) - at).bit_length() - 1), 64)
        chunk = rows[at : at + count]
        connection.execute(_with_rows(sql, len(chunk[0]), count), [value for one in chunk for value in one])
        at += count


@cache
def _with_rows(sql: str, columns: int, count: int) -> str:
    row = "(" + ", ".join("?" * columns) + ")"
    return sql.format(", ".join([row] * count))
