"""control.sqlite: who switched what, when, why and what came of it; and what outputs must remember across a restart.

The journal is append only. Memory is written in the transaction of the lines that led to it, so after a kill rest times
and starts count on, and a person's "off" still holds.
"""

from __future__ import annotations

import asyncio
import json
import math
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from gateway.control.moment import Now
from gateway.control.output import HOUR_S, MOST_MINUTES, Lease, State
from gateway.model import JournalEntry
from gateway.storage import Schema, SqliteThread, transaction

log = structlog.get_logger()

FILE_NAME = "control.sqlite"
SCHEMA = Schema(
    version=1,
    script="""
CREATE TABLE journal (number INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, output TEXT NOT NULL, step TEXT NOT NULL,
    command TEXT NOT NULL, reason TEXT NOT NULL, who TEXT NOT NULL, alarm TEXT NOT NULL, details TEXT NOT NULL);
CREATE TABLE memory (output TEXT PRIMARY KEY, state TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX journal_by_time ON journal (at_ms)
""",
)
_LINE = "at_ms, output, step, command, reason, who, alarm, details"
MOST_LISTED = 5_000
MOST_WAITING = 2_000
"""Lines that memory holds while the disk takes nothing; the oldest go first."""


class Journal:
    """Made by ``open``. While the disk takes nothing, lines wait in memory and ``works`` is False."""

    def __init__(self, db: SqliteThread, memory: Mapping[str, str]) -> None:
        self._db = db
        self.memory = memory
        """Output -> what was remembered when the file was opened."""
        self.works = True
        self._waiting: list[JournalEntry] = []
        self._asides = 0
        self._report_asides()

    @classmethod
    async def open(cls, path: Path) -> Journal:
        """Open or begin the file. Raises StoreBusy, or OSError when the directory cannot be used."""
        db = await SqliteThread.open(path, SCHEMA)
        try:
            memory = await db.load(lambda conn: dict(conn.execute("SELECT output, state FROM memory").fetchall()))
        except BaseException:
            await db.close()
            raise
        return cls(db, memory)

    async def note(self, lines: Sequence[JournalEntry], memory: Mapping[str, str]) -> bool:
        """Append lines (their ``number`` is given here) and put memory in its place: durable when True is returned.

        False: the disk takes nothing; the lines wait and are stored with the next ones.
        """
        due, self._waiting = [*self._waiting, *lines], []
        try:
            # whoever waits for it may be cancelled: the lines are stored all the same
            await asyncio.shield(self._db.load(lambda conn: _keep(conn, due, memory)))
        except (sqlite3.Error, OSError) as error:
            self._waiting = [*due, *self._waiting][-MOST_WAITING:]
            if self.works:
                log.error("control journal cannot be written, nothing is switched on", error=str(error))
            self.works = False
            return False
        if not self.works:
            log.info("control journal is written again")
        self.works = True
        self._report_asides()
        return True

    async def find(self, from_ms: int, to_ms: int, output: str | None = None) -> list[JournalEntry]:
        """Lines of that time, the newest first, at most MOST_LISTED."""
        return await self._db.load(lambda conn: _find(conn, from_ms, to_ms, output))

    async def prune(self, before_ms: int) -> None:
        """Forget lines from before that time. Its errors are sqlite3.Error and OSError."""
        await self._db.load(lambda conn: conn.execute("DELETE FROM journal WHERE at_ms < ?", (before_ms,)).rowcount)

    async def close(self) -> None:
        """Release the file. May be called twice."""
        await self._db.close()

    def _report_asides(self) -> None:
        for aside in self._db.set_aside[self._asides :]:
            log.error("control journal set aside, a new one begun", path=str(aside.path), reason=aside.reason)
        self._asides = len(self._db.set_aside)


def _keep(conn: sqlite3.Connection, lines: Sequence[JournalEntry], memory: Mapping[str, str]) -> None:
    with transaction(conn):
        conn.executemany(
            f"INSERT INTO journal ({_LINE}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608  # names of our own schema
            [(e.at_ms, e.output, e.step, e.command, e.reason, e.by, e.alarm, _text(e.details)) for e in lines],
        )
        conn.executemany("INSERT OR REPLACE INTO memory VALUES (?, ?)", list(memory.items()))


def _find(conn: sqlite3.Connection, from_ms: int, to_ms: int, output: str | None) -> list[JournalEntry]:
    query = f"SELECT number, {_LINE} FROM journal WHERE at_ms >= ? AND at_ms < ?"  # noqa: S608  # as above
    wanted: tuple[object, ...] = (from_ms, to_ms)
    if output is not None:
        query, wanted = query + " AND output = ?", (*wanted, output)
    rows = conn.execute(query + " ORDER BY number DESC LIMIT ?", (*wanted, MOST_LISTED))
    return [_entry(row) for row in rows]


def _entry(row: Sequence[Any]) -> JournalEntry:
    number, at_ms, output, step, command, reason, who, alarm, details = row
    return JournalEntry(number, at_ms, output, step, command, reason, who, alarm, json.loads(details))


def _text(document: Mapping[str, object]) -> str:
    return json.dumps(dict(document), ensure_ascii=False, separators=(",", ":"), allow_nan=False)


# --- memory: moments as wall time, since monotonic time begins anew with each boot --------------------------------


def remember(state: State, now: Now, today: tuple[str, float]) -> str:
    """Return what must survive a restart; ``today`` is the local date and the seconds it has run since."""
    lease = state.lease
    return json.dumps(
        {
            "run_since_ms": now.to_ms(state.run_since_s),
            "rest_since_ms": now.to_ms(state.rest_since_s),
            "starts_ms": [now.to_ms(at) for at in state.starts],
            "fault": state.fault,
            "alarm": state.alarm,
            "today": today,
            "lease": None if lease is None else [lease.on, lease.by, now.to_ms(lease.until_s)],
        }
    )


def recall(text: str | None, now: Now) -> tuple[State, tuple[str, float]]:
    """Return the state to begin with, and ``today``. A person's "on" ends with the gateway; their "off" holds on."""
    fresh, today = State(since_s=now.s), ("", 0.0)
    if text is None:
        return fresh, today
    try:
        data: dict[str, Any] = json.loads(text)
        run_ms, rest_ms, lease = data["run_since_ms"], data["rest_since_ms"], data["lease"]
        starts = tuple(at for at in (now.to_s(ms) for ms in data["starts_ms"]) if now.s - at < HOUR_S)
        state = replace(
            fresh,
            run_since_s=None if run_ms is None else now.to_s(run_ms),
            rest_since_s=-math.inf if rest_ms is None else now.to_s(rest_ms),
            starts=starts,
            fault=str(data["fault"]),
            alarm=str(data["alarm"]),
        )
        if lease is not None and not lease[0] and lease[2] > now.wall_ms:
            left_s = min((lease[2] - now.wall_ms) / 1000, 60 * MOST_MINUTES)  # the clock may have been set back since
            until_s = now.s + left_s
            state = replace(state, lease=Lease(on=False, by=str(lease[1]), until_s=until_s), reason="manual")
        return state, (str(data["today"][0]), float(data["today"][1]))
    except (ValueError, KeyError, TypeError, IndexError) as why:
        log.warning("memory of an output cannot be read, it starts with a rest", reason=str(why))
        return replace(fresh, rest_since_s=now.s), today
