"""alarms.sqlite: rule states, alarms and their whole history. One transaction per batch, so a kill finds all or none.

An event row is never changed. The alarm row is what its events fold to (``alarm.follow``), kept for quick lists; the
states are the engine's memory, written with the events they led to: after a restart nothing is raised twice and no
end is lost.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from gateway.alerts.alarm import follow
from gateway.alerts.state import Event
from gateway.model import Alarm
from gateway.storage import Schema, SqliteThread, transaction

log = structlog.get_logger()

FILE_NAME = "alarms.sqlite"
SCHEMA = Schema(
    version=1,
    script="""
CREATE TABLE states (rule TEXT NOT NULL, subject TEXT NOT NULL, state TEXT NOT NULL,
    PRIMARY KEY (rule, subject)) WITHOUT ROWID;
CREATE TABLE alarms (id TEXT PRIMARY KEY, rule TEXT NOT NULL, subject TEXT NOT NULL, severity TEXT NOT NULL,
    cause TEXT NOT NULL, state TEXT NOT NULL, active INTEGER NOT NULL, raised_ms INTEGER NOT NULL,
    changed_ms INTEGER NOT NULL, cleared_ms INTEGER, closed_ms INTEGER, details TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE events (number INTEGER PRIMARY KEY, alarm TEXT NOT NULL, kind TEXT NOT NULL, at_ms INTEGER NOT NULL,
    rule TEXT NOT NULL, subject TEXT NOT NULL, severity TEXT NOT NULL, details TEXT NOT NULL);
CREATE INDEX alarms_by_time ON alarms (raised_ms);
CREATE INDEX events_of_alarm ON events (alarm)
""",
)
_ALARM = "id, rule, subject, severity, cause, state, active, raised_ms, changed_ms, cleared_ms, closed_ms, details"
_EVENT = "alarm, kind, at_ms, rule, subject, severity, details"
MOST_LISTED = 500

States = Mapping[tuple[str, str], str | None]
"""(rule, subject) -> ``engine.State.to_json``; None forgets it."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What the file held when it was opened."""

    states: dict[tuple[str, str], str]
    alarms: list[Alarm]
    """Those that nobody has closed, oldest first."""


class AlarmStore:
    """Made by ``open``. Its errors are sqlite3.Error and OSError: keep the batch and come back."""

    def __init__(self, db: SqliteThread, kept: Kept) -> None:
        self._db = db
        self.kept = kept
        self._asides = 0
        self._report_asides()

    @classmethod
    async def open(cls, path: Path) -> AlarmStore:
        """Open or begin the file. Raises StoreBusy, or OSError when the directory cannot be used."""
        db = await SqliteThread.open(path, SCHEMA)
        try:
            kept = await db.load(load)
        except BaseException:
            await db.close()
            raise
        return cls(db, kept)

    async def keep(self, events: Sequence[Event], states: States) -> list[Alarm]:
        """Store both, durable when it returns; return the alarms that the events changed."""
        # whoever waits for it may be cancelled: the batch is stored all the same
        changed = await asyncio.shield(self._db.load(lambda conn: keep(conn, events, states)))
        self._report_asides()
        return changed

    async def find(self, from_ms: int, to_ms: int) -> list[Alarm]:
        """Alarms raised in that time, the newest first, at most MOST_LISTED."""
        return await self._db.load(lambda conn: find(conn, from_ms, to_ms))

    async def history(self, alarm: str) -> tuple[Alarm, list[Event]] | None:
        """An alarm and all its events in order; None when there is none of that name."""
        return await self._db.load(lambda conn: history(conn, alarm))

    async def events_after(self, number: int, limit: int) -> list[tuple[int, Event]]:
        """Events with a greater number, each with its own, in order. Numbers grow; gaps are possible."""
        return await self._db.load(lambda conn: events_after(conn, number, limit))

    async def last_number(self, until_ms: int | None = None) -> int:
        """Number of the newest event, or of the newest that had happened by then; 0 when there is none."""
        return await self._db.load(lambda conn: last_number(conn, until_ms))

    async def prune(self, before_ms: int) -> int:
        """Forget closed alarms and loose events from before that time; return how many events went."""
        return await self._db.load(lambda conn: prune(conn, before_ms))

    def bytes_on_disk(self) -> int:
        """Size of the file and its log."""
        return self._db.bytes_on_disk()

    async def close(self) -> None:
        """Release the file. May be called twice."""
        await self._db.close()

    def _report_asides(self) -> None:
        for aside in self._db.set_aside[self._asides :]:
            log.error("alarm file set aside, a new one begun", path=str(aside.path), reason=aside.reason)
        self._asides = len(self._db.set_aside)


# --- on the store's thread, and on the file of a gateway that does not run ---------------------------------------


def load(conn: sqlite3.Connection) -> Kept:
    """Read what a start needs."""
    states = {(rule, subject): text for rule, subject, text in conn.execute("SELECT * FROM states")}
    query = f"SELECT {_ALARM} FROM alarms WHERE state != 'closed' OR active ORDER BY raised_ms"  # noqa: S608  # our names
    return Kept(states, [_alarm(row) for row in conn.execute(query)])


def keep(conn: sqlite3.Connection, events: Sequence[Event], states: States) -> list[Alarm]:
    """Append events, bring alarms and states up to date, all or nothing."""
    changed: dict[str, Alarm] = {}
    with transaction(conn):
        for event in events:
            row = (event.alarm, event.kind, event.at_ms, event.rule, event.subject, event.severity)
            conn.execute(f"INSERT INTO events ({_EVENT}) VALUES (?, ?, ?, ?, ?, ?, ?)", (*row, _text(event.details)))  # noqa: S608
            alarm = follow(changed.get(event.alarm) or find_one(conn, event.alarm), event)
            if alarm is not None:
                changed[alarm.id] = alarm
        conn.executemany(
            "INSERT OR REPLACE INTO alarms VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [_fields(alarm) for alarm in changed.values()],
        )
        for (rule, subject), state in states.items():
            if state is None:
                conn.execute("DELETE FROM states WHERE rule = ? AND subject = ?", (rule, subject))
            else:
                conn.execute("INSERT OR REPLACE INTO states VALUES (?, ?, ?)", (rule, subject, state))
    return list(changed.values())


def find(conn: sqlite3.Connection, from_ms: int, to_ms: int) -> list[Alarm]:
    """See ``AlarmStore.find``."""
    query = f"SELECT {_ALARM} FROM alarms WHERE raised_ms >= ? AND raised_ms < ? ORDER BY raised_ms DESC LIMIT ?"  # noqa: S608
    return [_alarm(row) for row in conn.execute(query, (from_ms, to_ms, MOST_LISTED))]


def find_one(conn: sqlite3.Connection, alarm: str) -> Alarm | None:
    """Return one alarm."""
    row = conn.execute(f"SELECT {_ALARM} FROM alarms WHERE id = ?", (alarm,)).fetchone()  # noqa: S608
    return None if row is None else _alarm(row)


def history(conn: sqlite3.Connection, alarm: str) -> tuple[Alarm, list[Event]] | None:
    """See ``AlarmStore.history``."""
    found = find_one(conn, alarm)
    if found is None:
        return None
    rows = conn.execute(f"SELECT {_EVENT} FROM events WHERE alarm = ? ORDER BY number", (alarm,))  # noqa: S608
    return found, [_event(row) for row in rows]


def events_after(conn: sqlite3.Connection, number: int, limit: int) -> list[tuple[int, Event]]:
    """See ``AlarmStore.events_after``."""
    query = f"SELECT number, {_EVENT} FROM events WHERE number > ? ORDER BY number LIMIT ?"  # noqa: S608
    return [(row[0], _event(row[1:])) for row in conn.execute(query, (number, limit))]


def last_number(conn: sqlite3.Connection, until_ms: int | None) -> int:
    """See ``AlarmStore.last_number``."""
    if until_ms is None:
        found = conn.execute("SELECT max(number) FROM events")
    else:
        found = conn.execute("SELECT max(number) FROM events WHERE at_ms <= ?", (until_ms,))
    return int(found.fetchone()[0] or 0)


def prune(conn: sqlite3.Connection, before_ms: int) -> int:
    """See ``AlarmStore.prune``. What is open stays whole, however old."""
    with transaction(conn):
        conn.execute("DELETE FROM alarms WHERE state = 'closed' AND NOT active AND closed_ms < ?", (before_ms,))
        query = "DELETE FROM events WHERE at_ms < ? AND alarm NOT IN (SELECT id FROM alarms)"
        return conn.execute(query, (before_ms,)).rowcount


def _text(document: Mapping[str, object]) -> str:
    return json.dumps(dict(document), ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _fields(a: Alarm) -> tuple[object, ...]:
    head = (a.id, a.rule, a.subject, a.severity, a.cause, a.state, int(a.active))
    return (*head, a.raised_ms, a.changed_ms, a.cleared_ms, a.closed_ms, _text(a.details))


def _alarm(row: Sequence[Any]) -> Alarm:
    id_, rule, subject, severity, cause, state, active, raised_ms, changed_ms, cleared_ms, closed_ms, details = row
    times = (raised_ms, changed_ms, cleared_ms, closed_ms)
    return Alarm(id_, rule, subject, severity, cause, state, bool(active), *times, json.loads(details))


def _event(row: Sequence[Any]) -> Event:
    alarm, kind, at_ms, rule, subject, severity, details = row
    return Event(alarm, kind, at_ms, rule, subject, severity, json.loads(details))
