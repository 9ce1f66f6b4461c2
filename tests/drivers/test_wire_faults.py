"""Faults of a serial wire on a real tty: what the line and the Modbus driver make of each, and that the next request
is answered as ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from pymodbus.framer import FramerRTU

from drivers.errors import BadFrame, DriverError, NoAnswer, Refused
from drivers.modbus.driver import Address, Limits, ModbusDevice, Point, open_device
from drivers.modbus.frames import EXCEPTIONS
from drivers.transport.line import Line
from drivers.transport.serial import SerialStream
from tests.support.pty import PtyWire

POINTS = {"voltage_l1_v": Point("holding", 0), "voltage_l2_v": Point("holding", 1), "frequency_hz": Point("holding", 9)}


def rtu(body: bytes) -> bytes:
    return body + FramerRTU.compute_CRC(body).to_bytes(2, "big")


def reply(request: bytes) -> bytes:
    """What unit 3 says: each register holds its own address plus 100."""
    start, count = int.from_bytes(request[2:4], "big"), request[5]
    words = b"".join((start + n + 100).to_bytes(2, "big") for n in range(count))
    return rtu(bytes((3, 3, 2 * count)) + words)


class Slave:
    """Unit 3 on a pty. ``spoil`` makes something else of the next reply: what comes at once."""

    def __init__(self, wire: PtyWire) -> None:
        self.wire = wire
        self.spoil: Callable[[bytes], bytes] | None = None
        self.mute = False

    async def serve(self) -> None:
        while True:
            request = await self.wire.read(8)
            good = request if request[1] == 8 else reply(request)
            spoil, self.spoil = self.spoil, None
            if not self.mute:
                self.wire.write(spoil(good) if spoil else good)


Bench = tuple[ModbusDevice, Slave, Line]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    wire = PtyWire()
    line = Line(SerialStream(wire.port, 115200), kind="serial", framing="rtu", silence_s=0.001)
    await line.open()
    slave = Slave(wire)
    serving = asyncio.create_task(slave.serve())
    yield open_device(line, Address(3), POINTS, Limits(max_gap=0), 0.03), slave, line
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    await line.close()
    wire.unplug()


async def outcome(bench: Bench, spoil: Callable[[bytes], bytes]) -> tuple[float, ...] | DriverError:
    """Ask once over the fault, then once more without it: that must be right."""
    device, slave, _ = bench
    (request,) = device.plan(["voltage_l1_v", "voltage_l2_v"])
    slave.spoil = spoil
    try:
        told = await device.ask(request)
    except DriverError as why:
        told = why
    assert await device.ask(request) == (100, 101), "the next answer is as ever"
    return told


async def test_the_rig_gives_a_right_answer(bench: Bench) -> None:
    assert await outcome(bench, lambda good: good) == (100, 101)


@pytest.mark.parametrize("cut", range(9))
async def test_an_answer_that_breaks_off_is_no_value(bench: Bench, cut: int) -> None:
    """Fault 70, cut at each byte."""
    assert isinstance(await outcome(bench, lambda good: good[:cut]), BadFrame if cut else NoAnswer)


@pytest.mark.parametrize("bit", range(0, 72, 5))
async def test_a_turned_bit_is_no_value(bench: Bench, bit: int) -> None:
    """Fault 69."""

    def turn(good: bytes) -> bytes:
        return good[: bit // 8] + bytes([good[bit // 8] ^ 1 << bit % 8]) + good[bit // 8 + 1 :]

    assert isinstance(await outcome(bench, turn), BadFrame)


async def test_noise_around_an_answer_is_stepped_over(bench: Bench) -> None:
    assert await outcome(bench, lambda good: b"\x00\xff\x03\x03" + good + b"\x00\xfe") == (100, 101)


@pytest.mark.parametrize(
    "body",
    [
        bytes((4, 3, 4, 0, 7, 0, 8)),
        bytes((3, 4, 4, 0, 7, 0, 8)),
        bytes((3, 3, 2, 0, 7)),
        bytes((3, 3, 6, 0, 7, 0, 8, 0, 9)),
        bytes((3, 16, 0, 0, 0, 2)),
    ],
    ids=["unit", "function", "short", "long", "write"],
)
async def test_a_sound_frame_that_answers_something_else_is_no_value(bench: Bench, body: bytes) -> None:
    """Fault 73: the checksum is right; unit, function or length is not."""
    assert isinstance(await outcome(bench, lambda good: rtu(body)), BadFrame)
    assert await outcome(bench, lambda good: rtu(body) + good) == (100, 101)


@pytest.mark.parametrize("code", [*EXCEPTIONS, 9, 12, 127])
async def test_each_refusal_is_told_with_its_code_and_costs_no_quiet_time(bench: Bench, code: int) -> None:
    """Faults 75 to 77, known codes and unknown ones."""
    told = await outcome(bench, lambda good: rtu(bytes((3, 0x83, code))))
    assert isinstance(told, Refused)
    assert told.code == code


async def test_another_master_is_stepped_over_and_its_bytes_are_counted(bench: Bench) -> None:
    """Fault 84: its requests and their answers are no answers to ours."""
    device, slave, line = bench
    (request,) = device.plan(["voltage_l1_v", "voltage_l2_v"])
    slave.wire.write(rtu(bytes((3, 3, 0, 9, 0, 2))) + rtu(bytes((3, 3, 4, 9, 9, 9, 9))))
    await asyncio.sleep(0.01)
    assert await device.ask(request) == (100, 101)
    assert line.bytes_discarded == 17


async def test_only_rubbish_on_a_new_line_hints_at_its_settings(bench: Bench) -> None:
    """Fault 85: wrong speed or parity, or two units with one address."""
    device, slave, _ = bench
    (request,) = device.plan(["voltage_l1_v", "voltage_l2_v"])
    slave.spoil = lambda good: bytes(byte ^ 0x55 for byte in good)
    with pytest.raises(BadFrame, match="compare speed and parity"):
        await device.ask(request)
    await device.ask(request)
    slave.spoil = lambda good: bytes(byte ^ 0x55 for byte in good)
    with pytest.raises(BadFrame, match=r"no answer: "):
        await device.ask(request)


async def test_a_transceiver_that_is_stuck_sending_holds_nobody_for_long(bench: Bench) -> None:
    """Fault 86: every try ends, with a sentence, while bytes pour in."""
    device, slave, _ = bench
    (request,) = device.plan(["voltage_l1_v", "voltage_l2_v"])

    async def pour() -> None:
        while True:
            slave.wire.write(b"\x55" * 16)
            await asyncio.sleep(0.002)

    slave.mute = True
    pouring = asyncio.create_task(pour())
    began_s = asyncio.get_running_loop().time()
    for _ in range(2):
        with pytest.raises(BadFrame):
            await device.ask(request)
    assert asyncio.get_running_loop().time() - began_s < 2.5
    pouring.cancel()
    slave.mute = False
    await asyncio.gather(pouring, return_exceptions=True)
    await asyncio.sleep(0.05)
    assert await device.ask(request) == (100, 101)
