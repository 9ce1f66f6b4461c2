"""``sitegate backup`` and ``restore``: a site's configuration and stores as one file, and back."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import yaml

from gateway import __version__
from gateway.archive import BadArchive, Manifest, NeverQuiet, data_dir_of, pack, unpack
from gateway.clock import SystemClock
from gateway.commands.output import FINE, PROBLEM, complain, say
from gateway.errors import StoreBusy
from gateway.storage import open_closed

_COMING = ".restoring"


def backup(site_file: Path, out: Path, *, force: bool) -> int:
    """Write one file; the gateway may run meanwhile."""
    if out.exists() and not force:
        complain(f"{out} exists: name another file, or replace it with --force")
        return PROBLEM
    try:
        manifest = pack(site_file, out, version=__version__, made_ms=SystemClock().wall_ms())
    except (NeverQuiet, OSError, sqlite3.Error, yaml.YAMLError) as why:
        complain(f"no backup was written: {why}")
        return PROBLEM
    stores = [name for name in manifest.sha256 if name.startswith("data/")]
    say(f"{out}: {out.stat().st_size / 1e6:.1f} MB, {len(stores)} stores, each read back and whole")
    say("Secrets that the site file takes from the environment or from files are not in it; keep them elsewhere.")
    return FINE


def restore(archive: Path, site_file: Path, *, force: bool) -> int:
    """Put a backup where ``site_file`` and its data directory are; what was there is moved aside, never deleted."""
    here = site_file.absolute().parent
    try:
        here.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".sitegate-restore-", dir=here) as made:
            manifest = unpack(archive, Path(made))
            places = _places(Path(made), manifest, site_file)
            data = data_dir_of(Path(made) / "site" / manifest.site, site_file)
            in_the_way = _in_the_way(places.values(), data)
            if in_the_way and not force:
                complain(
                    f"nothing was restored: {in_the_way[0]} and {len(in_the_way) - 1} more files would be replaced; "
                    "--force moves them aside first"
                )
                return PROBLEM
            aside = _put(places, in_the_way, here, data)
    except (BadArchive, StoreBusy, OSError, yaml.YAMLError) as why:
        complain(f"nothing was restored: {why}")
        return PROBLEM
    made_at = datetime.fromtimestamp(manifest.made_ms / 1000, UTC).isoformat(" ", "seconds")
    say(f"{len(places)} files of {made_at}, made by Sitegate {manifest.version}, are in {here} and {data}")
    if aside is not None:
        say(f"what was there before is in {aside}")
    return FINE


def _places(unpacked: Path, manifest: Manifest, site_file: Path) -> dict[Path, Path]:
    """Where each unpacked file belongs."""
    here, data = site_file.absolute().parent, data_dir_of(unpacked / "site" / manifest.site, site_file)
    places = {}
    for name in manifest.sha256:
        kind, _, rest = name.partition("/")
        target = site_file.absolute() if rest == manifest.site else here / rest
        places[unpacked / name] = data / rest if kind == "data" else target
    return places


def _in_the_way(targets: Iterable[Path], data: Path) -> list[Path]:
    """Return what would be replaced, all old stores and their logs with it. Raises StoreBusy while a gateway runs."""
    for store in sorted(data.glob("*.sqlite")):
        with suppress(sqlite3.DatabaseError):  # a damaged one is moved like any other
            open_closed(store).close()
    old = {target for target in targets if target.exists()}
    return sorted(old | set(data.glob("*.sqlite")) | set(data.glob("*.sqlite-*")) | set(data.glob("*.json")))


def _put(places: Mapping[Path, Path], in_the_way: list[Path], here: Path, data: Path) -> Path | None:
    """Bring the new files beside their places, move the old ones away, then rename; return where the old ones are."""
    data.mkdir(parents=True, exist_ok=True, mode=0o750)
    for source, target in places.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        coming = target.with_name(target.name + _COMING)
        shutil.copyfile(source, coming)
        coming.chmod(0o600 if target.parent == data else 0o640)
        if os.geteuid() == 0:  # the gateway's user owns its folders, and so what comes into them
            owner = target.parent.stat()
            os.chown(coming, owner.st_uid, owner.st_gid)
    aside = _new_folder(here) if in_the_way else None
    for old in in_the_way:
        assert aside is not None
        kept = aside / (Path("data") / old.relative_to(data) if old.is_relative_to(data) else old.relative_to(here))
        kept.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        shutil.move(old, kept)
    for target in places.values():
        target.with_name(target.name + _COMING).replace(target)
    return aside


def _new_folder(here: Path) -> Path:
    number = 1
    while (folder := here / f"before-restore-{number}").exists():
        number += 1
    return folder
