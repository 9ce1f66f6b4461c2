"""Kills at any moment and files that somebody damaged: what was durable is there, once, and the start goes on."""

from __future__ import annotations

import asyncio
import random
import signal
import sqlite3
import sys
from pathlib import Path

import pytest

from gateway.buffer.export import iter_export
from gateway.buffer.sqlite import SqliteBuffer
from gateway.errors import StoreBusy
from gateway.model import Readings
from gateway.storage import Schema, SqliteThread
from tests.support.clock import ManualClock

ROOT = Path(__file__).parents[2]
NAMES = tuple(f"m{i}" for i in range(20))

CHILD = """
import asyncio, random, sys
from pathlib import Path
from gateway.buffer.sqlite import SqliteBuffer
from gateway.clock import SystemClock
from gateway.model import Readings

async def main(path, number):
    buffer = await SqliteBuffer.open(Path(path), sinks=["x"], max_bytes=2**26, commit_every_s=0.01, commit_rows=7,
                                     commit_bytes=4096, keep_s=900, clock=SystemClock())
    names = tuple(f"m{i}" for i in range(20))
    while True:
        for _ in range(random.randint(1, 20)):
            buffer.put(Readings("d", number, names, (float(number),) * 20, "N" * 20))
            number += 1
        await buffer.flush()
        print(number - 1, flush=True)
        if random.random() < 0.3:
            lease = await buffer.lease("x", 500)
            await buffer.settle(lease, {})

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


async def open_buffer(path: Path) -> SqliteBuffer:
    return await SqliteBuffer.open(
        path,
        sinks=["x"],
        max_bytes=2**26,
        commit_every_s=1.0,
        commit_rows=500,
        commit_bytes=65536,
        keep_s=900.0,
        clock=ManualClock(),
    )


async def numbers(buffer: SqliteBuffer) -> list[int]:
    return [r.time_ms async for r in buffer.replay(0)]


async def fill(path: Path, blobs: int) -> None:
    """Write blobs of one record each, numbered from 0, and close properly."""
    buffer = await open_buffer(path)
    chance = random.Random(1)
    for n in range(blobs):
        values = tuple(chance.random() for _ in range(400))
        buffer.put(Readings("d", n, tuple(f"m{i}" for i in range(400)), values, "N" * 400))
        await buffer.flush()
    await buffer.close()


async def test_nothing_durable_is_lost_to_sigkill(tmp_path: Path) -> None:
    path, chance = tmp_path / "buffer.db", random.Random()
    promised: set[int] = set()
    first = 0
    for _ in range(8):
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CHILD, str(path), str(first), cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        assert child.stdout is not None
        lines = [await child.stdout.readline()]
        if (wait_s := chance.choice([0.0, chance.uniform(0, 0.3)])) > 0:
            await asyncio.sleep(wait_s)  # the moment of the kill is the point of this test
        child.send_signal(signal.SIGKILL)
        lines += (await child.stdout.read()).splitlines()
        assert await child.wait() == -signal.SIGKILL
        last = max(int(line) for line in lines if line.strip())
        promised |= set(range(first, last + 1))
        first = last + 1000  # what a round put without promise is told apart from the next round
    buffer = await open_buffer(path)
    found = await numbers(buffer)
    await buffer.close()
    assert len(found) == len(set(found)), "a record was stored twice"
    assert promised <= set(found)
    invented = {n for n in set(found) - promised if not any(n - k in promised for k in range(1, 21))}
    assert not invented, "only the group in flight may be there without a promise"
    assert not list(tmp_path.glob("*.damaged-*"))


async def test_a_second_process_is_told(tmp_path: Path) -> None:
    path = tmp_path / "buffer.db"
    buffer = await open_buffer(path)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, str(path), "0", cwd=ROOT, stderr=asyncio.subprocess.PIPE
    )
    _, stderr = await child.communicate()
    assert child.returncode == 1
    assert b"StoreBusy" in stderr
    assert b"another process holds this file; stop the other gateway" in stderr
    await buffer.close()


async def test_a_file_of_no_bytes_is_an_empty_buffer(tmp_path: Path) -> None:
    path = tmp_path / "buffer.db"
    path.touch()
    buffer = await open_buffer(path)
    assert await numbers(buffer) == []
    assert buffer.stats().damaged_files == 0
    await buffer.close()


@pytest.mark.parametrize("content", [b"not a database, " * 600, b"\0" * 16384])
async def test_a_file_that_is_no_database_is_set_aside(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "buffer.db"
    for n in (1, 2):
        path.write_bytes(content)
        buffer = await open_buffer(path)
        buffer.put(Readings("d", 5, NAMES, (1.0,) * 20, "N" * 20))
        await buffer.flush()
        assert await numbers(buffer) == [5]
        assert buffer.stats().damaged_files == 1
        assert (await buffer.stat())["gaps"][0]["cause"] == f"file set aside as buffer.db.damaged-{n}"
        await buffer.close()
        assert (tmp_path / f"buffer.db.damaged-{n}").read_bytes() == content


async def test_a_truncated_file_is_set_aside_and_the_rest_carried_over(tmp_path: Path) -> None:
    path = tmp_path / "buffer.db"
    await fill(path, 60)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 4096 // 2 * 4096])
    buffer = await open_buffer(path)
    buffer.put(Readings("d", 1000, NAMES, (1.0,) * 20, "N" * 20))
    await buffer.flush()
    found = await numbers(buffer)
    assert found[-1] == 1000
    assert set(found) <= {*range(60), 1000}
    assert buffer.stats().damaged_files == 1
    assert (tmp_path / "buffer.db.damaged-1").exists()
    await buffer.close()


async def test_a_broken_page_costs_little(tmp_path: Path) -> None:
    path = tmp_path / "buffer.db"
    await fill(path, 60)
    content = bytearray(path.read_bytes())
    with sqlite3.connect(path) as conn:
        root = conn.execute("SELECT rootpage FROM sqlite_master WHERE name = 'bodies'").fetchone()[0]
    conn.close()
    leaf = int.from_bytes(content[(root - 1) * 4096 + 12 + 2 * 3 :][:2], "big")  # the fourth cell of the root page
    page = int.from_bytes(content[(root - 1) * 4096 + leaf :][:4], "big")
    content[(page - 1) * 4096 : page * 4096] = b"\xff" * 4096
    path.write_bytes(content)
    buffer = await open_buffer(path)
    got: list[int] = []
    while buffer.stats().sinks[0].pending_records:
        lease = await buffer.lease("x", 4000)
        got += [r.time_ms for r in lease.records]
        await buffer.settle(lease, {})
    assert 45 <= len(got) < 60
    assert set(got) <= set(range(60))
    stats = buffer.stats()
    assert stats.damaged_records == 60 - len(set(got))
    assert stats.damaged_files == 1
    await buffer.close()


async def test_any_flipped_byte_is_survived(tmp_path: Path) -> None:
    path, chance = tmp_path / "buffer.db", random.Random(7)
    await fill(path, 12)
    content = path.read_bytes()
    good = {r["time_ms"]: r["values"] for r in iter_export(path)}
    for _ in range(60):
        flipped = bytearray(content)
        flipped[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(flipped)
        buffer = await open_buffer(path)
        buffer.put(Readings("d", 99, ("m0",), (0.5,), "N"))
        await buffer.flush()
        found = [r async for r in buffer.replay(0)]
        await buffer.close()
        assert 99 in [r.time_ms for r in found]
        for r in found:
            if r.time_ms != 99:
                assert dict(zip(r.metrics, r.values, strict=True)) == good[r.time_ms], "a value was invented"
        for leftover in tmp_path.glob("buffer.db*"):
            leftover.unlink()


async def test_a_file_of_another_release_is_set_aside_untouched(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    newer = await SqliteThread.open(path, Schema(9, "CREATE TABLE a (x INTEGER PRIMARY KEY)"))
    await newer.close()
    content = path.read_bytes()
    store = await SqliteThread.open(path, Schema(1, "CREATE TABLE b (x INTEGER PRIMARY KEY)"))
    (aside,) = store.set_aside
    assert aside.reason == "written by another release (version 9, not 1)"
    assert aside.path.read_bytes() == content
    assert await store.run(lambda conn: conn.execute("SELECT count(*) FROM b").fetchone()) == (0,)
    await store.close()


async def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        await open_buffer(tmp_path / "file" / "buffer.db")


async def test_the_lock_is_free_after_close(tmp_path: Path) -> None:
    path = tmp_path / "buffer.db"
    schema = Schema(1, "CREATE TABLE b (x INTEGER PRIMARY KEY)")
    store = await SqliteThread.open(path, schema)
    with pytest.raises(StoreBusy):
        await SqliteThread.open(path, schema)
    await store.close()
    await store.close()
    await (await SqliteThread.open(path, schema)).close()
