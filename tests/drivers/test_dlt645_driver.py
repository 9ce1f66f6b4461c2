"""The DL/T 645 driver on the real Line, against a meter in memory that can also misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from drivers.api import WireCost
from drivers.dlt645 import codec
from drivers.dlt645.codec import Decoder, Frame, encode
from drivers.dlt645.driver import Address, Dlt645Device, Limits, Point, check_point, open_device, read_example
from drivers.errors import BadFrame, NoAnswer, Refused
from drivers.transport import ByteStream, loopback
from drivers.transport.line import Line

METER = "000000123456"
POINTS = {
    "voltage_l1_v": Point("0201FF00", 0),
    "voltage_l2_v": Point("0201FF00", 1),
    "voltage_l3_v": Point("0201ff00", 2),
    "active_power_w": Point("02030000"),
    "energy_import_kwh": Point("0001FF00", 0),
    "energy_tariff4_kwh": Point("0001FF00", 4),
}
VOLTAGES = ("voltage_l1_v", "voltage_l2_v", "voltage_l3_v")
ENERGIES = ("energy_import_kwh", "energy_tariff4_kwh")
DATA = {
    "0201FF00": bytes.fromhex("01 23 98 22 10 23"),
    "02010100": bytes.fromhex("01 23"),
    "02010300": bytes.fromhex("10 23"),
    "02030000": bytes.fromhex("45 23 81"),
    "0001FF00": bytes.fromhex("56 34 12 00 00 00 01 00 56 34 02 00 00 00 03 00 00 00 06 00"),
}
NO_DATA = 0x02
Answer = Callable[[Frame], list[Frame | bytes]]


class Meter:
    """Answers reads from ``data``; ``parts`` splits an answer into follow-ups of that many bytes."""

    def __init__(self, data: dict[str, bytes], parts: int = 200) -> None:
        self.data = data
        self.parts = parts
        self.asked: list[str] = []

    def __call__(self, request: Frame) -> list[Frame | bytes]:
        di = codec.di_text(request.data[:4])
        self.asked.append(di)
        data = self.data.get(di)
        if data is None:
            return [codec.error_reply(METER, request.function, NO_DATA)]
        at = 0 if request.function == codec.READ else request.data[4] * self.parts
        part, more = data[at : at + self.parts], at + self.parts < len(data)
        if request.function == codec.READ:
            return [codec.read_reply(METER, di, part, more=more)]
        return [codec.following_reply(METER, di, part, request.data[4], more=more)]


async def serve(stream: ByteStream, answer: Answer) -> None:
    decoder = Decoder()
    while True:
        decoder.feed(await stream.read(10.0))
        while request := decoder.next_frame():
            for reply in answer(request):
                stream.write(reply if isinstance(reply, bytes) else encode(reply, preamble=2))


@asynccontextmanager
async def meter_on_a_line(
    answer: Answer,
    address: str = METER,
    limits: Limits = Limits(),  # noqa: B008  frozen
    timeout_s: float = 0.5,
) -> AsyncIterator[Dlt645Device]:
    ours, theirs = loopback.pair()
    line = Line(ours, kind="tcp", framing="rtu", drain_s=0.01)
    await line.open()
    task = asyncio.create_task(serve(theirs, answer))
    try:
        yield open_device(line, Address(address), POINTS, limits, timeout_s)
    finally:
        await line.close()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def read(device: Dlt645Device, *names: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for request in device.plan(names):
        values.update(zip(request.points, await device.ask(request), strict=True))
    return values


async def test_reads_every_point_with_one_request_per_item() -> None:
    meter = Meter(DATA)
    async with meter_on_a_line(meter) as device:
        assert await read(device, *POINTS) == {
            "voltage_l1_v": 230.1,
            "voltage_l2_v": 229.8,
            "voltage_l3_v": 231.0,
            "active_power_w": -1.2345,
            "energy_import_kwh": 1234.56,
            "energy_tariff4_kwh": 600.0,
        }
    assert meter.asked == ["0201FF00", "02030000", "0001FF00"]


async def test_the_plan_holds_exactly_the_points_that_were_asked_for() -> None:
    async with meter_on_a_line(Meter(DATA)) as device:
        plan = device.plan(["energy_tariff4_kwh", "voltage_l3_v", "voltage_l1_v"])
        assert [request.points for request in plan] == [("energy_tariff4_kwh",), ("voltage_l3_v", "voltage_l1_v")]
        assert device.plan([]) == []


async def test_more_follows_is_asked_for() -> None:
    meter = Meter(DATA, parts=7)  # cuts through a value
    async with meter_on_a_line(meter) as device:
        assert await read(device, *ENERGIES) == {"energy_import_kwh": 1234.56, "energy_tariff4_kwh": 600.0}
    assert meter.asked == ["0001FF00"] * 3


async def test_a_meter_that_always_announces_more_is_stopped() -> None:
    def endless(request: Frame) -> list[Frame | bytes]:
        if request.function == codec.READ:
            return [codec.read_reply(METER, "0001FF00", b"\x00" * 4, more=True)]
        return [codec.following_reply(METER, "0001FF00", b"\x00" * 4, request.data[4], more=True)]

    async with meter_on_a_line(endless) as device:
        with pytest.raises(BadFrame, match="0001FF00 goes on after 16 follow-ups"):
            await read(device, *ENERGIES)


async def test_a_refused_block_is_read_in_pieces_from_then_on() -> None:
    meter = Meter({di: data for di, data in DATA.items() if di != "0201FF00"})  # and no phase 2
    async with meter_on_a_line(meter) as device:
        expected = {"voltage_l1_v": 230.1, "voltage_l2_v": None, "voltage_l3_v": 231.0}
        assert await read(device, *VOLTAGES) == expected
        assert meter.asked == ["0201FF00", "02010100", "02010200", "02010300"]
        meter.asked.clear()
        assert await read(device, *VOLTAGES) == expected
        assert meter.asked == ["02010100", "02010200", "02010300"]


async def test_blocks_may_be_forbidden() -> None:
    meter = Meter(DATA)
    async with meter_on_a_line(meter, limits=Limits(blocks=False)) as device:
        assert [request.item.di for request in device.plan(VOLTAGES)] == ["02010100", "02010200", "02010300"]
        assert await read(device, "voltage_l1_v", "voltage_l3_v") == {"voltage_l1_v": 230.1, "voltage_l3_v": 231.0}


async def test_refusal_names_meter_item_and_reason() -> None:
    async with meter_on_a_line(Meter({})) as device:
        with pytest.raises(Refused, match=r"000000123456 refuses item 02030000: no requested data .*0x02") as caught:
            await read(device, "active_power_w")
        assert caught.value.code == NO_DATA
        with pytest.raises(Refused, match="0201"):
            await read(device, *VOLTAGES)


async def test_short_blocks_give_no_value_for_what_did_not_come() -> None:
    async with meter_on_a_line(Meter(DATA | {"0201FF00": b"\x01\x23"})) as device:
        assert await read(device, *VOLTAGES) == {"voltage_l1_v": 230.1, "voltage_l2_v": None, "voltage_l3_v": None}


async def test_a_nibble_above_nine_is_no_value() -> None:
    async with meter_on_a_line(Meter(DATA | {"0201FF00": bytes.fromhex("01 2A FF FF 10 23")})) as device:
        assert await read(device, *VOLTAGES) == {"voltage_l1_v": None, "voltage_l2_v": None, "voltage_l3_v": 231.0}


async def test_data_that_do_not_fit_the_item() -> None:
    async with meter_on_a_line(Meter(DATA | {"02030000": b"\x45\x23"})) as device:
        with pytest.raises(BadFrame, match="item 02030000: 2 data bytes do not fit"):
            await read(device, "active_power_w")


async def test_foreign_answers_echo_and_noise_are_stepped_over() -> None:
    def answer(request: Frame) -> list[Frame | bytes]:
        good = Meter(DATA)(request)
        return [
            encode(request),  # an adapter that echoes
            b"\x00\x68\x12",
            codec.read_reply("000000123457", "02030000", b"\x11\x11\x11"),
            codec.read_reply(METER, "02040000", b"\x22\x22\x22"),
            codec.following_reply(METER, "02030000", b"\x33\x33\x33", 1),
            codec.error_reply("000000123457", codec.READ, NO_DATA),
            *good,
        ]

    async with meter_on_a_line(answer) as device:
        assert await read(device, "active_power_w") == {"active_power_w": -1.2345}


@pytest.mark.parametrize("reply", [codec.read_reply("000000123457", "02030000", b"\x11\x11\x11"), b"\x68\x00\x16"])
async def test_only_rubbish_is_a_bad_frame(reply: Frame | bytes) -> None:
    async with meter_on_a_line(lambda _: [reply], timeout_s=0.05) as device:
        with pytest.raises(BadFrame, match=r"meter 000000123456: item 02030000: \d+ bytes came"):
            await read(device, "active_power_w")


async def test_silence_names_meter_and_item() -> None:
    async with meter_on_a_line(lambda _: [], timeout_s=0.05) as device:
        with pytest.raises(NoAnswer, match=r"meter 000000123456: item 02030000: no answer within 0\.05 s"):
            await read(device, "active_power_w")


async def test_the_wildcard_takes_whichever_meter_answers() -> None:
    async with meter_on_a_line(Meter(DATA), address="AAAAAAAAAAAA") as device:
        assert await read(device, "active_power_w") == {"active_power_w": -1.2345}


async def test_probe_shows_the_raw_frames_and_cost_counts_them() -> None:
    async with meter_on_a_line(Meter(DATA)) as device:
        [request] = device.plan(["active_power_w"])
        values, sent, received = await device.probe(request)
        assert values == (-1.2345,)
        assert sent == bytes.fromhex("FE FE FE FE 68 56 34 12 00 00 00 68 11 04 33 33 36 35 52 16")
        assert received == bytes.fromhex("68 56 34 12 00 00 00 68 91 07 33 33 36 35 78 56 B4 57 16")
        assert device.cost(request) == WireCost(len(sent), 4 + len(received))
        [block] = device.plan(ENERGIES)
        assert device.cost(block) == WireCost(20, 20 + 5 * 4)


@pytest.mark.parametrize(("given", "meter"), [("123456", METER), (METER, METER), ("3a2107000481", "3A2107000481")])
def test_meter_numbers(given: str, meter: str) -> None:
    assert Address(given).meter == meter


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (123456, 'quote it, meter: "000000123456"'),
        ("", "not up to 12 digits"),
        ("1234567890123", "not up to 12 digits"),
        ("12-34", "not up to 12 digits"),
        ("999999999999", "broadcast"),
    ],
)
def test_meter_numbers_that_cannot_be(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Address(given)


@pytest.mark.parametrize(
    ("point", "message"),
    [
        (Point("0201FF"), "not a data identifier of 8"),
        (Point("0201FFxx"), "not a data identifier of 8"),
        (Point("028022FF"), "not in the table"),
        (Point("0201FF00", 3), "fields 0 to 2, there is no index 3"),
        (Point("0201FF00", -1), "there is no index -1"),
        (Point("04000402"), "is text, not a number"),
    ],
)
def test_points_that_cannot_be(point: Point, message: str) -> None:
    found = check_point("voltage_l1_v", point, Limits())
    assert found is not None
    assert found.startswith("voltage_l1_v: ")
    assert message in found


def test_good_points_have_no_problem() -> None:
    assert [check_point(name, point, Limits()) for name, point in POINTS.items()] == [None] * len(POINTS)


def test_example() -> None:
    points = {name: POINTS[name] for name in VOLTAGES}
    assert read_example(points, {"0201FF00": "01 23 98 22 10 23"}) == {
        "voltage_l1_v": 230.1,
        "voltage_l2_v": 229.8,
        "voltage_l3_v": 231.0,
    }


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("01 23", "must map items"),
        ({}, "item 02030000 of point active_power_w is missing"),
        ({"02030000": 452381}, "not hexadecimal bytes"),
        ({"02030000": "4g"}, "not hexadecimal bytes"),
        ({"02030000": "45 23"}, "2 bytes do not fit"),
    ],
)
def test_broken_examples(raw: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_example({"active_power_w": POINTS["active_power_w"]}, raw)
