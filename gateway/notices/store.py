"""notices.sqlite: how far the alarms' events were taken, what each channel has still to say, what was sent.

One transaction per change: an event and the line it leads to are stored together with the cursor, so a kill neither
loses nor doubles it. What the outside cannot take part in is the sending itself: a kill between the endpoint's answer
and the next transaction sends that one message again.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from gateway.model import NoticeEntry
from gateway.notices.line import Line
from gateway.notices.policy import HOUR_MS
from gateway.notices.text import sentence
from gateway.storage import Schema, SqliteThread, transaction

log = structlog.get_logger()

FILE_NAME = "notices.sqlite"
SCHEMA = Schema(
    version=1,
    script="""
CREATE TABLE cursor (only INTEGER PRIMARY KEY CHECK (only = 1), number INTEGER NOT NULL, newest_ms INTEGER NOT NULL);
CREATE TABLE channels (name TEXT PRIMARY KEY, failures INTEGER NOT NULL, retry_ms INTEGER NOT NULL,
    since_ms INTEGER NOT NULL, last_error TEXT, expired INTEGER NOT NULL, unsaid INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE lines (channel TEXT NOT NULL, alarm TEXT NOT NULL, line TEXT NOT NULL,
    PRIMARY KEY (channel, alarm)) WITHOUT ROWID;
CREATE TABLE messages (number INTEGER PRIMARY KEY, channel TEXT NOT NULL, state TEXT NOT NULL, at_ms INTEGER NOT NULL,
    title TEXT NOT NULL, body TEXT NOT NULL, alarms TEXT NOT NULL);
CREATE INDEX messages_by_time ON messages (at_ms)
""",
)
KEEP_MS = 30 * 86_400_000
"""So long it stays readable what was sent."""
MOST_LISTED = 200
Key = tuple[str, str]
"""(channel, alarm)."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far the alarms' events were taken."""

    number: int
    newest_ms: int
    """The latest time among them, should the alarms' file begin anew."""


@dataclass(frozen=True, slots=True)
class Channel:
    """How one way out stands; survives a restart."""

    failures: int = 0
    """In a row."""
    retry_ms: int = 0
    """Wall time before which it is not tried again."""
    since_ms: int = 0
    """When the last try succeeded for the first time, or failed for the first time; 0: never tried."""
    last_error: str | None = None
    expired: int = 0
    """Lines that became too old to be told, ever."""
    unsaid: int = 0
    """Of these, those that no message has mentioned yet."""


@dataclass(slots=True)
class Changes:
    """What one transaction brings up to date. ``lines``: None removes."""

    cursor: Cursor | None = None
    channels: dict[str, Channel] = field(default_factory=dict)
    lines: dict[Key, Line | None] = field(default_factory=dict)
    messages: list[NoticeEntry] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.cursor or self.channels or self.lines or self.messages)

    def before(self, later: Changes) -> Changes:
        """Return both as one."""
        return Changes(
            later.cursor or self.cursor,
            self.channels | later.channels,
            self.lines | later.lines,
            [*self.messages, *later.messages],
        )


@dataclass(frozen=True, slots=True)
class Kept:
    """What the file held when it was opened."""

    cursor: Cursor | None
    channels: Mapping[str, Channel]
    lines: Mapping[Key, Line]
    sent_ms: Mapping[str, list[int]]
    """Channel -> when the messages of the last hour went."""


class NoticeStore:
    """Made by ``open``. Its errors are sqlite3.Error and OSError: keep the changes and come back."""

    def __init__(self, db: SqliteThread, kept: Kept) -> None:
        self._db = db
        self.kept = kept

    @classmethod
    async def open(cls, path: Path, channels: Sequence[str], now_ms: int) -> NoticeStore:
        """Open or begin the file for these channels. Raises StoreBusy, or OSError when the directory cannot be used."""
        db = await SqliteThread.open(path, SCHEMA)
        try:
            kept = await db.load(lambda conn: load(conn, channels, now_ms))
        except BaseException:
            await db.close()
            raise
        for aside in db.set_aside:
            log.error("notices file set aside, a new one begun", path=str(aside.path), reason=aside.reason)
        return cls(db, kept)

    async def keep(self, changes: Changes) -> None:
        """Store all of it, durable when it returns."""
        # whoever waits for it may be cancelled: it is stored all the same
        await asyncio.shield(self._db.load(lambda conn: keep(conn, changes)))

    async def outbox(self) -> list[NoticeEntry]:
        """Return what waits and what was sent or left out lately."""
        return await self._db.load(outbox)

    async def close(self) -> None:
        """Release the file. May be called twice."""
        await self._db.close()


# --- on the store's thread, and on the file of a gateway that does not run ---------------------------------------


def load(conn: sqlite3.Connection, names: Sequence[str], now_ms: int) -> Kept:
    """Read what a start with these channels needs."""
    _agree(conn, names)
    row = conn.execute("SELECT number, newest_ms FROM cursor").fetchone()
    channels = {name: Channel(*state) for name, *state in conn.execute("SELECT * FROM channels")}
    sent_ms: dict[str, list[int]] = {}
    query = "SELECT channel, at_ms FROM messages WHERE state = 'sent' AND at_ms > ? ORDER BY at_ms"
    for channel, at_ms in conn.execute(query, (now_ms - HOUR_MS,)):
        sent_ms.setdefault(channel, []).append(at_ms)
    return Kept(Cursor(*row) if row else None, channels, _lines(conn), sent_ms)


def keep(conn: sqlite3.Connection, changes: Changes) -> None:
    """Bring the file up to date, all or nothing; forget messages of long ago."""
    with transaction(conn):
        if changes.cursor is not None:
            row = (changes.cursor.number, changes.cursor.newest_ms)
            conn.execute("INSERT OR REPLACE INTO cursor VALUES (1, ?, ?)", row)
        for name, c in changes.channels.items():
            state = (c.failures, c.retry_ms, c.since_ms, c.last_error, c.expired, c.unsaid)
            conn.execute("INSERT OR REPLACE INTO channels VALUES (?, ?, ?, ?, ?, ?, ?)", (name, *state))
        for key, line in changes.lines.items():
            if line is None:
                conn.execute("DELETE FROM lines WHERE channel = ? AND alarm = ?", key)
            else:
                conn.execute("INSERT OR REPLACE INTO lines VALUES (?, ?, ?)", (*key, line.to_json()))
        for m in changes.messages:
            fields = (m.channel, m.state, m.at_ms, m.title, m.body, json.dumps(m.alarms))
            insert = "INSERT INTO messages (channel, state, at_ms, title, body, alarms) VALUES (?, ?, ?, ?, ?, ?)"
            conn.execute(insert, fields)
            conn.execute("DELETE FROM messages WHERE at_ms < ?", (m.at_ms - KEEP_MS,))


def outbox(conn: sqlite3.Connection) -> list[NoticeEntry]:
    """Return what waits, then what was sent or left out, the newest first; at most MOST_LISTED of these."""
    query = "SELECT channel, state, at_ms, title, body, alarms FROM messages ORDER BY number DESC LIMIT ?"
    past = [
        NoticeEntry(channel, state, at_ms, title, body, tuple(json.loads(alarms)))
        for channel, state, at_ms, title, body, alarms in conn.execute(query, (MOST_LISTED,))
    ]
    return [*_waiting(_lines(conn)), *past]


def _waiting(lines: Mapping[Key, Line]) -> list[NoticeEntry]:
    """Return what has still to be told, the oldest first."""
    found = [
        NoticeEntry(channel, "waiting", line.waits_since_ms or 0, sentence(line, "en"), "", (line.alarm,))
        for (channel, _), line in lines.items()
        if line.news
    ]
    return sorted(found, key=lambda entry: entry.at_ms)


def _lines(conn: sqlite3.Connection) -> dict[Key, Line]:
    lines: dict[Key, Line] = {}
    for channel, alarm, text in conn.execute("SELECT channel, alarm, line FROM lines"):
        try:
            lines[channel, alarm] = Line.from_json(text)
        except (ValueError, TypeError) as why:
            log.warning("a notice cannot be read and is left out", channel=channel, alarm=alarm, reason=str(why))
    return lines


def _agree(conn: sqlite3.Connection, names: Sequence[str]) -> None:
    """Forget channels that are not named any more, with all that they had still to say, and begin new ones.

    Where none is left of those that were, everything begins anew: nobody wants to hear of last month.
    """
    with transaction(conn):
        known = {name for (name,) in conn.execute("SELECT name FROM channels")}
        for gone in known.difference(names):
            conn.execute("DELETE FROM channels WHERE name = ?", (gone,))
            conn.execute("DELETE FROM lines WHERE channel = ?", (gone,))
        if not known.intersection(names):
            conn.execute("DELETE FROM cursor")
        begun = [(name, 0, 0, 0, None, 0, 0) for name in names]
        conn.executemany("INSERT OR IGNORE INTO channels VALUES (?, ?, ?, ?, ?, ?, ?)", begun)
