"""The engine, window by window: raised once, cleared once, never by old data, never passed without data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.alerts.engine import acknowledge, observe, start, step
from gateway.alerts.rule import Reference, Rule, Where
from gateway.alerts.schedule import Period, When
from gateway.alerts.state import DeviceState, Event, Observation, State
from gateway.ledger.windows import Statistic, WindowResult, WindowSpec

MINUTE, HOUR = 60_000, 3_600_000
T0 = 1_790_812_800_000  # 2026-10-01 08:00 in Shanghai
ONE = WindowSpec("1min", sliding=False)
SIXTY = WindowSpec("60min", sliding=False)


def rule(**keys: Any) -> Rule:
    usual: dict[str, Any] = {
        "name": "pm10", "kind": "warning", "metric": "pm10_ug_m3", "condition": None, "where": Where(),
        "statistic": Statistic.MEAN, "window": ONE, "limit": 200.0, "warn": 120.0, "clear": 100.0,
        "edition": "E1", "source": "somebody", "confidence": "reported",
    }  # fmt: skip
    return Rule(**{**usual, **keys})


def verdict(**keys: Any) -> Rule:
    return rule(**{"kind": "verdict", "window": SIXTY, "warn": None, "clear": None, **keys})


def window(
    end_ms: int, value: float | None, length_ms: int = MINUTE, *, closed: bool = True, corrected: bool = False
) -> WindowResult:
    minutes = length_ms // MINUTE
    good = 0 if value is None else minutes
    return WindowResult(
        end_ms - length_ms, end_ms, value, good / minutes, good, minutes, value is not None, closed, corrected
    )


def seen(end_ms: int, value: float | None, device: str = "d", **keys: Any) -> Observation:
    return Observation(device, window(end_ms, value, **keys))


class Site:
    """A rule on one subject, and all that happened."""

    def __init__(self, of: Rule, devices: Sequence[str] = ("d",)) -> None:
        self.rule = of
        self.state = start(of, devices[0] if len(devices) == 1 else "zone", devices, T0)
        self.events: list[Event] = []

    def hear(self, observation: Observation | DeviceState | None, now_ms: int) -> list[Event]:
        self.state, events = step(self.rule, self.state, observation, now_ms)
        self.events += events
        return events

    def minutes(self, values: Iterable[float | None], from_minute: int = 0, device: str = "d") -> list[str]:
        found: list[str] = []
        for k, value in enumerate(values, from_minute):
            end_ms = T0 + (k + 1) * MINUTE
            found += [e.kind for e in self.hear(seen(end_ms, value, device), end_ms)]
            found += [e.kind for e in self.hear(None, end_ms)]
        return found

    def hours(self, values: Iterable[float | None]) -> list[tuple[str, object]]:
        found: list[tuple[str, object]] = []
        for k, value in enumerate(values):
            end_ms = T0 + (k + 1) * HOUR
            events = self.hear(seen(end_ms, value, length_ms=HOUR), end_ms + 10_000)
            found += [(e.kind, e.details.get("outcome") if e.kind == "verdict" else None) for e in events]
        return found


# --- warnings ----------------------------------------------------------------------------------------------------


def test_an_alarm_explains_itself() -> None:
    site = Site(rule())
    assert site.minutes([90, 130, 210, 90]) == ["raised", "escalated", "cleared"]
    raised, escalated, cleared = site.events
    assert {e.alarm for e in site.events} == {f"pm10@d@{T0 + 2 * MINUTE}"}
    assert [e.severity for e in site.events] == ["warning", "alarm", "alarm"]
    for key, value in {"edition": "E1", "source": "somebody", "confidence": "reported", "value": 130, "limit": 200,
                       "warn": 120, "window": "1min", "statistic": "mean", "valid_share": 1.0, "background": None,
                       "schedule": "always", "device": "d", "window_start_ms": T0 + MINUTE,
                       "window_end_ms": T0 + 2 * MINUTE}.items():  # fmt: skip
        assert raised.details[key] == value, key
    assert escalated.details["reason"] == "limit"
    assert cleared.details["peak"] == 210
    assert cleared.details["lasted_ms"] == 2 * MINUTE


def test_between_the_levels_nothing_moves() -> None:
    assert Site(rule()).minutes([210, *[110, 199, 130] * 20]) == ["raised"]


def test_for_and_clear_for_are_measured_in_data_time() -> None:
    site = Site(rule(warn=None, for_ms=3 * MINUTE, clear_for_ms=2 * MINUTE))
    assert site.minutes([210, 210, 210, 90, 210, 210, 210]) == []
    assert site.minutes([210], 7) == ["raised"]
    assert site.minutes([90, 90, 110, 90, 90], 8) == []
    assert site.minutes([90], 13) == ["cleared"]


@pytest.mark.parametrize(
    ("keys", "value", "over"),
    [
        ({}, 200.0, False), ({}, 200.1, True), ({"inclusive": True}, 200.0, True),
        ({"direction": "below", "limit": 20.0, "clear": 30.0}, 20.0, False),
        ({"direction": "below", "limit": 20.0, "clear": 30.0}, 19.9, True),
        ({"limit": 70.0, "rounding": "half_even_db", "clear": None}, 70.5, False),
        ({"limit": 70.0, "rounding": "half_even_db", "clear": None}, 70.6, True),
        ({"limit": 70.0, "clear": None}, 70.4, True),
    ],
)  # fmt: skip
def test_what_counts_as_over(keys: dict[str, Any], value: float, over: bool) -> None:
    assert (Site(rule(**{"warn": None, **keys})).minutes([value]) == ["raised"]) is over


def test_old_data_neither_raise_nor_clear() -> None:
    site = Site(rule())
    late = T0 + 10 * MINUTE
    assert site.hear(seen(late - 2 * MINUTE - 1, 500), late) == []
    assert site.hear(seen(late, 500), late) != []
    assert site.hear(seen(late + MINUTE, 10), late + HOUR) == []
    assert site.state.alarm is not None


def test_an_open_window_speaks_of_what_it_holds_by_now() -> None:
    site = Site(rule(window=SIXTY))
    half = T0 + HOUR // 2
    assert [e.kind for e in site.hear(seen(T0 + HOUR, 250, length_ms=HOUR, closed=False), half)] == ["raised"]
    assert site.events[0].at_ms == half
    assert [e.kind for e in site.hear(seen(T0 + HOUR, 90, length_ms=HOUR, closed=False), half + MINUTE)] == ["cleared"]


def test_unanswered_alarms_are_escalated_once_and_answered_ones_never() -> None:
    site = Site(rule(escalate_after_ms=10 * MINUTE))
    assert site.minutes([210] * 30) == ["raised", "escalated"]
    assert site.events[1].details["reason"] == "unacknowledged"
    site = Site(rule(escalate_after_ms=10 * MINUTE))
    site.minutes([210] * 5)
    assert acknowledge(site.state, "another") == site.state
    site.state = acknowledge(site.state, site.state.alarm or "")
    assert site.minutes([210] * 30, 5) == []


def test_a_zone_has_one_alarm_from_its_first_device_to_its_last() -> None:
    site = Site(rule(group="zone"), ["a", "b"])
    assert site.minutes([210], 0, "a") == ["raised"]
    assert site.minutes([210], 0, "b") == []
    assert site.minutes([50], 1, "a") == []
    assert site.minutes([50], 1, "b") == ["cleared"]


def test_silence_is_an_alarm_of_its_own_and_ends_nothing() -> None:
    site = Site(rule(no_data_after_ms=10 * MINUTE))
    assert site.minutes([210, *[None] * 20]) == ["raised", "no_data"]
    raised, silent = site.events
    assert silent.at_ms == T0 + 11 * MINUTE
    assert silent.alarm != raised.alarm
    assert site.state.alarm == raised.alarm, "silence is not the end of it"
    assert site.minutes([210], 21) == ["data_back"]
    assert site.minutes([50], 22) == ["cleared"]


def test_a_device_that_never_spoke_is_missed_too() -> None:
    site = Site(rule(no_data_after_ms=10 * MINUTE))
    assert [e.kind for e in site.hear(None, T0 + 10 * MINUTE - 1)] == []
    assert [e.kind for e in site.hear(None, T0 + 10 * MINUTE)] == ["no_data"]
    assert [e.kind for e in site.hear(None, T0 + 20 * MINUTE)] == []


def test_maintenance_holds_back_and_says_so_once() -> None:
    site = Site(rule(maintenance=(Period(T0, T0 + 5 * MINUTE, "d", "cleaning"),)))
    assert site.minutes([500] * 5) == ["suppressed"]
    assert site.events[0].alarm == ""
    assert site.events[0].details["note"] == "cleaning"
    assert site.minutes([500], 5) == ["raised"]
    other = Site(rule(maintenance=(Period(T0, T0 + 5 * MINUTE, "another", ""),)))
    assert other.minutes([500]) == ["raised"]


def test_a_permit_holds_only_while_it_is_dated() -> None:
    site = Site(rule(permits=(Period(T0, T0 + 3 * MINUTE, None, "17"),)))
    assert site.minutes([500] * 4) == ["raised"]
    assert site.events[0].at_ms == T0 + 4 * MINUTE


def test_conditions_of_devices() -> None:
    site = Site(rule(metric=None, condition="silent", warn=None, clear=None, for_ms=5 * MINUTE))
    found = [
        (k, e.kind)
        for k in range(20)
        for e in site.hear(DeviceState("d", "silent", 3 <= k < 12, T0 + k * MINUTE), T0 + k * MINUTE)
    ]
    assert found == [(8, "raised"), (12, "cleared")]


# --- verdicts ----------------------------------------------------------------------------------------------------


def test_only_closed_windows_have_a_verdict() -> None:
    site = Site(verdict())
    assert site.hear(seen(T0 + HOUR, 900, length_ms=HOUR, closed=False), T0 + HOUR // 2) == []
    assert site.hours([200, 201, None, 90]) == [
        ("verdict", "passed"), ("raised", None), ("verdict", "exceeded"), ("verdict", "not_enough_data"),
        ("cleared", None), ("verdict", "passed"),
    ]  # fmt: skip


def test_a_window_heard_twice_is_judged_once() -> None:
    site = Site(verdict())
    site.hours([201])
    assert site.hours([201]) == []


def test_the_allowance_counts_per_local_day() -> None:
    site = Site(verdict(allowance=2))
    found = site.hours([250] * 4 + [90] * 12 + [250] * 4)  # from 08:00; the last four end at 04:00 next day
    assert [k for k, (kind, _) in enumerate(found) if kind == "raised"] == [2, 20]
    counts = [e.details["count_today"] for e in site.events if e.details.get("outcome") == "exceeded"
              and e.kind == "verdict"]  # fmt: skip
    assert counts == [1, 2, 3, 4, 1, 2, 3, 4]


def test_late_data_correct_a_verdict_and_raise_nothing() -> None:
    site = Site(verdict())
    site.hours([150, 90, 250])
    now = T0 + 10 * HOUR
    site.events.clear()
    (event,) = site.hear(seen(T0 + HOUR, 300, length_ms=HOUR, corrected=True), now)
    assert (event.kind, event.details["before"], event.details["outcome"]) == ("corrected", "passed", "exceeded")
    (event,) = site.hear(seen(T0 + 3 * HOUR, 180, length_ms=HOUR, corrected=True), now)
    assert (event.details["before"], event.details["outcome"]) == ("exceeded", "passed")
    assert event.details["count_today"] == 1, "the corrected first hour still counts"


def test_a_verdict_that_comes_late_is_stated_but_raises_nothing() -> None:
    site = Site(verdict())
    (event,) = site.hear(seen(T0 + HOUR, 300, length_ms=HOUR), T0 + 4 * HOUR)
    assert (event.kind, event.alarm, event.details["late"]) == ("verdict", "", True)
    assert site.state.alarm is None


def test_an_exceeded_night_is_over_when_it_is_judged() -> None:
    site = Site(verdict(window=WindowSpec("night", sliding=False)))
    end = T0 + 22 * HOUR
    events = site.hear(seen(end, 300, length_ms=8 * HOUR), end + 10_000)
    assert [e.kind for e in events] == ["raised", "verdict", "cleared"]
    assert len({e.alarm for e in events}) == 1


# --- comparison --------------------------------------------------------------------------------------------------


def test_background_is_capped_and_said() -> None:
    of = rule(reference=Reference("pm10_ug_m3", Where(zone="area"), "difference", 150.0))
    got = observe(of, "d", window(T0, 240), window(T0, 300))
    assert (got.window.value, got.background) == (90, 150)


@pytest.mark.parametrize("reference", [None, window(T0, None)])
def test_without_background_there_is_not_enough_data(reference: WindowResult | None) -> None:
    of = rule(reference=Reference("pm10_ug_m3", Where(zone="area")))
    got = observe(of, "d", window(T0, 240), reference)
    assert (got.window.value, got.window.enough) == (None, False)


def test_ratio_percent_and_rated() -> None:
    ratio = rule(reference=Reference("pm10_ug_m3", Where(zone="area"), "ratio"))
    assert observe(ratio, "d", window(T0, 240), window(T0, 120)).window.value == 2
    assert observe(ratio, "d", window(T0, 240), window(T0, 0)).window.enough is False
    percent = rule(reference=Reference("rated_load_t", Where(), "percent"))
    assert observe(percent, "d", window(T0, 3), window(T0, 4)).window.value == 75
    assert observe(rule(rated=160.0), "d", window(T0, 80)).window.value == 50


# --- whatever comes ----------------------------------------------------------------------------------------------

VALUES = st.lists(
    st.one_of(st.none(), st.sampled_from([50.0, 99.0, 100.0, 119.0, 121.0, 199.0, 201.0, 500.0])), max_size=60
)
RULES = st.builds(
    lambda warn, held, calm, silent: rule(
        warn=warn, for_ms=held * MINUTE, clear_for_ms=calm * MINUTE, no_data_after_ms=silent and silent * MINUTE
    ),
    st.sampled_from([None, 120.0]), st.integers(0, 4), st.integers(0, 4), st.one_of(st.none(), st.integers(1, 5)),
)  # fmt: skip


@given(RULES, VALUES)
def test_alarms_begin_and_end_in_turn(of: Rule, values: list[float | None]) -> None:
    site = Site(of)
    site.minutes(values)
    for begins, ends in (("raised", "cleared"), ("no_data", "data_back")):
        found = [e for e in site.events if e.kind in (begins, ends)]
        assert [e.kind for e in found] == [(begins, ends)[i % 2] for i in range(len(found))]
        assert [a.alarm for a in found[0::2]][: len(found[1::2])] == [b.alarm for b in found[1::2]]
    for event in site.events:
        if event.kind == "cleared":
            value = event.details["value"]
            assert isinstance(value, float)
            assert value < 100


@given(RULES, VALUES, st.data())
def test_a_restart_or_a_repetition_at_any_minute_changes_nothing(
    of: Rule, values: list[float | None], data: st.DataObject
) -> None:
    smooth, rough = Site(of), Site(of)
    smooth.minutes(values)
    for k, value in enumerate(values):
        rough.minutes([value], k)
        what = data.draw(st.sampled_from(["nothing", "restart", "repeat"]))
        if what == "restart":
            rough.state = State.from_json(rough.state.to_json())
        elif what == "repeat":
            rough.minutes(values[max(0, k - 1) : k + 1], max(0, k - 1))
    assert rough.events == smooth.events
    assert rough.state == smooth.state


@given(st.lists(st.one_of(st.none(), st.sampled_from([90.0, 200.0, 201.0])), max_size=30), st.integers(0, 3))
def test_every_closed_window_has_one_verdict_and_silence_never_passes(values: list[float | None], allowed: int) -> None:
    site = Site(verdict(allowance=allowed))
    site.hours(values)
    found = [e.details["outcome"] for e in site.events if e.kind == "verdict"]
    assert found == ["not_enough_data" if v is None else "exceeded" if v > 200 else "passed" for v in values]


def test_what_is_no_state_is_refused() -> None:
    for text in ("", "[]", "{}", '{"rule": "a", "subject": "b", "members": {"d": {}}}', '{"members": 3}'):
        with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
            State.from_json(text)
    state = replace(start(rule(), "d", ["d"], T0), suppressed_until_ms=5)
    assert State.from_json(state.to_json()) == state


def test_a_clock_that_was_set_back_does_not_deafen() -> None:
    site = Site(rule())
    ahead = T0 + 24 * HOUR
    site.hear(seen(ahead, 50), ahead)
    assert site.minutes([210]) == ["raised"]


def test_a_backlog_that_changes_no_outcome_is_silent() -> None:
    site = Site(verdict())
    site.hours([None])
    now = T0 + 2 * HOUR
    corrections = [
        event.details["outcome"]
        for value in [None, None, 150.0, 151.0, 152.0, 250.0, 251.0]
        for event in site.hear(seen(T0 + HOUR, value, length_ms=HOUR, corrected=True), now)
    ]
    assert corrections == ["passed", "exceeded"]


def test_exceedances_in_maintenance_are_noted_and_not_judged() -> None:
    site = Site(verdict(maintenance=(Period(T0, T0 + HOUR, None, ""),)))
    assert site.hours([300, 300]) == [("suppressed", None), ("raised", None), ("verdict", "exceeded")]
    assert site.hours([300]) == [], "heard before"


def test_what_comes_back_while_the_rule_rests_ends_the_silence() -> None:
    night = When(name="night")
    site = Site(rule(no_data_after_ms=5 * MINUTE, when=night))
    dusk = T0 + 14 * HOUR  # 22:00
    found = []
    for k in range(-10, 500):
        end_ms = dusk + k * MINUTE
        found += [(e.kind, k) for e in site.hear(seen(end_ms, None if 460 < k < 485 else 50.0), end_ms)]
        found += [(e.kind, k) for e in site.hear(None, end_ms)]
    assert found == [("no_data", 465), ("data_back", 485)]
