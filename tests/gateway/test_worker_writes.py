"""Writes and readings out of turn: what control asks of a wire goes first, one at a time, and never waits for a wire
that is down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from drivers.api import Heard, Request, Subscribed, Value
from drivers.errors import BadFrame, DriverError, LinkDown, NoAnswer, Refused
from drivers.modbus.driver import Address, Limits, Point, open_device
from drivers.transport.line import Line
from drivers.transport.loopback import Loopback, pair
from gateway.clock import SystemClock
from gateway.links import Writer
from gateway.links.listener import ListenerWorker
from gateway.links.worker import LinkWorker, Polled
from gateway.model import DeviceHealth, LinkHealth
from tests.support.clock import ManualClock, settle
from tests.support.link_bench import Notebook, ScriptedDevice, ScriptedWire, failing, running


async def soon(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Begin a write and let it go as far as it can without time passing."""
    task = asyncio.create_task(work)
    await settle()
    return task


async def test_a_write_wakes_a_worker_that_sleeps() -> None:
    clock = ManualClock()
    device = ScriptedDevice(clock)
    async with running(clock, [Polled("relay", device, {"p": 3600.0})]) as bench:
        task = await soon(bench.worker.write("relay", "p", 1, 5.0))
        assert task.done(), "no time has passed"
        assert device.written == [("p", 1, 5.0)]
        assert device.told == ["read p", "write p"]
        assert (bench.health.writes, bench.health.write_failures) == (1, {})
        await clock.advance(3600)
        assert len(device.asked) == 2, "its rhythm goes on as before"


async def test_a_write_goes_between_the_requests_of_a_round() -> None:
    clock = ManualClock()
    told: list[str] = []
    meter = ScriptedDevice(clock, told=told, takes_s=1.0)
    relay = ScriptedDevice(clock, told=told)
    devices = [Polled("meter", meter, {"a": 60.0, "b": 60.0}), Polled("relay", relay, {"p": 60.0})]
    async with running(clock, devices) as bench:
        task = await soon(bench.worker.write("relay", "p", 1, None))
        assert told == ["read a"], "one exchange at a time"
        assert not task.done()
        await clock.advance(1)
        assert told == ["read a", "write p", "read b"]
        assert task.done()


async def test_a_write_goes_before_the_second_try_of_a_lost_answer() -> None:
    clock = ManualClock()
    told: list[str] = []
    lost = ScriptedDevice(clock, told=told)
    relay = ScriptedDevice(clock, told=told)
    async with running(clock, [Polled("lost", lost, {"a": 60.0}), Polled("relay", relay, {"p": 60.0})]) as bench:
        lost.answer, lost.takes_s = failing(NoAnswer("lost")), 1.0
        told.clear()
        bench.worker.refresh("lost", ("a",))
        await settle()
        await soon(bench.worker.write("relay", "p", 0, None))
        await clock.advance(1)
        assert told == ["read a", "write p", "read a"]


async def test_writes_are_done_one_at_a_time_in_their_order() -> None:
    clock = ManualClock()
    device = ScriptedDevice(clock, takes_s=1.0)
    async with running(clock, [Polled("relay", device, {"p": 60.0})]) as bench:
        tasks = [await soon(bench.worker.write("relay", "p", n, None)) for n in range(5)]
        await clock.advance(1)
        await asyncio.gather(*tasks)
        assert [raw for _, raw, _ in device.written] == [0, 1, 2, 3, 4]
        assert device.told == ["read p", *["write p"] * 5]


@pytest.mark.parametrize("error", [NoAnswer("silent"), BadFrame("noise"), Refused("no such coil", 2)])
async def test_what_went_wrong_reaches_the_caller_and_is_counted_and_never_repeated(error: DriverError) -> None:
    clock = ManualClock()

    def fail(raw: float) -> None:
        raise error

    device = ScriptedDevice(clock, obey=fail)
    async with running(clock, [Polled("relay", device, {"p": 5.0})]) as bench:
        with pytest.raises(type(error), match=str(error)):
            await bench.worker.write("relay", "p", 1, None)
        assert device.told == ["read p", "write p"]
        assert (bench.health.writes, bench.health.write_failures) == (1, {error.cause: 1})
        assert bench.devices["relay"].last_error == str(error)
        await clock.advance(5)
        assert bench.devices["relay"].state == "good", "reading goes on"


async def test_what_the_driver_does_not_accept_is_the_callers_mistake() -> None:
    clock = ManualClock()

    def fail(raw: float) -> None:
        raise ValueError("2 at coil 0x0000")

    async with running(clock, [Polled("relay", ScriptedDevice(clock, obey=fail), {"p": 5.0})]) as bench:
        with pytest.raises(ValueError, match="2 at coil"):
            await bench.worker.write("relay", "p", 2, None)
        assert bench.health.writes == 0
        with pytest.raises(KeyError):
            await bench.worker.write("nobody", "p", 1, None)
        with pytest.raises(KeyError):
            bench.worker.refresh("relay", ("q",))


async def test_a_silent_unit_is_written_to_at_once_and_read_again_when_it_answers() -> None:
    clock = ManualClock()
    device = ScriptedDevice(clock, failing(NoAnswer("off")))
    async with running(clock, [Polled("relay", device, {"p": 1.0})]) as bench:
        await clock.advance(900)
        assert bench.devices["relay"].state == "silent"
        device.answer = lambda request: (1.0,)
        asked = len(device.asked)
        task = await soon(bench.worker.write("relay", "p", 0, None))
        assert task.done(), "the back-off is for reading"
        await clock.advance(1)
        assert len(device.asked) == asked + 1, "it spoke: its rhythm is the usual one again"
        assert bench.devices["relay"].state == "good"


async def test_a_write_to_a_silent_unit_does_not_make_it_look_alive() -> None:
    clock = ManualClock()

    def fail(raw: float) -> None:
        raise NoAnswer("off")

    device = ScriptedDevice(clock, failing(NoAnswer("off")), obey=fail)
    async with running(clock, [Polled("relay", device, {"p": 1.0})]) as bench:
        await clock.advance(850)
        asked = len(device.asked)
        for _ in range(3):
            with pytest.raises(NoAnswer):
                await bench.worker.write("relay", "p", 0, None)
        await clock.advance(5)
        assert len(device.asked) == asked
        assert bench.devices["relay"].state == "silent"


async def test_nothing_waits_for_a_wire_that_is_down() -> None:
    clock = ManualClock()
    device = ScriptedDevice(clock)
    async with running(clock, [Polled("relay", device, {"p": 1.0})], ScriptedWire(refuse_opens=3)) as bench:
        with pytest.raises(LinkDown, match="no such port"):
            await bench.worker.write("relay", "p", 1, None)
        bench.worker.refresh("relay", ("p",))
        await clock.advance(30)
        assert bench.health.state == "up"
        assert device.written == [], "what was refused is not done later"
        assert bench.health.write_failures == {"link_down": 1}
        await bench.worker.write("relay", "p", 1, None)
        assert device.written == [("p", 1, None)]


async def test_before_the_start_and_after_the_end_nothing_is_taken() -> None:
    clock = ManualClock()
    async with running(clock, [Polled("relay", ScriptedDevice(clock, takes_s=1.0), {"p": 1.0})]) as bench:
        waiting = await soon(bench.worker.write("relay", "p", 1, None))
    with pytest.raises(LinkDown, match="stops"):
        await waiting
    with pytest.raises(LinkDown, match="stops"):
        await bench.worker.write("relay", "p", 1, None)


async def test_a_wire_lost_under_a_write_fails_it_and_all_that_wait_and_is_opened_again() -> None:
    clock = ManualClock()

    def unplugged(raw: float) -> None:
        raise LinkDown("unplugged")

    device = ScriptedDevice(clock, obey=unplugged, takes_s=1.0)
    wire = ScriptedWire()
    async with running(clock, [Polled("relay", device, {"p": 60.0})], wire) as bench:
        tasks = [await soon(bench.worker.write("relay", "p", 1, None)) for _ in range(3)]
        await clock.advance(1)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [str(outcome) for outcome in outcomes] == ["unplugged"] * 3
        assert device.told.count("write p") == 2, "once more on a new connection, then no more"
        assert bench.health.write_failures == {"link_down": 3}
        assert bench.health.state == "down"
        await clock.advance(5)
        assert bench.health.state == "up"


async def test_a_device_that_closes_after_each_answer_can_be_written() -> None:
    clock = ManualClock()
    wire = ScriptedWire()
    spent = 0

    def once_per_connection(_: object = None) -> tuple[float, ...]:
        nonlocal spent
        if spent == wire.opens:
            raise LinkDown("closed by the other side")
        spent = wire.opens
        return (1.0,)

    device = ScriptedDevice(clock, once_per_connection, obey=lambda raw: once_per_connection() and None)
    async with running(clock, [Polled("relay", device, {"p": 60.0})], wire) as bench:
        await bench.worker.write("relay", "p", 1, None)
        assert device.written == [("p", 1, None)]
        assert (bench.health.state, bench.health.write_failures) == ("up", {})


async def test_a_caller_who_gives_up_in_time_takes_the_write_back() -> None:
    clock = ManualClock()
    device = ScriptedDevice(clock, takes_s=1.0)
    async with running(clock, [Polled("relay", device, {"p": 60.0})]) as bench:
        first = await soon(bench.worker.write("relay", "p", 1, None))
        second = await soon(bench.worker.write("relay", "p", 0, None))
        first.cancel()
        await clock.advance(1)
        await second
        assert device.written == [("p", 0, None)]


async def test_a_refreshed_point_is_read_at_once_and_goes_the_usual_way() -> None:
    clock = ManualClock()
    device = ScriptedDevice(clock)
    async with running(clock, [Polled("relay", device, {"p": 60.0, "q": 60.0})]) as bench:
        device.told.clear()
        bench.book.taken.clear()
        bench.worker.refresh("relay", ("q",))
        bench.worker.refresh("relay", ("q",))
        await settle()
        assert device.told == ["read q"], "the sleep ends; two wishes, one reading"
        assert bench.book.taken == [("relay", ("q",), (1.0,))]


async def test_a_refresh_goes_between_the_requests_of_a_round_after_the_writes() -> None:
    clock = ManualClock()
    told: list[str] = []
    meter = ScriptedDevice(clock, told=told, takes_s=1.0)
    relay = ScriptedDevice(clock, told=told)
    devices = [Polled("meter", meter, {"a": 60.0, "b": 60.0}), Polled("relay", relay, {"p": 60.0})]
    async with running(clock, devices) as bench:
        bench.worker.refresh("relay", ("p",))
        await soon(bench.worker.write("relay", "p", 1, None))
        assert told == ["read a"]
        await clock.advance(1)
        assert told == ["read a", "write p", "read p", "read b"]


async def test_who_asks_for_readings_without_end_starves_nobody() -> None:
    clock = ManualClock()
    meter, relay = ScriptedDevice(clock, takes_s=0.1), ScriptedDevice(clock, takes_s=0.1)
    devices = [Polled("meter", meter, {"a": 1.0, "b": 1.0}), Polled("relay", relay, {"p": 1.0, "q": 1.0})]
    async with running(clock, devices) as bench:

        def once_more(request: Request) -> tuple[Value, ...]:
            bench.worker.refresh("relay", ("p", "q"))
            return (1.0,)

        relay.answer = once_more
        await clock.advance(10)
        assert len(meter.asked) >= 10


async def test_a_refresh_that_meets_silence_marks_its_points_and_no_more() -> None:
    clock = ManualClock()
    device = ScriptedDevice(clock)
    async with running(clock, [Polled("relay", device, {"p": 60.0})]) as bench:
        device.answer = failing(NoAnswer("off"))
        for _ in range(4):
            bench.worker.refresh("relay", ("p",))
            await settle()
        assert bench.book.missing == [("relay", ("p",), "B")] * 4
        assert bench.devices["relay"].failures_in_row == 0, "only rounds count towards silence"


# --- on a real line --------------------------------------------------------------------------------------------------


class TwoUnits:
    """A slow meter (unit 1) and a relay board (unit 2) on one wire; ``heard`` tells what each was asked and when."""

    def __init__(self, far: Loopback, slow_s: float) -> None:
        self._far = far
        self._slow_s = slow_s
        self.heard: list[tuple[int, int]] = []
        self.answered_s = 0.0
        self.written_s = 0.0
        self.reading = asyncio.Event()

    async def serve(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            frame = await self._far.read(5)
            if not frame:
                continue
            unit, function = frame[6], frame[7]
            self.heard.append((unit, function))
            if unit == 1:
                self.reading.set()
                await asyncio.sleep(self._slow_s)
                self.answered_s = clock()
                self._far.write(frame[:4] + bytes([0, 5, 1, 3, 2, 0, 7]))
            else:
                self.written_s = clock()
                self._far.write(frame)


async def test_a_write_follows_right_after_a_slow_read_of_another_unit() -> None:
    near, far = pair()
    line = Line(near, kind="tcp", framing="modbus_tcp")
    meter = open_device(line, Address(1), {"voltage_l1_v": Point("holding", 0)}, Limits(), 2.0)
    relay = open_device(line, Address(2), {"output_1_on": Point("coil", 0)}, Limits(), 2.0)
    units = TwoUnits(far, slow_s=0.2)
    polled = [Polled("meter", meter, {"voltage_l1_v": 0.01}), Polled("relay", relay, {})]
    health = {name: DeviceHealth(name) for name in ("meter", "relay")}
    worker = LinkWorker(line, polled, Notebook(), SystemClock(), LinkHealth("l", "tcp", "x"), health)
    tasks = [asyncio.create_task(worker.run()), asyncio.create_task(units.serve())]
    try:
        await units.reading.wait()
        await worker.write("relay", "output_1_on", 1, None)
        assert units.heard[:2] == [(1, 3), (2, 5)], "before the next read of the meter, which is overdue"
        assert units.written_s - units.answered_s < 0.02
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# --- devices that speak first ----------------------------------------------------------------------------------------


class CommandedListener:
    """A broker connection that stands, or does not."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, str, float, float | None]] = []
        self.error: Exception | None = None

    window = 100

    def acknowledge(self, count: int) -> None:
        pass

    async def reports(self) -> AsyncGenerator[Heard, None]:
        yield Subscribed()
        await asyncio.Event().wait()

    async def write(self, device: str, point: str, raw: float, hold_s: float | None = None) -> None:
        if self.error is not None:
            raise self.error
        self.commands.append((device, point, raw, hold_s))


@asynccontextmanager
async def commanded(listener: CommandedListener, health: LinkHealth) -> AsyncIterator[Writer]:
    clock = ManualClock()
    devices = {"cannon": DeviceHealth("cannon")}
    worker = ListenerWorker(
        listener, {"cannon": 5.0}, Notebook(), clock, health, devices, {"cannon": ("spraying",)}, lambda: 0.5
    )
    task = asyncio.create_task(worker.run())
    await clock.advance(0)
    try:
        yield worker
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_commands_to_devices_that_speak_first() -> None:
    listener, health = CommandedListener(), LinkHealth("mq", "mqtt", "broker")
    async with commanded(listener, health) as worker:
        await worker.write("cannon", "spraying", 1, 30.0)
        worker.refresh("cannon", ("spraying",))
        assert listener.commands == [("cannon", "spraying", 1, 30.0)]
        listener.error = LinkDown("not connected")
        with pytest.raises(LinkDown):
            await worker.write("cannon", "spraying", 0, None)
        listener.error = ValueError("no command_topic")
        with pytest.raises(ValueError, match="command_topic"):
            await worker.write("cannon", "running", 0, None)
        assert (health.writes, health.write_failures) == (2, {"link_down": 1})
