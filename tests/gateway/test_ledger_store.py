"""The ledger on disk: closing, late data, restarts, charts, retention."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.clock import Clock
from gateway.ledger.minute import Minute
from gateway.ledger.store import Ledger
from gateway.model import Readings, Series
from tests.support.clock import ManualClock

START_MS = 1_790_000_040_000
M = 60_000
PM10, LEVEL, ENERGY, POWER = "pm10_ug_m3", "noise_la_db", "energy_import_kwh", "active_power_w"
SERIES = [Series("d", metric, 10.0) for metric in (PM10, LEVEL, ENERGY, POWER)]


async def open_ledger(
    path: Path,
    clock: Clock | None = None,
    *,
    keep_regulated_s: float = 400 * 86400.0,
    keep_other_s: float = 100 * 86400.0,
) -> Ledger:
    clock = clock or ManualClock(START_MS + 10 * M)
    return await Ledger.open(path, SERIES, keep_regulated_s, keep_other_s, clock)


def reading(time_ms: int, value: float, metric: str = PM10) -> Readings:
    return Readings("d", time_ms, (metric,), (value,), "N")


def brief(minutes: list[Minute]) -> list[tuple[int, int, float | None]]:
    return [((m.start_ms - START_MS) // M, m.count, m.mean) for m in minutes]


async def test_a_minute_closes_two_seconds_after_its_end(tmp_path: Path) -> None:
    ledger = await open_ledger(tmp_path / "l.db")
    for n in range(6):
        ledger.put(reading(START_MS + n * 10_000, float(n)))
    ledger.put(reading(START_MS + M + 1000, 50.0))
    assert await ledger.close_minutes(START_MS + M + 1999) == []
    (minute,) = await ledger.close_minutes(START_MS + M + 2000)
    assert (minute.count, minute.mean, minute.low, minute.high, minute.valid_share) == (6, 2.5, 0.0, 5.0, 1.0)
    assert await ledger.close_minutes(START_MS + M + 3000) == []
    assert ledger.minutes_total() == 1
    assert ledger.last_stored_ms() == START_MS
    assert ledger.bytes_on_disk() > 0
    await ledger.close()
    await ledger.close()


async def test_a_late_reading_opens_the_minute_again(tmp_path: Path) -> None:
    ledger = await open_ledger(tmp_path / "l.db")
    ledger.put(reading(START_MS, 60.0, LEVEL))
    await ledger.close_minutes(START_MS + 2 * M)
    ledger.put(reading(START_MS + 5000, 80.0, LEVEL))
    (minute,) = await ledger.close_minutes(START_MS + 2 * M)
    assert minute.count == 2
    assert minute.mean == pytest.approx(76.99, abs=0.05)
    assert minute.valid_share == pytest.approx(2 / 6)
    assert await ledger.stored_since(START_MS) == [minute]
    assert ledger.minutes_total() == 1
    await ledger.close()


async def test_history_with_the_open_minute_and_gaps_as_gaps(tmp_path: Path) -> None:
    clock = ManualClock(START_MS + 5 * M + 30_000)
    ledger = await open_ledger(tmp_path / "l.db", clock)
    for minute in (0, 1, 3):
        for n in range(6):
            ledger.put(reading(START_MS + minute * M + n * 10_000, minute * 10.0 + n))
    await ledger.close_minutes(clock.wall_ms())
    for n in range(3):
        ledger.put(reading(START_MS + 5 * M + n * 10_000, 50.0 + n))
    found = await ledger.history("d", PM10, START_MS, START_MS + 6 * M, 60)
    assert [((b.start_ms - START_MS) // M, b.mean, b.count, b.valid_share) for b in found] == [
        (0, 2.5, 6, 1.0),
        (1, 12.5, 6, 1.0),
        (3, 32.5, 6, 1.0),
        (5, 51.0, 3, 1.0),
    ]
    assert found == await ledger.history("d", PM10, START_MS - 10**9, START_MS + 10**9, 60)
    assert found[1:3] == await ledger.history("d", PM10, START_MS + M + 5, START_MS + 4 * M, 60)
    assert await ledger.history("d", "tsp_ug_m3", 0, START_MS * 2, 60) == []
    assert await ledger.history("unknown", PM10, 0, START_MS * 2, 60) == []
    await ledger.close()


async def test_history_in_steps_is_by_kind(tmp_path: Path) -> None:
    ledger = await open_ledger(tmp_path / "l.db", ManualClock(START_MS + 100 * M))
    step = START_MS - START_MS % (5 * M) + 5 * M
    for n, (db, kwh) in enumerate(((60.0, 100.0), (80.0, 101.5), (80.0, 104.0), (60.0, 104.0))):
        ledger.put(Readings("d", step + n * M + 500, (LEVEL, ENERGY), (db, kwh), "NN"))
    await ledger.close_minutes(START_MS + 100 * M)
    (level,) = await ledger.history("d", LEVEL, step, step + 5 * M, 300)
    (energy,) = await ledger.history("d", ENERGY, step, step + 5 * M, 300)
    assert level.mean == pytest.approx(77.03, abs=0.05)
    assert (level.low, level.high, level.count, level.valid_share) == (60.0, 80.0, 4, pytest.approx(4 / 30))
    assert (energy.mean, energy.delta, energy.count) == (104.0, 4.0, 4)
    await ledger.close()


async def test_long_histories_come_slice_by_slice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.ledger.file._SLICE_MINUTES", 7)
    ledger = await open_ledger(tmp_path / "l.db", ManualClock(START_MS + 1000 * M))
    chosen = [0, 1, 6, 7, 20, 21, 22, 300]
    for n in chosen:
        ledger.put(reading(START_MS + n * M, float(n)))
    await ledger.close_minutes(START_MS + 1000 * M)
    ledger.put(reading(START_MS + 900 * M, 900.0))
    found = await ledger.history("d", PM10, 0, START_MS + 2000 * M, 60)
    assert [b.mean for b in found] == [float(n) for n in [*chosen, 900]]
    by_three = await ledger.history("d", PM10, 0, START_MS + 2000 * M, 180)
    assert sum(b.count for b in by_three) == len(chosen) + 1
    assert all(b.start_ms % (3 * M) == 0 for b in by_three)
    await ledger.close()


async def test_a_restart_in_the_middle_of_a_minute_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    ledger = await open_ledger(path)
    ledger.put(reading(START_MS, 100.0, ENERGY))
    await ledger.close()
    ledger = await open_ledger(path)
    assert ledger.last_stored_ms() == START_MS
    ledger.replay(reading(START_MS, 100.0, ENERGY))
    ledger.put(reading(START_MS + 30_000, 101.0, ENERGY))
    ledger.put(reading(START_MS + 70_000, 103.0, ENERGY))
    first, second = await ledger.close_minutes(START_MS + 9 * M)
    assert (first.count, first.delta, first.last) == (2, 1.0, 101.0)
    assert (second.count, second.delta) == (1, 2.0)
    await ledger.close()


async def test_a_kill_and_a_replay_give_the_same_minutes(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    records = [reading(START_MS + n * 7_000, 100.0 + n, ENERGY) for n in range(40)]
    ledger = await open_ledger(path)
    for r in records[:25]:
        ledger.put(r)
    await ledger.close_minutes(START_MS + 2 * M + 2000)
    await ledger._db.close()  # what a kill leaves: the open minute is gone, the counter stands two minutes on
    ledger = await open_ledger(path)
    after = ledger.last_stored_ms()
    assert after == START_MS + M
    for r in records[:25]:
        ledger.replay(r)
    ledger.replay(Readings("d", START_MS + 3 * M, (f"{PM10}:mean", f"{PM10}:count"), (1.0, 2.0), "NN"))
    for r in records[25:]:
        ledger.put(r)
    await ledger.close_minutes(START_MS + 9 * M)
    killed = await ledger.stored_since(0)
    await ledger.close()

    whole = await open_ledger(tmp_path / "whole.db")
    for r in records:
        whole.put(r)
    await whole.close_minutes(START_MS + 9 * M)
    assert killed == await whole.stored_since(0)
    assert sum(m.delta or 0.0 for m in killed) == 39.0
    assert not any(m.reset for m in killed)
    await whole.close()


TIMES = st.lists(st.tuples(st.integers(0, 5 * M - 1), st.floats(0, 1000)), min_size=1, max_size=40)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TIMES, st.data())
def test_any_order_of_arrival_gives_the_same_minutes(
    tmp_path_factory: pytest.TempPathFactory, points: list[tuple[int, float]], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(points))
    closes = data.draw(st.sets(st.integers(0, len(points))))

    async def run() -> None:
        directory = tmp_path_factory.mktemp("order")
        results = []
        for name, order, marks in (("a", sorted(points), set[int]()), ("b", shuffled, closes)):
            ledger = await open_ledger(directory / name)
            for n, (time, value) in enumerate(order):
                ledger.put(reading(START_MS + time, value))
                if n in marks:
                    await ledger.close_minutes(START_MS + 9 * M)
            await ledger.close_minutes(START_MS + 9 * M)
            results.append(await ledger.stored_since(0))
            await ledger.close()
        for one, two in zip(*results, strict=True):
            assert (one.start_ms, one.count, one.low, one.high) == (two.start_ms, two.count, two.low, two.high)
            assert one.mean == pytest.approx(two.mean)
            assert one.valid_share == pytest.approx(two.valid_share)

    asyncio.run(run())


async def test_what_the_gateway_says_of_itself_is_no_reading(tmp_path: Path) -> None:
    ledger = await open_ledger(tmp_path / "l.db")
    ledger.replay(reading(START_MS, 1.0, "device_state"))
    ledger.replay(reading(START_MS, 3.0, "alarm_level"))
    assert await ledger.close_minutes(START_MS + 9 * M) == []
    await ledger.close()


async def test_minutes_of_the_future_are_not_kept_open(tmp_path: Path) -> None:
    clock = ManualClock(START_MS)
    ledger = await open_ledger(tmp_path / "l.db", clock)
    ledger.put(reading(START_MS + 90 * 86400_000, 1.0))
    ledger.put(reading(START_MS, 2.0))
    assert brief(await ledger.close_minutes(START_MS)) == [(90 * 1440, 1, 1.0)]
    assert brief(await ledger.close_minutes(START_MS + M + 2000)) == [(0, 1, 2.0)]
    await ledger.close()
    again = await open_ledger(tmp_path / "l.db", clock)
    assert again.last_stored_ms() == START_MS
    await again.close()


async def test_a_clock_set_back_does_not_stop_the_counters(tmp_path: Path) -> None:
    ledger = await open_ledger(tmp_path / "l.db")
    ledger.put(reading(START_MS + 60 * M, 100.0, ENERGY))
    await ledger.close_minutes(START_MS)
    ledger.put(reading(START_MS + 10_000, 101.0, ENERGY))
    ledger.put(reading(START_MS + 20_000, 102.0, ENERGY))
    (minute,) = await ledger.close_minutes(START_MS + 2 * M)
    assert minute.delta == 2.0
    await ledger.close()


async def test_a_restart_after_the_clock_was_set_back_counts_nothing_twice(tmp_path: Path) -> None:
    """What the counter said under the wrong time must not stay its last value for as long as the clock was ahead."""
    clock = ManualClock(START_MS + 600 * M)
    ledger = await open_ledger(tmp_path / "l.db", clock)
    ledger.put(reading(clock.wall_ms(), 100.0, ENERGY))
    await clock.advance(120)
    await ledger.close_minutes(clock.wall_ms())
    clock.jump_wall(-600 * 60)
    await ledger.close_minutes(clock.wall_ms())
    for value in (105.0, 110.0, 115.0):
        await clock.advance(120)
        ledger.put(reading(clock.wall_ms(), value, ENERGY))
        await ledger.close()
        ledger = await open_ledger(tmp_path / "l.db", clock)
    grown = sum(m.delta or 0.0 for m in await ledger.stored_since(0))
    assert grown == 15.0
    await ledger.close()


async def test_a_kill_in_the_minute_of_a_restart_loses_nothing(tmp_path: Path) -> None:
    path, records = tmp_path / "l.db", [reading(START_MS + n * 10_000, 100.0 + n, ENERGY) for n in range(5)]
    ledger = await open_ledger(path)
    for r in records[:2]:
        ledger.put(r)
    await ledger.close()
    ledger = await open_ledger(path)
    for r in records[2:]:
        ledger.put(r)
    await ledger._db.close()  # what a kill leaves
    ledger = await open_ledger(path)
    for r in records:
        ledger.replay(r)
    (minute,) = await ledger.close_minutes(START_MS + 2 * M)
    assert (minute.count, minute.delta) == (5, 4.0)
    await ledger.close()


async def test_retention_by_flag_and_never_more_than_a_day_at_once(tmp_path: Path) -> None:
    clock = ManualClock(START_MS)
    ledger = await open_ledger(tmp_path / "l.db", clock, keep_regulated_s=10 * 86400, keep_other_s=2 * 86400)
    for hour in range(0, 20 * 24, 6):
        at = START_MS - 20 * 86400_000 + hour * 3600_000
        ledger.put(Readings("d", at, (PM10, POWER), (1.0, 1.0), "NN"))
    await ledger.close_minutes(START_MS)
    assert ledger.minutes_total() == 160
    await clock.advance(3601)
    await ledger.close_minutes(clock.wall_ms())
    kept = await ledger.stored_since(0)
    assert ledger.minutes_total() == len(kept) == 160 - 24 - 24  # one row per hour that holds any
    for _ in range(20):
        await clock.advance(3601)
        await ledger.close_minutes(clock.wall_ms())
    kept = await ledger.stored_since(0)
    now = clock.wall_ms()
    assert min(m.start_ms for m in kept if m.metric == PM10) >= now - 10 * 86400_000 - M
    assert min(m.start_ms for m in kept if m.metric == POWER) >= now - 2 * 86400_000 - M
    assert ledger.minutes_total() == len(kept)
    await ledger.close()


async def test_minutes_wait_while_the_disk_takes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = await open_ledger(tmp_path / "l.db")

    def broken(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    ledger.put(reading(START_MS, 1.0))
    with monkeypatch.context() as patch:
        patch.setattr("gateway.ledger.file.store", broken)
        assert await ledger.close_minutes(START_MS + 2 * M) == []
    assert [b.mean for b in await ledger.history("d", PM10, START_MS, START_MS + M, 60)] == [1.0]
    ledger.put(reading(START_MS + 1000, 3.0))
    assert brief(await ledger.close_minutes(START_MS + 2 * M)) == [(0, 2, 2.0)]
    assert await ledger.close_minutes(START_MS + 2 * M) == []
    await ledger.close()


async def test_a_damaged_ledger_never_blocks_the_start(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    path.write_bytes(b"rubbish" * 1000)
    ledger = await open_ledger(path)
    assert (tmp_path / "l.db.damaged-1").exists()
    assert ledger.last_stored_ms() is None
    ledger.put(reading(START_MS, 1.0))
    assert len(await ledger.close_minutes(START_MS + 2 * M)) == 1
    await ledger.close()
