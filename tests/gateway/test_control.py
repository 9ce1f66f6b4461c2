"""Control while the gateway runs: alarm to wire, journal first, read back, restart, stop (faults 111 to 119)."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from drivers.errors import LinkDown, NoAnswer
from gateway.config.profile import PointRule
from gateway.control.journal import Journal, recall, remember
from gateway.control.moment import Now
from gateway.control.output import Lease, Output, State
from gateway.control.runtime import Control
from gateway.control.sprayed import SPRAYED, SprayedMark
from gateway.errors import NotNow
from gateway.ledger.day import Calendar
from gateway.model import Alarm, Readings
from gateway.vocabulary import METRICS
from tests.support.clock import ManualClock, settle

NOON_MS = 1_790_049_600_000  # 2026-09-22 12:00 in Shanghai
RELAY, DUST, PM10 = "output_1_on", "dust", "pm10_ug_m3"
OUTPUT = Output(
    "cannon", "Cannon", "雾炮", "gate", "relay", RELAY, "armed", (0.0, 1.0), 3.0, "pulse", 30.0,
    when=frozenset({"spray"}), sensors=((DUST, PM10),), near=(DUST,),
    min_on_s=20, min_rest_s=60, longest_run_s=600, hold_s=30,
)  # fmt: skip
RULE = PointRule(METRICS[RELAY], 1.0, 1.0, 1.0, 0.0, 0.0, 1.0, frozenset(), None, None)


def alarm(active: bool = True, device: str = DUST, cause: str = "raised", **details: Any) -> Alarm:
    return Alarm(
        f"spray@{device}@1", "spray", device, "warning", cause, "open", active, NOON_MS, NOON_MS, None, None,
        {"device": device, "metric": PM10, **details},
    )  # fmt: skip


class Site:
    """A relay with timed pulses, a dust sensor, both read once a second, and control with its journal on disk."""

    def __init__(self, folder: Path, *outputs: Output, simulated: bool = True, played: Iterable[str] = ()) -> None:
        self.path = folder / "control.sqlite"
        self.clock = ManualClock(NOON_MS)
        self.outputs = outputs or (OUTPUT,)
        self.simulated, self.played = simulated, played
        self.on = False
        self.until_s = math.inf
        self.failure: Exception | None = None
        self.dust_speaks = True
        self.relay_speaks = True
        self.writes: list[tuple[float, float | None]] = []
        self.read: list[tuple[str, ...]] = []
        self.told: list[tuple[str, str]] = []
        self.faults: dict[str, str | None] = {}
        self.control: Control

    async def write(self, device: str, point: str, raw: float, hold_s: float | None) -> None:
        assert (device, point) == ("relay", RELAY)
        self.writes.append((raw, hold_s))
        if self.failure is not None:
            raise self.failure
        self.on = bool(raw)
        self.until_s = math.inf if hold_s is None or not raw else self.clock.monotonic_s() + hold_s

    def refresh(self, device: str, points: tuple[str, ...]) -> None:
        self.read.append(points)

    @asynccontextmanager
    async def running(self, *alarms: Alarm) -> AsyncIterator[Control]:
        """``alarms``: open from before."""
        journal = await Journal.open(self.path)
        every_s = {("relay", RELAY): 1.0, (DUST, PM10): 1.0}
        self.control = Control(
            self.outputs, {"relay": {RELAY: RULE}}, every_s, journal, self.clock, Calendar(ZoneInfo("Asia/Shanghai")),
            simulated=self.simulated, played=self.played, keep_s=400 * 86_400,
        )  # fmt: skip
        self.control.connect(
            {"relay": self},
            lambda alarm, by, note, details: self.told.append((alarm, note)),
            lambda device, condition, what, why: self.faults.update({what: why}),
        )
        for each in alarms:
            self.control.alarm_changed(None, each)
        task = asyncio.create_task(self.control.run())
        try:
            await self.pass_s(2)
            yield self.control
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self.control.close()

    async def pass_s(self, seconds: int) -> None:
        for _ in range(seconds):
            await self.clock.advance(1.0)
            if self.clock.monotonic_s() >= self.until_s:
                self.on, self.until_s = False, math.inf
            if self.relay_speaks:
                self.say("relay", (RELAY,), float(self.on))
            if self.dust_speaks:
                self.say(DUST, (PM10,), 180.0)
            await self.quiet()

    def say(self, device: str, metrics: tuple[str, ...], value: float | None, ago_s: float = 0.0) -> None:
        mark = "B" if value is None else "N"
        at_ms = self.clock.wall_ms() - int(ago_s * 1000)
        self.control.see(Readings(device, at_ms, metrics, (value,), mark))

    async def quiet(self) -> None:
        """Let the journal's thread and everything that waits for it run."""
        for _ in range(3):
            await settle()
            await self.control.journal(0, 1)

    async def lines(self) -> list[str]:
        found = await self.control.journal(0, 2**53)
        return [f"{e.step} {e.command} {e.reason} {e.by}".replace("  ", " ") for e in reversed(found)]


async def test_from_the_alarm_to_the_wire_and_back_with_every_step_in_the_journal(tmp_path: Path) -> None:
    site = Site(tmp_path)
    async with site.running() as control:
        site.control.alarm_changed(None, alarm())
        await site.quiet()
        assert site.writes == [(1.0, 30.0)]  # at once, as a pulse
        assert site.read[-1] == (RELAY,)
        (status,) = control.outputs()
        assert (status.state, status.wanted, status.is_on, status.alarms) == (
            "starting",
            True,
            False,
            ("spray@dust@1",),
        )
        await site.pass_s(2)
        (status,) = control.outputs()
        assert (status.state, status.reason, status.is_on, status.owner) == ("on", "alarm", True, "automatic")
        assert (status.starts_last_hour, status.dead_man_s) == (1, 30.0)
        await site.pass_s(60)
        assert len(site.writes) >= 6  # a new pulse every ten seconds
        site.control.alarm_changed(None, alarm(active=False))
        await site.pass_s(2)
        (status,) = control.outputs()
        assert (status.state, status.reason, site.on, site.writes[-1]) == ("off", "cleared", False, (0.0, None))
        assert 58 <= status.on_s_today <= 64
        assert await site.lines() == [
            "asked on alarm sitegate", "intent on alarm sitegate", "written on sitegate", "confirmed on alarm sitegate",
            "intent off cleared sitegate", "written off sitegate", "confirmed off cleared sitegate",
        ]  # fmt: skip
        assert site.told == [("spray@dust@1", "Cannon: on"), ("spray@dust@1", "Cannon: off")]
        (first, *_) = await control.journal(0, 2**53, "cannon")
        assert (first.alarm, await control.journal(0, 2**53, "other")) == ("spray@dust@1", [])


@pytest.mark.parametrize(
    "other",
    [alarm(cause="no_data"), alarm(device="elsewhere"), replace(alarm(), rule="other"), alarm(active=False)],
    ids=["silence", "another device", "another rule", "over"],
)
async def test_only_what_is_meant_asks(tmp_path: Path, other: Alarm) -> None:
    site = Site(tmp_path)
    async with site.running():
        site.control.alarm_changed(None, other)
        await site.pass_s(3)
        assert (site.writes, await site.lines()) == ([], [])


async def test_a_dry_run_decides_and_records_and_writes_nothing(tmp_path: Path) -> None:
    site = Site(tmp_path, replace(OUTPUT, mode="dry_run"))
    async with site.running() as control:
        site.control.alarm_changed(None, alarm())
        await site.pass_s(30)
        (status,) = control.outputs()
        assert (status.mode, status.state, status.wanted, status.is_on) == ("dry_run", "off", True, False)
        site.control.alarm_changed(None, alarm(active=False))
        await site.pass_s(3)
        assert site.writes == []
        assert await site.lines() == [
            "asked on alarm sitegate", "dry_run on alarm sitegate", "dry_run off cleared sitegate",
        ]  # fmt: skip
        assert site.told[0] == ("spray@dust@1", "Cannon: on (dry run: nothing was switched)")


async def test_what_is_off_in_the_site_file_is_never_touched(tmp_path: Path) -> None:
    site = Site(tmp_path, replace(OUTPUT, mode="off"))
    async with site.running() as control:
        site.on = True
        site.control.alarm_changed(None, alarm())
        await site.pass_s(5)
        assert (site.writes, await site.lines(), control.outputs()[0].blocked_by[0]) == ([], [], "not_armed")
        with pytest.raises(NotNow, match="not armed"):
            await control.command("cannon", "on", "Li", 5)


@pytest.mark.parametrize("marked", [True, False], ids=["alarm marked simulated", "sensor played by a simulator"])
async def test_simulated_data_never_move_a_relay_of_a_real_site(tmp_path: Path, marked: bool) -> None:
    site = Site(tmp_path, simulated=False, played=() if marked else (DUST,))
    async with site.running() as control:
        site.control.alarm_changed(None, alarm(simulated=True) if marked else alarm())
        await site.pass_s(10)
        assert (site.writes, control.outputs()[0].reason) == ([], "not_simulated")
        assert "refused on not_simulated sitegate" in await site.lines()


@pytest.mark.parametrize("played", [(), (DUST,)], ids=["real", "played by a simulator"])
async def test_a_simulated_tank_permits_nothing_on_a_real_site(tmp_path: Path, played: tuple[str, ...]) -> None:
    tank = replace(OUTPUT, water=(DUST, PM10), water_below=1.0)
    site = Site(tmp_path, tank, simulated=False, played=played)
    async with site.running() as control:
        await site.pass_s(5)
        assert control.outputs()[0].blocked_by == (("sensor_stale",) if played else ())


async def test_a_sensor_that_falls_silent_ends_the_run_after_its_hold(tmp_path: Path) -> None:
    site = Site(tmp_path)
    async with site.running() as control:
        site.control.alarm_changed(None, alarm())
        await site.pass_s(5)
        site.dust_speaks = False
        await site.pass_s(25)
        assert site.on
        for _ in range(10):  # replayed and retained data are no sign of life
            await site.pass_s(1)
            site.say(DUST, (PM10,), 180.0, ago_s=3600)
        assert (site.on, control.outputs()[0].state, control.outputs()[0].reason) == (False, "off", "sensor_stale")
        await site.pass_s(100)
        assert "sensor_stale" in control.outputs()[0].blocked_by
        site.dust_speaks = True
        await site.pass_s(3)
        assert site.on


async def test_a_silent_sensor_starts_nothing(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.dust_speaks = False
    async with site.running() as control:
        site.control.alarm_changed(None, alarm())
        await site.pass_s(3)
        assert (site.writes, control.outputs()[0].reason) == ([], "sensor_stale")


async def test_a_lost_wire_makes_it_unknown_and_off_is_repeated_when_it_is_back(tmp_path: Path) -> None:
    site = Site(tmp_path)
    async with site.running() as control:
        site.control.alarm_changed(None, alarm())
        await site.pass_s(5)
        site.failure, site.relay_speaks = LinkDown("unplugged"), False
        await site.pass_s(60)
        assert site.until_s == math.inf  # its own dead-man has switched it off
        assert not site.on
        assert (control.outputs()[0].is_on, control.outputs()[0].state) == (None, "stopping")
        site.failure, site.relay_speaks = None, True
        await site.pass_s(70)
        assert control.outputs()[0].state in ("off", "starting", "on")


async def test_a_write_that_hangs_is_given_up_and_counts_as_unknown(tmp_path: Path) -> None:
    site = Site(tmp_path)
    async with site.running():
        writes, never = site.write, asyncio.Event()

        async def hang(device: str, point: str, raw: float, hold_s: float | None) -> None:
            await never.wait()

        site.write = hang  # type: ignore[method-assign]
        site.control.alarm_changed(None, alarm())
        await site.pass_s(6)
        site.write = writes  # type: ignore[method-assign]
        await site.pass_s(4)
        lines = await site.lines()
        assert lines[1:3] == ["intent on alarm sitegate", "failed on no_answer sitegate"]
        assert site.on, "tried once more after it was read back as off"


async def test_a_timed_out_write_is_read_back_first(tmp_path: Path) -> None:
    site = Site(tmp_path)
    async with site.running() as control:
        site.failure = NoAnswer("unit 1: no answer")
        site.control.alarm_changed(None, alarm())
        await site.quiet()
        assert len(site.writes) == 1
        site.on, site.failure = True, None  # it was carried out all the same
        site.until_s = site.clock.monotonic_s() + 30
        await site.pass_s(2)
        assert control.outputs()[0].state == "on"
        assert (await site.lines())[1:4] == [
            "intent on alarm sitegate", "failed on no_answer sitegate", "confirmed on alarm sitegate",
        ]  # fmt: skip


async def test_a_fault_is_told_to_the_alarms_and_a_person_gives_it_back(tmp_path: Path) -> None:
    site = Site(tmp_path)
    async with site.running() as control:
        assert site.faults == {"cannon": None}
        site.control.alarm_changed(None, alarm())
        await site.quiet()
        site.on, site.until_s = False, math.inf
        writes = site.write

        async def dead(device: str, point: str, raw: float, hold_s: float | None) -> None:
            await writes(device, point, 0.0, hold_s)

        site.write = dead  # type: ignore[method-assign]  # acknowledges and does nothing
        await site.pass_s(20)
        assert control.outputs()[0].state == "fault"
        assert "read back as off" in (site.faults["cannon"] or "")
        site.write = writes  # type: ignore[method-assign]
        await site.pass_s(200)
        assert not site.on
        await control.command("cannon", "off", "Li", 1)  # whose end is no leave to start what is broken
        await site.pass_s(70)
        assert (site.on, control.outputs()[0].state) == (False, "fault")
        with pytest.raises(NotNow, match="give it back with auto"):
            await control.command("cannon", "on", "Li", 5)
        assert await control.command("cannon", "auto", "Li", 0) is not None
        await site.pass_s(5)
        assert (site.on, site.faults["cannon"]) == (True, None)


async def test_by_hand_on_off_and_back(tmp_path: Path) -> None:
    site = Site(tmp_path)
    async with site.running() as control:
        status = await control.command("cannon", "on", "Li", 5)
        assert status is not None
        assert (status.owner, status.by, status.lease_until_ms) == ("manual", "Li", site.clock.wall_ms() + 300_000)
        await site.pass_s(5)
        assert site.on
        await control.command("cannon", "off", "Wang", 10)
        await site.pass_s(2)
        assert not site.on
        with pytest.raises(NotNow, match="Wang holds it off for another 10 min"):
            await control.command("cannon", "on", "Li", 5)
        site.control.alarm_changed(None, alarm())
        await site.pass_s(70)
        assert (site.on, control.outputs()[0].blocked_by) == (False, ("manual_lease",))
        await control.command("cannon", "auto", "Li", 0)
        await site.pass_s(3)
        assert site.on
        assert await control.command("nothing", "on", "Li", 5) is None
        for want, minutes in (("open", 5.0), ("on", 0.0), ("on", math.nan), ("off", 1e9)):
            with pytest.raises(NotNow):
                await control.command("cannon", want, "Li", minutes)
        lines = await site.lines()
        assert {"manual on manual Li", "manual off manual Wang", "released released Li"} <= set(lines)


async def test_an_interlock_refuses_a_person_with_a_sentence(tmp_path: Path) -> None:
    site = Site(tmp_path, replace(OUTPUT, night_ban=(12 * 60, 13 * 60)))
    async with site.running() as control:
        with pytest.raises(NotNow, match=r"cannon cannot be switched on\. It may not run at this hour\."):
            await control.command("cannon", "on", "Li", 5)
        await site.pass_s(5)
        assert (site.writes, await site.lines()) == ([], ["refused on night_ban Li"])


async def test_a_restart_keeps_rests_starts_and_a_persons_off(tmp_path: Path) -> None:
    site = Site(tmp_path)
    async with site.running():
        site.control.alarm_changed(None, alarm())
        await site.pass_s(25)
        site.control.alarm_changed(None, alarm(active=False))
        await site.pass_s(5)
    async with site.running() as control:
        site.control.alarm_changed(None, alarm())
        await site.pass_s(20)
        (status,) = control.outputs()
        assert (status.state, status.reason, status.starts_last_hour) == ("off", "min_rest", 1)
        assert status.on_s_today > 20
        await control.command("cannon", "off", "Li", 60)
        await site.quiet()
    async with site.running() as control:
        site.control.alarm_changed(None, alarm())
        await site.pass_s(100)
        assert (site.on, control.outputs()[0].by) == (False, "Li")


async def test_after_a_kill_what_still_runs_is_switched_off_unless_it_is_asked_for(tmp_path: Path) -> None:
    for asked in (True, False):
        site = Site(tmp_path / str(asked))
        async with site.running():
            site.control.alarm_changed(None, alarm())
            await site.pass_s(5)
        assert site.on
        async with site.running(*([alarm()] if asked else [])) as control:
            await site.pass_s(40)
            assert site.on is asked
            assert control.outputs()[0].reason == ("alarm" if asked else "restart")


async def test_a_stop_switches_off_first(tmp_path: Path) -> None:
    site = Site(tmp_path)
    async with site.running() as control:
        site.control.alarm_changed(None, alarm())
        await site.pass_s(5)
        leaving = asyncio.create_task(control.leave())
        await site.pass_s(2)
        await leaving
        assert (site.on, control.outputs()[0].state) == (False, "off")
        assert "confirmed off shutdown sitegate" in await site.lines()


async def test_a_stop_does_not_wait_for_ever(tmp_path: Path) -> None:
    site = Site(tmp_path)
    async with site.running() as control:
        site.control.alarm_changed(None, alarm())
        await site.pass_s(5)
        site.failure = LinkDown("unplugged")
        leaving = asyncio.create_task(control.leave())
        await site.pass_s(6)
        assert leaving.done()


async def test_without_a_journal_nothing_is_switched_on_and_off_still_is(tmp_path: Path) -> None:
    site = Site(tmp_path)
    async with site.running() as control:
        site.control.alarm_changed(None, alarm())
        await site.pass_s(25)
        journal = control._journal
        real, journal.note = journal.note, _refuse(journal)  # type: ignore[method-assign]
        site.control.alarm_changed(None, alarm(active=False))
        await site.pass_s(3)
        assert not site.on
        site.control.alarm_changed(None, alarm())
        await site.pass_s(100)
        assert (site.on, control.outputs()[0].reason) == (False, "no_journal")
        journal.note = real  # type: ignore[method-assign]
        await site.pass_s(5)
        assert site.on
        assert "confirmed off cleared sitegate" in await site.lines()  # kept for when the disk took it again


def _refuse(journal: Journal) -> Any:
    async def note(lines: Any, memory: Any) -> bool:
        journal._waiting += lines
        journal.works = False
        return False

    return note


async def test_dust_near_a_running_cannon_is_marked(tmp_path: Path) -> None:
    site = Site(tmp_path)
    metrics, other = (PM10, "wind_speed_m_s"), ("humidity_pct",)
    async with site.running() as control:
        (mark,) = control.marks().values()
        dry = mark(Readings(DUST, 5, metrics, (80.0, 2.0), "NN"))
        assert (dry.metrics, dry.values, dry.marks) == ((*metrics, SPRAYED), (80.0, 2.0, 0.0), "NNN")
        site.control.alarm_changed(None, alarm())
        await site.pass_s(3)
        wet = mark(Readings(DUST, 6, metrics, (80.0, None), "NT"))
        assert (wet.values, wet.marks) == ((80.0, None, 1.0), "NTN")
        assert wet.metrics is dry.metrics  # one object for ever: consumers keep prepared work
        assert mark(Readings(DUST, 7, other, (60.0,), "N")).metrics == other
        missed = mark(Readings(DUST, 8, metrics, (None, None), "BB"))
        assert (missed.values[-1], missed.marks) == (None, "BBB")
        site.relay_speaks = False
        await site.pass_s(10)
        unknown = mark(Readings(DUST, 9, metrics, (80.0, 2.0), "NN"))
        assert (unknown.values[-1], unknown.marks) == (None, "NNB")


def test_one_witness_is_enough_for_the_mark() -> None:
    answers: list[bool | None] = [True]
    mark = SprayedMark(lambda: answers[0])
    assert mark(Readings(DUST, 5, (PM10,), (80.0,), "N")).values == (80.0, 1.0)
    answers[0] = None
    assert mark(Readings(DUST, 5, (PM10,), (80.0,), "N")).marks == "NB"


def test_memory_survives_a_clock_that_was_set_back() -> None:
    state = State(rest_since_s=90.0, starts=(50.0,), fault="stuck_on", lease=Lease(True, "Li", 500.0), run_since_s=95.0)
    text = remember(state, Now(1_000_000, 100.0), ("2026-11-22", 12.5))
    later, today = recall(text, Now(1_060_000, 7.0))  # a minute later, after a reboot
    assert (later.rest_since_s, later.starts, later.run_since_s, later.fault) == (-63.0, (-103.0,), -58.0, "stuck_on")
    assert (later.lease, today) == (None, ("2026-11-22", 12.5))
    back, _ = recall(text, Now(500_000, 7.0))
    assert (back.rest_since_s, back.starts) == (7.0, (7.0,))  # the whole rest, once more
    held = remember(State(lease=Lease(False, "Li", 500.0)), Now(2_000_000_000_000, 100.0), ("2026-11-22", 12.5))
    lost, _ = recall(held, Now(0, 7.0))  # a box without a battery: its clock begins in 1970
    assert lost.lease == Lease(False, "Li", 7.0 + 24 * 3600)  # not for half a century
    broken, _ = recall('{"run_since_ms": 1}', Now(0, 7.0))
    assert broken.rest_since_s == 7.0


async def test_old_lines_go_and_a_damaged_file_blocks_no_start(tmp_path: Path) -> None:
    site = Site(tmp_path)
    async with site.running() as control:
        await control.command("cannon", "off", "Li", 1)
        await site.quiet()
        await control._journal.prune(site.clock.wall_ms() + 1)
        assert await site.lines() == []
    site.path.write_bytes(b"not a database" * 1000)
    async with site.running() as control:
        assert control.outputs()[0].state == "off"
