"""Looking into a buffer file: in numbers, and record by record. For the command line; needs no running gateway."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from gateway.buffer.blob import BlobDamaged, unpack
from gateway.buffer.file import body, pending, used_bytes
from gateway.buffer.lanes import parse
from gateway.storage import open_closed


def describe(conn: sqlite3.Connection) -> dict[str, Any]:
    """Return the file in numbers, for people."""
    blobs, records, vals, size, first_ms, last_ms = conn.execute(
        "SELECT count(*), coalesce(sum(records), 0), coalesce(sum(vals), 0), coalesce(sum(size), 0),"
        " min(first_ms), max(last_ms) FROM blobs"
    ).fetchone()
    refused = dict(conn.execute("SELECT sink, count(*) FROM refused GROUP BY sink").fetchall())
    return {
        "blobs": blobs,
        "records": records,
        "values": vals,
        "blob_bytes": size,
        "used_bytes": used_bytes(conn),
        "first_ms": first_ms,
        "last_ms": last_ms,
        "sinks": {
            name: {"pending_records": pending(conn, parse(text)), "quarantined": refused.get(name, 0)}
            for name, text in conn.execute("SELECT sink, lanes FROM progress").fetchall()
        },
        "gaps": [
            {"from_ms": a, "to_ms": b, "records": n, "cause": cause}
            for a, b, n, cause in conn.execute("SELECT from_ms, to_ms, records, cause FROM gaps ORDER BY id")
        ],
    }


def stat_file(path: Path) -> dict[str, Any]:
    """Describe a file that no gateway uses. Raises FileNotFoundError, StoreBusy or sqlite3.DatabaseError."""
    with closing(open_closed(path)) as conn:
        return describe(conn)


def iter_export(path: Path) -> Iterator[dict[str, Any]]:
    """Yield every record of a file that no gateway uses, oldest commit first; a damaged blob gives one ``damaged``.

    Raises FileNotFoundError, StoreBusy or sqlite3.DatabaseError.
    """
    with closing(open_closed(path)) as conn:
        for seq, records in conn.execute("SELECT seq, records FROM blobs ORDER BY seq"):
            try:
                found = unpack(body(conn, seq))
            except BlobDamaged as error:
                yield {"blob": seq, "damaged": str(error), "records": records}
                continue
            for r in found:
                values = dict(zip(r.metrics, r.values, strict=True))
                yield {"device": r.device, "time_ms": r.time_ms, "values": values, "marks": r.marks}
