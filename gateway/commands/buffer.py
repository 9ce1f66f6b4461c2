"""``sitegate buffer``: look into the buffer of a gateway that does not run."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.buffer import FILE_NAME
from gateway.buffer.export import iter_export, stat_file
from gateway.commands.output import FINE, PROBLEM, complain, complain_all, print_json, print_table
from gateway.config.loader import load_site
from gateway.errors import ConfigError, StoreBusy


def stat(file: Path, *, as_json: bool) -> int:
    """Print records, bytes, what each sink still has to get, drops and damage."""
    path = _buffer_of(file)
    if isinstance(path, int):
        return path
    try:
        found = stat_file(path)
    except (StoreBusy, OSError, sqlite3.DatabaseError) as why:
        complain(_unreadable(path, why))
        return PROBLEM
    if as_json:
        print_json(found)
    else:
        print_table(["what", "how much"], _for_people(found))
    return FINE


def export(file: Path) -> int:
    """Print every record as one JSON object per line."""
    path = _buffer_of(file)
    if isinstance(path, int):
        return path
    try:
        for record in iter_export(path):
            print_json(record)
    except BrokenPipeError:
        raise
    except (StoreBusy, OSError, sqlite3.DatabaseError) as why:
        complain(_unreadable(path, why))
        return PROBLEM
    return FINE


def _for_people(found: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for what, value in found.items():
        if what.endswith("_ms"):
            yield (
                what.removesuffix("_ms"),
                value and datetime.fromtimestamp(value / 1000, UTC).isoformat(" ", "seconds"),
            )
        elif what == "sinks":
            for name, state in value.items():
                yield f"sink {name}", f"{state['pending_records']} pending, {state['quarantined']} in quarantine"
        elif what == "gaps":
            yield "gaps", "; ".join(f"{gap['records']} records lost: {gap['cause']}" for gap in value) or "none"
        else:
            yield what, value


def _unreadable(path: Path, why: Exception) -> str:
    if isinstance(why, StoreBusy):
        return str(why)
    advice = "run this as the gateway's user; a damaged file is set aside when the gateway starts"
    return f"{path} cannot be read ({why}): {advice}"


def _buffer_of(file: Path) -> Path | int:
    try:
        site = load_site(file)
    except ConfigError as error:
        return complain_all(error)
    path = site.config.data_dir / FILE_NAME
    if not path.exists():
        complain(f"{path} does not exist: this gateway has not run yet, or data_dir is another one")
        return PROBLEM
    return path
