"""One suite for every buffer, a random walk against plain lists, and what only the durable one promises."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.buffer import Buffer, Lease
from gateway.buffer.export import iter_export, stat_file
from gateway.buffer.memory import MemoryBuffer
from gateway.buffer.sqlite import SqliteBuffer
from gateway.clock import Clock
from gateway.errors import StoreBusy
from gateway.model import Readings
from tests.support.clock import ManualClock

METRICS = ("active_power_w", "energy_import_kwh")
START_MS = 1_790_000_000_000


def record(number: int, device: str = "meter") -> Readings:
    return Readings(device, START_MS + number * 1000, METRICS, (float(number), number / 8), "NN")


def number_of(readings: Readings) -> int:
    return int(readings.values[0] or 0)


async def open_sqlite(
    path: Path,
    sinks: tuple[str, ...] = ("influx",),
    *,
    clock: Clock | None = None,
    max_bytes: int = 64 * 1024 * 1024,
    keep_s: float = 900.0,
    commit_rows: int = 500,
    commit_bytes: int = 65536,
) -> SqliteBuffer:
    return await SqliteBuffer.open(
        path,
        sinks=sinks,
        max_bytes=max_bytes,
        commit_every_s=1.0,
        commit_rows=commit_rows,
        commit_bytes=commit_bytes,
        keep_s=keep_s,
        clock=clock or ManualClock(),
    )


async def drain(buffer: Buffer, sink: str = "influx", max_values: int = 1000) -> list[int]:
    """Take and settle until nothing is pending."""
    got: list[int] = []
    while next(s.pending_records for s in buffer.stats().sinks if s.name == sink):
        lease = await buffer.lease(sink, max_values)
        got += [number_of(r) for r in lease.records]
        await buffer.settle(lease, {})
    return got


Opener = Callable[[], Awaitable[Buffer]]


@pytest.fixture(params=["sqlite", "memory"])
async def buffer(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Buffer]:
    made: Buffer
    if request.param == "memory":
        made = MemoryBuffer(("influx", "other"), commit_rows=500)
    else:
        made = await open_sqlite(tmp_path / "buffer.db", ("influx", "other"))
    yield made
    await made.close()


# --- every buffer ------------------------------------------------------------------------------------------------


async def test_each_sink_gets_everything_once_in_order(buffer: Buffer) -> None:
    for first in (0, 10, 20):
        for n in range(first, first + 10):
            buffer.put(record(n))
        await buffer.flush()
    assert await drain(buffer, "influx", 30) == list(range(30))
    assert await drain(buffer, "other") == list(range(30))
    assert buffer.stats().values == 60


async def test_nothing_is_lent_before_it_is_durable(buffer: Buffer) -> None:
    buffer.put(record(1))
    waiting = asyncio.ensure_future(buffer.lease("influx", 10))
    await asyncio.sleep(0)
    assert not waiting.done()
    await buffer.flush()
    assert (await waiting).records == [record(1)]


async def test_an_unsettled_lease_is_lent_again(buffer: Buffer) -> None:
    buffer.put(record(1))
    await buffer.flush()
    first = await buffer.lease("influx", 10)
    again = await buffer.lease("influx", 10)
    assert again == first
    await buffer.settle(again, {})
    assert await drain(buffer) == []


async def test_one_blob_is_lent_however_large(buffer: Buffer) -> None:
    for n in range(5):
        buffer.put(record(n))
    await buffer.flush()
    assert len((await buffer.lease("influx", 1)).records) == 5


async def test_what_a_sink_refuses_is_counted_and_not_lent_again(buffer: Buffer) -> None:
    for n in range(3):
        buffer.put(record(n))
    await buffer.flush()
    await buffer.settle(await buffer.lease("influx", 100), {1: "field type conflict"})
    by_name = {s.name: s for s in buffer.stats().sinks}
    assert (by_name["influx"].quarantined, by_name["influx"].pending_records) == (1, 0)
    assert (by_name["other"].quarantined, by_name["other"].pending_records) == (0, 3)
    assert by_name["other"].oldest_pending_ms == START_MS


async def test_recent_gives_one_series_oldest_first_with_its_gaps(buffer: Buffer) -> None:
    bad = Readings("meter", START_MS + 2500, METRICS, (None, 1.0), "BN")
    for r in (record(3), record(2), bad, record(2, "other"), record(9)):
        buffer.put(r)
        await buffer.flush()
    rows = await buffer.recent("meter", "active_power_w", START_MS + 2000, START_MS + 3000)
    assert rows == [(START_MS + 2000, 2.0), (START_MS + 2500, None), (START_MS + 3000, 3.0)]
    assert await buffer.recent("meter", "nothing", 0, 2**60) == []


async def test_replay_gives_what_is_durable_from_a_time_on(buffer: Buffer) -> None:
    for n in range(6):
        buffer.put(record(n))
        await buffer.flush()
    buffer.put(record(99))
    assert [number_of(r) async for r in buffer.replay(START_MS + 4000)] == [4, 5]


async def test_close_twice_and_then_no_more(buffer: Buffer) -> None:
    waiting = asyncio.ensure_future(buffer.lease("influx", 10))
    await asyncio.sleep(0)
    await buffer.close()
    await buffer.close()
    with pytest.raises(RuntimeError, match="closed"):
        await waiting


WALK = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 8)),
        st.tuples(st.just("flush"), st.just(0)),
        st.tuples(st.just("send"), st.integers(1, 20)),
        st.tuples(st.just("lend"), st.integers(1, 20)),
        st.tuples(st.just("power cut"), st.just(0)),
        st.tuples(st.just("close"), st.just(0)),
    ),
    max_size=12,
)


async def walk(steps: list[tuple[str, int]], path: Path | None) -> None:
    """Compare with plain lists: what is durable, and what the sink has; repeats are allowed only after a power cut."""
    buffer: Buffer = MemoryBuffer(("influx",), commit_rows=500) if path is None else await open_sqlite(path)
    waiting: list[int] = []
    durable: list[int] = []
    sent: list[int] = []
    settled_before_cut: set[int] = set()
    for what, size in steps:
        if what == "append":
            fresh = range(len(durable) + len(waiting), len(durable) + len(waiting) + size)
            waiting += fresh
            for n in fresh:
                buffer.put(record(n))
        elif what == "flush":
            await buffer.flush()
            durable, waiting = durable + waiting, []
        elif what in ("send", "lend") and buffer.stats().sinks[0].pending_records:
            lease = await buffer.lease("influx", size)
            if what == "send":
                sent += [number_of(r) for r in lease.records]
                await buffer.settle(lease, {})
        elif what == "power cut":
            settled_before_cut |= set(sent)
            waiting = []
            if isinstance(buffer, MemoryBuffer):
                buffer.power_cut()
            elif isinstance(buffer, SqliteBuffer) and path is not None:
                await cut_power(buffer)
                buffer = await open_sqlite(path)
        elif what == "close" and path is not None:
            await buffer.close()
            durable, waiting = durable + waiting, []
            buffer = await open_sqlite(path)
    await buffer.flush()
    durable += waiting
    sent += await drain(buffer)
    assert [number_of(r) async for r in buffer.replay(0)] == durable
    assert set(sent) == set(durable)
    repeats = [n for n in set(sent) if sent.count(n) > 1]
    assert set(repeats) <= settled_before_cut
    await buffer.close()


async def cut_power(buffer: SqliteBuffer) -> None:
    """What a kill leaves: nothing more is written, the tasks are gone, the lock is free."""
    for task in buffer._tasks:
        task.cancel()
    await asyncio.gather(*buffer._tasks, return_exceptions=True)
    await buffer._db.close()


@settings(max_examples=60, deadline=None)
@given(WALK)
def test_random_walk_in_memory(steps: list[tuple[str, int]]) -> None:
    asyncio.run(walk(steps, None))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(WALK)
def test_random_walk_on_disk(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]) -> None:
    asyncio.run(walk(steps, tmp_path_factory.mktemp("walk") / "buffer.db"))


# --- the durable one ---------------------------------------------------------------------------------------------


async def test_a_group_commits_by_time_and_by_number(tmp_path: Path) -> None:
    clock = ManualClock()
    buffer = await open_sqlite(tmp_path / "b.db", clock=clock, commit_rows=3)
    buffer.put(record(1))
    await clock.advance(1.0)
    by_time = await buffer.lease("influx", 10)
    assert len(by_time.records) == 1
    await buffer.settle(by_time, {})
    for n in (2, 3, 4):
        buffer.put(record(n))
    by_number = await buffer.lease("influx", 100)  # the clock stands still: only the number can have woken the commit
    assert (by_number.first, len(by_number.records)) == (by_time.last + 1, 3)
    await buffer.close()


async def test_progress_survives_a_restart_and_lost_progress_only_repeats(tmp_path: Path) -> None:
    path = tmp_path / "b.db"
    buffer = await open_sqlite(path)
    for n in range(3):
        buffer.put(record(n))
        await buffer.flush()
    await buffer.settle(await buffer.lease("influx", 1), {})
    await buffer.close()
    buffer = await open_sqlite(path)
    assert buffer.stats().sinks[0].pending_records == 2
    await drain(buffer)
    await cut_power(buffer)
    buffer = await open_sqlite(path)
    assert await drain(buffer) == [1, 2]
    await buffer.close()


async def test_sinks_come_and_go(tmp_path: Path) -> None:
    path = tmp_path / "b.db"
    buffer = await open_sqlite(path, ("a",))
    buffer.put(record(1))
    await buffer.flush()
    assert await drain(buffer, "a") == [1]
    await buffer.close()
    buffer = await open_sqlite(path, ("b",))
    assert await drain(buffer, "b") == [1]
    await buffer.close()
    buffer = await open_sqlite(path, ("a",))
    assert await drain(buffer, "a") == [1]
    await buffer.close()


async def test_settled_blobs_go_after_the_keep_time_and_numbers_are_never_given_again(tmp_path: Path) -> None:
    clock, path = ManualClock(), tmp_path / "b.db"
    buffer = await open_sqlite(path, clock=clock, keep_s=10)
    for n in range(5):
        buffer.put(record(n))
        await buffer.flush()
    await drain(buffer)
    clock.jump_wall(30 * 86400)
    await clock.advance(2)
    await buffer.flush()
    assert buffer.stats().records == 5
    for _ in range(15):
        await clock.advance(1)
        await buffer.stat()
    assert buffer.stats().records == 0
    await buffer.close()
    buffer = await open_sqlite(path, clock=clock)
    buffer.put(record(7))
    await buffer.flush()
    assert await drain(buffer) == [7]
    await buffer.close()


async def test_unsent_blobs_outlive_every_clock(tmp_path: Path) -> None:
    clock = ManualClock()
    buffer = await open_sqlite(tmp_path / "b.db", clock=clock, keep_s=1)
    buffer.put(record(1))
    await buffer.flush()
    clock.jump_wall(400 * 86400)
    for _ in range(5):
        await clock.advance(10)
        await buffer.stat()
    assert await drain(buffer) == [1]
    await buffer.close()


async def test_over_the_limit_the_oldest_go_and_leave_a_gap_row(tmp_path: Path) -> None:
    path, limit = tmp_path / "b.db", 1024 * 1024
    buffer = await open_sqlite(path, max_bytes=limit)
    for n in range(60):
        for k in range(10):
            noise = tuple(int.from_bytes(os.urandom(6), "big") / 7 for _ in range(200))
            names = tuple(f"m{i}" for i in range(199))
            buffer.put(Readings("meter", START_MS + n * 1000 + k, ("n", *names), (float(n), *noise[1:]), "N" * 200))
        await buffer.flush()
        assert buffer.stats().bytes_on_disk <= limit
    stats = buffer.stats()
    left = {number_of(r) async for r in buffer.replay(0)}
    assert left == set(range(60 - len(left), 60))
    assert stats.dropped_records == 600 - stats.records == 10 * (60 - len(left)) > 0
    assert stats.sinks[0].pending_records == stats.records
    assert stats.failing is None
    gaps = (await buffer.stat())["gaps"]
    assert gaps == [
        {
            "from_ms": START_MS,
            "to_ms": START_MS + (59 - len(left)) * 1000 + 9,
            "records": stats.dropped_records,
            "cause": "buffer full",
        }
    ]
    await buffer.close()


async def test_what_was_delivered_and_then_overwritten_is_no_loss(tmp_path: Path) -> None:
    buffer = await open_sqlite(tmp_path / "b.db", (), max_bytes=1024 * 1024)
    names = tuple(f"m{i}" for i in range(4000))
    for n in range(60):
        values = struct.unpack("<4000d", b"".join(os.urandom(7) + b"\x40" for _ in names))
        buffer.put(Readings("m", n, names, values, "N" * 4000))
        await buffer.flush()
    stats = buffer.stats()
    assert stats.records < 60
    assert stats.dropped_records == 0
    await buffer.close()


async def test_a_damaged_blob_costs_itself(tmp_path: Path) -> None:
    path = tmp_path / "b.db"
    buffer = await open_sqlite(path)
    for n in range(4):
        buffer.put(record(n))
        await buffer.flush()
    await buffer.close()
    with sqlite3.connect(path) as conn:
        body = bytearray(conn.execute("SELECT body FROM bodies WHERE seq = 2").fetchone()[0])
        body[20] ^= 1
        conn.execute("UPDATE bodies SET body = ? WHERE seq = 2", (bytes(body),))
    conn.close()
    assert [r.get("damaged") or r["time_ms"] for r in iter_export(path)][1] == "check sum differs"
    buffer = await open_sqlite(path)
    assert await drain(buffer) == [0, 2, 3]
    stats = buffer.stats()
    assert (stats.damaged_records, stats.records) == (1, 3)
    gap = (await buffer.stat())["gaps"][0]
    assert (gap["from_ms"], gap["records"], gap["cause"]) == (START_MS + 1000, 1, "blob damaged")
    await buffer.close()


async def test_the_disk_takes_nothing_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock()
    monkeypatch.setattr("gateway.buffer.sqlite.MEMORY_BYTES", 600)
    buffer = await open_sqlite(tmp_path / "b.db", clock=clock, commit_bytes=300)
    await buffer.flush()

    def broken(conn: sqlite3.Connection, work: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr("gateway.buffer.file.commit", broken)
        for n in range(1000):
            buffer.put(record(n))
        flushed = asyncio.ensure_future(buffer.flush())
        while buffer.stats().failing is None:
            await asyncio.sleep(0)
        assert "disk I/O error" in str(buffer.stats().failing)
    kept = len(buffer._waiting)
    assert 0 < kept < 20
    await clock.advance(2)
    await flushed
    assert buffer.stats().failing is None
    assert await drain(buffer) == list(range(1000 - kept, 1000))
    assert buffer.stats().dropped_records == 1000 - kept
    assert (await buffer.stat())["gaps"][0]["records"] == 1000 - kept
    await buffer.close()


async def test_a_record_that_cannot_be_stored_does_not_stop_the_others(tmp_path: Path) -> None:
    buffer = await open_sqlite(tmp_path / "b.db")
    buffer.put(record(1))
    buffer.put(Readings("d", 2**80, METRICS, (1.0, 2.0), "NN"))
    buffer.put(Readings("d", 5, METRICS, (object(), 2.0), "NN"))  # type: ignore[arg-type]
    buffer.put(record(2))
    await buffer.flush()
    assert await drain(buffer) == [1, 2]
    assert buffer.stats().dropped_records == 2
    assert buffer.stats().failing is None
    await buffer.close()


async def test_closing_while_the_disk_takes_nothing_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "b.db"
    buffer = await open_sqlite(path)

    def broken(conn: sqlite3.Connection, work: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr("gateway.buffer.file.commit", broken)
        buffer.put(record(1))
        flushed = asyncio.ensure_future(buffer.flush())
        await asyncio.sleep(0)
        await buffer.close()
    with pytest.raises(OSError, match=r"closed before all was durable: .*disk I/O error"):
        await flushed
    assert stat_file(path)["records"] == 0


async def test_hours_left_once_the_rate_is_known(tmp_path: Path) -> None:
    clock = ManualClock()
    buffer = await open_sqlite(tmp_path / "b.db", clock=clock, max_bytes=64 * 1024 * 1024)
    assert buffer.stats().hours_left is None
    for n in range(90):
        buffer.put(record(n))
        await clock.advance(1)
        await buffer.flush()
    hours = buffer.stats().hours_left
    assert hours is not None
    assert 10 < hours < 1000
    await buffer.close()


async def test_the_file_is_private_and_a_second_process_is_told(tmp_path: Path) -> None:
    path = tmp_path / "new" / "b.db"
    buffer = await open_sqlite(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(StoreBusy, match=r"b\.db: another process holds this file; stop"):
        await open_sqlite(path)
    with pytest.raises(StoreBusy):
        stat_file(path)
    await buffer.close()
    assert stat_file(path)["records"] == 0


async def test_export_and_stat_of_a_closed_file(tmp_path: Path) -> None:
    path = tmp_path / "b.db"
    buffer = await open_sqlite(path)
    for n in range(3):
        buffer.put(record(n))
    await buffer.flush()
    await buffer.settle(await buffer.lease("influx", 100), {0: "no"})
    await buffer.close()
    rows = list(iter_export(path))
    assert rows[1] == {
        "device": "meter",
        "time_ms": START_MS + 1000,
        "values": {"active_power_w": 1.0, "energy_import_kwh": 0.125},
        "marks": "NN",
    }
    described = stat_file(path)
    assert described["sinks"] == {"influx": {"pending_records": 0, "quarantined": 1}}
    assert (described["records"], described["values"], described["blobs"]) == (3, 6, 1)
    with pytest.raises(FileNotFoundError, match="no such file"):
        stat_file(tmp_path / "none.db")


async def test_the_quarantine_is_bounded_and_survives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.buffer.file.MOST_ROWS", 4)
    path = tmp_path / "b.db"
    buffer = await open_sqlite(path)
    for n in range(6):
        buffer.put(record(n))
    await buffer.flush()
    lease: Lease = await buffer.lease("influx", 100)
    await buffer.settle(lease, dict.fromkeys(range(6), "no"))
    await buffer.close()
    buffer = await open_sqlite(path)
    assert buffer.stats().sinks[0].quarantined == 4
    await buffer.close()
