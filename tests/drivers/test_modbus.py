"""Modbus frames, the device and the frame explainer, over an in-memory wire, a pty and frames we did not write."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU

from drivers.errors import BadFrame, LinkDown, NoAnswer, Refused
from drivers.modbus.decode import describe, describe_stream
from drivers.modbus.driver import (
    Address,
    Limits,
    ModbusDevice,
    Point,
    check_address,
    check_point,
    open_device,
    read_example,
)
from drivers.modbus.frames import rtu_read, rtu_reply, tcp_read, tcp_reply
from drivers.transport.line import Line
from drivers.transport.loopback import Loopback, pair
from drivers.transport.serial import SerialStream
from tests.support.pty import PtyWire

FRAMER = FramerRTU(DecodePDU(False))


def rtu(unit: int, pdu: str | bytes) -> bytes:
    """A sound RTU frame, with pymodbus's CRC."""
    return FRAMER.encode(bytes.fromhex(pdu) if isinstance(pdu, str) else pdu, unit, 0)


def mbap(number: int, unit: int, pdu: str) -> bytes:
    body = bytes([unit]) + bytes.fromhex(pdu)
    return struct.pack(">HHH", number, 0, len(body)) + body


# --- frames we did not write: from makers' register lists and public drivers; CRC recomputed -------------------------

REQUESTS = [
    ("01 04 00 34 00 02 30 05", (1, "input", 0x34, 2)),  # Eastron SDM630
    ("01 03 20 06 00 0C AE 0E", (1, "holding", 0x2006, 12)),  # Chint DTSU666
    ("01 03 00 3E 00 04 25 C5", (1, "holding", 0x3E, 4)),  # Acrel ADW300
    ("01 03 00 61 00 06 94 16", (1, "holding", 0x61, 6)),  # Acrel DTSD1352
    ("01 03 0C 83 00 04 B6 B1", (1, "holding", 0xC83, 4)),  # Schneider iEM3155
    ("01 03 01 F4 00 0E 84 00", (1, "holding", 0x1F4, 14)),  # Renke weather and dust station
    ("FF 03 07 D0 00 01 91 59", (255, "holding", 0x7D0, 1)),  # Renke: find the address
    ("01 03 00 01 00 1C 15 C3", (1, "holding", 1, 28)),  # Xintai water meter
    ("FE 01 00 00 00 04 29 C6", (254, "coil", 0, 4)),  # Juying relay
]


@pytest.mark.parametrize(("frame", "asked"), REQUESTS)
def test_requests_are_those_of_the_manuals(frame: str, asked: tuple[int, Any, int, int]) -> None:
    assert rtu_read(*asked).frame == bytes.fromhex(frame)
    unit, table, address, count = asked
    told = describe(bytes.fromhex(frame))
    function = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}[table]
    assert told == {
        "valid": True,
        "unit": unit,
        "function": function,
        "crc_ok": True,
        "kind": "request",
        "address": address,
        "count": count,
    }


def test_the_wind_sensors_reply() -> None:
    """Renke RS-FSJT: `01 03 00 00 00 01 84 0A` -> `01 03 02 00 56 38 7A` = 8.6 m/s."""
    read = rtu_read(1, "holding", 0, 1)
    assert read.frame == bytes.fromhex("01 03 00 00 00 01 84 0A")
    assert rtu_reply(read)(bytearray.fromhex("01 03 02 00 56 38 7A")) == b"\x00\x56"
    assert describe(bytes.fromhex("01 03 02 00 56 38 7A"))["registers"] == [86]


def test_the_tcp_request_of_the_specification() -> None:
    """Modbus Messaging on TCP/IP 1.0b, appendix: header of seven bytes, then the PDU."""
    assert tcp_read(255, "holding", 0x1234, 1).frame == bytes.fromhex("0000 0000 0006 ff 03 1234 0001")


# --- recognising replies ---------------------------------------------------------------------------------------------

READ = rtu_read(3, "holding", 0x10, 2)
GOOD = rtu(3, "03 04 4366 8000")
PAYLOAD = bytes.fromhex("43668000")


def feed(chunks: list[bytes], take: Callable[[bytearray], bytes | None]) -> bytes | None:
    buffer = bytearray()
    for chunk in chunks:
        buffer += chunk
        if (answer := take(buffer)) is not None:
            return answer
    return None


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(c % (len(data) + 1) for c in cuts)})
    return [data[a:b] for a, b in pairwise(edges)]


FOREIGN = st.sampled_from(
    [
        rtu(4, "03 04 0000 0000"),  # another unit
        rtu(3, "04 04 0000 0000"),  # another function
        rtu(3, "03 02 0000"),  # another length
        rtu(3, "84 02"),  # a refusal of something else
        GOOD[:-1],  # cut
        GOOD[:4] + b"\xff" + GOOD[5:],  # damaged
        b"\x03",
        b"\x03\x03",
        b"\x03\x03\x04",  # looks like the beginning
    ]
)


@given(st.lists(FOREIGN | st.binary(max_size=12), max_size=4), st.lists(st.integers(0, 200), max_size=8))
def test_our_frame_is_found_in_any_rubbish_and_any_slices(before: list[bytes], cuts: list[int]) -> None:
    data = b"".join(before) + GOOD + b"tail"
    assert feed(cut(data, cuts), rtu_reply(READ)) == PAYLOAD


@given(st.lists(FOREIGN, max_size=6), st.lists(st.integers(0, 200), max_size=8))
def test_foreign_frames_are_never_believed_and_never_pile_up(frames: list[bytes], cuts: list[int]) -> None:
    take = rtu_reply(READ)
    buffer = bytearray()
    for chunk in cut(b"".join(frames), cuts):
        buffer += chunk
        assert take(buffer) is None
    assert len(buffer) <= 4 * len(GOOD)


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 99])
def test_each_exception_is_a_refusal_that_names_unit_block_and_code(code: int) -> None:
    with pytest.raises(Refused, match=rf"^unit 3: .+ \(exception {code}\) for holding 0x0010\.\.0x0011$") as told:
        feed([b"\x00", rtu(3, bytes([0x83, code]))], rtu_reply(READ))
    assert told.value.code == code
    with pytest.raises(Refused) as told:
        tcp_reply(READ, 7, bytearray(mbap(7, 3, f"83 {code:02x}")))
    assert told.value.code == code


def test_what_exception_2_says() -> None:
    with pytest.raises(Refused, match="unit 3: illegal data address"):
        rtu_reply(READ)(bytearray(rtu(3, "83 02")))


LATE = st.sampled_from([mbap(6, 3, "03 04 0000 0000"), mbap(6, 3, "83 02"), mbap(7, 4, "03 04 0000 0000")])


@given(st.lists(LATE, max_size=4), st.lists(st.integers(0, 200), max_size=8))
def test_over_tcp_late_and_foreign_replies_are_stepped_over(before: list[bytes], cuts: list[int]) -> None:
    data = b"".join(before) + mbap(7, 3, "03 04 4366 8000")
    assert feed(cut(data, cuts), lambda buffer: tcp_reply(READ, 7, buffer)) == PAYLOAD


@pytest.mark.parametrize(
    "frame",
    [
        bytes.fromhex("0007 0001 0007 03 03 04 4366 8000"),  # protocol is not 0
        bytes.fromhex("0007 0000 0000 03 03"),  # length of nothing
        bytes.fromhex("0007 0000 ffff 03 03"),  # length of no Modbus frame
        mbap(7, 3, "04 04 4366 8000"),  # another function
        mbap(7, 3, "03 02 4366"),  # another count
        mbap(7, 3, "03 04 4366 8000 00"),  # longer than its count says
        b"HTTP/1.1 400 Bad Request\r\n",
    ],
)
def test_over_tcp_nonsense_is_a_bad_frame(frame: bytes) -> None:
    with pytest.raises(BadFrame):
        tcp_reply(READ, 7, bytearray(frame))


# --- the device ------------------------------------------------------------------------------------------------------

POINTS = {"voltage_l1_v": Point("holding", 0x10, "f32"), "current_l1_a": Point("holding", 0x12, "s16")}


class Bench:
    """A device under test and the far end of its wire."""

    def __init__(self) -> None:
        self.near, self.far = pair()
        self.tasks: list[asyncio.Task[None]] = []

    async def device(self, framing: Any = "rtu", timeout_s: float = 0.05, **options: Any) -> ModbusDevice:
        self.line = Line(self.near, kind="serial", framing=framing, **options)
        await self.line.open()
        return open_device(self.line, Address(3), POINTS, Limits(), timeout_s)

    def serve(self, *answers: list[bytes] | float) -> None:
        """Answer each request with the next list of chunks; a number before one delays it by so many seconds."""

        async def run(far: Loopback) -> None:
            delay_s = 0.0
            for answer in answers:
                if isinstance(answer, float):
                    delay_s = answer
                    continue
                while not await far.read(5):
                    pass
                await asyncio.sleep(delay_s)
                for chunk in answer:
                    far.write(chunk)
                    await asyncio.sleep(0)
                delay_s = 0.0

        self.tasks.append(asyncio.create_task(run(self.far)))


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    await made.near.close()
    for task in made.tasks:
        task.cancel()
    await asyncio.gather(*made.tasks, return_exceptions=True)


REPLY = rtu(3, "03 06 4366 8000 fff6")
OLD = rtu(3, "03 06 0000 0000 0000")
FENCE = rtu(3, "03 02 fff6")
"""The reply to the shortest read of these points."""


async def test_a_block_gives_one_value_per_point(bench: Bench) -> None:
    device = await bench.device()
    (request,) = device.plan(["current_l1_a", "voltage_l1_v"])
    assert request.points == ("voltage_l1_v", "current_l1_a")
    bench.serve([b"\x00\xff" + REPLY[:4], *[bytes([b]) for b in REPLY[4:]]], [REPLY])
    assert await device.ask(request) == (230.5, -10)
    values, sent, received = await device.probe(request)
    assert values == (230.5, -10)
    assert (sent, received) == (rtu(3, "03 0010 0003"), REPLY)


async def test_what_an_exchange_costs_is_what_goes_over_the_wire(bench: Bench) -> None:
    device = await bench.device()
    (request,) = device.plan(list(POINTS))
    cost = device.cost(request)
    assert (cost.request_bytes, cost.reply_bytes) == (8, len(REPLY))
    tcp = open_device(Line(bench.near, kind="tcp", framing="modbus_tcp"), Address(3), POINTS, Limits(), 1)
    cost = tcp.cost(tcp.plan(list(POINTS))[0])
    assert (cost.request_bytes, cost.reply_bytes) == (12, 15)


async def test_a_late_rtu_answer_is_never_believed(bench: Bench) -> None:
    """Both answers have the same length; an answer of another length between them tells them apart."""
    device = await bench.device(timeout_s=0.05)
    (request,) = device.plan(list(POINTS))
    bench.serve(0.06, [OLD], [FENCE], [REPLY])
    with pytest.raises(NoAnswer, match=r"unit 3, holding 0x0010\.\.0x0012: no answer within 0\.05 s"):
        await device.ask(request)
    assert await device.ask(request) == (230.5, -10)


async def test_a_device_that_always_answers_too_late_never_gives_the_values_of_another_address(bench: Bench) -> None:
    """Later than time-out and quiet time together: each answer comes while the next request waits for its own."""
    bench.line = Line(bench.near, kind="serial", framing="rtu", drain_s=0.02)
    await bench.line.open()
    points = {name: Point("holding", address) for name, address in (("voltage_l1_v", 100), ("voltage_l2_v", 200))}
    device = open_device(bench.line, Address(3), points, Limits(), 0.03)
    loop = asyncio.get_running_loop()

    async def answer_late() -> None:
        heard = b""
        while True:
            heard += await bench.far.read(5)
            for at in range(0, len(heard) - 7, 8):
                loop.call_later(0.065, bench.far.write, rtu(3, b"\x03\x02" + heard[at + 2 : at + 4]))
            heard = heard[len(heard) // 8 * 8 :]

    bench.tasks.append(asyncio.create_task(answer_late()))
    believed = []
    for _ in range(3):
        for request in device.plan(list(points)):
            for _ in range(2):
                try:
                    believed.append((request.points[0], *await device.ask(request)))
                except (NoAnswer, BadFrame):
                    continue
                break
    assert set(believed) <= {("voltage_l1_v", 100), ("voltage_l2_v", 200)}
    with pytest.raises((NoAnswer, BadFrame)):
        await device.ask(device.plan(list(points))[0])


async def test_a_late_tcp_answer_is_known_by_its_number(bench: Bench) -> None:
    device = await bench.device("modbus_tcp")
    (request,) = device.plan(list(POINTS))

    async def late_by_one() -> None:
        first, second = [await far_read(bench.far) for _ in range(2)]
        bench.far.write(first[:2] + mbap(0, 3, "03 06 0000 0000 0000")[2:])
        bench.far.write(second[:2] + mbap(0, 3, "03 06 4366 8000 fff6")[2:])

    async def far_read(far: Loopback) -> bytes:
        while not (data := await far.read(5)):
            pass
        return data

    bench.tasks.append(asyncio.create_task(late_by_one()))
    with pytest.raises(NoAnswer):
        await device.ask(request)
    assert await device.ask(request) == (230.5, -10)


async def test_another_units_answer_is_told_but_not_believed(bench: Bench) -> None:
    device = await bench.device()
    (request,) = device.plan(list(POINTS))
    bench.serve([rtu(4, "03 06 4366 8000 fff6")], [FENCE], [REPLY])
    with pytest.raises(BadFrame, match=r"unit 3, holding .*: 11 bytes came .* 04 03 06 43 66"):
        await device.ask(request)
    assert await device.ask(request) == (230.5, -10)


async def test_the_echo_of_an_adapter_is_removed(bench: Bench) -> None:
    device = await bench.device(echo=True)
    (request,) = device.plan(list(POINTS))
    bench.serve([rtu(3, "03 0010 0003")[:3], rtu(3, "03 0010 0003")[3:] + REPLY])
    assert await device.ask(request) == (230.5, -10)


async def test_a_wire_that_goes_in_mid_answer(bench: Bench) -> None:
    device = await bench.device(timeout_s=5)
    (request,) = device.plan(list(POINTS))
    bench.serve([REPLY[:5]])
    asking = asyncio.create_task(device.ask(request))
    while bench.line.bytes_received < 5:
        await asyncio.sleep(0)
    await bench.far.close()
    with pytest.raises(LinkDown):
        await asking


async def test_over_a_pty_noise_and_slices_and_late_answers() -> None:
    """The same on a real tty: noise before, one byte at a time, then an answer 10 ms after the time-out."""
    wire = PtyWire()
    line = Line(SerialStream(wire.port, 9600, "even"), kind="serial", framing="rtu", silence_s=0.004)
    await line.open()
    device = open_device(line, Address(3), POINTS, Limits(), 0.1)
    (request,) = device.plan(list(POINTS))

    async def far() -> None:
        assert await wire.read(8) == rtu(3, "03 0010 0003")
        for byte in b"\xff\x00\x03" + REPLY + b"\xff":
            wire.write(bytes([byte]))
            await asyncio.sleep(0)
        await wire.read(8)
        await asyncio.sleep(0.11)
        wire.write(OLD)
        assert await wire.read(8) == rtu(3, "03 0012 0001")
        wire.write(FENCE)
        await wire.read(8)
        wire.write(REPLY)

    answering = asyncio.create_task(far())
    assert await device.ask(request) == (230.5, -10)
    with pytest.raises(NoAnswer):
        await device.ask(request)
    assert await device.ask(request) == (230.5, -10)
    await answering
    await line.close()
    wire.unplug()


async def test_a_map_that_the_limits_forbid_is_refused_at_once(bench: Bench) -> None:
    await bench.device()
    with pytest.raises(ValueError, match="voltage_l1_v takes 2 registers"):
        open_device(bench.line, Address(3), POINTS, Limits(max_count=1), 1)


# --- profile and site checks -----------------------------------------------------------------------------------------


def test_an_example_is_decoded_like_a_reply() -> None:
    points = {**POINTS, "running": Point("coil", 7), "spraying": Point("input", 2, "bit", bit=9)}
    raw = {"holding": {0x10: [0x4366, 0x8000], 0x12: [0xFFF6]}, "coil": {6: [0, 1]}, "input": {2: [0x0200]}}
    assert read_example(points, raw) == {"voltage_l1_v": 230.5, "current_l1_a": -10, "running": 1, "spraying": 1}


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (None, "raw must look like"),
        ({"holdings": {}}, "there is no table 'holdings'"),
        ({"holding": [1, 2]}, "there is no table 'holding' with addresses"),
        ({"holding": {0x10: 17264}}, "16 is not an address with a list"),
        ({"holding": {"0x10": [1]}}, "'0x10' is not an address with a list"),
        ({"holding": {0x10: [70000]}}, "holding 0x0010 is 70000: it holds 0 to 65535"),
        ({"holding": {0x10: [True]}}, "holding 0x0010 is True"),
        ({"coil": {0: [2]}}, "coil 0x0000 is 2: it holds 0 to 1"),
        ({"holding": {0x10: [1, 2], 0x11: [3]}}, "holding 0x0011 stands twice"),
        ({"holding": {0x10: [1]}}, "voltage_l1_v: raw has no holding 0x0011; add it"),
    ],
)
def test_a_wrong_example_is_explained(raw: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_example(POINTS, raw)


def test_addresses_and_points_are_checked() -> None:
    assert [check_address(Address(unit), "serial") is None for unit in (0, 1, 247, 248)] == [False, True, True, False]
    assert [check_address(Address(unit), "tcp") is None for unit in (-1, 0, 255, 256)] == [False, True, True, False]
    assert check_point("x", Point("holding", 0), Limits()) is None
    assert "hole" in (check_point("x", Point("holding", 7), Limits(holes=(7,))) or "")
    assert "needs bit" in (check_point("x", Point("holding", 0, "bit"), Limits()) or "")


# --- sitegate decode modbus-rtu --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        ("01 05 02 00 00 07 8D B0", {"kind": "request", "address": 0x200, "value": 7}),
        ("FF 05 00 00 FF 00 99 E4", {"kind": "request", "address": 0, "value": 0xFF00}),
        ("FF 0F 00 00 00 08 01 FF 30 1D", {"kind": "request", "address": 0, "count": 8, "bits": [1] * 8}),
        (rtu(1, "83 02").hex(), {"kind": "error", "exception": 2, "exception_text": "illegal data address"}),
        (rtu(1, "01 01 05").hex(), {"kind": "reply", "bits": [1, 0, 1, 0, 0, 0, 0, 0]}),
        (rtu(1, "01 03 cd6b05").hex(), {"kind": "reply", "bits": [int(b) for b in "101100111101011010100000"]}),
        (rtu(1, "10 0001 0002").hex(), {"kind": "reply", "address": 1, "count": 2}),
        (rtu(1, "10 0001 0001 02 0007").hex(), {"kind": "request", "address": 1, "count": 1, "registers": [7]}),
        (rtu(1, "2b 0e01").hex(), {"kind": "unknown", "data": "0e01"}),
    ],
)
def test_frames_are_explained(frame: str, told: dict[str, Any]) -> None:
    data = bytes.fromhex(frame)
    assert describe(data) == {"valid": True, "unit": data[0], "function": data[1], "crc_ok": True, **told}


@pytest.mark.parametrize(
    ("frame", "error", "need_more"),
    [
        ("01 03", "too_short", 2),
        ("", "too_short", 4),
        ("01 04 00 34 00 02 30 06", "checksum", None),
        ("01 04 00 34 00 02 30", "length", 1),
        ("01 03 04 43 66 80", "length", 2),
        ("01 04 00 34 00 02 30 05 00", "length", None),
        ("01 83 02", "too_short", 1),
        ("01 2b 0e 01 00 00", "checksum", None),
    ],
)
def test_broken_frames_say_what_is_wrong(frame: str, error: str, need_more: int | None) -> None:
    told = describe(bytes.fromhex(frame))
    assert (told["valid"], told["error"], told.get("need_more")) == (False, error, need_more)


def test_a_recording_is_taken_apart() -> None:
    request = bytes.fromhex("01 03 00 00 00 01 84 0A")
    reply = bytes.fromhex("01 03 02 00 56 38 7A")
    told = describe_stream(request + reply + b"\xfe\xfe\xfe" + request + reply[:-2])
    assert [(t["valid"], t.get("kind", t.get("error"))) for t in told] == [
        (True, "request"),
        (True, "reply"),
        (False, "too_short"),
        (True, "request"),
        (False, "length"),
    ]
    assert told[2]["skipped"] == 3


@given(st.binary(max_size=60))
def test_any_bytes_are_explained_and_all_are_accounted_for(data: bytes) -> None:
    for told in [*describe_stream(data), describe(data)]:
        assert set(told) >= ({"kind", "unit", "function"} if told["valid"] else {"error", "data"})
    skipped = sum(told.get("skipped", 0) for told in describe_stream(data))
    assert skipped <= len(data)
