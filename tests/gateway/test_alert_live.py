"""Rules on single readings: judged before the call returns, never by what is late, and ended without a person."""

from __future__ import annotations

import asyncio
import math
import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.alerts import engine
from gateway.alerts.alarm import MOST_ACTIONS
from gateway.alerts.live import Key, Live
from gateway.alerts.rule import Reference, Rule, RuleSet, Where
from gateway.alerts.schedule import Period, When
from gateway.alerts.state import Event, State
from gateway.config.profile import PointRule
from gateway.errors import ConfigError
from gateway.model import Alarm, Mark, Readings
from gateway.pipeline.fanout import Pipeline
from gateway.vocabulary import METRICS
from tests.gateway.test_alert_rules import rules_of
from tests.support.alarm_box import CALENDAR, EVERY_S, NOON_MS, PM10, Box, M, at_once, rule

SPRAY: Mapping[str, Any] = {"for_ms": 30_000, "clear_for_ms": 120_000, "severity": "warning"}


def listen(box: Box) -> list[tuple[str, str, bool]]:
    """What a listener is told: kind of event, state of the alarm, does it hold."""
    heard: list[tuple[str, str, bool]] = []
    box.alerts.listen(lambda event, alarm: heard.append((event.kind, alarm.state, alarm.active)))
    return heard


# --- at once ------------------------------------------------------------------------------------------------------


async def test_a_reading_over_the_limit_is_told_before_the_call_returns(tmp_path: Path) -> None:
    box = Box(tmp_path, [at_once()])
    async with box.running() as alerts:
        heard = listen(box)
        box.see(140.0)
        assert heard == []
        await box.clock.advance(1)
        box.see(151.0)
        assert heard == [("raised", "open", True)]
        (alarm,) = alerts.alarms()
        d = alarm.details
        assert (d["window"], d["value"], d["limit"], d["window_end_ms"]) == ("reading", 151.0, 150.0, NOON_MS + 1000)
        assert d["text"] == {"en": "Gate: 151 over 150", "zh": "大门：151"}
        await box.readings(99.0)
        assert heard[1:] == [("cleared", "open", False)]


async def test_it_is_stored_at_once_too(tmp_path: Path) -> None:
    box = Box(tmp_path, [at_once()])
    async with box.running() as alerts:
        task = asyncio.create_task(alerts.run())
        await box.clock.advance(0)
        box.see(200.0)
        async with asyncio.timeout(10):  # no tick comes: the clock stands still
            while not await alerts._store.find(0, NOON_MS + M):
                await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_one_high_reading_among_good_ones_is_a_spike(tmp_path: Path) -> None:
    """Fault 105: flagged where it is outside physics; an alert needs confirmation."""
    box = Box(tmp_path, [at_once(confirm=3)])
    async with box.running() as alerts:
        await box.readings(90, 900, 90, 900, 900, 90)
        assert alerts.alarms() == []
        await box.readings(900, 900, 900)
        assert len(alerts.alarms()) == 1


async def test_a_value_that_swings_around_the_limit_is_one_alarm(tmp_path: Path) -> None:
    """Fault 115."""
    box = Box(tmp_path, [at_once(**SPRAY)])
    async with box.running():
        heard = listen(box)
        await box.readings(*[160, 160, 160, 160, *([140, 160, 90, 160] * 50)])
        assert heard == [("raised", "open", True)]
        await box.readings(*[90] * 12)
        assert len(heard) == 1
        await box.readings(90)
        assert [kind for kind, _, _ in heard] == ["raised", "cleared"]


async def test_above_the_range_is_a_warning_with_that_reason(tmp_path: Path) -> None:
    box = Box(tmp_path, [at_once(severity="alarm", warn=120.0)])
    async with box.running() as alerts:
        await box.readings(math.inf)
        (alarm,) = alerts.alarms()
        d = alarm.details
        assert (alarm.severity, d["reason"], d["value"]) == ("warning", "above_range", None)
        assert "above what can be measured" in d["text"]["en"]  # type: ignore[index]
        await box.readings(None, 90)
        assert not alerts.alarms()[0].active


@pytest.mark.parametrize("mark", ["D", "B", "T", "C", "M", "F"])
async def test_what_is_no_value_raises_and_ends_nothing(tmp_path: Path, mark: str) -> None:
    """Fault 110: a device in calibration (C) or maintenance (M) is excluded; T below the range is no dust cloud."""
    box = Box(tmp_path, [at_once()])
    async with box.running() as alerts:
        await box.clock.advance(10)
        alerts.see(Readings("dust", box.clock.wall_ms(), (PM10,), (None,), mark))
        assert alerts.alarms() == []
        await box.readings(160)
        await box.clock.advance(10)
        alerts.see(Readings("dust", box.clock.wall_ms(), (PM10,), (None,), mark))
        assert alerts.alarms()[0].active


async def test_maintenance_of_the_site_file_holds_back_and_says_so_once(tmp_path: Path) -> None:
    """Fault 110."""
    work = Period(NOON_MS, NOON_MS + 10 * M, "dust", "new filter")
    box = Box(tmp_path, [at_once(maintenance=(work,))])
    async with box.running() as alerts:
        await box.readings(*[400] * 30)
        assert alerts.alarms() == []
        await box.readings(*[400] * 31)
        assert len(alerts.alarms()) == 1


async def test_outside_its_hours_a_rule_says_nothing(tmp_path: Path) -> None:
    box = Box(tmp_path, [at_once(when=When(CALENDAR, "night"), no_data_after_ms=5 * M)])
    async with box.running() as alerts:
        await box.readings(*[400] * 5)
        await box.clock.advance(9 * 3600)  # silent until 21:00, as far as this rule knows
        await alerts.tick()
        await box.clock.advance(3600 - 60)
        await alerts.tick()
        await box.clock.advance(61)
        await alerts.tick()
        assert alerts.alarms() == [], "nobody missed its data by day"
        await box.readings(400)
        assert len(alerts.alarms()) == 1


def nan_pipeline(box: Box) -> Pipeline:
    points = {PM10: PointRule(METRICS[PM10], 10.0, 1, 1, 0, 0, 10_000, frozenset(), None, None)}
    return Pipeline({"dust": points}, [box.alerts.see])


@pytest.mark.parametrize("raw", [math.nan, -math.inf, -1.0, 5e-324])
async def test_no_number_that_is_none_is_ever_compared(tmp_path: Path, raw: float) -> None:
    """Fault 99: NaN, infinity, denormal."""
    box = Box(tmp_path, [at_once(), at_once("low", direction="below", limit=0.0, clear=1.0)])
    async with box.running() as alerts:
        nan_pipeline(box).prepare("dust", (PM10,))([raw], NOON_MS)
        assert alerts.alarms() == []


async def test_an_infinite_number_is_more_than_can_be_measured(tmp_path: Path) -> None:
    box = Box(tmp_path, [at_once()])
    async with box.running() as alerts:
        nan_pipeline(box).prepare("dust", (PM10,))([math.inf], NOON_MS)
        assert alerts.alarms()[0].details["reason"] == "above_range"


# --- only what is fresh -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("age_s", [31, 3600, -31, -86_400])
async def test_late_replayed_or_wrongly_stamped_readings_move_nothing(tmp_path: Path, age_s: int) -> None:
    """Fault 117: neither raise nor clear; fault 58: nor does a retained message, which carries its old stamp."""
    box = Box(tmp_path, [at_once(no_data_after_ms=5 * M)])
    async with box.running() as alerts:
        await box.clock.advance(60)
        box.see(900, box.clock.wall_ms() - age_s * 1000)
        assert alerts.alarms() == []
        box.see(160)
        await box.clock.advance(10)
        box.see(10, box.clock.wall_ms() - age_s * 1000)
        assert alerts.alarms()[0].active
        for _ in range(40):
            await box.clock.advance(10)
            box.see(160, box.clock.wall_ms() - age_s * 1000)
            await alerts.tick()
        assert "no_data" in {a.cause for a in alerts.alarms()}, "a backlog is no sign of life"


async def test_a_slow_device_may_be_three_of_its_intervals_late(tmp_path: Path) -> None:
    box = Box(tmp_path, [at_once()], {"spray": ["city"]})
    async with box.running() as alerts:
        box.see(900, NOON_MS - 181_000, device="city")
        assert alerts.alarms() == []
        box.see(900, NOON_MS - 180_000, device="city")
        assert len(alerts.alarms()) == 1


async def test_the_same_reading_twice_counts_once(tmp_path: Path) -> None:
    box = Box(tmp_path, [at_once(confirm=2)])
    async with box.running() as alerts:
        for _ in range(5):
            box.see(900, NOON_MS)
        assert alerts.alarms() == []


async def test_silence_of_readings_is_missed_and_calm_ones_are_heard(tmp_path: Path) -> None:
    box = Box(tmp_path, [at_once(no_data_after_ms=5 * M)])
    async with box.running() as alerts:
        for _ in range(60):
            await box.readings(50)
            await alerts.tick()
        assert alerts.alarms() == []
        await box.clock.advance(310)
        await alerts.tick()
        (alarm,) = alerts.alarms()
        assert alarm.cause == "no_data"
        await box.readings(50)
        assert not alerts.alarms()[0].active


# --- restarts and changes of the rules ----------------------------------------------------------------------------


async def test_killed_in_an_alarm_it_is_neither_raised_again_nor_left_open(tmp_path: Path) -> None:
    """Fault 118: the process ends after the event was stored, without a word."""
    box = Box(tmp_path, [at_once()])
    async with box.running() as alerts:
        await box.readings(160)
        await alerts.save()
        (alarm,) = alerts.alarms()
        box.alerts.close = alerts._store.close  # type: ignore[method-assign]  # nothing more is stored
    async with box.running() as alerts:
        heard = listen(box)
        await box.readings(170, 170)
        assert heard == []
        await box.readings(90)
        assert heard == [("cleared", "open", False)]
        assert await box.kinds(alarm.id) == ["raised", "cleared"]


async def test_other_rules_keep_what_holds_and_end_what_is_gone(tmp_path: Path) -> None:
    box = Box(tmp_path, [at_once(), at_once("other", limit=100.0)])
    async with box.running() as alerts:
        await box.readings(160)
        assert len(alerts.alarms()) == 2
        box.rules = [at_once(limit=155.0), at_once("new", limit=170.0)]
        await alerts.reload(box.rule_set(), CALENDAR)
        states = {alarm.rule: alarm.active for alarm in alerts.alarms()}
        assert states == {"spray": True, "other": False}
        await box.readings(171)
        assert sorted(a.rule for a in alerts.alarms() if a.active) == ["new", "spray"]
        assert {line.value for line in alerts.limits()} == {155.0, 170.0}
        kept = next(a for a in alerts.alarms() if a.rule == "spray")
        assert await box.kinds(kept.id) == ["raised"]


async def test_what_happens_while_other_rules_are_read_in_is_not_forgotten(tmp_path: Path) -> None:
    box = Box(tmp_path, [at_once(), rule()])
    async with box.running() as alerts:
        ledger = box.minutes

        async def slow(*asked: Any) -> Any:
            if not alerts.alarms():
                box.see(160)
            return await ledger(*asked)

        box.minutes = slow  # type: ignore[method-assign,assignment]
        await alerts.reload(box.rule_set(), CALENDAR)
        await box.readings(170, 90)
        (alarm,) = alerts.alarms()
        assert await box.kinds(alarm.id) == ["raised", "cleared"]


async def test_a_bad_set_is_refused_before_anything_changes(tmp_path: Path) -> None:
    box = Box(tmp_path, [at_once()])
    async with box.running() as alerts:
        await box.readings(160)
        with pytest.raises(ConfigError, match="unknown policy or rule 'dust_sprey'; did you mean 'dust_spray'"):
            await alerts.reload(rules_of(tmp_path, "{use: [dust_sprey]}"), CALENDAR)
        await box.readings(90)
        (alarm,) = alerts.alarms()
        assert await box.kinds(alarm.id) == ["raised", "cleared"]


# --- life without a person ----------------------------------------------------------------------------------------


async def test_from_the_first_exceedance_to_the_closed_alarm_without_a_person(tmp_path: Path) -> None:
    box = Box(tmp_path, [at_once(close_after_ms=10 * M)])
    async with box.running() as alerts:

        def spray(event: Event, alarm: Alarm) -> None:
            if event.kind == "raised":
                alerts.acted(alarm.id, "sitegate", "Fog cannon: on", {"output": "cannon-1", "command": "on"})

        alerts.listen(spray)
        heard = listen(box)
        await box.readings(160, 312, 90)
        await box.clock.advance(9 * 60)
        await alerts.tick()
        assert alerts.alarms()[0].details["actions"] == [
            {
                "at_ms": NOON_MS + 10_000,
                "output": "cannon-1",
                "command": "on",
                "by": "sitegate",
                "note": "Fog cannon: on",
            }
        ]
        alarm = alerts.alarms()[0]
        await box.clock.advance(60)
        await alerts.tick()
        assert alerts.alarms() == []
        assert heard == [("raised", "open", True), ("acted", "acted", True), ("cleared", "acted", False),
                         ("closed", "closed", False)]  # fmt: skip
        assert await box.kinds(alarm.id) == ["raised", "acted", "cleared", "closed"]
        _, events = await alerts.history(alarm.id) or (alarm, [])
        closed = events[-1].details
        assert closed["by"] == "sitegate"
        assert closed["note"] == "Cleared by itself after 0.3 min; peak 312 µg/m³; done: Fog cannon: on"
        assert closed["text"]["zh"] == "已自行恢复,持续 0.3 min;峰值 312 µg/m³;处置:Fog cannon: on"  # type: ignore[index]


async def test_without_the_key_only_a_person_closes(tmp_path: Path) -> None:
    box = Box(tmp_path, [at_once()])
    async with box.running() as alerts:
        await box.readings(160, 90)
        await box.clock.advance(7 * 86_400)
        await alerts.tick()
        assert [a.state for a in alerts.alarms()] == ["open"]


async def test_what_the_gateway_did_does_not_answer_for_people(tmp_path: Path) -> None:
    box = Box(tmp_path, [at_once(escalate_after_ms=10 * M)])
    async with box.running() as alerts:
        await box.readings(160)
        (alarm,) = alerts.alarms()
        alerts.acted(alarm.id, "sitegate", "on", {})
        assert alerts.alarms()[0].state == "acted"
        for _ in range(61):
            await box.readings(160)
            await alerts.tick()
        assert await box.kinds(alarm.id) == ["raised", "acted", "escalated"]
        answered = await alerts.answer(alarm.id, "acknowledge", "Li", "")
        assert answered is not None
        assert (answered.state, answered.details["answered_by"]) == ("acted", "Li")
        with pytest.raises(Exception, match="acted already"):
            await alerts.answer(alarm.id, "acknowledge", "Wang", "")


async def test_actions_are_bounded_and_an_unknown_alarm_is_no_matter(tmp_path: Path) -> None:
    box = Box(tmp_path, [at_once()])
    async with box.running() as alerts:
        alerts.acted("nobody@knows@1", "sitegate", "on", {})
        await box.readings(160)
        (alarm,) = alerts.alarms()
        for n in range(MOST_ACTIONS + 5):
            alerts.acted(alarm.id, "sitegate", f"refresh {n}", {})
        actions = alerts.alarms()[0].details["actions"]
        assert [a["note"] for a in actions][-1] == f"refresh {MOST_ACTIONS + 4}"  # type: ignore[attr-defined]
        assert len(actions) == MOST_ACTIONS  # type: ignore[arg-type]


async def test_a_full_disk_stops_no_listener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box = Box(tmp_path, [at_once()])
    async with box.running() as alerts:
        heard = listen(box)
        with monkeypatch.context() as broken:

            async def full(*_: object) -> None:
                raise sqlite3.OperationalError("database or disk is full")

            broken.setattr(alerts._store, "keep", full)
            await box.readings(160)
            await alerts.save()
            await box.readings(90)
            await alerts.save()
        assert [kind for kind, _, _ in heard] == ["raised", "cleared"]
        (alarm,) = alerts.alarms()
        assert await box.kinds(alarm.id) == ["raised", "cleared"]


# --- conditions ---------------------------------------------------------------------------------------------------


async def test_values_above_the_range_are_a_condition_of_the_device(tmp_path: Path) -> None:
    over = rule("over_range", None, condition="over_range", for_ms=M, say={}, title={})
    box = Box(tmp_path, [over])
    box.health["dust"].last_answer_ms = NOON_MS
    async with box.running() as alerts:
        box.see(math.inf, NOON_MS - 10 * M)
        await alerts.tick()
        for _ in range(8):
            await box.readings(math.inf)
            await alerts.tick()
        (alarm,) = alerts.alarms()
        assert (alarm.details["note"], alarm.raised_ms) == (PM10, NOON_MS + 10_000 + M), "late ones did not count"
        await box.readings(120)
        await alerts.tick()
        assert not alerts.alarms()[0].active


async def test_a_sensor_that_says_its_minute_mean_several_times_is_not_stuck(tmp_path: Path) -> None:
    """Fault 106: frozen for hours is a flag; a new value each minute is none."""
    box = Box(tmp_path, [rule("stuck", None, condition="stuck", for_ms=10 * M, say={}, title={})])
    async with box.running() as alerts:
        await box.live(*[float(50 + n) for n in range(30)])
        assert alerts.alarms() == []
        await box.live(*[80.0] * 13)
        assert len(alerts.alarms()) == 1


async def test_a_cannon_that_rests_all_night_is_no_stuck_sensor(tmp_path: Path) -> None:
    """Fault 106 is about values that a working sensor always moves; ``sprayed`` is none."""
    box = Box(tmp_path, [rule("stuck", None, condition="stuck", for_ms=10 * M, say={}, title={})])
    async with box.running() as alerts:
        for n in range(30):
            box.alerts.feed([box.minute(float(50 + n), box.clock.wall_ms() // M * M)])
            await box.live(0.0, metric="sprayed")
        assert alerts.alarms() == []


async def test_an_output_that_does_not_obey_is_a_condition_that_control_tells_of(tmp_path: Path) -> None:
    box = Box(tmp_path, [rule("output_fault", None, condition="output", say={}, title={})])
    async with box.running() as alerts:
        alerts.tell("dust", "output", "cannon-1", None)
        await alerts.tick()
        assert alerts.alarms() == []
        alerts.tell("dust", "output", "cannon-1", "cannon-1 stays off")
        alerts.tell("dust", "output", "lamp", "lamp stays on")
        await alerts.tick()
        assert alerts.alarms()[0].details["note"] == "cannon-1 stays off; lamp stays on"
        alerts.tell("dust", "output", "cannon-1", None)
        await alerts.tick()
        assert alerts.alarms()[0].active
        alerts.tell("dust", "output", "lamp", None)
        await box.clock.advance(1)
        await alerts.tick()
        assert not alerts.alarms()[0].active
    async with box.running() as alerts:
        await alerts.tick()


# --- what a value is compared with --------------------------------------------------------------------------------


def two_cranes(judge: Any) -> Live:
    """Two cranes, each with what it may lift just now."""
    reference = Reference("rated_load_t", Where(), "percent")
    moment = at_once("crane_load", metric="load_t", limit=100.0, clear=85.0, reference=reference)
    series = {("load_t", name): (moment,) for name in ("a", "b")}
    rated = {moment.name: (("rated_load_t", "a"), ("rated_load_t", "b"))}
    rules = RuleSet((moment,), series, {}, {}, rated)
    every_s = {name: {"load_t": 1.0, "rated_load_t": 1.0} for name in ("a", "b")}
    states = {(moment.name, name): engine.start(moment, name, [name], NOON_MS) for name in ("a", "b")}
    return Live(rules, every_s, states, judge, lambda: NOON_MS)


def test_a_crane_is_compared_with_what_it_may_lift_itself() -> None:
    seen: list[tuple[str, float | None]] = []
    live = two_cranes(lambda rule, key, one: seen.append((one.device, one.window.value)))
    metrics = ("load_t", "rated_load_t")
    live.see(Readings("a", NOON_MS, metrics, (5.0, 10.0), "NN"))
    live.see(Readings("b", NOON_MS, metrics, (5.0, 4.0), "NN"))
    assert seen == [("a", 50.0), ("b", 125.0)]


def test_an_old_permission_is_none() -> None:
    seen: list[float | None] = []
    live = two_cranes(lambda rule, key, one: seen.append(one.window.value))
    live.see(Readings("a", NOON_MS - 40_000, ("rated_load_t",), (10.0,), "N"))
    live.see(Readings("a", NOON_MS, ("load_t",), (12.0,), "N"))
    assert seen == [None]


# --- the short way and the long way are one -------------------------------------------------------------------------

VALUES = st.one_of(st.none(), st.sampled_from([90.0, 99.9, 100.0, 119.9, 120.0, 149.9, 150.0, 150.1, 400.0, math.inf]))
GAPS = st.sampled_from([1, 5, 10, 29, 31, 61, 400])


@given(
    steps=st.lists(st.tuples(GAPS, VALUES), max_size=60),
    warn=st.sampled_from([None, 120.0]),
    for_s=st.sampled_from([0, 15, 30]),
    clear_for_s=st.sampled_from([0, 20]),
    confirm=st.sampled_from([1, 3]),
    inclusive=st.booleans(),
    no_data_s=st.sampled_from([None, 60]),
)
def test_what_is_skipped_would_have_changed_nothing(
    steps: list[tuple[int, float | None]], warn: float | None, for_s: int, clear_for_s: int, confirm: int,
    inclusive: bool, no_data_s: int | None,
) -> None:  # fmt: skip
    """Calm readings of a device at rest never reach the engine; what is told is the same as if all did."""
    of = at_once(
        warn=warn, for_ms=for_s * 1000, clear_for_ms=clear_for_s * 1000, confirm=confirm, inclusive=inclusive,
        no_data_after_ms=None if no_data_s is None else no_data_s * 1000,
    )  # fmt: skip
    assert events_of(of, steps, skipping=True) == events_of(of, steps, skipping=False)


def events_of(of: Rule, steps: list[tuple[int, float | None]], *, skipping: bool) -> list[tuple[str, int, str]]:
    events: list[Event] = []
    key: Key = (of.name, "dust")
    states: dict[Key, State] = {key: engine.start(of, "dust", ["dust"], NOON_MS)}
    now_ms = NOON_MS

    def judge(rule: Rule, key: Key, seen: Any) -> None:
        states[key], more = engine.step(rule, states[key], seen, now_ms)
        events.extend(more)

    # a state without the device makes the short way impossible: every reading becomes an observation
    looked_at = states if skipping else {key: replace(states[key], members={})}
    live = Live(RuleSet((of,), {(PM10, "dust"): (of,)}, {}, {}, {}), EVERY_S, looked_at, judge, lambda: now_ms)
    for gap_s, value in steps:
        now_ms += gap_s * 1000
        above = value == math.inf
        mark = Mark.OUT_OF_RANGE if above else Mark.GOOD if value is not None else Mark.NO_ANSWER
        live.see(Readings("dust", now_ms, (PM10,), (None if above else value,), mark, (0,) if above else ()))
        states[key] = live.caught_up(key, states[key])
        judge(of, key, None)
    return [(event.kind, event.at_ms, event.severity) for event in events]


# --- the shipped ones -------------------------------------------------------------------------------------------


def test_limits_that_act_at_once_are_rules_on_readings(tmp_path: Path) -> None:
    rules = rules_of(tmp_path, "{use: [noise, crane_wind, electrical, dust_spray, dust_hunan_default]}").rules
    assert {r.name for r in rules if r.at_once} == {
        "noise_night_max_live", "gust_lifting", "crane_moment", "crane_load", "residual_current", "pm10_spray"
    }  # fmt: skip
    assert all(r.kind == "warning" for r in rules if r.at_once), "only a closed window can be called an exceedance"
    spray = next(r for r in rules if r.name == "pm10_spray")
    assert (spray.limit, spray.clear, spray.for_ms, spray.clear_for_ms) == (150, 100, 30_000, 120_000)


def test_a_site_may_turn_a_window_into_readings(tmp_path: Path) -> None:
    (changed,) = rules_of(tmp_path, "{use: [pm10_live], set: {pm10_live: {window: reading, confirm: 2}}}").rules
    assert (changed.at_once, changed.confirm) == (True, 2)
