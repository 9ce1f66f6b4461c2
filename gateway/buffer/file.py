"""The file of the durable buffer: every SQL statement on it, and nothing else. All functions run on its thread.

``blobs`` says what lies in ``bodies`` (one blob per group commit), small enough to be read through at a start with
weeks of backlog. Progress of the sinks is stored in the same transaction as what it lets go.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field

from gateway.buffer.blob import BlobDamaged, column, pack, unpack
from gateway.buffer.lanes import Interval, Lanes, parse, settled_by_all
from gateway.model import Readings
from gateway.storage import PAGE_BYTES, Schema, error_code, transaction

SCHEMA = Schema(
    version=1,
    script="""
CREATE TABLE blobs (seq INTEGER PRIMARY KEY, first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL,
    records INTEGER NOT NULL, vals INTEGER NOT NULL, size INTEGER NOT NULL);
CREATE TABLE bodies (seq INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE progress (sink TEXT PRIMARY KEY, lanes TEXT NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE gaps (id INTEGER PRIMARY KEY, from_ms INTEGER NOT NULL, to_ms INTEGER NOT NULL,
    records INTEGER NOT NULL, cause TEXT NOT NULL);
CREATE TABLE refused (id INTEGER PRIMARY KEY, sink TEXT NOT NULL, time_ms INTEGER NOT NULL, reason TEXT NOT NULL,
    record TEXT NOT NULL)
""",
)
MOST_ROWS = 10_000
"""Of ``gaps`` and of ``refused``: the oldest go first."""
_PRUNED_PER_COMMIT = 64
_NEIGHBOUR_MS = 60_000
_OVERHEAD_BYTES = 8 * PAGE_BYTES
_SPARE_BYTES = (0, 128 * 1024, 1024 * 1024)
"""What to free beyond the arithmetic when the disk is full all the same."""

Gap = tuple[int, int, int, str]
"""from_ms, to_ms, records, cause: records that were lost before any sink could have them."""
Refusal = tuple[str, int, str, str]
"""sink, time_ms, reason, record as JSON."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a file held when it was opened."""

    next_seq: int
    records: int
    lanes: dict[str, Lanes]
    pending: dict[str, int]
    """Records per sink."""
    oldest_ms: dict[str, int | None]
    quarantined: dict[str, int]


@dataclass(frozen=True, slots=True)
class Work:
    """One group commit: everything that goes into the same transaction."""

    seq: int
    records: Sequence[Readings]
    lanes: Mapping[str, Lanes]
    gaps: Sequence[Gap] = ()
    refusals: Sequence[Refusal] = ()
    prune_below: int = 0
    """Blobs below this number are old enough to go once nobody waits for them."""
    max_bytes: int = 2**60
    """Of the file without its log."""


@dataclass(slots=True)
class Done:
    """What a group commit did."""

    size: int = 0
    """Bytes of the new blob."""
    good_values: int = 0
    dropped: list[tuple[int, int]] = field(default_factory=list)
    """(seq, records) of blobs that had to go although a sink still waited for them."""
    removed_records: int = 0
    """Records that left the file, dropped or settled."""
    oldest_ms: dict[str, int | None] = field(default_factory=dict)
    free_bytes: int = 0
    more_to_prune: bool = False


def load(conn: sqlite3.Connection, sinks: Iterable[str]) -> Contents:
    """Read what is there. A new sink starts with everything kept; one no longer named is left out."""
    low, high = conn.execute("SELECT min(seq), max(seq) FROM blobs").fetchone()
    known: dict[str, Lanes] = {}
    for name, text, crc in conn.execute("SELECT sink, lanes, crc FROM progress"):
        if zlib.crc32(str(text).encode()) == crc:
            known[name] = parse(text)
    lanes = {name: known.get(name, Lanes(low or 0)) for name in sinks}
    quarantined = dict(conn.execute("SELECT sink, count(*) FROM refused GROUP BY sink").fetchall())
    return Contents(
        # never below a number that a sink believes settled: what is new would not be sent
        next_seq=max([(high or 0) + 1, *(each.live for each in known.values())]),
        records=_records(conn, 0, None),
        lanes=lanes,
        pending={name: pending(conn, each) for name, each in lanes.items()},
        oldest_ms={name: _oldest_ms(conn, each) for name, each in lanes.items()},
        quarantined={name: quarantined.get(name, 0) for name in sinks},
    )


def pending(conn: sqlite3.Connection, lanes: Lanes) -> int:
    """Return how many records these lanes hold."""
    return sum(_records(conn, a, b) for a, b in [*lanes.backfill, (lanes.live, None)])


def _records(conn: sqlite3.Connection, first: int, end: int | None) -> int:
    query = "SELECT coalesce(sum(records), 0) FROM blobs WHERE seq >= ? AND seq < ?"
    return int(conn.execute(query, (first, 2**62 if end is None else end)).fetchone()[0])


def _oldest_ms(conn: sqlite3.Connection, lanes: Lanes) -> int | None:
    first = conn.execute("SELECT first_ms FROM blobs WHERE seq >= ? ORDER BY seq LIMIT 1", (lanes.first,)).fetchone()
    return None if first is None else int(first[0])


def commit(conn: sqlite3.Connection, work: Work) -> Done:
    """Store everything or nothing. Raises sqlite3.Error when the disk takes nothing."""
    body = pack(work.records) if work.records else b""
    for spare in _SPARE_BYTES:
        try:
            with transaction(conn):
                return _commit(conn, work, body, spare)
        except sqlite3.OperationalError as error:
            if error_code(error) != sqlite3.SQLITE_FULL or spare == _SPARE_BYTES[-1]:
                raise
    raise AssertionError("the last try returns or raises")


def _commit(conn: sqlite3.Connection, work: Work, body: bytes, spare_bytes: int) -> Done:
    done = Done(size=len(body))
    _prune(conn, work, done)
    for gap in work.gaps:
        _add_gap(conn, gap)
    if work.records:
        _make_room(conn, work, len(body) + _OVERHEAD_BYTES + spare_bytes, done)
        times = [r.time_ms for r in work.records]
        vals = sum(len(r.values) for r in work.records)
        row = (work.seq, min(times), max(times), len(times), vals, len(body))
        conn.execute("INSERT INTO blobs VALUES (?, ?, ?, ?, ?, ?)", row)
        conn.execute("INSERT INTO bodies VALUES (?, ?)", (work.seq, body))
        done.good_values = sum(r.good_count for r in work.records)
    if work.refusals:
        conn.executemany("INSERT INTO refused (sink, time_ms, reason, record) VALUES (?, ?, ?, ?)", work.refusals)
        conn.execute("DELETE FROM refused WHERE id <= (SELECT max(id) FROM refused) - ?", (MOST_ROWS,))
    conn.execute("DELETE FROM progress")
    stored = [(name, text, zlib.crc32(text.encode())) for name, text in ((n, str(x)) for n, x in work.lanes.items())]
    conn.executemany("INSERT INTO progress VALUES (?, ?, ?)", stored)
    done.oldest_ms = {name: _oldest_ms(conn, lanes) for name, lanes in work.lanes.items()}
    done.free_bytes = work.max_bytes - used_bytes(conn)
    return done


def used_bytes(conn: sqlite3.Connection) -> int:
    """Return how much of the file is in use; the rest of it will be used again."""
    pages = conn.execute("PRAGMA page_count").fetchone()[0]
    return int(pages - conn.execute("PRAGMA freelist_count").fetchone()[0]) * PAGE_BYTES


def _prune(conn: sqlite3.Connection, work: Work, done: Done) -> None:
    """Delete what nobody waits for, a bounded number at a time: the next commit goes on."""
    left = _PRUNED_PER_COMMIT
    query = "SELECT seq, records FROM blobs WHERE seq >= ? AND seq < ? ORDER BY seq LIMIT ?"
    for a, b in settled_by_all(work.lanes.values(), work.prune_below):
        rows = conn.execute(query, (a, b, left)).fetchall()
        _remove(conn, rows, done)
        left -= len(rows)
        if left == 0:
            done.more_to_prune = True
            return


def _make_room(conn: sqlite3.Connection, work: Work, need_bytes: int, done: Done) -> None:
    """Let the oldest go until there is room; what a sink still waits for is a loss and leaves a gap row."""
    query = "SELECT seq, records, size, first_ms, last_ms FROM blobs ORDER BY seq LIMIT 1000"
    while (short := need_bytes - (work.max_bytes - used_bytes(conn))) > 0:
        oldest = []
        for row in conn.execute(query).fetchall():
            oldest.append(row)
            short -= row[2]
            if short <= 0:
                break
        if not oldest:
            return
        _remove(conn, [row[:2] for row in oldest], done)
        for seq, records, _, first_ms, last_ms in oldest:
            if any(seq in lanes for lanes in work.lanes.values()):
                done.dropped.append((seq, records))
                _add_gap(conn, (first_ms, last_ms, records, "buffer full"))


def _remove(conn: sqlite3.Connection, rows: Sequence[tuple[int, int]], done: Done) -> None:
    numbers = [(seq,) for seq, _ in rows]
    conn.executemany("DELETE FROM bodies WHERE seq = ?", numbers)
    conn.executemany("DELETE FROM blobs WHERE seq = ?", numbers)
    done.removed_records += sum(records for _, records in rows)


def _add_gap(conn: sqlite3.Connection, gap: Gap) -> None:
    """Note a loss; one that follows the last of the same cause closely makes that row longer."""
    from_ms, to_ms, records, cause = gap
    last = conn.execute("SELECT id, from_ms, to_ms, cause FROM gaps ORDER BY id DESC LIMIT 1").fetchone()
    if last and last[3] == cause and last[1] - _NEIGHBOUR_MS <= from_ms <= last[2] + _NEIGHBOUR_MS:
        conn.execute(
            "UPDATE gaps SET from_ms = min(from_ms, ?), to_ms = max(to_ms, ?), records = records + ? WHERE id = ?",
            (from_ms, to_ms, records, last[0]),
        )
        return
    conn.execute("INSERT INTO gaps (from_ms, to_ms, records, cause) VALUES (?, ?, ?, ?)", gap)
    conn.execute("DELETE FROM gaps WHERE id <= (SELECT max(id) FROM gaps) - ?", (MOST_ROWS,))


@dataclass(slots=True)
class Slice:
    """Blobs that were read together: numbers ``first`` to ``last``, inclusive."""

    first: int
    last: int
    records: list[Readings] = field(default_factory=list)
    blobs: list[tuple[int, int]] = field(default_factory=list)
    """(seq, records) of each blob that could be read."""
    damaged: list[tuple[int, int]] = field(default_factory=list)
    """(seq, records) of those that could not: they are gone now."""


def read(conn: sqlite3.Connection, within: Interval, max_values: int) -> Slice | None:
    """Read blobs in order until there are about ``max_values`` values, at least one; None when there is none."""
    chosen: list[tuple[int, int, int, int]] = []
    total = 0
    query = "SELECT seq, records, first_ms, last_ms, vals FROM blobs WHERE seq >= ? AND seq < ? ORDER BY seq"
    with closing(conn.execute(query, within)) as rows:
        for *row, vals in rows:
            total += vals
            if chosen and total > max_values:
                break
            chosen.append(tuple(row))
    if not chosen:
        return None
    piece = Slice(within[0], chosen[-1][0])
    for seq, count, first_ms, last_ms in chosen:
        try:
            piece.records += unpack(body(conn, seq))
            piece.blobs.append((seq, count))
        except BlobDamaged:
            piece.damaged.append((seq, count))
            with transaction(conn):
                _remove(conn, [(seq, count)], Done())
                _add_gap(conn, (first_ms, last_ms, count, "blob damaged"))
    return piece


def body(conn: sqlite3.Connection, seq: int) -> bytes:
    """Return one blob. Raises BlobDamaged when there is none, or no bytes."""
    row = conn.execute("SELECT body FROM bodies WHERE seq = ?", (seq,)).fetchone()
    if row is None or not isinstance(row[0], bytes):
        raise BlobDamaged("its bytes are gone")
    return row[0]


def column_of(
    conn: sqlite3.Connection, series: tuple[str, str], span_ms: tuple[int, int], below: int, most: int
) -> tuple[list[int], list[tuple[int, float | None]]]:
    """Return the newest blobs below a number that overlap the span, newest first, and their readings of one series.

    The readings are newest blob last. Blobs that are damaged give none: who is lent them counts them.
    """
    query = "SELECT seq FROM blobs WHERE seq < ? AND last_ms >= ? AND first_ms <= ? ORDER BY seq DESC LIMIT ?"
    numbers = [seq for (seq,) in conn.execute(query, (below, *span_ms, most))]
    rows: list[tuple[int, float | None]] = []
    for seq in reversed(numbers):
        with suppress(BlobDamaged):
            rows += [row for row in column(body(conn, seq), *series) if span_ms[0] <= row[0] <= span_ms[1]]
    return numbers, rows


def since(conn: sqlite3.Connection, from_ms: int) -> int | None:
    """Return the number of the first blob that holds anything of that time or later."""
    first = conn.execute("SELECT min(seq) FROM blobs WHERE last_ms >= ?", (from_ms,)).fetchone()[0]
    return None if first is None else int(first)
