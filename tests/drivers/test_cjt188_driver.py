"""The CJ/T 188 driver on the real Line, against meters whose frames are put together here, apart from our codec."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from drivers.api import WireCost
from drivers.cjt188.driver import (
    Address,
    Cjt188Device,
    Limits,
    Point,
    check_address,
    check_point,
    check_write,
    open_device,
    read_example,
)
from drivers.errors import BadFrame, NoAnswer, Refused
from drivers.transport import ByteStream, loopback
from drivers.transport.line import Line

METER = "78330011223344"
ON_THE_WIRE = bytes.fromhex("44 33 22 11 00 33 78")
WATER = bytes.fromhex("00 77 66 55 2C 00 77 66 55 2C 31 01 22 11 05 15 20 21 84")  # a published reply
HEAT = bytes.fromhex(
    "05 34 12 00 00 11 36 00 00 00 17 50 04 00 00 35 00 25 01 00 2C 65 87 09 00"  # unit first, as a JY meter sends it
    "25 55 00 10 40 00 34 12 00 15 30 09 22 11 26 20 04 00"
)
POINTS = {
    "water_volume_m3": Point("volume_total"),
    "water_valve_state": Point("valve"),
    "water_meter_battery_low": Point("battery_low"),
}
ALL = tuple(POINTS)
Answer = Callable[[bytes], list[bytes]]


def framed(meter_type: int, control: int, data: bytes, address: bytes = ON_THE_WIRE) -> bytes:
    body = bytes((0x68, meter_type)) + address + bytes((control, len(data))) + data
    return body + bytes((sum(body) % 256, 0x16))


def water(request: bytes) -> list[bytes]:
    """A cold-water meter that understands 1F 90; ``request`` is without its preamble."""
    if request[11:13] != b"\x1f\x90":
        return []
    return [b"\xfe\xfe" + framed(0x10, 0x81, request[11:14] + WATER)]


class Meter:
    """Hears whole requests, keeps them, and says what ``answer`` says."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.heard: list[bytes] = []

    async def serve(self, stream: ByteStream) -> None:
        while True:
            request = (await stream.read(10.0)).lstrip(b"\xfe")
            self.heard.append(request)
            for reply in self._answer(request):
                stream.write(reply)


@asynccontextmanager
async def on_a_line(
    meter: Meter,
    address: Address = Address(METER),  # noqa: B008  frozen
    limits: Limits = Limits(),  # noqa: B008  frozen
    points: dict[str, Point] = POINTS,
    timeout_s: float = 0.5,
) -> AsyncIterator[Cjt188Device]:
    ours, theirs = loopback.pair()
    line = Line(ours, kind="tcp", framing="rtu", drain_s=0.01)
    await line.open()
    task = asyncio.create_task(meter.serve(theirs))
    try:
        yield open_device(line, address, points, limits, timeout_s)
    finally:
        await line.close()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def read(device: Cjt188Device, *names: str) -> dict[str, Any]:
    [request] = device.plan(names)
    return dict(zip(request.points, await device.ask(request), strict=True))


async def test_one_request_brings_all_values() -> None:
    meter = Meter(water)
    async with on_a_line(meter) as device:
        assert await read(device, *ALL) == {
            "water_volume_m3": 556677.0,
            "water_valve_state": 1,
            "water_meter_battery_low": 0,
        }
        assert await read(device, "water_volume_m3") == {"water_volume_m3": 556677.0}
        assert device.plan([]) == []
    assert meter.heard == [framed(0x10, 0x01, bytes((0x1F, 0x90, ser))) for ser in (1, 2)], "SER grows"


async def test_a_heat_meter_with_its_unit_first() -> None:
    points = {
        "heat_energy_kwh": Point("heat_total"),
        "heat_power_w": Point("thermal_power"),
        "heat_flow_m3_h": Point("flow"),
        "supply_temperature_c": Point("supply_temperature"),
        "return_temperature_c": Point("return_temperature"),
        "operating_hours_h": Point("working_hours"),
        "heat_meter_battery_low": Point("battery_low"),
    }
    limits = Limits(meter_type="heat", unit_position="before", di_order="high_first")
    meter = Meter(lambda request: [framed(0x20, 0x81, request[11:14] + HEAT)])
    async with on_a_line(meter, limits=limits, points=points) as device:
        assert await read(device, *points) == {
            "heat_energy_kwh": 100.0,  # 0.36 GJ
            "heat_power_w": 4.5,
            "heat_flow_m3_h": 1.25,
            "supply_temperature_c": 55.25,
            "return_temperature_c": 40.1,
            "operating_hours_h": 1234,
            "heat_meter_battery_low": 1,
        }
    assert meter.heard[0][11:13] == b"\x90\x1f"


def silent(request: bytes) -> list[bytes]:
    return []


def refusing(request: bytes) -> list[bytes]:
    return [framed(0x10, 0xC1, request[13:14] + b"\x00\x02")]


def high_first_only(otherwise: Answer) -> Answer:
    """Understands 90 1F, and answers in the order of its own heart."""

    def answer(request: bytes) -> list[bytes]:
        if request[11:13] != b"\x90\x1f":
            return otherwise(request)
        return [framed(0x10, 0x81, b"\x1f\x90" + request[13:14] + WATER)]

    return answer


@pytest.mark.parametrize("otherwise", [silent, refusing])
async def test_the_other_order_is_tried_once_and_remembered(otherwise: Answer) -> None:
    meter = Meter(high_first_only(otherwise))
    async with on_a_line(meter, timeout_s=0.05) as device:
        for _ in range(3):
            assert (await read(device, "water_volume_m3"))["water_volume_m3"] == 556677.0
    assert [request[11:13].hex() for request in meter.heard] == ["1f90", "901f", "901f", "901f"]


async def test_a_meter_that_comes_later_is_found_in_either_order() -> None:
    alive: list[Answer] = [silent]
    meter = Meter(lambda request: alive[0](request))
    async with on_a_line(meter, timeout_s=0.05) as device:
        for expected in (["1f90", "901f"], ["1f90"], ["901f"]):  # both at once only the first time
            meter.heard.clear()
            with pytest.raises(NoAnswer, match=rf"meter {METER}: no answer within 0\.05 s"):
                await read(device, "water_volume_m3")
            assert [request[11:13].hex() for request in meter.heard] == expected
        alive[0] = water
        assert (await read(device, "water_volume_m3"))["water_volume_m3"] == 556677.0
        alive[0] = silent
        meter.heard.clear()
        for _ in range(2):
            with pytest.raises(NoAnswer):
                await read(device, "water_volume_m3")
    assert {request[11:13].hex() for request in meter.heard} == {"1f90"}, "it has answered to this one"


async def test_foreign_frames_echo_and_noise_are_stepped_over() -> None:
    def answer(request: bytes) -> list[bytes]:
        ser = request[13:14]
        wrong = bytes.fromhex("11 11 11 11 2C") * 2 + bytes(9)
        return [
            request,  # an adapter that echoes
            b"\x00\x68\x12\xfe",
            bytes.fromhex("68 54 07 13 00 80 13 68 81 06 43 C3 34 33 33 33 2B 16"),  # a DL/T 645 meter
            framed(0x10, 0x81, b"\x1f\x90" + ser + wrong, address=ON_THE_WIRE[::-1]),
            framed(0x20, 0x81, b"\x1f\x90" + ser + wrong),  # another type
            framed(0x10, 0x81, b"\x1f\x90" + bytes(((ser[0] - 1) & 0xFF,)) + wrong),  # the answer before
            framed(0x10, 0x81, b"\x20\x90" + ser + wrong),  # a report that nobody asked for
            framed(0x10, 0x83, b"\x1f\x90" + ser),
            framed(0x10, 0x81, b"\x1f"),
            framed(0x10, 0x81, b"\x1f\x90" + ser + wrong)[:-2] + b"\x00\x16",  # checksum
            framed(0x10, 0xC1, b"\xee\x00\x00"),
            *water(request),
        ]

    async with on_a_line(Meter(answer)) as device:
        assert (await read(device, "water_volume_m3"))["water_volume_m3"] == 556677.0


async def test_a_late_answer_is_never_taken_for_the_next_one() -> None:
    owed: list[bytes] = []

    def answer(request: bytes) -> list[bytes]:
        late, owed[:] = owed[:], [framed(0x10, 0x81, request[11:14] + WATER)]
        return late

    async with on_a_line(Meter(answer), limits=Limits(preamble=2), timeout_s=0.03) as device:
        for _ in range(8):
            with pytest.raises((NoAnswer, BadFrame)):
                await read(device, "water_volume_m3")


async def test_the_published_reply_with_a_wrong_checksum_is_not_repaired() -> None:
    broken = bytes.fromhex(
        "FE FE FE FE 68 10 44 33 22 11 00 33 78 81 16 1F 90 01"
        "00 77 66 55 2C 00 77 66 55 2C 31 01 22 11 05 15 20 21 84 08 16"
    )
    async with on_a_line(Meter(lambda _: [broken]), timeout_s=0.05) as device:
        with pytest.raises(BadFrame, match=rf"meter {METER}: 39 bytes came"):
            await read(device, "water_volume_m3")


async def test_a_refusal_names_the_meter_and_its_status() -> None:
    async with on_a_line(Meter(refusing)) as device:
        with pytest.raises(Refused, match=rf"meter {METER} refuses 901F \(status 00 02\)") as caught:
            await read(device, "water_volume_m3")
        assert caught.value.code == 2


async def test_an_answer_of_another_length() -> None:
    async with on_a_line(Meter(lambda r: [framed(0x10, 0x81, r[11:14] + WATER[:-2])])) as device:
        with pytest.raises(BadFrame, match="17 data bytes do not fit the layout of a cold_water meter, which has 19"):
            await read(device, "water_volume_m3")


async def test_a_counter_without_value_and_a_unit_that_nobody_knows() -> None:
    data = [b"\xff" * 4 + WATER[4:]]
    async with on_a_line(Meter(lambda r: [framed(0x10, 0x81, r[11:14] + data[0])])) as device:
        assert await read(device, *ALL) == {
            "water_volume_m3": None,
            "water_valve_state": 1,
            "water_meter_battery_low": 0,
        }
        data[0] = WATER[:4] + b"\x7f" + WATER[5:]
        assert (await read(device, *ALL))["water_volume_m3"] is None, "not guessed; the state is still good"
        with pytest.raises(BadFrame, match=r"unknown unit codes \(volume_total 0x7F\): see unit_position and units"):
            await read(device, "water_volume_m3")


async def test_the_wildcard_takes_whichever_meter_answers() -> None:
    def answer(request: bytes) -> list[bytes]:
        assert request[1:9] == b"\xaa" * 8
        return [framed(0x11, 0x81, request[11:14] + WATER)]

    async with on_a_line(Meter(answer), Address("A" * 14)) as device:
        assert (await read(device, "water_volume_m3"))["water_volume_m3"] == 556677.0


async def test_a_meter_of_another_type_than_its_profile() -> None:
    def answer(request: bytes) -> list[bytes]:
        return [framed(0x11, 0x81, request[11:14] + WATER)] if request[1] == 0x11 else []

    async with on_a_line(Meter(answer), Address(METER, "hot_water")) as device:
        assert (await read(device, "water_volume_m3"))["water_volume_m3"] == 556677.0
    async with on_a_line(Meter(lambda r: [framed(0x11, 0x81, r[11:14] + WATER)]), timeout_s=0.05) as device:
        with pytest.raises(BadFrame):
            await read(device, "water_volume_m3")


async def test_probe_shows_the_frames_and_cost_counts_them() -> None:
    async with on_a_line(Meter(water), limits=Limits(preamble=3)) as device:
        [request] = device.plan(["water_volume_m3"])
        values, sent, received = await device.probe(request)
        assert values == (556677.0,)
        assert sent == b"\xfe" * 3 + framed(0x10, 0x01, b"\x1f\x90\x01")
        assert received == b"\xfe\xfe" + framed(0x10, 0x81, b"\x1f\x90\x01" + WATER)
        assert device.cost(request) == WireCost(len(sent), 1 + len(received))


async def test_nothing_is_ever_written() -> None:
    meter = Meter(water)
    point = POINTS["water_valve_state"]
    fault = check_write("water_valve_state", point, Limits(), timed=False)
    assert fault == "water_valve_state: CJ/T 188 meters are only read; their valves are left alone"
    async with on_a_line(meter) as device:
        with pytest.raises(ValueError, match="water_valve_state: CJ/T 188 meters are only read"):
            await device.write("water_valve_state", 0)
    assert meter.heard == []


@pytest.mark.parametrize(("given", "meter"), [("12", "00000000000012"), (METER, METER), ("aa" * 7, "A" * 14)])
def test_meter_numbers(given: str, meter: str) -> None:
    assert Address(given).meter == meter
    assert check_address(Address(given), "serial") is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (123456, 'quote it, meter: "00000000123456"'),
        ("", "not up to 14 digits"),
        ("123456789012345", "not up to 14 digits"),
        ("12-34", "not up to 14 digits"),
    ],
)
def test_meter_numbers_that_cannot_be(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Address(given)


def test_points_belong_to_a_type_of_meter() -> None:
    assert check_point("water_volume_m3", Point("volume_total"), Limits()) is None
    assert check_point("heat_energy_kwh", Point("heat_total"), Limits(meter_type="cooling")) is None
    assert check_point("water_flow_m3_h", Point("flow"), Limits()) == (
        "water_flow_m3_h: a cold_water meter has no flow; it has volume_total, volume_settlement, valve, battery_low"
    )


def test_example() -> None:
    assert read_example(POINTS, {"meter_type": "cold_water", "data": WATER.hex(" ")}) == {
        "water_volume_m3": 556677.0,
        "water_valve_state": 1,
        "water_meter_battery_low": 0,
    }
    heat = {"heat_energy_kwh": Point("heat_total")}
    raw = {"meter_type": "heat", "unit_position": "before", "data": HEAT.hex()}
    assert read_example(heat, raw) == {"heat_energy_kwh": 100.0}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("00 77", "raw must give the bytes"),
        ({}, "raw must give the bytes"),
        ({"data": 7}, "not hexadecimal bytes"),
        ({"data": "0g"}, "not hexadecimal bytes"),
        ({"data": "00 77"}, "2 bytes; a cold_water meter sends 19"),
        ({"data": WATER.hex(), "meter_type": "steam"}, "meter_type: steam is none of the limits"),
        ({"data": WATER.hex(), "unit": "after"}, "unit: after is none of the limits"),
        ({"data": HEAT.hex(), "meter_type": "heat", "preamble": 99}, "preamble is 99"),
    ],
)
def test_broken_examples(raw: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_example(POINTS, raw)


def test_an_example_of_another_type_than_its_points() -> None:
    with pytest.raises(ValueError, match="a gas meter has no heat_total"):
        read_example({"heat_energy_kwh": Point("heat_total")}, {"meter_type": "gas", "data": WATER.hex()})
