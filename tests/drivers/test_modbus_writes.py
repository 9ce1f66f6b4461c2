"""Writing over Modbus: frames we did not write, confirmations to the byte, pulses that the board times itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU

from drivers.errors import BadFrame, NoAnswer, Refused
from drivers.modbus.driver import Address, Limits, ModbusDevice, Point, check_address, check_write, open_device
from drivers.modbus.frames import rtu_reply, rtu_write, tcp_reply, tcp_write
from drivers.modbus.points import compile_block
from drivers.modbus.writes import Command, command
from drivers.transport.line import Line
from drivers.transport.loopback import pair

FRAMER = FramerRTU(DecodePDU(False))
PULSED = Point("coil", 0, pulse_address=0x0200)
FLASH = Point("coil", 1, pulse_address=3 + 5, pulse_function=0x10, pulse_mode=4)


def rtu(unit: int, pdu: str | bytes) -> bytes:
    return FRAMER.encode(bytes.fromhex(pdu) if isinstance(pdu, str) else pdu, unit, 0)


# --- frames we did not write: from makers' papers, public drivers and the specification -------------------------------


@pytest.mark.parametrize(
    ("frame", "unit", "point", "raw", "hold_s"),
    [
        ("FF 05 00 00 FF 00 99 E4", 255, Point("coil", 0), 1, None),  # LC Technology, relay 1 on
        ("FE 05 00 00 FF 00 98 35", 254, Point("coil", 0), 1, None),  # Juying, relay 1 on
        ("FE 05 00 00 00 00 D9 C5", 254, Point("coil", 0), 0, None),  # Juying, relay 1 off
        ("01 05 02 00 00 07 8D B0", 1, PULSED, 1, 0.7),  # Waveshare, relay 1 on for 0.7 s
    ],
)
def test_frames_of_relay_boards(frame: str, unit: int, point: Point, raw: float, hold_s: float | None) -> None:
    assert rtu_write(unit, command(point, raw, hold_s)).frame == bytes.fromhex(frame)


@pytest.mark.parametrize(
    ("request_pdu", "reply_pdu", "point", "raw"),
    [
        ("05 00AC FF00", "05 00AC FF00", Point("coil", 0xAC), 1),  # 6.5
        ("06 0001 0003", "06 0001 0003", Point("holding", 1), 3),  # 6.6
        ("10 0001 0002 04 000A0102", "10 0001 0002", Point("holding", 1, "u32"), 0x000A0102),  # 6.12
        ("0F 0013 0001 01 01", "0F 0013 0001", Point("coil", 0x13, write_function=0x0F), 1),
        ("0F 0013 0001 01 00", "0F 0013 0001", Point("coil", 0x13, write_function=0x0F), 0),
        ("10 0007 0001 02 FFFE", "10 0007 0001", Point("holding", 7, "s16", write_function=0x10), -2),
        ("10 0004 0002 04 0000 4366", "10 0004 0002", Point("holding", 4, "f32", word_order="low_first"), 230),
    ],
)
def test_examples_of_the_specification(request_pdu: str, reply_pdu: str, point: Point, raw: float) -> None:
    made = command(point, raw)
    assert (made.request, made.reply) == (bytes.fromhex(request_pdu), bytes.fromhex(reply_pdu))


def test_a_flash_command_is_written_into_registers() -> None:
    """Register 3 + (n - 1) * 5 is reported; the word 4 before the time is from memory (LC Technology, Juying)."""
    made = command(FLASH, 1, 2.0)
    assert (made.request, made.reply) == (bytes.fromhex("10 0008 0002 04 0004 0014"), bytes.fromhex("10 0008 0002"))


def test_all_coils_at_once_as_a_frame() -> None:
    whole = Command("all on", bytes.fromhex("0F 0000 0008 01 FF"), bytes.fromhex("0F 0000 0008"))
    assert rtu_write(255, whole).frame == bytes.fromhex("FF 0F 00 00 00 08 01 FF 30 1D")


REGISTER_TYPES = st.sampled_from(
    [("u16", 0, 2**16 - 1), ("s16", -(2**15), 2**15 - 1), ("u32", 0, 2**32 - 1), ("s64", -(2**63), 2**63 - 1)]
)


@given(REGISTER_TYPES, st.sampled_from(["high_first", "low_first"]), st.integers(0, 0xFFF0), st.data())
def test_what_is_written_is_what_a_read_would_bring(of: Any, order: Any, address: int, data: st.DataObject) -> None:
    name, low, high = of
    wide = name in ("u32", "s64")
    point = Point("holding", address, name, word_order=order if wide else "high_first", byte_order=order)
    raw = data.draw(st.integers(low, high))
    made = command(point, raw)
    payload = made.request[6:] if wide else made.request[3:]
    assert compile_block([point], address, point.width)(payload) == (raw,)


@given(st.floats(0.001, 5000), st.sampled_from([0.001, 0.1, 1.0]))
def test_a_pulse_never_lasts_longer_than_was_said(hold_s: float, step_s: float) -> None:
    point = Point("coil", 0, pulse_address=0x0200, pulse_step_s=step_s)
    try:
        steps = int.from_bytes(command(point, 1, hold_s).request[3:], "big")
    except ValueError:
        assert hold_s < step_s * 1.001 or hold_s > 0x7FFF * step_s * 0.999
    else:
        assert hold_s - step_s <= steps * step_s <= hold_s * (1 + 1e-6) + 1e-6 * step_s


def test_rest_is_never_a_pulse() -> None:
    """A timed "off" would switch the valve on again when its time is over."""
    assert command(PULSED, 0, 30).request == bytes.fromhex("05 0000 0000")


@pytest.mark.parametrize(
    ("point", "timed", "raws", "words"),
    [
        (Point("discrete", 0), False, (0, 1), "discrete addresses can only be read"),
        (Point("input", 0), False, (0, 1), "input addresses can only be read"),
        (Point("holding", 0, "bit", bit=3), False, (0, 1), "without touching its neighbours"),
        (Point("coil", 0, write_function=0x06), False, (0, 1), "0x06 does not set this point: take 0x05 or 0x0F"),
        (Point("holding", 0, write_function=0x05), False, (0, 1), "0x05 does not set this point: take 0x06 or 0x10"),
        (Point("holding", 0, "u32", write_function=0x06), False, (0, 1), "does not set this point: take 0x10"),
        (Point("coil", 0), False, (0, 2), "2 at coil 0x0000: it can be set to 0 or 1"),
        (Point("holding", 0), False, (0, 70000), "does not fit into u16"),
        (Point("coil", 0), True, (0, 1), "a pulse needs pulse_address"),
        (Point("holding", 0, pulse_address=1), True, (0, 1), "only a coil"),
        (Point("coil", 0, pulse_address=0x10000), True, (0, 1), "does not fit into"),
        (Point("coil", 0, pulse_address=1, pulse_step_s=0), True, (0, 1), "boards count in steps"),
        (Point("coil", 0, pulse_address=1, pulse_mode=4), True, (0, 1), "pulse_mode is a word"),
    ],
)
def test_what_cannot_be_written_is_explained(point: Point, timed: bool, raws: tuple[float, ...], words: str) -> None:
    found = check_write("output_1_on", point, Limits(), timed=timed, raws=raws)
    assert found is not None
    assert found.startswith("output_1_on: ")
    assert words in found


@pytest.mark.parametrize("point", [PULSED, FLASH])
def test_what_can_be_written_is_accepted(point: Point) -> None:
    assert check_write("output_1_on", point, Limits(), timed=True) is None
    assert check_write("output_1_on", point, Limits(), timed=False) is None


def test_the_addresses_of_relay_boards_are_allowed_on_a_serial_line() -> None:
    assert [check_address(Address(unit), "serial") is None for unit in (253, 254, 255, 256)] == [
        False,
        True,
        True,
        False,
    ]


# --- confirmations ---------------------------------------------------------------------------------------------------

ASKED = rtu_write(3, command(Point("coil", 5), 1))
CONFIRMED = rtu(3, "05 0005 FF00")
NOT_IT = st.sampled_from(
    [
        rtu(3, "05 0005 0000"),  # off
        rtu(3, "05 0004 FF00"),  # another coil
        rtu(4, "05 0005 FF00"),  # another unit
        rtu(3, "06 0005 FF00"),  # another function
        rtu(3, "01 01 01"),  # an answer to a read
        CONFIRMED[:-1],
        CONFIRMED[:3] + b"\x07" + CONFIRMED[4:],
    ]
)


@given(st.lists(NOT_IT | st.binary(max_size=9), max_size=4))
def test_only_the_exact_confirmation_counts(before: list[bytes]) -> None:
    take = rtu_reply(ASKED)
    buffer = bytearray()
    for piece in before:
        buffer += piece
        assert take(buffer) is None
    buffer += CONFIRMED
    assert take(buffer) == b""


def test_over_tcp_a_confirmation_of_something_else_is_a_bad_frame() -> None:
    asked = tcp_write(3, command(Point("coil", 5), 1))
    good = bytes.fromhex("0007 0000 0006 03 05 0005 FF00")
    assert tcp_reply(asked, 7, bytearray(good)) == b""
    for wrong in (
        "0007 0000 0006 03 05 0005 0000",
        "0007 0000 0006 03 05 0004 FF00",
        "0007 0000 0007 03 05 0005 FF00 00",
    ):
        with pytest.raises(BadFrame):
            tcp_reply(asked, 7, bytearray.fromhex(wrong))


@pytest.mark.parametrize(("code", "words"), [(1, "illegal function"), (2, "illegal data address"), (6, "device busy")])
def test_a_refusal_names_unit_coil_and_reason(code: int, words: str) -> None:
    with pytest.raises(Refused, match=rf"^unit 3: {words} \(exception {code}\) for coil 0x0005 = 1$") as told:
        rtu_reply(ASKED)(bytearray(rtu(3, bytes([0x85, code]))))
    assert told.value.code == code


# --- the device on a wire --------------------------------------------------------------------------------------------

POINTS = {"output_1_on": PULSED, "output_2_on": Point("coil", 1, write_function=0x0F), "level": Point("holding", 9)}


class Bench:
    """A relay board whose far end is played by the test: ``replies`` says what it answers, and how late."""

    def __init__(self) -> None:
        self.near, self.far = pair()
        self.heard: list[bytes] = []
        self.delay_s = 0.0
        self.tasks: list[asyncio.Task[None]] = []

    async def device(self, timeout_s: float = 0.05, **options: Any) -> ModbusDevice:
        line = Line(self.near, kind="serial", framing="rtu", **options)
        await line.open()
        self.tasks.append(asyncio.create_task(self._answer()))
        return open_device(line, Address(3), POINTS, Limits(), timeout_s)

    async def _answer(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            frame = await self.far.read(5)
            if frame:
                self.heard.append(frame)
                reply = frame[1:-2] if frame[1] in (5, 6) else frame[1:6]
                loop.call_later(self.delay_s, self.far.write, rtu(3, reply))


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    for task in made.tasks:
        task.cancel()
    await asyncio.gather(*made.tasks, return_exceptions=True)
    await made.near.close()


async def test_writes_go_out_as_asked_and_return_when_confirmed(bench: Bench) -> None:
    device = await bench.device()
    await device.write("output_1_on", 1, 5.0)
    await device.write("output_1_on", 0, 5.0)
    await device.write("output_2_on", 1)
    await device.write("level", 300)
    assert bench.heard == [
        rtu(3, "05 0200 0032"),
        rtu(3, "05 0000 0000"),
        rtu(3, "0F 0001 0001 01 01"),
        rtu(3, "06 0009 012C"),
    ]


async def test_silence_leaves_the_state_unknown_and_is_never_repeated(bench: Bench) -> None:
    device = await bench.device()
    bench.delay_s = 60
    with pytest.raises(NoAnswer, match=r"unit 3, coil 0x0000 = 1 for 5 s: no answer within 0\.05 s"):
        await device.write("output_1_on", 1, 5.0)
    assert len(bench.heard) == 1


async def test_a_late_confirmation_of_on_does_not_confirm_off(bench: Bench) -> None:
    """The reply to 0F names no value, so the late one to "on" looks like the one to "off"."""
    device = await bench.device(timeout_s=0.03, drain_s=0.02)
    bench.delay_s = 0.065
    with pytest.raises(NoAnswer):
        await device.write("output_2_on", 1)
    with pytest.raises((NoAnswer, BadFrame)):
        await device.write("output_2_on", 0)


async def test_a_caller_who_gives_up_leaves_the_wire_in_order(bench: Bench) -> None:
    device = await bench.device(timeout_s=1.0, drain_s=0.05)
    bench.delay_s = 0.02
    writing = asyncio.create_task(device.write("output_1_on", 1, 5.0))
    while not bench.heard:
        await asyncio.sleep(0)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    bench.delay_s = 0.0
    await device.write("output_1_on", 0)
    assert bench.heard[-1] == rtu(3, "05 0000 0000")


async def test_the_echo_of_an_adapter_is_not_taken_for_the_confirmation(bench: Bench) -> None:
    """Link says ``echo: true``; the board itself is dead."""
    device = await bench.device(echo=True)
    with pytest.raises(NoAnswer):
        await device.write("output_1_on", 0)


@pytest.mark.parametrize(("point", "raw", "hold_s"), [("output_2_on", 1, 5.0), ("output_1_on", 2, None)])
async def test_what_the_profile_does_not_describe_is_not_sent(
    bench: Bench, point: str, raw: float, hold_s: Any
) -> None:
    device = await bench.device()
    with pytest.raises(ValueError):
        await device.write(point, raw, hold_s)
    assert bench.heard == []
