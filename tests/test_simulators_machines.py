"""Simulated machines: what they show hangs together, whatever the day does to them."""

from __future__ import annotations

import pytest

from gateway.vocabulary import METRICS, Kind
from simulators.engine import Engine, Excavator, Generator
from simulators.feeder import Feeder
from simulators.hoist import FLOORS, RATED_T, STOP_WIND_M_S, STOREY_M, WARN_WIND, Hoist
from simulators.machine_roles import CARDS, MACHINES, driver_card
from simulators.machine_state import MachineState
from simulators.pump import ConcretePump
from simulators.safety_box import SafetyBox
from simulators.scenarios import SCENARIOS
from simulators.wash import FRESH_SHARE, WheelWash
from simulators.world import World

DAY_MS = 1_790_000_000_000


def world(scenario: str = "normal") -> World:
    play = SCENARIOS[scenario]
    return World(1, play.start_ms(DAY_MS), play)


def test_the_hoist_serves_floors_within_its_load() -> None:
    hoist, floors, speeds = Hoist(1), set(), []
    for _ in range(3 * 3600):
        before_m, moved_before = hoist.height_m, hoist.moving
        hoist.step(1.0, 2.0)
        assert 0.0 <= hoist.height_m <= FLOORS * STOREY_M
        assert hoist.height_m - before_m == pytest.approx(hoist.speed_m_s)
        assert 0.0 <= hoist.load_t <= RATED_T
        assert hoist.power_w > 600.0
        speeds.append(hoist.speed_m_s)
        if moved_before and not hoist.moving:
            floors.add(hoist.floor)
    assert len(floors) > 6
    assert min(speeds) < 0.0 < max(speeds)


def test_the_hoist_stands_in_a_storm_and_says_why() -> None:
    hoist = Hoist(1)
    for _ in range(1800):
        hoist.step(1.0, STOP_WIND_M_S)
        assert not hoist.moving
    assert hoist.warning_bits & WARN_WIND


def test_the_pump_waits_between_mixers() -> None:
    pump = ConcretePump(1)
    volume_m3 = pump.pumped_m3
    for pouring, pumping, state in (
        (False, False, MachineState.OFF),
        (True, False, MachineState.IDLE),
        (True, True, MachineState.WORKING),
    ):
        for _ in range(120):
            pump.step(20.0, 1.0, pouring=pouring, pumping=pumping)
        assert pump.state == state
        assert (pump.pumped_m3 > volume_m3) == pumping
        assert (pump.pressure_mpa > 5.0) == pumping
    assert pump.oil_c > 22.0


def test_the_wash_counts_lorries_and_uses_its_water_again() -> None:
    wash = WheelWash(1)
    vehicles, water_m3, recycled_m3 = wash.vehicles, wash.water_m3, wash.recycled_m3
    for second in range(3600):
        wash.step(lorry=second % 300 < 45)
    assert wash.vehicles - vehicles == 12
    used_m3 = wash.water_m3 - water_m3
    assert used_m3 > 1.0
    assert wash.recycled_m3 - recycled_m3 == pytest.approx(used_m3 * (1.0 - FRESH_SHARE))
    assert 0.0 < wash.basin_pct <= 100.0


def test_an_engine_counts_starts_idling_and_fuel() -> None:
    motor = Engine(1, "test", working_rpm=1800.0, full_l_h=20.0)
    starts, idle_h, hours_h, fuel_l = motor.starts, motor.idle_hours_h, motor.operating_hours_h, motor.fuel_used_l
    for load, on, state in (
        (0.0, True, MachineState.IDLE),
        (1.0, True, MachineState.WORKING),
        (0.0, False, MachineState.OFF),
    ):
        for _ in range(600):
            motor.step(load, 15.0, on=on)
        assert motor.state == state
        assert (motor.speed_rpm > 800.0) == on
    assert motor.starts - starts == 1
    assert motor.idle_hours_h - idle_h == pytest.approx(1 / 6)
    assert motor.operating_hours_h - hours_h == pytest.approx(2 / 6)
    assert motor.fuel_used_l - fuel_l == pytest.approx(20.0 * 1.15 / 6)


def test_a_machine_that_nobody_fuels_stops_with_an_alarm() -> None:
    motor = Engine(1, "test", working_rpm=1800.0, full_l_h=2_000.0)
    for _ in range(1200):
        motor.step(1.0, 15.0, on=True)
    assert motor.state is MachineState.ALARM
    assert motor.fuel_pct == 0.0
    assert motor.speed_rpm == 0.0
    motor.step(0.0, 15.0, on=False)
    motor.step(1.0, 15.0, on=True)
    assert motor.runs, "fuelled while it rested"


def test_the_excavator_works_where_the_earthworks_are() -> None:
    digger = Excavator(1)
    for _ in range(60):
        digger.step(1.0, digging=1.0, air_c=15.0)
    assert digger.engine.state is MachineState.WORKING
    for _ in range(3600):
        digger.step(0.0, digging=0.0, air_c=15.0)
    assert not digger.engine.runs


def test_the_generator_counts_what_it_gives() -> None:
    generator = Generator(1)
    before_kwh, given_kwh = generator.energy_kwh, 0.0
    for second in range(600):
        generator.step(float(second < 300), 15.0)
        given_kwh += generator.power_w / 3.6e6
    assert generator.power_w == 0.0
    assert generator.energy_kwh - before_kwh == pytest.approx(given_kwh)
    assert given_kwh > 0.5


def test_a_cable_warms_with_its_own_current() -> None:
    feeder = Feeder(1, "test", power_factor=0.9, phases=1, used_kwh=0.0)
    box = SafetyBox()
    for _ in range(3600):
        feeder.set_load(40_000.0, [230.0] * 3, 10.0, 20.0)
        box.step(feeder, 20.0)
    l1_c, l2_c, l3_c, n_c = box.phase_c
    assert l1_c > box.air_c + 5.0
    assert n_c == pytest.approx(l1_c)
    assert max(l2_c, l3_c) < l1_c - 5.0


def test_shifts_change_the_card() -> None:
    site = world()
    assert driver_card(site) == CARDS[0]
    site.advance(site.start_ms + 4 * 3_600_000)
    assert driver_card(site) == CARDS[1]


def test_counters_of_machines_never_fall() -> None:
    site = world("dust")
    before: dict[tuple[str, str], float] = {}
    for _ in range(60):
        site.advance(site.now_ms + 30_000)
        for role, measure in MACHINES.items():
            for metric, value in measure(site).items():
                if METRICS[metric].kind is Kind.COUNTER:
                    assert value >= before.get((role, metric), 0.0), (role, metric)
                    before[role, metric] = value
    assert len(before) > 15
