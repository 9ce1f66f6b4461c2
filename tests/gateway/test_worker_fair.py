"""A wire shared with units that do not answer: the others keep their rate, and each kind of fault has its own state."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pymodbus.framer import FramerRTU

from drivers.api import Request, WireCost
from drivers.errors import LinkDown, NoAnswer, Refused
from drivers.modbus.driver import Address, Limits, Point, open_device
from drivers.transport.line import Line
from drivers.transport.loopback import Loopback, pair
from drivers.transport.serial import SerialStream
from gateway.clock import SystemClock
from gateway.links import worker
from gateway.links.worker import LinkWorker, Polled
from gateway.model import DeviceHealth, LinkHealth
from tests.support.clock import ManualClock, settle
from tests.support.link_bench import Notebook, ScriptedDevice, ScriptedWire, failing, running
from tests.support.pty import PtyWire

SILENT = failing(NoAnswer("no answer within 1 s"))


def three_well_and(clock: ManualClock, dead: Sequence[ScriptedDevice]) -> tuple[list[ScriptedDevice], list[Polled]]:
    well = [ScriptedDevice(clock, takes_s=0.05) for _ in range(3)]
    every = {"p": 1.0}
    named = [Polled(f"well-{n}", device, every) for n, device in enumerate(well)]
    return well, [*named, *(Polled(f"dead-{n}", device, every) for n, device in enumerate(dead))]


@pytest.mark.parametrize("units", [1, 3, 8])
async def test_the_silent_have_a_tenth_of_the_wire_however_many_they_are(units: int) -> None:
    """Fault 78. Each try costs a time-out of one second, as long as a period of the others."""
    clock = ManualClock()
    dead = [ScriptedDevice(clock, SILENT, takes_s=1.0) for _ in range(units)]
    well, polled = three_well_and(clock, dead)
    async with running(clock, polled):
        await clock.advance(60)  # to find out
        before = sum(len(device.asked) for device in dead), [len(device.asked) for device in well]
        await clock.advance(600)
        tries = sum(len(device.asked) for device in dead) - before[0]
        assert 3 <= tries <= 60
        for device, asked in zip(well, before[1], strict=True):
            assert len(device.asked) - asked >= 0.97 * 600


async def test_without_the_rest_the_silent_take_more_than_their_tenth(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control run of the test above."""
    monkeypatch.setattr(worker, "PROBE_REST", 0)
    monkeypatch.setattr("gateway.links.device_state.SILENT_CAP_S", 2.0)
    clock = ManualClock()
    dead = [ScriptedDevice(clock, SILENT, takes_s=1.0) for _ in range(8)]
    well, polled = three_well_and(clock, dead)
    async with running(clock, polled):
        await clock.advance(660)
        assert sum(len(device.asked) for device in dead) > 200
        assert len(well[0].asked) < 0.9 * 660


async def test_at_the_start_nobody_waits_for_more_than_one_time_out_of_each() -> None:
    clock = ManualClock()
    dead = [ScriptedDevice(clock, SILENT, takes_s=1.0) for _ in range(4)]
    named = [Polled(f"dead-{n}", device, {"p": 5.0, "q": 5.0}) for n, device in enumerate(dead)]
    last = ScriptedDevice(clock)
    async with running(clock, [*named, Polled("last", last, {"p": 5.0})]):
        await clock.advance(10)
        assert last.asked[0] == pytest.approx(4.0)


class Priced(ScriptedDevice):
    """Point q is the cheapest to read."""

    def cost(self, request: Request) -> WireCost:
        return WireCost(8, 9 if request.points == ("q",) else 200)


async def test_a_silent_unit_is_tried_with_its_cheapest_request_and_then_read_wholly() -> None:
    clock = ManualClock()
    device, other = Priced(clock, SILENT), ScriptedDevice(clock)
    every = {"p": 1.0, "q": 1.0, "r": 1.0}
    async with running(clock, [Polled("m", device, every), Polled("n", other, {"p": 1.0})]) as bench:
        await clock.advance(60)
        assert device.told[-1] == "read q"
        device.told.clear()
        device.answer = lambda request: (1.0,)
        await clock.advance(121)
        assert device.told[:3] == ["read q", "read p", "read r"]
        assert bench.devices["m"].state == "good"


async def test_four_faults_have_four_states() -> None:
    """A refused register, a silent unit, a dead line and a dead adapter."""
    clock = ManualClock()
    one, other = ScriptedDevice(clock), ScriptedDevice(clock)
    async with running(clock, [Polled("one", one, {"p": 1.0, "q": 1.0}), Polled("other", other, {"p": 1.0})]) as bench:
        states = lambda: (bench.health.state, bench.devices["one"].state, bench.devices["other"].state)  # noqa: E731
        assert states() == ("up", "good", "good")

        def refuse_q(request: Request) -> tuple[float, ...]:
            if request.points == ("q",):
                raise Refused("illegal data address", 2)
            return (1.0,)

        one.answer = refuse_q
        await clock.advance(2)
        assert states() == ("up", "partly", "good")
        one.answer = SILENT
        await clock.advance(5)
        assert states() == ("up", "silent", "good")
        other.answer = SILENT
        await clock.advance(5)
        assert states() == ("silent", "silent", "silent")
        one.answer = failing(LinkDown("the adapter behind this port is gone"))
        bench.wire.refuse_opens = 10_000
        bench.worker.refresh("one", ("p",))
        await settle()
        assert states() == ("down", "link_down", "link_down")


async def test_when_a_dead_line_lives_again_all_its_units_are_asked_at_once() -> None:
    clock = ManualClock()
    units = [ScriptedDevice(clock, SILENT, takes_s=0.01) for _ in range(4)]
    async with running(clock, [Polled(f"m{n}", unit, {"p": 1.0}) for n, unit in enumerate(units)]) as bench:
        await clock.advance(1200)
        assert bench.health.state == "silent"
        for unit in units:
            unit.answer = lambda request: (1.0,)
        while bench.health.state == "silent":
            await clock.advance(1)
        await clock.advance(5)
        assert {health.state for health in bench.devices.values()} == {"good"}


async def test_a_wire_that_comes_back_asks_everybody_again() -> None:
    clock = ManualClock()
    well, dead = ScriptedDevice(clock), ScriptedDevice(clock, SILENT)
    wire = ScriptedWire()
    async with running(clock, [Polled("well", well, {"p": 1.0}), Polled("dead", dead, {"p": 1.0})], wire) as bench:
        await clock.advance(900)
        asked = len(dead.asked)
        well.answer = failing(LinkDown("unplugged"))
        await clock.advance(1)
        well.answer = dead.answer = lambda request: (1.0,)
        await clock.advance(5)
        assert len(dead.asked) > asked
        assert bench.devices["dead"].state == "good"


# --- on a real line --------------------------------------------------------------------------------------------------


class Units:
    """RTU units 1 to 4 that answer after ``turnaround_s``; those in ``dark`` do not."""

    def __init__(self, far: Loopback, turnaround_s: float) -> None:
        self.far = far
        self.turnaround_s = turnaround_s
        self.dark: set[int] = set()

    async def serve(self) -> None:
        while True:
            frame = await self.far.read(5)
            if frame and frame[0] not in self.dark:
                await asyncio.sleep(self.turnaround_s)
                body = frame[:2] + bytes([2 * frame[5]]) + bytes(2 * frame[5])
                self.far.write(body + FramerRTU.compute_CRC(body).to_bytes(2, "big"))


@asynccontextmanager
async def four_units(every_s: float, timeout_s: float) -> AsyncIterator[tuple[LinkWorker, Units, Notebook]]:
    near, far = pair()
    line = Line(near, kind="tcp", framing="rtu")
    units, book = Units(far, 0.002), Notebook()
    points = {f"p{n}": Point("holding", n) for n in range(6)}
    polled = [
        Polled(f"u{n}", open_device(line, Address(n), points, Limits(), timeout_s), dict.fromkeys(points, every_s))
        for n in range(1, 5)
    ]
    health = {each.name: DeviceHealth(each.name) for each in polled}
    worker = LinkWorker(line, polled, book, SystemClock(), LinkHealth("l", "tcp", "x"), health)
    tasks = [asyncio.create_task(worker.run()), asyncio.create_task(units.serve())]
    try:
        yield worker, units, book
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_the_yardstick_four_units_one_silent_ninety_values_a_second() -> None:
    """90 healthy values per second are possible: three units, six values, every 0.2 s. Trying the dead takes 0.1 s."""
    async with four_units(every_s=0.2, timeout_s=0.1) as (_, units, book):
        units.dark.add(4)
        await asyncio.sleep(0.5)  # first rounds, and finding out
        book.taken.clear()
        await asyncio.sleep(4.0)
        values = sum(len(points) for _, points, _ in book.taken)
        assert values >= 0.97 * 90 * 4.0
        assert not [name for name, _, _ in book.taken if name == "u4"]


async def test_a_refresh_reads_a_unit_that_was_dark_as_soon_as_it_answers() -> None:
    """What control asks for waits neither for the back-off nor for a doubt about late answers."""
    async with four_units(every_s=0.2, timeout_s=0.05) as (worker, units, book):
        units.dark.add(4)
        await asyncio.sleep(1.0)
        units.dark.clear()
        book.taken.clear()
        worker.refresh("u4", ("p0",))
        await asyncio.sleep(0.15)
        assert ("u4", ("p0",), (0,)) in book.taken


async def serve(wire: PtyWire, word: int) -> None:
    """Unit 1 with one register."""
    while True:
        request = await wire.read(8)
        body = request[:-2] if request[1] == 8 else bytes((1, 3, 2, 0, word))
        wire.write(body + FramerRTU.compute_CRC(body).to_bytes(2, "big"))


async def test_an_adapter_that_comes_back_under_another_name_is_read_again(tmp_path: Path) -> None:
    """Faults 80 and 81: unplugged, plugged in again as another tty, found by the name that stays."""
    by_id = tmp_path / "usb-adapter-if00"
    first, second = PtyWire(), PtyWire()
    by_id.symlink_to(first.port)
    line = Line(SerialStream(str(by_id), 9600), kind="serial", framing="rtu", silence_s=0.004)
    device = open_device(line, Address(1), {"p": Point("holding", 0)}, Limits(), 0.2)
    book, health, states = Notebook(), LinkHealth("l", "serial", str(by_id)), {"m": DeviceHealth("m")}
    worker = LinkWorker(line, [Polled("m", device, {"p": 0.02})], book, SystemClock(), health, states)
    tasks = [asyncio.create_task(each) for each in (serve(first, 1), serve(second, 2), worker.run())]

    async def until(values: tuple[int, ...]) -> None:
        while not book.taken or book.taken[-1][2] != values:
            await asyncio.sleep(0.01)

    await until((1,))
    first.unplug()
    by_id.unlink()
    while health.state != "down":
        await asyncio.sleep(0.01)
    assert states["m"].state == "link_down"
    by_id.symlink_to(second.port)
    await until((2,))
    assert (health.state, states["m"].state) == ("up", "good")
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    second.unplug()
