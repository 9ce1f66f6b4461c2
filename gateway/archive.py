"""A backup: one ``.tar.gz`` of a site file, what lies beside it, and every store, made while the gateway runs.

A running gateway locks its stores against other connections, so a store is copied as bytes. That is exact: with a
write-ahead log SQLite changes the file only in checkpoints and the log only at its end. When neither the file nor the
log's salt has changed while both were read, the copy is the store as of one commit; else it is read again. SQLite
then proves the copy before it goes into the archive.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
import time
import zlib
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

import yaml

FORMAT = 1
MANIFEST = "manifest.json"
BESIDE = ("profiles", "alerts")
"""Folders beside the site file that belong to it."""
_PATIENCE_S = 30.0
"""So long it tries for an exact copy of one store."""
_CHUNK = 1024 * 1024
_QUIET_S = 0.05
"""A file that has not changed for so long shows every later change in its time stamp."""


class BadArchive(Exception):
    """The file is no whole backup; the sentence says why."""


class NeverQuiet(Exception):
    """A store was written to so often that no exact copy could be made."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup says of itself; the first file in it."""

    version: str
    """Of the Sitegate that made it."""
    made_ms: int
    site: str
    """Name of the site file."""
    sha256: dict[str, str]
    """Name in the archive -> checksum, of every other file in it."""


def data_dir_of(site_file: Path, at: Path | None = None) -> Path:
    """Return the data directory of a site file whose secrets need not be there; ``at``: of one that will lie there.

    Raises OSError or YAMLError.
    """
    content = yaml.safe_load(site_file.read_text(encoding="utf-8"))
    named = content.get("data_dir", "data") if isinstance(content, dict) else "data"
    return (at or site_file).absolute().parent / str(named)


def pack(site_file: Path, out: Path, *, version: str, made_ms: int) -> Manifest:
    """Write the backup of a site to ``out``, which appears when it is whole.

    Raises NeverQuiet, OSError, YAMLError, or sqlite3.DatabaseError when a store is damaged.
    """
    data = data_dir_of(site_file)
    with tempfile.TemporaryDirectory(prefix=".sitegate-backup-", dir=out.absolute().parent) as made:
        folder = Path(made)
        members = {f"site/{site_file.name}": site_file, **_beside(site_file)}
        for store in sorted(data.glob("*.sqlite")):
            members[f"data/{store.name}"] = copy_store(store, folder)
        members.update({f"data/{note.name}": note for note in sorted(data.glob("*.json"))})
        manifest = Manifest(version, made_ms, site_file.name, {n: _sha256(p) for n, p in members.items()})
        first = folder / MANIFEST
        first.write_text(json.dumps({"format": FORMAT, **asdict(manifest)}, ensure_ascii=False, indent=1))
        whole = folder / "whole"
        with tarfile.open(whole, "w:gz", compresslevel=6) as tar:
            for name, path in {MANIFEST: first, **members}.items():
                tar.add(path, name, recursive=False)
        with whole.open("rb") as written:
            os.fsync(written.fileno())
        whole.chmod(0o600)  # a site file may hold what is nobody's business
        whole.replace(out)
    return manifest


def unpack(archive: Path, folder: Path) -> Manifest:
    """Unpack a backup into an empty folder and check every file of it. Raises BadArchive or OSError."""
    try:
        with gzip.open(archive) as stream:
            while stream.read(_CHUNK):  # to the checksum at its end, which tarfile does not look at
                pass
        with tarfile.open(archive, "r:gz") as tar:
            tar.extractall(folder, filter="data")
    except (tarfile.TarError, zlib.error, EOFError, OSError) as why:
        if isinstance(why, OSError) and why.errno is not None:
            raise
        raise BadArchive(f"{archive} is no whole backup ({why}); take another copy of it") from None
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if found.pop("format") != FORMAT:
            raise BadArchive(f"{archive} was made by another release of Sitegate; restore it with that one")
        manifest = Manifest(**found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as why:
        raise BadArchive(f"{archive} is no backup of Sitegate ({why})") from None
    names = {str(PurePosixPath(p.relative_to(folder))) for p in folder.rglob("*") if p.is_file()} - {MANIFEST}
    if names != set(manifest.sha256):
        raise BadArchive(f"{archive} does not hold the files that it names; take another copy of it")
    for name, wanted in manifest.sha256.items():
        if _sha256(folder / name) != wanted:
            raise BadArchive(f"{archive}: {name} is damaged; take another copy of it")
    return manifest


def copy_store(store: Path, folder: Path) -> Path:
    """Return an exact copy in ``folder`` of a store that may be in use. Raises NeverQuiet or sqlite3.DatabaseError."""
    log, copy = store.with_name(store.name + "-wal"), folder / store.name
    copied_log = copy.with_name(copy.name + "-wal")
    until_s = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until_s:
        before = _state(store, log)
        time.sleep(_QUIET_S)
        if _state(store, log) != before:
            continue
        shutil.copyfile(store, copy)
        copied_log.unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            shutil.copyfile(log, copied_log)
        if _state(store, log) == before:
            return _proven(copy)
    raise NeverQuiet(f"{store} is written to all the time: stop the gateway for the backup")


def _proven(copy: Path) -> Path:
    """Bring the log into the file and let SQLite read all of it."""
    with closing(sqlite3.connect(copy)) as conn:
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (verdict,) = conn.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise sqlite3.DatabaseError(f"{copy.name}: {verdict}")
    return copy


def _state(store: Path, log: Path) -> tuple[int, int, bytes]:
    """What tells one checkpoint from the next: time and size of the file, header of the log (its salts)."""
    found = store.stat()
    header = b""
    with suppress(FileNotFoundError), log.open("rb") as stream:
        header = stream.read(32)
    return found.st_mtime_ns, found.st_size, header


def _beside(site_file: Path) -> dict[str, Path]:
    folder = site_file.absolute().parent
    return {
        f"site/{path.relative_to(folder).as_posix()}": path
        for name in BESIDE
        for path in sorted((folder / name).rglob("*.yaml"))
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
