"""The wall clock leaps, or the process stood still: durations stay durations (faults 29, 30 and 34)."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.links.worker import Polled
from tests.support.alarm_box import Box, M, at_once, rule
from tests.support.clock import ManualClock
from tests.support.link_bench import ScriptedDevice, running

HOUR_S = 3600.0


@pytest.mark.parametrize("jump_s", [HOUR_S, 30 * 86_400, -HOUR_S])
async def test_a_jump_of_the_clock_does_not_make_an_exceedance_last(tmp_path: Path, jump_s: float) -> None:
    """Fault 29: ten seconds over the limit are not five minutes, whatever the clock says in between."""
    box = Box(tmp_path, [at_once(for_ms=300_000)])
    async with box.running() as alerts:
        await box.readings(160, 160)
        box.clock.jump_wall(jump_s)
        await box.readings(160, 160, 160)
        assert alerts.alarms() == []
        await box.readings(*[160] * 31)
        assert [alarm.active for alarm in alerts.alarms()] == [True], "five minutes of readings are"


@pytest.mark.parametrize("jump_s", [HOUR_S, 30 * 86_400, -HOUR_S])
async def test_windows_before_and_after_a_jump_are_no_row(tmp_path: Path, jump_s: float) -> None:
    """Fault 29, for rules on windows: seven minutes over the limit are not half an hour."""
    box = Box(tmp_path, [rule(for_ms=30 * M)])
    async with box.running() as alerts:
        await box.live(*[250] * 7)
        box.clock.jump_wall(jump_s)
        await box.live(*[250] * 20)
        assert alerts.alarms() == []
        await box.live(*[250] * 15)
        assert [alarm.active for alarm in alerts.alarms()] == [True]


@pytest.mark.parametrize("jump_s", [HOUR_S, 30 * 86_400, -HOUR_S])
async def test_a_jump_of_the_clock_does_not_end_an_alarm(tmp_path: Path, jump_s: float) -> None:
    box = Box(tmp_path, [at_once(clear_for_ms=300_000)])
    async with box.running() as alerts:
        await box.readings(160, 90)
        box.clock.jump_wall(jump_s)
        await box.readings(90, 90)
        assert [alarm.active for alarm in alerts.alarms()] == [True]
        await box.readings(*[90] * 31)
        assert [alarm.active for alarm in alerts.alarms()] == [False], "five minutes of readings do"


async def test_after_a_jump_backward_a_silent_device_is_told_as_soon_as_ever(tmp_path: Path) -> None:
    """The same for rules on what the gateway knows of a device."""
    silent = rule("silent", metric=None, condition="silent", for_ms=60_000, limit=None, clear=None)
    box = Box(tmp_path, [silent])
    async with box.running() as alerts:
        box.health["dust"].state = "silent"
        for _ in range(30):
            await box.clock.advance(1)
            await alerts.tick()
        box.clock.jump_wall(-HOUR_S)
        for _ in range(59):
            await box.clock.advance(1)
            await alerts.tick()
        assert alerts.alarms() == []
        for _ in range(10):
            await box.clock.advance(1)
            await alerts.tick()
        assert [alarm.rule for alarm in alerts.alarms()] == ["silent"]


@pytest.mark.parametrize("jump_s", [-1.0, -HOUR_S, 30 * 86_400])
async def test_polling_does_not_notice_a_jump_of_the_clock(jump_s: float) -> None:
    """Fault 30, repeated: neither a stall nor a burst."""
    clock = ManualClock()
    device = ScriptedDevice(clock)
    async with running(clock, [Polled("m", device, {"p": 5.0})]):
        for _ in range(10):
            clock.jump_wall(jump_s)
            await clock.advance(5)
    assert len(device.asked) == 11


async def test_a_process_that_stood_still_does_not_catch_up() -> None:
    """Fault 34: ten minutes of suspend are rounds that are skipped and counted, not a burst of questions."""
    clock = ManualClock()
    device = ScriptedDevice(clock)
    async with running(clock, [Polled("m", device, {"p": 5.0})]) as bench:
        await clock.advance(10)
        before = len(device.asked)
        clock._move_to(clock.monotonic_s() + 600)  # all sleepers are late at once
        await clock.advance(10)
        assert 2 <= len(device.asked) - before <= 4
        assert 118 <= bench.health.late_rounds <= 121


async def test_polling_goes_on_after_49_days() -> None:
    """Fault 149: milliseconds since the start leave 32 bits behind."""
    clock = ManualClock()
    clock._move_to(2**32 / 1000 - 20)
    device = ScriptedDevice(clock)
    async with running(clock, [Polled("m", device, {"p": 5.0})]) as bench:
        await clock.advance(60)
        assert clock.monotonic_s() > 2**32 / 1000
        assert (len(device.asked), bench.health.late_rounds) == (13, 0)
