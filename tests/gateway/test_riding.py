"""Slow points ride along with a round that is held anyway, where that saves the wire's time and only there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from drivers.api import Notes, Request
from drivers.modbus.driver import ModbusDevice
from drivers.modbus.plan import Limits
from drivers.modbus.points import Point
from drivers.transport.line import Line
from drivers.transport.loopback import pair
from gateway.links.schedule import Rhythm, Round, ridden, riders
from gateway.links.worker import Polled
from tests.support.clock import ManualClock
from tests.support.link_bench import ScriptedDevice, running


@dataclass
class OneRequest(ScriptedDevice):
    """All points come in one request; a ride is always cheaper, or never."""

    cheaper: bool = True
    revision: int = 0

    def plan(self, names: Sequence[str]) -> list[Request]:
        return [Request(tuple(names))]

    def keep_notes(self, notes: Notes) -> None:
        raise AssertionError("nobody gives it notes")

    def question(self) -> Request | None:
        return None

    def rides(self, due: Sequence[str], soon: Sequence[str]) -> bool:
        return self.cheaper


def rhythm(period_s: float, due_s: float) -> Rhythm:
    return Rhythm("m", (f"every {period_s:g}",), period_s, 0.0, due_s)


def test_who_may_ride_comes_due_before_the_round_comes_again_and_is_slower() -> None:
    fast, slow, minute = rhythm(10, 10), rhythm(15, 15), rhythm(60, 60)
    assert riders([fast, slow, minute], Round("m", (fast,)), 10.1) == [slow]
    assert riders([fast, rhythm(15, 30), minute], Round("m", (fast,)), 20.1) == [], "then they are due together"
    assert riders([rhythm(10, 20), slow], Round("m", (slow,)), 15.0) == [], "the fast ones keep their rate"
    assert riders([slow], Round("other", (fast,)), 10.1) == []
    assert ridden(slow).due_s == 30.0, "the grid stays"


@pytest.mark.parametrize(("cheaper", "rounds"), [(True, 3), (False, 4)])
async def test_three_rounds_in_place_of_four_and_as_many_readings(cheaper: bool, rounds: int) -> None:
    clock = ManualClock()
    device = OneRequest(clock, cheaper=cheaper)
    async with running(clock, [Polled("m", device, {"fast": 10.0, "slow": 15.0})]) as bench:
        await clock.advance(40.0)
        bench.book.taken.clear()
        device.asked.clear()
        for _ in range(300):
            await clock.advance(1.0)
        came = [point for _, points, _ in bench.book.taken for point in points]
        assert came.count("fast") == pytest.approx(30, abs=1)
        assert came.count("slow") == pytest.approx(20, abs=1), "neither more nor fewer than asked for"
        assert len(device.asked) == pytest.approx(10 * rounds, abs=1)


async def test_plans_are_made_anew_when_the_device_says_so() -> None:
    clock = ManualClock()
    device = OneRequest(clock)
    planned: list[Sequence[str]] = []
    plan = device.plan
    device.plan = lambda names: planned.append(names) or plan(names)  # type: ignore[method-assign,func-returns-value]
    async with running(clock, [Polled("m", device, {"p": 1.0})]):
        for _ in range(5):
            await clock.advance(1.0)
        assert len(planned) == 1
        device.revision += 1
        for _ in range(5):
            await clock.advance(1.0)
        assert len(planned) == 2


def test_a_modbus_device_takes_along_what_lies_near_and_not_what_lies_far() -> None:
    near, _ = pair()
    line = Line(near, kind="serial", framing="rtu", char_s=0.001, silence_s=0.0035)
    points = {"fast": Point("holding", 0), "near": Point("holding", 1), "far": Point("holding", 500)}
    device = ModbusDevice(line, 1, points, Limits(), 1.0)
    assert device.rides(["fast"], ["near"])
    assert not device.rides(["fast"], ["far"])
