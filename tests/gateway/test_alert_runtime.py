"""Alarms while the gateway runs: minutes in, events on disk, one alarm for one event, whatever happens in between."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from gateway.alerts.rule import Reference, Where
from gateway.alerts.schedule import When
from gateway.alerts.store import AlarmStore
from gateway.errors import NotNow
from gateway.ledger.windows import WindowSpec
from tests.support.alarm_box import CALENDAR, NOISE, NOON_MS, PM10, WIND, Box, H, M, rule, verdict


async def test_one_event_is_one_alarm_from_raised_to_closed(tmp_path: Path) -> None:
    box = Box(tmp_path, [rule()])
    async with box.running() as alerts:
        await box.live(100, 100, 100, 100, 100)
        assert (alerts.alarms(), alerts.revision) == ([], 0)
        await box.live(*[700] * 8)
        (alarm,) = alerts.alarms()
        assert (alarm.subject, alarm.state, alarm.active, alarm.raised_ms % M) == ("dust", "open", True, 0)
        d = alarm.details
        assert (d["value"], d["limit"], d["edition"], d["valid_share"]) == (220.0, 200.0, "1", 1.0)
        assert (d["title"], d["label"]) == ({"en": "Dust", "zh": "扬尘"}, {"en": "Gate", "zh": "大门"})
        assert (d["text"], d["simulated"], d["unit"]) == (
            {"en": "Gate: 220 over 200", "zh": "大门：220"},
            True,
            "µg/m³",
        )
        with pytest.raises(NotNow, match="still holds"):
            await alerts.answer(alarm.id, "close", "Li", "done")
        answered = await alerts.answer(alarm.id, "act", "Li", "cannon on")
        assert answered is not None
        assert (answered.state, alerts.alarms()[0].state) == ("acted", "acted")
        await box.live(*[50] * 6)
        assert not alerts.alarms()[0].active
        closed = await alerts.answer(alarm.id, "close", "Li", "swept the road")
        assert closed is not None
        assert (closed.state, alerts.alarms()) == ("closed", [])
        assert await box.kinds(alarm.id) == ["raised", "acted", "cleared", "closed"]
        with pytest.raises(NotNow, match="closed already"):
            await alerts.answer(alarm.id, "act", "Li", "more")
        assert await alerts.answer("other@dust@1", "act", "Li", "more") is None
        assert [a.state for a in await alerts.find(0, box.clock.wall_ms())] == ["closed"]


async def test_a_restart_neither_raises_again_nor_loses_the_end(tmp_path: Path) -> None:
    box = Box(tmp_path, [rule()])
    async with box.running() as alerts:
        await box.live(*[700] * 6)
        (alarm,) = alerts.alarms()
    async with box.running() as alerts:
        assert [a.id for a in alerts.alarms()] == [alarm.id]
        await box.live(700, 700)
        assert await box.kinds(alarm.id) == ["raised"]
    await box.clock.advance(3600)  # it ends while we are away
    for n in range(20):
        box.minute(50, box.clock.wall_ms() // M * M - (20 - n) * M)
    async with box.running() as alerts:
        await box.live(50)
        assert await box.kinds(alarm.id) == ["raised", "cleared"]
        assert not alerts.alarms()[0].active


async def test_late_and_replayed_data_raise_nothing(tmp_path: Path) -> None:
    box = Box(tmp_path, [rule()])
    async with box.running() as alerts:
        await box.live(*[100] * 30)
        old_ms = box.clock.wall_ms() // M * M - 25 * M
        alerts.feed([box.minute(900, old_ms + n * M) for n in range(10)])
        await alerts.tick()
        assert alerts.alarms() == []


async def test_missing_data_is_an_alarm_of_its_own_and_ends_by_itself(tmp_path: Path) -> None:
    box = Box(tmp_path, [rule(no_data_after_ms=10 * M)])
    async with box.running() as alerts:
        await box.live(*[100] * 5)
        await box.live(*[None] * 16)
        (alarm,) = alerts.alarms()
        assert (alarm.cause, alarm.active) == ("no_data", True)
        await box.live(*[100] * 6)
        assert not alerts.alarms()[0].active
        assert await box.kinds(alarm.id) == ["no_data", "data_back"]
    async with box.running() as alerts:
        assert len(alerts.alarms()) == 1, "our own standstill is not the device's silence"


async def test_nobody_answers_so_it_is_escalated_once_and_acknowledging_stops_that(tmp_path: Path) -> None:
    box = Box(tmp_path, [rule("first", escalate_after_ms=10 * M), rule("second", escalate_after_ms=10 * M)])
    async with box.running() as alerts:
        await box.live(*[700] * 6)
        first, second = sorted(alerts.alarms(), key=lambda a: a.rule)
        await alerts.answer(second.id, "acknowledge", "Li", "")
        await box.live(*[700] * 20)
        assert await box.kinds(first.id) == ["raised", "escalated"]
        assert await box.kinds(second.id) == ["raised", "acknowledged"]


async def test_while_the_disk_takes_nothing_the_page_shows_the_alarm_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = Box(tmp_path, [rule()])
    async with box.running() as alerts:
        with monkeypatch.context() as broken:

            async def full(*_: object) -> None:
                raise sqlite3.OperationalError("database or disk is full")

            broken.setattr(alerts._store, "keep", full)
            await box.live(*[700] * 6)
            (alarm,) = alerts.alarms()
            await alerts.answer(alarm.id, "acknowledge", "Li", "")
        await box.live(700)
        assert await box.kinds(alarm.id) == ["raised", "acknowledged"]


async def test_an_alarm_of_a_rule_that_is_gone_is_ended_and_can_be_closed(tmp_path: Path) -> None:
    box = Box(tmp_path, [rule()])
    async with box.running() as alerts:
        await box.live(*[700] * 6)
        (alarm,) = alerts.alarms()
    box.rules = [rule("other")]
    async with box.running() as alerts:
        await alerts.tick()
        ended = next(a for a in alerts.alarms() if a.id == alarm.id)
        assert not ended.active
        closed = await alerts.answer(alarm.id, "close", "Li", "rule dropped")
        assert closed is not None
        assert closed.state == "closed"
    async with box.running() as alerts:
        assert alarm.id not in {a.id for a in alerts.alarms()}


async def test_a_state_that_cannot_be_read_starts_anew(tmp_path: Path) -> None:
    box = Box(tmp_path, [rule()])
    store = await AlarmStore.open(box.path)
    await store.keep([], {("dust", "dust"): '{"rule": 5'})
    await store.close()
    async with box.running() as alerts:
        await box.live(*[700] * 6)
        assert len(alerts.alarms()) == 1


async def test_the_city_station_is_subtracted_over_the_same_window(tmp_path: Path) -> None:
    hourly = rule("over_city", window=WindowSpec("60min", sliding=False), kind="verdict", limit=80.0, clear=None,
                  reference=Reference(PM10, Where(device="city"), cap=150.0))  # fmt: skip
    box = Box(tmp_path, [hourly])
    async with box.running() as alerts:
        for _ in range(61):
            start_ms = box.clock.wall_ms() // M * M
            box.alerts.feed([box.minute(200, start_ms, PM10, "city")])
            await box.live(240)
        (alarm,) = alerts.alarms()
        assert (alarm.details["value"], alarm.details["background"]) == (90.0, 150.0)


@pytest.mark.parametrize(("wind", "alarms", "result", "share"), [(4.9, 1, "exceeded", 1.0), (5.0, 0, "open", 0.0)])
async def test_windy_minutes_are_left_out_of_a_noise_verdict(
    tmp_path: Path, wind: float, alarms: int, result: str, share: float
) -> None:
    box = Box(tmp_path, [verdict(wind_below=5.0)], {"noise_day": ["noise"]})
    async with box.running() as alerts:
        for _ in range(61):
            alerts.feed([box.minute(wind, box.clock.wall_ms() // M * M, WIND)])
            await box.live(80, metric=NOISE, device="noise")
        assert [a.details["value"] for a in alerts.alarms()] == [pytest.approx(80.0)] * alarms
        today = alerts.verdicts()[-1]
        assert (today.result, today.exceedances, today.valid_share > 0.1) == (result, alarms, share > 0.1)


async def test_days_and_nights_are_never_passed_without_data(tmp_path: Path) -> None:
    box = Box(tmp_path, [verdict(window=WindowSpec("day", sliding=False))], {"noise_day": ["noise"]})
    for n in range(20 * 60):
        box.minute(66.0, NOON_MS - 30 * H + n * M, NOISE, "noise")  # 06:00 yesterday to 02:00 at night
    async with box.running() as alerts:
        await box.live(60, metric=NOISE, device="noise")
        yesterday, today = alerts.verdicts()
        assert (yesterday.period, yesterday.result, round(yesterday.value or 0, 6)) == ("day", "passed", 66.0)
        assert (today.result, today.valid_share < 0.01, today.end_ms - today.start_ms) == ("open", True, 16 * H)
    await box.clock.advance(11 * 3600)
    async with box.running() as alerts:
        await box.live(40, metric=NOISE, device="noise")
        assert [v.result for v in alerts.verdicts()] == ["passed", "not_enough_data"]


async def test_limits_are_those_of_the_hour(tmp_path: Path) -> None:
    night = verdict(limit=55.0, when=When(CALENDAR, "night"), name="noise_night")
    box = Box(tmp_path, [rule(warn=120.0), verdict(), night], {"noise_day": ["noise"], "noise_night": ["noise"]})
    async with box.running() as alerts:
        lines = {(line.value, line.warning, line.now) for line in alerts.limits()}
    assert lines == {(200.0, True, True), (120.0, True, True), (70.0, False, True), (55.0, False, False)}


async def test_a_silent_device_is_told_with_its_reason(tmp_path: Path) -> None:
    silent = rule("silent", None, condition="silent", for_ms=2 * M, say={}, title={})
    box = Box(tmp_path, [silent])
    async with box.running() as alerts:
        box.health["dust"].state, box.health["dust"].last_error = "silent", "unit 1 stayed silent"
        await alerts.tick()
        await box.clock.advance(60)
        await alerts.tick()
        assert alerts.alarms() == []
        await box.clock.advance(61)
        await alerts.tick()
        (alarm,) = alerts.alarms()
        assert (alarm.details["note"], alarm.details["title"]) == (
            "unit 1 stayed silent",
            {"en": "silent", "zh": "silent"},
        )
        box.health["dust"].state = "good"
        await alerts.tick()
        assert not alerts.alarms()[0].active


async def test_a_restart_does_not_end_what_is_not_known_yet(tmp_path: Path) -> None:
    rules = [rule(name, None, condition=name) for name in ("silent", "stuck", "clock")]
    box = Box(tmp_path, rules, {"silent": ["noise"]})
    async with box.running() as alerts:
        await box.live(80.0, 80.0)
        box.health["noise"].state = "silent"
        box.health["dust"].last_answer_ms = box.clock.wall_ms()
        box.stamps["dust"] = box.clock.wall_ms() - 300_000
        await box.clock.advance(11)
        await alerts.tick()
        assert len(alerts.alarms()) == 3
    for health in box.health.values():
        health.state, health.last_answer_ms = "waiting", None
    async with box.running() as alerts:
        await alerts.tick()
        assert [a.active for a in alerts.alarms()] == [True] * 3


async def test_a_stuck_sensor_and_a_wrong_clock(tmp_path: Path) -> None:
    stuck = rule("stuck", None, condition="stuck", for_ms=30 * M)
    clock = rule("clock", None, condition="clock")
    box = Box(tmp_path, [stuck, clock])
    async with box.running() as alerts:
        for n in range(40):
            await box.live(80.0)
            heard_ms = box.health["dust"].last_answer_ms = box.clock.wall_ms()
            box.stamps["dust"] = heard_ms - (300_000 if n > 35 else 0)
        stood, wrong = sorted(alerts.alarms(), key=lambda a: a.rule, reverse=True)
        assert (stood.details["note"], wrong.details["note"]) == (PM10, "its stamps are 300 s behind")


async def test_the_loop_judges_every_second_until_it_is_stopped(tmp_path: Path) -> None:
    box = Box(tmp_path, [rule()])
    async with box.running() as alerts:
        task = asyncio.create_task(alerts.run())
        async with asyncio.timeout(10):
            while not alerts.alarms():
                start_ms = box.clock.wall_ms() // M * M
                await box.clock.advance((start_ms + M + 2_000 - box.clock.wall_ms()) / 1000)
                alerts.feed([box.minute(700, start_ms)])
                await asyncio.sleep(0.001)  # the store's thread works in real time
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
