"""Windows that are compared with other windows, and minutes in which a cannon sprayed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.alerts.rule import Reference, Rule, Where
from gateway.alerts.state import Event
from gateway.alerts.weather import SPRAYED, LeaveOut, Weather
from gateway.ledger.minute import Minute
from gateway.ledger.windows import WindowSpec
from tests.support.alarm_box import EVERY_S, NOON_MS, PM10, Box, M, rule

HOUR = WindowSpec("60min", sliding=False)


def over_city(**changes: Any) -> Rule:
    same = {"window": HOUR, "kind": "verdict", "limit": 80.0, "clear": None}
    return rule("over_city", **{**same, "reference": Reference(PM10, Where(device="city"), cap=150.0), **changes})


async def minutes(box: Box, count: int, dust: float | None, city: float | None) -> None:
    for _ in range(count):
        start_ms = box.clock.wall_ms() // M * M
        if city is not None:
            box.alerts.feed([box.minute(city, start_ms, PM10, "city")])
        await box.live(dust)


async def events(box: Box) -> list[Event]:
    """Everything that was stored of windows since the start, in order."""
    await box.alerts.save()
    stored = [event for _, event in await box.alerts._store.events_after(0, 1000)]
    return [event for event in stored if event.details["window_start_ms"] >= NOON_MS]  # type: ignore[operator]


def told(all_events: list[Event]) -> list[tuple[str, object, object]]:
    return [(e.kind, e.details.get("outcome"), e.details.get("background")) for e in all_events]


# --- a station that is late ---------------------------------------------------------------------------------------


async def test_the_verdict_waits_for_the_station_and_not_for_ever(tmp_path: Path) -> None:
    box = Box(tmp_path, [over_city()])
    async with box.running() as alerts:
        await minutes(box, 40, 240, 100)
        await minutes(box, 19, 240, None)
        start_ms = box.clock.wall_ms() // M * M
        last = box.minute(240, start_ms)
        await box.clock.advance((start_ms + M + 2_000 - box.clock.wall_ms()) / 1000)
        alerts.feed([last])
        await alerts.tick()
        assert told(await events(box)) == [], "the station's last minutes come two seconds later"
        await box.clock.advance(2)
        alerts.feed([box.minute(100, start_ms - n * M, PM10, "city") for n in reversed(range(20))])
        await alerts.tick()
        assert told(await events(box)) == [("raised", "exceeded", 100.0), ("verdict", "exceeded", 100.0)]
        await minutes(box, 61, 240, None)
        assert told(await events(box))[2:] == [("verdict", "not_enough_data", None)]


@pytest.mark.parametrize("hours_late", [0, 2, 9])
async def test_a_late_station_judges_the_window_again(tmp_path: Path, hours_late: int) -> None:
    """Late data re-opens and judges again, with the correction noted; it raises no alarm."""
    box = Box(tmp_path, [over_city()])
    async with box.running() as alerts:
        await minutes(box, 61, 240, None)
        assert told(await events(box)) == [("verdict", "not_enough_data", None)]
        await minutes(box, hours_late * 60, 100, 100)
        before = len(await events(box))
        alerts.feed([box.minute(100, NOON_MS + n * M, PM10, "city") for n in range(60)])
        await alerts.tick()
        (corrected, *rest) = (await events(box))[before:]
        assert rest == []
        d = corrected.details
        assert (corrected.kind, corrected.alarm, d["before"], d["outcome"]) == (
            "corrected", "", "not_enough_data", "exceeded"
        )  # fmt: skip
        assert (d["value"], d["background"], d["window_start_ms"]) == (140.0, 100.0, NOON_MS)
        assert alerts.alarms() == []


@pytest.mark.parametrize("hours_late", [1, 9])
async def test_late_minutes_of_the_site_are_compared_with_the_station_of_then(tmp_path: Path, hours_late: int) -> None:
    box = Box(tmp_path, [over_city()])
    async with box.running() as alerts:
        await minutes(box, 61, None, 100)
        await minutes(box, hours_late * 60, 100, 50)
        before = len(await events(box))
        alerts.feed([box.minute(300, NOON_MS + n * M) for n in range(60)])
        await alerts.tick()
        corrected = (await events(box))[before:]
        assert told(corrected) == [("corrected", "exceeded", 100.0)]


async def test_a_correction_that_changes_nothing_is_not_told(tmp_path: Path) -> None:
    box = Box(tmp_path, [over_city()])
    async with box.running() as alerts:
        await minutes(box, 61, 240, 100)
        before = len(await events(box))
        alerts.feed([box.minute(101, NOON_MS + n * M, PM10, "city") for n in range(30)])
        await alerts.tick()
        assert len(await events(box)) == before


# --- spread over the site -----------------------------------------------------------------------------------------


async def test_the_spread_of_a_site_is_one_alarm(tmp_path: Path) -> None:
    five = WindowSpec("5min", sliding=True)
    spread = rule("spread", limit=10.0, clear=8.0, spread=True, group="site", window=five)
    box = Box(tmp_path, [spread], {"spread": ["dust", "city"]})
    async with box.running() as alerts:
        await minutes(box, 6, 60, 55)
        assert alerts.alarms() == []
        await minutes(box, 5, 80, 55)
        (alarm,) = alerts.alarms()
        assert (alarm.subject, alarm.details["value"]) == ("site", 13.0)
        await minutes(box, 10, 60, 55)
        assert not alerts.alarms()[0].active
        await minutes(box, 5, 60, None)
        await minutes(box, 10, 90, None)
        assert [a.active for a in alerts.alarms()] == [False], "one point alone has no spread"


# --- sprayed minutes ----------------------------------------------------------------------------------------------


@pytest.fixture
def cannon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cannon stands near the sensor."""
    monkeypatch.setitem(EVERY_S, "dust", {**EVERY_S["dust"], SPRAYED: 10.0})


@pytest.mark.usefixtures("cannon")
@pytest.mark.parametrize(
    ("treated", "value", "outcome", "text"),
    [
        ("keep", 220.0, "exceeded", "Gate: 220 over 200 (12 sprayed minutes among them)"),
        ("leave_out", 250.0, "exceeded", "Gate: 250 over 200 (12 sprayed minutes left out)"),
    ],
)
async def test_a_verdict_says_how_sprayed_minutes_were_treated(
    tmp_path: Path, treated: str, value: float, outcome: str, text: str
) -> None:
    box = Box(tmp_path, [rule("hour", kind="verdict", window=HOUR, clear=None, sprayed=treated)])
    async with box.running() as alerts:
        for n in range(60):
            sprayed = n >= 48
            start_ms = box.clock.wall_ms() // M * M
            alerts.feed([box.minute(float(sprayed), start_ms, SPRAYED)])
            await box.live(100.0 if sprayed else 250.0)
        await box.live(100.0)
        (alarm,) = alerts.alarms()
        d = alarm.details
        assert (d["sprayed"], d["sprayed_minutes"], d["value"], d["outcome"]) == (treated, 12, value, outcome)
        assert d["text"]["en"] == text  # type: ignore[index]
    async with box.running() as alerts:  # after a restart they are known from the ledger
        await box.live(*[100.0] * 60)
        verdicts = [e for e in await events(box) if e.kind == "verdict"]
        assert [v.details["sprayed_minutes"] for v in verdicts] == [12, 0]


@pytest.mark.usefixtures("cannon")
async def test_too_many_sprayed_minutes_are_no_pass(tmp_path: Path) -> None:
    box = Box(tmp_path, [rule("hour", kind="verdict", window=HOUR, clear=None, sprayed="leave_out")])
    async with box.running() as alerts:
        for n in range(61):
            alerts.feed([box.minute(float(n >= 30), box.clock.wall_ms() // M * M, SPRAYED)])
            await box.live(100.0)
        assert told(await events(box)) == [("verdict", "not_enough_data", None)]


async def test_where_no_cannon_is_near_nothing_is_said_of_one(tmp_path: Path) -> None:
    box = Box(tmp_path, [rule()])
    async with box.running() as alerts:
        await box.live(*[700.0] * 5)
        assert "sprayed_minutes" not in alerts.alarms()[0].details


def sprayed(start_ms: int, value: float) -> Minute:
    return Minute("dust", SPRAYED, start_ms, 6, 0, 1.0, value, value)


def test_sprayed_minutes_are_counted_once_in_any_order_and_corrected() -> None:
    weather = Weather({"dust": [PM10, SPRAYED], "far": [PM10]})
    for at in (3, 1, 2, 2):
        weather.note(sprayed(at * M, 1.0))
    assert weather.sprayed_minutes("dust", 0, 10 * M) == 3
    assert weather.sprayed_minutes("dust", 2 * M, 3 * M) == 1
    weather.note(sprayed(2 * M, 0.0))
    assert weather.sprayed_minutes("dust", 0, 10 * M) == 2
    assert weather.sprayed_minutes("far", 0, 10 * M) is None
    leave_out = LeaveOut(sprayed=True)
    assert weather.spoilt(leave_out, "dust") == {M, 3 * M}
    assert weather.spoilt(leave_out, "far") == set()
    assert not LeaveOut()
