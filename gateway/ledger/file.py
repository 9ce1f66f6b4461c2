"""The file of the minute ledger: every SQL statement on it. All functions run on its thread.

Rows lie in the order of time, so that a minute of all series is written to neighbouring pages (flash wears by pages);
a series is read by one look-up per minute. Regulated quantities lie apart: each part loses its oldest rows only.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.ledger.bucket import Bucket, bucket
from gateway.ledger.minute import MINUTE_MS, Minute, merge
from gateway.storage import Schema, transaction
from gateway.vocabulary import METRICS

SCHEMA = Schema(
    version=1,
    script="""
CREATE TABLE series (id INTEGER PRIMARY KEY, device TEXT NOT NULL, metric TEXT NOT NULL,
    counter_last REAL, counter_ms INTEGER, UNIQUE (device, metric));
CREATE TABLE minutes (regulated INTEGER NOT NULL, start_ms INTEGER NOT NULL, series INTEGER NOT NULL,
    count INTEGER NOT NULL, bad INTEGER NOT NULL, share REAL NOT NULL, low REAL, high REAL, mean REAL, last REAL,
    last_ms INTEGER, delta REAL, resultant REAL, mark TEXT NOT NULL, reset INTEGER NOT NULL,
    levels BLOB NOT NULL,
    PRIMARY KEY (regulated, start_ms, series)) WITHOUT ROWID;
CREATE TABLE parts (device TEXT PRIMARY KEY, until_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE totals (id INTEGER PRIMARY KEY, minutes INTEGER NOT NULL);
INSERT INTO totals VALUES (1, 0)
""",
)
_COLUMNS = "count, bad, share, low, high, mean, last, last_ms, delta, resultant, mark, reset, levels"
_SLICE_MINUTES = 10_000
_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Contents:
    """What a ledger held when it was opened."""

    minutes: int
    last_ms: int | None
    """Start of the last minute stored that is not in the future."""
    counters: list[tuple[str, str, float, int]]
    """device, metric, last value and its time."""
    parts: dict[str, int]
    """Devices whose last minute was stored unfinished: when it ends in the ledger."""


def load(conn: sqlite3.Connection, now_ms: int) -> Contents:
    """Read how far the ledger goes."""
    query = "SELECT max(start_ms) FROM minutes WHERE regulated = ? AND start_ms <= ?"
    newest = [conn.execute(query, (part, now_ms)).fetchone()[0] for part in (0, 1)]
    query = "SELECT device, metric, counter_last, counter_ms FROM series WHERE counter_last IS NOT NULL"
    counters = conn.execute(query).fetchall()
    parts = dict(conn.execute("SELECT device, until_ms FROM parts").fetchall())
    return Contents(_total(conn), max((ms for ms in newest if ms is not None), default=None), counters, parts)


def _total(conn: sqlite3.Connection) -> int:
    return int(conn.execute("SELECT coalesce(max(minutes), 0) FROM totals").fetchone()[0])


def _count(conn: sqlite3.Connection, change: int) -> None:
    conn.execute("INSERT OR REPLACE INTO totals VALUES (1, ?)", (max(0, _total(conn) + change),))


def is_regulated(metric: str) -> bool:
    """True for emission data a regulator may ask for."""
    known = METRICS.get(metric)
    return known is not None and known.regulated


def store(
    conn: sqlite3.Connection,
    minutes: Sequence[Minute],
    expected: Callable[[str, str], float],
    ahead_ms: int,
    parts: Mapping[str, int],
) -> tuple[list[Minute], int]:
    """Store minutes, each merged with what is there of it; return them so, and the number of rows in all.

    ``ahead_ms``: a counter's time beyond this was a clock that stood wrong. ``parts``: as in Contents.
    """
    with transaction(conn):
        names = [(m.device, m.metric) for m in minutes]
        conn.executemany("INSERT OR IGNORE INTO series (device, metric) VALUES (?, ?)", names)
        numbers = {(d, m): number for number, d, m in conn.execute("SELECT id, device, metric FROM series")}
        merged: dict[tuple[int, int, int], Minute] = {}
        added = 0
        for minute in minutes:
            number = numbers[minute.device, minute.metric]
            key = (int(is_regulated(minute.metric)), minute.start_ms, number)
            known = merged.get(key)
            if known is None:
                known = _row(conn, minute, key)
                added += known is None
            if known is not None:
                minute = merge(known, minute, expected(minute.device, minute.metric))
            merged[key] = minute
        conn.executemany(
            f"INSERT OR REPLACE INTO minutes VALUES ({', '.join('?' * 16)})",  # noqa: S608
            [(*key, *_fields(minute)) for key, minute in merged.items()],
        )
        conn.executemany(
            "UPDATE series SET counter_last = ?, counter_ms = ?"
            " WHERE id = ? AND (coalesce(counter_ms, 0) <= ? OR counter_ms > ?)",
            [(m.last, m.last_ms, key[2], m.last_ms, ahead_ms) for key, m in merged.items() if m.delta is not None],
        )
        newest_ms = max((m.start_ms for m in minutes), default=0)
        # at an orderly stop those of this minute stay: a device may have said nothing since
        conn.execute("DELETE FROM parts WHERE until_ms < ?", (newest_ms if parts else newest_ms + MINUTE_MS,))
        conn.executemany("INSERT OR REPLACE INTO parts VALUES (?, ?)", parts.items())
        _count(conn, added)
        return list(merged.values()), _total(conn)


def _fields(m: Minute) -> tuple[object, ...]:
    head = (m.count, m.bad, m.valid_share, m.low, m.high, m.mean, m.last, m.last_ms)
    return (*head, m.delta, m.resultant, str(m.mark), int(m.reset), m.levels)


def _minute(device: str, metric: str, start_ms: int, fields: Sequence[Any]) -> Minute:
    *before, reset, packed = fields
    rest = (*before, bool(reset), packed)
    return Minute(device, metric, start_ms, *rest)


def _row(conn: sqlite3.Connection, minute: Minute, key: tuple[int, int, int]) -> Minute | None:
    query = f"SELECT {_COLUMNS} FROM minutes WHERE regulated = ? AND start_ms = ? AND series = ?"  # noqa: S608
    row = conn.execute(query, key).fetchone()
    return None if row is None else _minute(minute.device, minute.metric, minute.start_ms, row)


def since(conn: sqlite3.Connection, from_ms: int) -> list[Minute]:
    """Return every stored minute that began at that time or later, oldest first."""
    query = (
        f"SELECT device, metric, start_ms, {_COLUMNS} FROM minutes JOIN series ON id = series"  # noqa: S608
        " WHERE regulated = ? AND start_ms >= ? ORDER BY start_ms, series"
    )
    rows = [row for part in (0, 1) for row in conn.execute(query, (part, from_ms))]
    return sorted((_minute(row[0], row[1], row[2], row[3:]) for row in rows), key=lambda m: m.start_ms)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of one series."""

    device: str
    metric: str
    from_ms: int
    """A multiple of ``step_ms``."""
    to_ms: int
    step_ms: int
    """A multiple of a minute."""
    per_minute: float
    """Good readings expected."""
    now_ms: int


def minutes(conn: sqlite3.Connection, q: Question, cursor_ms: int, fresh: Sequence[Minute]) -> tuple[list[Minute], int]:
    """Return the next minutes, whole steps of them, and the cursor to go on from: ``q.to_ms`` when there is no more.

    ``fresh``: minutes of this series that are not stored yet.
    """
    part = int(is_regulated(q.metric))
    query = "SELECT min(start_ms) FROM minutes WHERE regulated = ? AND start_ms >= ?"
    stored_ms = conn.execute(query, (part, cursor_ms)).fetchone()[0]
    starts = [m.start_ms for m in fresh if m.start_ms >= cursor_ms]
    first_ms = min([*starts, *([] if stored_ms is None else [stored_ms])], default=q.to_ms)
    if first_ms >= q.to_ms:
        return [], q.to_ms
    first_ms -= first_ms % q.step_ms
    end_ms = min(q.to_ms, first_ms + max(1, _SLICE_MINUTES * MINUTE_MS // q.step_ms) * q.step_ms)
    query = (
        "WITH RECURSIVE span(ms) AS (VALUES(?) UNION ALL SELECT ms + 60000 FROM span WHERE ms + 60000 < ?)"  # noqa: S608
        f" SELECT ms, {_COLUMNS} FROM span CROSS JOIN minutes"
        " ON regulated = ? AND start_ms = ms AND series = (SELECT id FROM series WHERE device = ? AND metric = ?)"
    )
    rows = conn.execute(query, (first_ms, end_ms, part, q.device, q.metric))
    found = {ms: _minute(q.device, q.metric, ms, rest) for ms, *rest in rows}
    for minute in fresh:
        if first_ms <= minute.start_ms < end_ms:
            known = found.get(minute.start_ms)
            found[minute.start_ms] = minute if known is None else merge(known, minute, q.per_minute)
    return [found[ms] for ms in sorted(found)], end_ms


def buckets(conn: sqlite3.Connection, q: Question, cursor_ms: int, fresh: Sequence[Minute]) -> tuple[list[Bucket], int]:
    """Return the next steps that hold anything, and the cursor, as ``minutes``."""
    found, end_ms = minutes(conn, q, cursor_ms, fresh)
    steps: dict[int, list[Minute]] = {}
    for minute in found:
        steps.setdefault(minute.start_ms - minute.start_ms % q.step_ms, []).append(minute)
    result = []
    for start_ms, of_step in steps.items():
        past_ms = min(q.step_ms, max(0, q.now_ms - start_ms))  # what lies ahead cannot be missing
        result.append(bucket(start_ms, of_step, q.per_minute * past_ms / MINUTE_MS))
    return result, end_ms


def prune(conn: sqlite3.Connection, regulated: bool, before_ms: int) -> tuple[int, int]:
    """Delete at most an hour of the oldest minutes before a time; return how many went, and how many are left."""
    part = int(regulated)
    with transaction(conn):
        oldest = conn.execute("SELECT min(start_ms) FROM minutes WHERE regulated = ?", (part,)).fetchone()[0]
        if oldest is None or oldest >= before_ms:
            return 0, _total(conn)
        end = min(before_ms, oldest + _HOUR_MS)
        gone = conn.execute("DELETE FROM minutes WHERE regulated = ? AND start_ms < ?", (part, end)).rowcount
        _count(conn, -gone)
        return gone, _total(conn)
