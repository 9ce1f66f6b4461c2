"""One SQLite file, one connection, one thread: the event loop never waits for a disk.

Exclusive locking: a second process gets StoreBusy instead of a shared file, and the write-ahead log needs no shared
memory. ``synchronous=FULL``: what a transaction returned from survives a power cut. The page cap lies below the size
allowed, so that there is always room for the log and a full store can still delete. A damaged file never blocks the
start: it is renamed, a new one begun, and what can still be read of it is carried over.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from gateway.errors import StoreBusy

T = TypeVar("T")

PAGE_BYTES = 4096
_LOG_RESERVE_BYTES = 8 * 1024 * 1024
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


@dataclass(frozen=True, slots=True)
class SetAside:
    """A store file that could not be used, and what became of it."""

    path: Path
    """Where it lies now; nothing of it was deleted."""
    reason: str
    carried_rows: int
    """Rows that could still be read and are in the new file."""


@dataclass(frozen=True, slots=True)
class Schema:
    """What a file must contain."""

    version: int
    """Kept in ``user_version``. A file of another version is set aside, never changed."""
    script: str


def error_code(error: sqlite3.Error) -> int:
    """Return the primary SQLite result code, 0 where Python itself raised."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def is_damage(error: sqlite3.Error) -> bool:
    """True when the file itself is wrong, not the disk under it."""
    return error_code(error) in _DAMAGED


@contextmanager
def transaction(conn: sqlite3.Connection) -> Iterator[None]:
    """All or nothing; durable when the block has ended."""
    conn.execute("BEGIN IMMEDIATE")
    try:
        yield
        conn.execute("COMMIT")
    except BaseException:
        if conn.in_transaction:
            with suppress(sqlite3.Error):  # the cause is the error that matters
                conn.execute("ROLLBACK")
        raise


def open_closed(path: Path) -> sqlite3.Connection:
    """Open a file that no gateway uses, to look at it. Raises FileNotFoundError or StoreBusy."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file; is the data directory right?")
    conn = sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True, timeout=0, isolation_level=None)
    try:
        conn.execute("PRAGMA locking_mode=EXCLUSIVE")
        conn.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        conn.close()
        if error_code(error) in _BUSY:
            raise _busy(path) from None
        raise
    return conn


def _busy(path: Path) -> StoreBusy:
    return StoreBusy(f"{path}: another process holds this file; stop the other gateway, then start this one again")


class SqliteThread:
    """A store file and the thread that alone touches it. Made by ``open``."""

    def __init__(self, path: Path, schema: Schema, max_bytes: int | None) -> None:
        self.path = path
        self._schema = schema
        self.allowed_bytes = max_bytes or 2**60
        """Of file and log together."""
        pages = 2**30
        if max_bytes is not None:
            pages = max(64, (max_bytes - min(max_bytes // 4, _LOG_RESERVE_BYTES)) // PAGE_BYTES)
        self.max_bytes = pages * PAGE_BYTES
        """Of the file alone."""
        self.set_aside: list[SetAside] = []
        """Files of this name that could not be used, since this object was made."""
        with closing(sqlite3.connect(":memory:")) as model:
            model.executescript(schema.script)
            self._tables = _tables(model)
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"sqlite-{path.stem}")
        self._conn: sqlite3.Connection | None = None

    @classmethod
    async def open(cls, path: Path, schema: Schema, *, max_bytes: int | None = None) -> SqliteThread:
        """Open or begin the file. Raises StoreBusy, or OSError when the directory or file cannot be used."""
        store = cls(path, schema, max_bytes)
        try:
            await asyncio.wrap_future(store._executor.submit(store._open_or_begin))
        except BaseException:
            store._executor.shutdown(wait=False)
            raise
        return store

    async def run(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``fn`` on the store's thread and return its result; its errors pass through."""
        return await asyncio.wrap_future(self.submit(fn))

    async def load(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """Like ``run``, but when the file proves damaged it is set aside and ``fn`` runs on the new one."""
        try:
            return await self.run(fn)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            await self.begin_anew(str(error))
        return await self.run(fn)

    async def begin_anew(self, reason: str) -> None:
        """Set the present file aside, begin a new one, and carry over what can be read."""
        await asyncio.wrap_future(self._executor.submit(self._begin_anew, reason, True))

    def submit(self, fn: Callable[[sqlite3.Connection], T]) -> Future[T]:
        """Run ``fn`` on the store's thread some time later. Jobs run in the order given."""
        return self._executor.submit(lambda: fn(self._connected()))

    def bytes_on_disk(self) -> int:
        """File and log as they lie on the disk."""
        return sum(p.stat().st_size for p in (self.path, _log_of(self.path)) if p.exists())

    async def close(self) -> None:
        """Let running jobs end and release the file. May be called twice."""
        if self._conn is not None:
            await asyncio.wrap_future(self._executor.submit(self._disconnect))
        self._executor.shutdown(wait=False)

    # --- on the store's thread -------------------------------------------------------------------------------

    def _connected(self) -> sqlite3.Connection:
        if self._conn is None:
            self._open_or_begin()  # a new start after damage failed half-way: try again
        assert self._conn is not None
        return self._conn

    def _disconnect(self) -> None:
        if self._conn is not None:
            conn, self._conn = self._conn, None
            conn.close()

    def _open_or_begin(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        try:
            self._connect()
        except sqlite3.DatabaseError as error:
            self._disconnect()
            code = error_code(error)
            if code in _BUSY:
                raise _busy(self.path) from None
            if code not in _DAMAGED:
                raise OSError(
                    f"{self.path}: cannot be used as a store ({error}); check the disk and its owner"
                ) from error
            self._begin_anew(str(error), carry=True)
            return
        conn = self._connected()
        version = conn.execute("PRAGMA user_version").fetchone()[0]
        if version != self._schema.version:
            self._begin_anew(f"written by another release (version {version}, not {self._schema.version})", carry=False)
        elif _tables(conn) != self._tables:
            self._begin_anew("its tables are not those of this release", carry=False)

    def _connect(self) -> None:
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        conn = self._conn = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=True)
        conn.execute(f"PRAGMA page_size={PAGE_BYTES}")
        conn.execute("PRAGMA locking_mode=EXCLUSIVE")
        conn.execute("PRAGMA journal_mode=WAL")
        conn.execute("PRAGMA synchronous=FULL")
        conn.execute("PRAGMA temp_store=MEMORY")
        conn.execute(f"PRAGMA max_page_count={self.max_bytes // PAGE_BYTES}")
        conn.execute(f"PRAGMA wal_autocheckpoint={max(16, min(1000, self.max_bytes // PAGE_BYTES // 8))}")
        with transaction(conn):  # takes the lock for good
            if not conn.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                for statement in self._schema.script.split(";"):  # executescript would commit
                    conn.execute(statement)
                conn.execute(f"PRAGMA user_version={self._schema.version}")

    def _begin_anew(self, reason: str, carry: bool) -> None:
        self._disconnect()
        number = 1
        while (aside := self.path.with_name(f"{self.path.name}.damaged-{number}")).exists():
            number += 1
        if _log_of(self.path).exists():  # first, so that it can never be taken for the new file's log
            _log_of(self.path).rename(_log_of(aside))
        self.path.rename(aside)
        self._connect()
        carried = _carry_over(aside, self._connected()) if carry else 0
        self.set_aside.append(SetAside(aside, reason, carried))


def _tables(conn: sqlite3.Connection) -> set[tuple[str, str]]:
    return set(conn.execute("SELECT name, sql FROM sqlite_master WHERE type='table'"))


def _log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _carry_over(old: Path, conn: sqlite3.Connection) -> int:
    """Copy what can be read, each table from both ends: only what lies between the first and last damage is lost."""
    before = conn.total_changes
    with suppress(sqlite3.Error, OSError), closing(sqlite3.connect(old, timeout=0, isolation_level=None)) as source:
        for (table,) in conn.execute("SELECT name FROM sqlite_master WHERE type='table'").fetchall():
            info = conn.execute(f"PRAGMA table_info({table})").fetchall()
            columns = ", ".join(row[1] for row in info)
            key = sorted((row[5], row[1]) for row in info if row[5])
            for direction in ("ASC", "DESC"):
                order = ", ".join(f"{name} {direction}" for _, name in key)
                query = f"SELECT {columns} FROM {table} ORDER BY {order}"  # noqa: S608  # names of our own schema
                if _copy(source, query, conn, table, len(info)):
                    break
    return conn.total_changes - before


def _copy(source: sqlite3.Connection, query: str, conn: sqlite3.Connection, table: str, width: int) -> bool:
    """Copy rows until the end (True) or until damage (False)."""
    insert = f"INSERT OR REPLACE INTO {table} VALUES ({', '.join('?' * width)})"  # noqa: S608  # as above
    try:
        rows = source.execute(query)
    except sqlite3.Error:
        return False
    while True:
        chunk, whole = _read_some(rows)
        with transaction(conn):
            conn.executemany(insert, chunk)
        if not whole or not chunk:
            return whole


def _read_some(rows: sqlite3.Cursor) -> tuple[list[tuple[object, ...]], bool]:
    chunk: list[tuple[object, ...]] = []
    try:
        for row in rows:
            chunk.append(row)
            if len(chunk) == 200:
                break
    except sqlite3.Error:
        return chunk, False
    return chunk, True
