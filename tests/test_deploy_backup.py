"""A backup is exact while the gateway writes; a restore loses nothing and believes nothing damaged."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway import archive
from tests.support.machine import free_port
from tests.support.sitegate import Running, eventually, get_json, sitegate

WRITER = """
import sqlite3, sys, time
conn = sqlite3.connect(sys.argv[1], isolation_level=None)
conn.execute("PRAGMA page_size=4096")
conn.execute("PRAGMA locking_mode=EXCLUSIVE")
conn.execute("PRAGMA journal_mode=WAL")
conn.execute("PRAGMA synchronous=OFF")  # nobody pulls the plug here
conn.execute("PRAGMA wal_autocheckpoint=" + sys.argv[2])
conn.execute("CREATE TABLE one (n INTEGER PRIMARY KEY, filler BLOB)")
conn.execute("CREATE TABLE two (n INTEGER PRIMARY KEY, filler BLOB)")
n = 0
while True:
    n += 1
    if n > 2000:
        time.sleep(float(sys.argv[3]))
    conn.execute("BEGIN")
    conn.execute("INSERT INTO one VALUES (?, randomblob(3000))", (n,))
    conn.execute("INSERT INTO two VALUES (?, randomblob(100))", (n,))
    if n > 2000:
        conn.execute("DELETE FROM one WHERE n = ?", (n - 2000,))
        conn.execute("DELETE FROM two WHERE n = ?", (n - 2000,))
    conn.execute("COMMIT")
    if n == 2000:
        print("full", flush=True)
"""


def wholeness(copy: Path) -> str | None:
    """Return None when the copy is the store as of one commit."""
    try:
        with closing(sqlite3.connect(copy)) as conn:
            (verdict,) = conn.execute("PRAGMA integrity_check(1)").fetchone()
            one, two = (
                conn.execute(f"SELECT count(*), min(n), max(n) FROM {name}").fetchone() for name in ("one", "two")
            )
    except sqlite3.DatabaseError as error:
        return str(error)
    if verdict != "ok":
        return str(verdict)
    return None if one == two and one[2] - one[1] + 1 == one[0] else f"{one} {two}"


@pytest.fixture
def busy_store(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    store = tmp_path / "busy.sqlite"
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, store, *map(str, request.param)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "full\n"
        yield store
    finally:
        process.kill()
        process.wait(5)
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.parametrize("busy_store", [(4000, 0.001)], indirect=True)
def test_a_copy_of_a_store_in_use_is_exact(busy_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert wholeness(archive.copy_store(busy_store, folder)) is None


@pytest.mark.parametrize("busy_store", [(20, 0)], indirect=True)
def test_without_looking_twice_it_would_not_be(
    busy_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "_state", lambda *_: (0, 0, b""))
    found = []
    for number in range(40):
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            found.append(wholeness(archive.copy_store(busy_store, folder)))
        except sqlite3.DatabaseError as error:
            found.append(str(error))
        if found[-1]:
            break
    assert any(found)


@pytest.mark.parametrize("busy_store", [(1, 0)], indirect=True)
def test_a_store_that_is_never_quiet_is_said_to_be(
    busy_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "_PATIENCE_S", 0.5)
    (tmp_path / "copy").mkdir()
    with pytest.raises(archive.NeverQuiet, match="stop the gateway"):
        archive.copy_store(busy_store, tmp_path / "copy")


def site_file(folder: Path) -> tuple[Path, str]:
    """A simulated meter, and the page's address."""
    port = free_port()
    file = folder / "site.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        "site: {id: saved, name: saved, simulated: true}\n"
        f"links: {{bus: {{kind: tcp, host: 127.0.0.1, port: {free_port()}}}}}\n"
        "devices: {meter: {link: bus, profile: eastron_sdm630, address: {unit: 1}, every: 200ms, role: main}}\n"
        "alerts: {use: [device]}\n"
        f"page: {{port: {port}}}\n"
    )
    return file, f"http://127.0.0.1:{port}"


def records(file: Path) -> list[dict[str, object]]:
    done = sitegate("buffer", "export", str(file))
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_running_gateway_is_backed_up_and_restored_elsewhere(tmp_path: Path) -> None:
    site, page = site_file(tmp_path / "box")
    saved = tmp_path / "saved.tar.gz"
    with (
        Running("simulate", str(site), log=tmp_path / "devices.log"),
        Running("run", str(site), log=tmp_path / "gateway.log") as gateway,
    ):
        eventually(lambda: get_json(f"{page}/api/latest"), what="a value")
        log = site.parent / "data/buffer.sqlite-wal"
        tables = log.stat().st_size
        eventually(lambda: log.stat().st_size > tables + 30_000, what="commits of several answers")
        done = sitegate("backup", str(site), "-o", str(saved))
        assert done.returncode == 0, done.stderr
        busy = sitegate("restore", str(saved), str(site), "--force")
        assert busy.returncode == 1
        assert "another process holds this file" in busy.stderr
        gateway.stop()
    assert saved.stat().st_mode & 0o077 == 0
    assert list(tmp_path.glob(".sitegate-*")) == []

    elsewhere = tmp_path / "new-box/site.yaml"
    done = sitegate("restore", str(saved), str(elsewhere))
    assert done.returncode == 0, done.stderr
    assert elsewhere.read_text() == site.read_text()
    restored, original = records(elsewhere), records(site)
    assert len(restored) > 3
    assert restored == original[: len(restored)]  # as of one commit

    again = sitegate("restore", str(saved), str(elsewhere))
    assert again.returncode == 1
    assert "--force" in again.stderr
    assert sitegate("restore", str(saved), str(elsewhere), "--force").returncode == 0
    aside = elsewhere.parent / "before-restore-1"
    assert (aside / "site.yaml").exists()
    assert (aside / "data/buffer.sqlite").exists()
    assert records(elsewhere) == restored


@pytest.fixture
def stopped(tmp_path: Path) -> tuple[Path, Path]:
    """A site that has a store, and its backup."""
    site, _ = site_file(tmp_path / "box")
    (site.parent / "data").mkdir()
    with closing(sqlite3.connect(site.parent / "data/ledger.sqlite")) as conn:
        conn.execute("CREATE TABLE minutes (n INTEGER PRIMARY KEY)")
        conn.execute("INSERT INTO minutes VALUES (7)")
        conn.commit()
    (site.parent / "profiles").mkdir()
    (site.parent / "profiles/own.yaml").write_text("# ours\n")
    saved = tmp_path / "saved.tar.gz"
    archive.pack(site, saved, version="0.1.0", made_ms=1_790_000_000_000)
    return site, saved


def test_what_is_in_it(stopped: tuple[Path, Path]) -> None:
    with tarfile.open(stopped[1]) as tar:
        assert tar.getnames() == ["manifest.json", "site/site.yaml", "site/profiles/own.yaml", "data/ledger.sqlite"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "foreign", "swapped"])
def test_a_damaged_archive_changes_nothing(damage: str, stopped: tuple[Path, Path], tmp_path: Path) -> None:
    saved = stopped[1]
    content = bytearray(saved.read_bytes())
    if damage == "cut":
        saved.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[len(content) // 2] ^= 0x10
        saved.write_bytes(content)
    elif damage == "foreign":
        with tarfile.open(saved, "w:gz") as tar:
            tar.add(stopped[0], "holiday.jpg")
    else:  # whole as a tar, with another content
        unpacked = tmp_path / "unpacked"
        unpacked.mkdir()
        archive.unpack(saved, unpacked)
        (unpacked / "data/ledger.sqlite").write_bytes(b"something else")
        with tarfile.open(saved, "w:gz") as tar:
            for path in (p for p in sorted(unpacked.rglob("*")) if p.is_file()):
                tar.add(path, str(path.relative_to(unpacked)))
    target = tmp_path / "new/site.yaml"
    done = sitegate("restore", str(saved), str(target))
    assert done.returncode == 1
    assert "nothing was restored" in done.stderr
    assert not target.exists()
    assert list(target.parent.iterdir()) == []


def test_a_damaged_store_is_not_saved_as_good(stopped: tuple[Path, Path], tmp_path: Path) -> None:
    site, saved = stopped
    before = saved.read_bytes()
    (site.parent / "data/ledger.sqlite").write_bytes(b"not a store, but long enough to be one" * 200)
    done = sitegate("backup", str(site), "-o", str(saved), "--force")
    assert done.returncode == 1
    assert "no backup was written" in done.stderr
    assert saved.read_bytes() == before  # the last good one is still there


def test_it_replaces_no_file_unasked(stopped: tuple[Path, Path]) -> None:
    done = sitegate("backup", str(stopped[0]), "-o", str(stopped[1]))
    assert done.returncode == 1
    assert "--force" in done.stderr
