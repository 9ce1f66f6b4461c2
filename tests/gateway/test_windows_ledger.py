"""Histograms and minutes of the ledger, as windows need them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ledger import levels
from gateway.ledger.minute import DeviceMinute, Minute, Track, merge
from gateway.ledger.store import Ledger
from gateway.model import Readings, Series
from tests.support.clock import ManualClock

START_MS = 1_790_000_040_000
M = 60_000
LEVEL, PM10 = "noise_la_db", "pm10_ug_m3"
DB = st.integers(200, 1400).map(lambda n: n / 10)


def minute_of(values: list[float | None]) -> Minute:
    minute = DeviceMinute("d", START_MS, Track())
    for n, value in enumerate(values):
        minute.put(Readings("d", START_MS + n, (LEVEL, PM10), (value, 1.0), "BN" if value is None else "NN"))
    return next(m for m in minute.minutes({}) if m.metric == LEVEL)


@given(st.lists(st.one_of(DB, DB, st.none()), min_size=1, max_size=60), st.integers(0, 60))
def test_a_minute_counts_every_good_level_and_parts_of_it_merge(values: list[float | None], cut: int) -> None:
    expected = Counter(round(value * 10) for value in values if value is not None)
    whole = minute_of(values)
    assert levels.unpack(whole.levels) == expected
    first, second = values[:cut], values[cut:]
    if first and second:
        assert merge(minute_of(first), minute_of(second), 0.0).levels == whole.levels


def test_a_histogram_is_small_and_other_kinds_have_none() -> None:
    calm = minute_of([62.0 + n % 20 / 10 for n in range(60)])
    assert len(calm.levels) <= 2 * 20 + 5
    minute = DeviceMinute("d", START_MS, Track())
    minute.put(Readings("d", START_MS, (PM10,), (5.0,), "N"))
    assert [m.levels for m in minute.minutes({})] == [b""]


async def open_ledger(path: Path) -> Ledger:
    series = [Series("d", LEVEL, 10.0), Series("d", PM10, 10.0)]
    return await Ledger.open(path, series, 400 * 86400.0, 100 * 86400.0, ManualClock(START_MS + 10 * M))


def level(time_ms: int, value: float) -> Readings:
    return Readings("d", time_ms, (LEVEL, PM10), (value, 1.0), "NN")


async def test_late_levels_join_the_stored_histogram(tmp_path: Path) -> None:
    ledger = await open_ledger(tmp_path / "l.db")
    ledger.put(level(START_MS, 60.0))
    ledger.put(level(START_MS + 10_000, 60.1))
    await ledger.close_minutes(START_MS + 2 * M)
    ledger.put(level(START_MS + 20_000, 60.1))
    told = {m.metric: m for m in await ledger.close_minutes(START_MS + 2 * M)}
    await ledger.close()
    ledger = await open_ledger(tmp_path / "l.db")
    (stored,) = await ledger.minutes("d", LEVEL, START_MS, START_MS + M)
    assert stored == told[LEVEL]
    assert levels.unpack(stored.levels) == {600: 1, 601: 2}
    assert levels.exceeded(levels.unpack(stored.levels), 50) == 60.1
    await ledger.close()


async def test_minutes_of_one_series_with_the_open_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.ledger.file._SLICE_MINUTES", 2)
    ledger = await open_ledger(tmp_path / "l.db")
    for n in (0, 1, 2, 5, 6):
        ledger.put(level(START_MS + n * M, 50.0 + n))
    await ledger.close_minutes(START_MS + 7 * M + 2000)
    ledger.put(level(START_MS + 6 * M + 5000, 56.0))  # late: part stored, part open
    ledger.put(level(START_MS + 7 * M, 57.0))

    async def found(from_ms: int, to_ms: int) -> list[tuple[int, int]]:
        minutes = await ledger.minutes("d", LEVEL, from_ms, to_ms)
        assert all((m.device, m.metric) == ("d", LEVEL) for m in minutes)
        return [((m.start_ms - START_MS) // M, m.count) for m in minutes]

    everything = [(0, 1), (1, 1), (2, 1), (5, 1), (6, 2), (7, 1)]
    assert await found(START_MS, START_MS + 8 * M) == everything
    assert await found(0, 2 * START_MS) == everything
    assert await found(START_MS + 1, START_MS + 6 * M) == [(1, 1), (2, 1), (5, 1)]  # those that began in that time
    assert await found(START_MS + 8 * M, START_MS + 9 * M) == []
    assert await ledger.minutes("nobody", LEVEL, 0, 2 * START_MS) == []
    await ledger.close()
