"""Interlocks: each refuses exactly what it should; what is unknown counts as refused (faults 116, 119, 120)."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.control.interlock import INTERLOCKS, refusals
from gateway.control.output import Demand, Facts, Lease, Output, State
from gateway.control.reasons import FAULTS, REASONS

NOW = 10_000.0
OUTPUT = Output(
    "cannon", "Cannon", "雾炮", "gate", "relay", "output_1_on", "armed", (0.0, 1.0), 3.0, "pulse", 30.0,
    min_rest_s=120, longest_run_s=1800, max_starts_per_hour=3, hold_s=60,
    wind=("w", "wind_speed_m_s"), wind_above=8.0, frost=("w", "air_temperature_c"), frost_below=2.0,
    water=("t", "tank_level_pct"), water_below=10.0, night_ban=(22 * 60, 6 * 60),
)  # fmt: skip
OFF = State(phase="off", rest_since_s=NOW - 500)
ON = State(phase="on", run_since_s=NOW - 100)
WELL = Facts(is_on=False, read_s=NOW, wind_m_s=3.0, temperature_c=20.0, water=80.0, minute_of_day=12 * 60)
ASKED = Demand(("a",))


def codes(state: State = OFF, output: Output = OUTPUT, demand: Demand = ASKED, **facts: Any) -> tuple[str, ...]:
    return refusals(output, state, demand, replace(WELL, **facts), NOW)


def test_nothing_refuses_when_all_is_well() -> None:
    assert codes() == ()
    assert codes(ON, is_on=True) == ()


@pytest.mark.parametrize(
    ("code", "facts", "ends_a_run"),
    [
        ("wind", {"wind_m_s": 8.1}, True),
        ("frost", {"temperature_c": 1.9}, True),
        ("no_water", {"water": 9.9}, True),
        ("night_ban", {"minute_of_day": 22 * 60}, True),
        ("night_ban", {"minute_of_day": 5 * 60 + 59}, True),
        ("sensor_stale", {"asking_age_s": 61.0}, True),
        ("sensor_stale", {"guard_age_s": math.inf}, True),
        ("sensor_stale", {"asking_age_s": 20.0}, False),
        ("unknown_state", {"is_on": None, "read_s": NOW - 61}, True),
        ("unknown_state", {"is_on": None, "read_s": NOW - 20}, False),
        ("no_journal", {"journal_works": False}, False),
    ],
)
def test_what_the_plant_says(code: str, facts: dict[str, Any], ends_a_run: bool) -> None:
    assert codes(**facts) == (code,)
    assert codes(ON, **{"is_on": True, **facts}) == ((code,) if ends_a_run else ())


@pytest.mark.parametrize(
    "facts",
    [
        {"wind_m_s": 8.0}, {"temperature_c": 2.0}, {"water": 10.0}, {"minute_of_day": 6 * 60},
        {"minute_of_day": 22 * 60 - 1},
    ],
)  # fmt: skip
def test_the_limit_itself_is_allowed(facts: dict[str, Any]) -> None:
    assert codes(**facts) == ()


def test_a_ban_by_day_does_not_hold_at_night() -> None:
    by_day = replace(OUTPUT, night_ban=(12 * 60, 14 * 60))
    assert codes(output=by_day, minute_of_day=12 * 60) == ("night_ban",)
    assert codes(output=by_day, minute_of_day=23 * 60) == ()


def test_rest_and_starts_hold_back_a_start_and_end_no_run() -> None:
    tired = replace(OFF, rest_since_s=NOW - 119)
    busy = replace(OFF, starts=(NOW - 3599, NOW - 2000, NOW - 1000))
    assert codes(tired) == ("min_rest",)
    assert codes(busy) == ("max_starts_per_hour",)
    assert codes(replace(busy, starts=(NOW - 3600, NOW - 2000, NOW - 1000))) == ()
    assert codes(replace(ON, starts=busy.starts, rest_since_s=NOW - 101), is_on=True) == ()


def test_every_run_ends() -> None:
    assert codes(replace(ON, run_since_s=NOW - 1800), is_on=True) == ("longest_run",)


def test_settings_and_people() -> None:
    assert codes(output=replace(OUTPUT, mode="off")) == ("not_armed",)
    assert codes(output=replace(OUTPUT, mode="dry_run")) == ()
    assert codes(output=replace(OUTPUT, allow=(1.0,))) == ("not_allowed",)
    assert codes(replace(OFF, fault="feedback_off")) == ("fault",)
    assert codes(replace(OFF, lease=Lease(False, "Li", NOW + 1))) == ("manual_lease",)
    assert codes(replace(OFF, lease=Lease(False, "Li", NOW))) == ()


def test_simulated_data_move_nothing_and_a_person_needs_no_data() -> None:
    simulated = Demand(("a",), simulated=True)
    by_hand = replace(OFF, lease=Lease(True, "Li", NOW + 60))
    assert codes(demand=simulated) == ("not_simulated",)
    assert codes(by_hand, demand=simulated, asking_age_s=math.inf) == ()
    assert codes(by_hand, guard_age_s=math.inf) == ("sensor_stale",)


def test_the_modules_own_time_is_set_before_a_start() -> None:
    module = replace(OUTPUT, dead_man="module")
    assert codes(output=module, timeout_s=30.0) == ()
    assert codes(output=module, timeout_s=0.0) == codes(output=module) == ("no_dead_man",)
    assert codes(ON, output=module, is_on=True) == ()  # one lost answer ends no run
    assert codes(ON, output=module, is_on=True, timeout_s=0.0) == ("no_dead_man",)
    assert codes(output=replace(module, mode="dry_run")) == ()


NUMBERS = st.floats(-50, 100) | st.none()


@given(
    facts=st.builds(
        Facts, is_on=st.booleans() | st.none(), asking_age_s=st.floats(0, 200), guard_age_s=st.floats(0, 200),
        wind_m_s=NUMBERS, temperature_c=NUMBERS, water=NUMBERS, minute_of_day=st.integers(0, 1439),
        read_s=st.floats(NOW - 200, NOW),
    ),
    running=st.booleans(),
)  # fmt: skip
def test_every_code_has_its_words_and_a_start_is_never_easier_than_going_on(facts: Facts, running: bool) -> None:
    start, run = (set(refusals(OUTPUT, state, ASKED, facts, NOW)) for state in (OFF, ON))
    assert run - {"longest_run"} <= start
    assert start | run <= REASONS.keys()
    if facts.is_on is None or facts.asking_age_s > 0:
        assert start


def test_every_interlock_is_asked_and_faults_are_codes() -> None:
    assert {interlock.__name__ for interlock in INTERLOCKS} <= REASONS.keys()
    assert REASONS.keys() >= FAULTS
