"""A gateway's alarms with a hand-made ledger, clock and pipeline."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from gateway.alerts.rule import READING, Rule, RuleSet, Where
from gateway.alerts.runtime import AlertRuntime
from gateway.alerts.schedule import When
from gateway.alerts.store import AlarmStore
from gateway.ledger.day import Calendar
from gateway.ledger.minute import Minute
from gateway.ledger.windows import Statistic, WindowSpec
from gateway.model import DeviceHealth, Readings
from tests.support.clock import ManualClock

M, H = 60_000, 3_600_000
NOON_MS = 1_790_049_600_000  # 2026-09-22 12:00 in Shanghai
CALENDAR = Calendar(ZoneInfo("Asia/Shanghai"))
PM10, NOISE, WIND = "pm10_ug_m3", "noise_la_db", "wind_speed_m_s"
EVERY_S = {"dust": {PM10: 10.0, WIND: 10.0, "humidity_pct": 10.0}, "city": {PM10: 60.0}, "noise": {NOISE: 1.0}}


def rule(name: str = "dust", metric: str | None = PM10, **changes: Any) -> Rule:
    values: dict[str, Any] = {
        "name": name, "kind": "warning", "metric": metric, "condition": None, "where": Where(),
        "statistic": Statistic.MEAN, "window": WindowSpec("5min", sliding=True), "limit": 200.0, "clear": 150.0,
        "edition": "1", "title": {"en": "Dust", "zh": "扬尘"},
        "say": {"en": "{subject}: {value:.0f} over {limit:.0f}", "zh": "{subject}：{value:.0f}"},
    }  # fmt: skip
    return Rule(**{**values, **changes})


def at_once(name: str = "spray", **changes: Any) -> Rule:
    """A rule on single readings."""
    same = {"window": READING, "statistic": Statistic.LAST, "limit": 150.0, "clear": 100.0}
    return rule(**{"name": name, **same, **changes})


def verdict(metric: str = NOISE, **changes: Any) -> Rule:
    same = {"kind": "verdict", "window": WindowSpec("60min", sliding=False), "limit": 70.0, "clear": None}
    return rule(**{"name": "noise_day", "metric": metric, "when": When(CALENDAR, "day"), **same, **changes})


class Box:
    """A gateway's alarms with a hand-made ledger and clock."""

    def __init__(self, folder: Path, rules: list[Rule], devices: dict[str, list[str]] | None = None) -> None:
        self.path = folder / "alarms.sqlite"
        self.clock = ManualClock(NOON_MS)
        self.stored: dict[tuple[str, str], dict[int, Minute]] = {}
        self.health = {name: DeviceHealth(name, "good") for name in EVERY_S}
        self.stamps: dict[str, int] = {}
        self.rules = rules
        self.devices = devices or {}
        self.alerts: AlertRuntime

    def rule_set(self) -> RuleSet:
        by_series: dict[tuple[str, str], tuple[Rule, ...]] = {}
        by_device: dict[str, tuple[Rule, ...]] = {}
        for each in self.rules:
            for device in self.devices.get(each.name, ["dust"]):
                if each.metric is None:
                    by_device[device] = (*by_device.get(device, ()), each)
                else:
                    by_series[each.metric, device] = (*by_series.get((each.metric, device), ()), each)
        references = {each.name: ((PM10, "city"),) for each in self.rules if each.reference}
        return RuleSet(tuple(self.rules), by_series, by_device, {}, references)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[AlertRuntime]:
        store = await AlarmStore.open(self.path)
        self.alerts = AlertRuntime(
            self.rule_set(), store, self, self.clock, CALENDAR, self.health, EVERY_S, self.stamps.get,
            {"dust": {"en": "Gate", "zh": "大门"}}, simulated=True, keep_s=400 * 86_400.0,
        )  # fmt: skip
        await self.alerts.load()
        try:
            yield self.alerts
        finally:
            await self.alerts.close()

    async def minutes(self, device: str, metric: str, from_ms: int, to_ms: int) -> list[Minute]:
        known = self.stored.get((device, metric), {})
        return [known[ms] for ms in sorted(known) if from_ms <= ms < to_ms]

    def minute(self, value: float | None, start_ms: int, metric: str = PM10, device: str = "dust") -> Minute:
        good = 0 if value is None else 60
        made = Minute(device, metric, start_ms, good, 60 - good, good / 60, value, value, value, value, start_ms)
        self.stored.setdefault((device, metric), {})[start_ms] = made
        return made

    def see(self, value: float | None, time_ms: int | None = None, metric: str = PM10, device: str = "dust") -> None:
        """One reading, as the pipeline hands it on; without a time it is of now. Infinite: above the range."""
        time_ms = self.clock.wall_ms() if time_ms is None else time_ms
        above = value == float("inf")
        mark = "T" if above else "N" if value is not None else "B"
        values, at = (None if above else value,), (0,) if above else ()
        self.alerts.see(Readings(device, time_ms, (metric,), values, mark, at))

    async def readings(self, *values: float | None, every_s: float = 10.0, metric: str = PM10) -> None:
        """One reading per value, each judged when it comes."""
        for value in values:
            await self.clock.advance(every_s)
            self.see(value, metric=metric)

    async def live(self, *values: float | None, metric: str = PM10, device: str = "dust") -> None:
        """One minute per value, each closed two seconds after its end and judged."""
        for value in values:
            start_ms = self.clock.wall_ms() // M * M
            await self.clock.advance((start_ms + M + 2_000 - self.clock.wall_ms()) / 1000)
            self.alerts.feed([self.minute(value, start_ms, metric, device)])
            await self.alerts.tick()
            await self.clock.advance(9)
            await self.alerts.tick()  # windows are closed ten seconds after their end

    async def kinds(self, alarm: str) -> list[str]:
        found = await self.alerts.history(alarm)
        assert found is not None
        return [event.kind for event in found[1]]
