"""DL/T 645-1997: published frames through the driver, parts without numbers, and a simulated meter of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from drivers.api import WireCost
from drivers.dlt645 import codec
from drivers.dlt645.codec import Frame
from drivers.dlt645.decode import describe
from drivers.dlt645.driver import Address, Dlt645Device, Limits, Point, check_point, open_device
from drivers.errors import BadFrame, NoAnswer, Refused
from drivers.transport import ByteStream, loopback
from drivers.transport.line import Line
from gateway.config.profiles import find_profile
from simulators.dlt645_meter import Dlt645Meter

METER = "138000130754"
REQUEST = bytes.fromhex("68 54 07 13 00 80 13 68 01 02 43 C3 DA 16")  # published: kaledl.com 1493168
REPLY = bytes.fromhex("68 54 07 13 00 80 13 68 81 06 43 C3 34 33 33 33 2B 16")
POINTS = {
    "energy_import_kwh": Point("9010"),
    "energy_tariff1_kwh": Point("901F", 1),
    "energy_tariff4_kwh": Point("901f", 4),
    "voltage_l1_v": Point("B61F", 0),
    "voltage_l3_v": Point("B61F", 2),
}
VOLTAGES = ("voltage_l1_v", "voltage_l3_v")
TARIFFS = ("energy_tariff1_kwh", "energy_tariff4_kwh")
Answer = Callable[[bytes], list[bytes]]


def framed(control: int, data: bytes) -> bytes:
    """A frame put together apart from our codec."""
    masked = bytes((byte + 0x33) % 256 for byte in data)
    body = b"\x68" + bytes.fromhex(METER)[::-1] + bytes((0x68, control, len(data))) + masked
    return body + bytes((sum(body) % 256, 0x16))


@asynccontextmanager
async def on_a_line(answer: Answer, timeout_s: float = 0.5) -> AsyncIterator[Dlt645Device]:
    async def serve(stream: ByteStream) -> None:
        while True:
            for reply in answer((await stream.read(10.0)).lstrip(b"\xfe")):
                stream.write(reply)

    ours, theirs = loopback.pair()
    line = Line(ours, kind="tcp", framing="rtu", drain_s=0.01)
    await line.open()
    task = asyncio.create_task(serve(theirs))
    try:
        yield open_device(line, Address(METER), POINTS, Limits(), timeout_s)
    finally:
        await line.close()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def read(device: Dlt645Device, *names: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for request in device.plan(names):
        values.update(zip(request.points, await device.ask(request), strict=True))
    return values


async def test_the_published_exchange() -> None:
    async with on_a_line(lambda request: [REPLY] if request == REQUEST else []) as device:
        assert await read(device, "energy_import_kwh") == {"energy_import_kwh": 0.01}
        [request] = device.plan(["energy_import_kwh"])
        assert device.cost(request) == WireCost(4 + len(REQUEST), 4 + len(REPLY))


async def test_a_block_and_its_pieces() -> None:
    heard: list[bytes] = []

    def answer(request: bytes) -> list[bytes]:
        heard.append(request)
        for item, data in (("B611", "30 02"), ("B613", "2A 02")):
            if request == framed(0x01, bytes.fromhex(item)[::-1]):
                return [framed(0x81, bytes.fromhex(item)[::-1] + bytes.fromhex(data))]
        return [framed(0xC1, b"\x02")]

    async with on_a_line(answer) as device:
        expected = {"voltage_l1_v": 230, "voltage_l3_v": None}  # a nibble above 9
        assert await read(device, *VOLTAGES) == expected
        assert await read(device, *VOLTAGES) == expected
        with pytest.raises(Refused, match=r"refuses item 9010: no reason given \(error byte 0x02\)"):
            await read(device, "energy_import_kwh")
    assert [request[10:12][::-1] for request in heard[:5]] == [
        bytes(((0xB6 + 0x33) & 0xFF, (last + 0x33) & 0xFF)) for last in (0x1F, 0x11, 0x13, 0x11, 0x13)
    ]


BLOCK = bytes.fromhex("00 00 01 00 00 25 00 00 50 02 00 00 00 10 00 00 75 30 00 00")
BLOCK_DI = b"\x1f\x90"


async def test_the_rest_is_asked_for_without_a_number() -> None:
    parts = [BLOCK[:9], BLOCK[9:17], BLOCK[17:]]
    heard: list[bytes] = []

    def answer(request: bytes) -> list[bytes]:
        heard.append(request)
        number = len(heard) - 1
        control = (0x82 if number else 0x81) | (0x20 if number < 2 else 0)
        return [framed(control, BLOCK_DI + parts[number])]

    async with on_a_line(answer) as device:
        assert await read(device, *TARIFFS) == {"energy_tariff1_kwh": 25.0, "energy_tariff4_kwh": 30.75}
    assert heard == [framed(0x01, BLOCK_DI), framed(0x02, BLOCK_DI), framed(0x02, BLOCK_DI)]


async def test_a_late_part_is_not_taken_for_the_next_one() -> None:
    late = framed(0x82, BLOCK_DI + b"\x99" * 10)
    follow_ups = iter([[], [late, framed(0x82, BLOCK_DI + BLOCK[10:])]])

    def answer(request: bytes) -> list[bytes]:
        if request == framed(0x01, BLOCK_DI):
            return [framed(0xA1, BLOCK_DI + BLOCK[:10])]
        return next(follow_ups)

    async with on_a_line(answer, timeout_s=0.05) as device:
        with pytest.raises(NoAnswer):
            await read(device, *TARIFFS)
        with pytest.raises(BadFrame, match="answers come later than the time-out"):
            await read(device, *TARIFFS)


async def test_answers_of_the_other_edition_do_not_count() -> None:
    def answer(request: bytes) -> list[bytes]:
        return [framed(0x91, request[10:12] + b"\0\0\x01\0\0\0"), framed(0x91, b"\x10\x90\0\0\0\0")]

    async with on_a_line(answer, timeout_s=0.05) as device:
        with pytest.raises(BadFrame):
            await read(device, "energy_import_kwh")


def test_points() -> None:
    assert [check_point(name, point, Limits()) for name, point in POINTS.items()] == [None] * len(POINTS)
    assert "or of 4 in the edition of 1997" in (check_point("x", Point("90"), Limits()) or "")
    assert "not in the table" in (check_point("x", Point("9019"), Limits()) or "")
    assert "is text" in (check_point("x", Point("C032"), Limits()) or "")


def test_following_frames_are_explained_without_a_number() -> None:
    [request] = describe(framed(0x02, BLOCK_DI))
    assert (request["frame"], request["di"], "seq" in request) == ("read_following_request", "901F", False)
    [reply] = describe(framed(0x82, BLOCK_DI + b"\x01\x02"))
    assert (reply["frame"], reply["data"], "seq" in reply) == ("read_following_reply", "01 02", False)


WORLD = {
    "energy_import_kwh": 1234.56,
    "energy_export_kwh": 0.5,
    **{f"energy_tariff{n}_kwh": 100.0 * n for n in range(1, 5)},
    **{f"voltage_l{n}_v": 230.0 + n for n in range(1, 4)},
    **{f"current_l{n}_a": 1.25 * n for n in range(1, 4)},
    "active_power_w": 1234.5,
    "power_factor": 0.985,
}


def meter(max_data: int = 200) -> Dlt645Meter:
    rules = find_profile("dlt645_1997_three_phase").rules
    return Dlt645Meter(METER, rules, lambda: WORLD, edition_1997=True, max_data=max_data)


def ask(of: Dlt645Meter, request: Frame) -> Frame:
    reply = of.answer(request)
    assert reply is not None
    return reply


def test_the_simulated_meter_shows_the_world() -> None:
    for di, values in [
        ("901F", [1234.56, 100.0, 200.0, 300.0, 400.0]),
        ("9020", [0.5]),
        ("B61F", [231, 232, 233]),
        ("B622", [2.5]),
        ("B630", [1.2345]),
        ("B650", [0.985]),
    ]:
        [shown] = describe(codec.encode(ask(meter(), codec.read_request(METER, di))))
        assert [entry["value"] for entry in shown["values"]] == values, di


def test_the_simulated_meter_knows_its_own_edition_only() -> None:
    old, new = meter(), Dlt645Meter(METER, {}, lambda: WORLD)
    assert ask(old, codec.read_request(METER, "9015")).error
    for request in (codec.read_request(METER, "00010000"), codec.address_request()):
        assert old.answer(request) is None
        assert new.answer(request) is not None
    assert new.answer(codec.read_request(METER, "9010")) is None


def test_the_simulated_meter_sends_long_items_in_parts() -> None:
    old = meter(max_data=7)
    reply = ask(old, codec.read_request(METER, "901F"))
    data = reply.data[2:]
    while reply.more_follows:
        reply = ask(old, codec.following_request(METER, "901F", 0))
        data += reply.data[2:]
    assert data == ask(meter(), codec.read_request(METER, "901F")).data[2:]
    assert ask(old, codec.following_request(METER, "901F", 0)).error
