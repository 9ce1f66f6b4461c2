"""The newest values, as page and /metrics see them."""

from __future__ import annotations

from gateway.model import Readings
from gateway.pipeline.latest import Latest
from tests.support.clock import ManualClock

POWER, ENERGY = "active_power_w", "energy_import_kwh"


def reading(time_ms: int, *values: float) -> Readings:
    metrics = (POWER, ENERGY)[: len(values)]
    return Readings("m", time_ms, metrics, values, "N" * len(values))


def shown(latest: Latest) -> dict[str, float | None]:
    return {v.metric: v.value for v in latest.values()}


def test_late_data_does_not_replace_what_is_newer() -> None:
    clock = ManualClock()
    latest = Latest(clock.wall_ms)
    latest.put(reading(clock.wall_ms(), 5.0))
    latest.put(reading(clock.wall_ms() - 1000, 4.0))
    assert shown(latest) == {POWER: 5.0}


def test_after_our_clock_was_set_back_the_page_goes_on() -> None:
    """Else the last value before the jump would stand there as fresh for hours."""
    clock = ManualClock()
    latest = Latest(clock.wall_ms)
    latest.put(reading(clock.wall_ms(), 5.0, 100.0))
    latest.put(reading(clock.wall_ms(), 6.0))
    clock.jump_wall(-8 * 3600)
    latest.put(reading(clock.wall_ms(), 7.0))
    assert shown(latest)[POWER] == 7.0
    clock.jump_wall(1)
    latest.put(reading(clock.wall_ms(), 8.0, 101.0))
    assert shown(latest) == {POWER: 8.0, ENERGY: 101.0}
