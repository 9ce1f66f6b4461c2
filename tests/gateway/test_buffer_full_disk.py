"""The buffer on a file system that is full and has room again (fault 11): no person, no restart.

A small tmpfs in a mount namespace of its own stands in for the disk; that needs user namespaces, and no root.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.machine import need
from tests.support.sitegate import ROOT

CHILD = """
import asyncio, errno, subprocess, sys
from pathlib import Path
from gateway.buffer.sqlite import SqliteBuffer
from gateway.clock import SystemClock
from gateway.model import Readings

disk = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", disk], check=True)
names = tuple(f"m{i}" for i in range(50))

def record(number):
    return Readings("d", number, names, tuple(number + i / 7 for i in range(50)), "N" * 50)

def fill():
    with (disk / "filler").open("wb", buffering=0) as filler:
        for size in (65536, 4096, 1):
            try:
                while True:
                    filler.write(b"x" * size)
            except OSError as why:
                assert why.errno == errno.ENOSPC

async def until(what):
    async with asyncio.timeout(15):
        while not what():
            await asyncio.sleep(0.01)

async def main():
    buffer = await SqliteBuffer.open(disk / "buffer.db", sinks=["x"], max_bytes=2**30, commit_every_s=0.05,
                                     commit_rows=50, commit_bytes=65536, keep_s=900, clock=SystemClock())
    for number in range(200):
        buffer.put(record(number))
    await buffer.flush()
    fill()
    for number in range(200, 1200):
        buffer.put(record(number))
        if number % 100 == 0:
            await asyncio.sleep(0)
    await until(lambda: buffer.stats().failing)
    print(buffer.stats().failing)
    lease = await buffer.lease("x", 1000)
    assert [r.time_ms for r in lease.records][0] == 0, "what is stored is still lent"
    (disk / "filler").unlink()
    await until(lambda: not buffer.stats().failing)
    await buffer.flush()
    found = [r.time_ms async for r in buffer.replay(0)]
    assert found == list(range(1200)), len(found)
    assert (buffer.stats().dropped_records, buffer.stats().damaged_files) == (0, 0)
    await buffer.close()

asyncio.run(main())
"""


def test_a_full_disk_costs_nothing_and_is_over_when_there_is_room(tmp_path: Path) -> None:
    namespace = [need("unshare", "util-linux"), "-Urm"]
    if subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode:
        text = "this system lets nobody but root make a mount namespace: a really full disk cannot be had"
        pytest.fail(text) if os.environ.get("CI") else pytest.skip(text)
    child = [*namespace, sys.executable, "-c", CHILD, str(tmp_path)]
    done = subprocess.run(child, capture_output=True, text=True, cwd=ROOT, timeout=25, check=False)
    assert done.returncode == 0, done.stderr
    assert "full" in done.stdout.splitlines()[0]
