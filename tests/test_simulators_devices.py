"""Simulated devices without streams: what each answers, and what it refuses."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.dlt645 import codec
from drivers.dlt645.items import find_item
from drivers.modbus.plan import Limits, plan
from drivers.modbus.points import Point, decode_block
from gateway.config.profile import Profile
from gateway.config.profiles import engineering_value, find_profile, list_profiles
from gateway.vocabulary import METRICS, Domain
from simulators.bus import Bus
from simulators.chance import stream
from simulators.dlt645_meter import Dlt645Meter, dlt645_ear
from simulators.faults import Chunk, FaultRates, WireFaults
from simulators.modbus_device import TABLES, ModbusDevice, RtuEar, TcpEar, crc16
from simulators.mqtt_node import nodes_of
from simulators.roles import ROLES, reader
from simulators.scaling import to_raw
from simulators.scenarios import SCENARIOS
from simulators.world import World

FUNCTIONS = {table: function for function, table in TABLES.items()}
ROLE_OF = {
    Domain.ENERGY: "main",
    Domain.AIR: "gate",
    Domain.NOISE: "gate",
    Domain.WEATHER: "gate",
    Domain.WATER: "water",
    Domain.ELECTRICAL: "safety:main",
    Domain.EQUIPMENT: "relay:gate",
}
OWN_ROLES = {
    "dse_gencomm": "generator:1",
    "hiking_dds238": "zone:office",
    "cubic_opm6303": "fence:west",
    "sensecap_s1000": "fence:west",
}
PROFILES = {name: find_profile(name) for name in list_profiles()}


@pytest.fixture(scope="module")
def world() -> World:
    play = SCENARIOS["normal"]
    return World(3, play.start_ms(1_790_000_000_000), play)


def never() -> bool:
    return False


def role_of(profile: Profile) -> str:
    return OWN_ROLES.get(profile.name) or ROLE_OF[METRICS[next(iter(profile.points))].domain]


def modbus(profile: Profile, world: World) -> ModbusDevice:
    return ModbusDevice(profile.points, profile.limits, profile.rules, reader("d", role_of(profile), lambda: world))


def example() -> ModbusDevice:
    """Registers 10, 11-12 and 20, with a hole at 15; numbers as in the world below."""
    points = {
        "pm10_ug_m3": Point("holding", 10),
        "active_power_w": Point("holding", 11, "s32"),
        "humidity_pct": Point("holding", 20),
    }
    rules = dict.fromkeys(points, PROFILES["renke_dust_station"].rules["pm10_ug_m3"])
    numbers = {"pm10_ug_m3": 112.0, "active_power_w": -3.0, "humidity_pct": 65.0}
    return ModbusDevice(points, Limits(max_count=8, max_gap=7, holes=(15,)), rules, lambda: numbers)


def read(function: int, start: int, count: int) -> bytes:
    return struct.pack(">BHH", function, start, count)


@pytest.mark.parametrize("name", [n for n, p in PROFILES.items() if p.driver == "modbus"])
def test_any_modbus_profile_plays_without_code(name: str, world: World) -> None:
    profile = PROFILES[name]
    device = modbus(profile, world)
    meant = ROLES[role_of(profile)](world)
    for block in plan(profile.points, profile.limits):
        reply = device.answer(read(FUNCTIONS[block.table], block.start, block.count))
        assert reply[:2] == bytes([FUNCTIONS[block.table], len(reply) - 2]), (name, block, reply.hex())
        points = [profile.points[metric] for metric in block.names]
        for metric, raw in zip(block.names, decode_block(points, block.start, reply[2:]), strict=True):
            rule = profile.rules[metric]
            half_a_digit = 0.501 * abs(rule.multiply / rule.divide)
            assert engineering_value(rule, raw) == pytest.approx(meant.get(metric, 0.0), rel=2e-7, abs=half_a_digit)


def test_requests_that_a_strict_device_refuses() -> None:
    device = example()
    assert device.answer(read(3, 10, 3)) == bytes.fromhex("03 06 0070 fffffffd")
    assert device.answer(read(3, 12, 1)) == bytes.fromhex("03 02 fffd")  # half a number is still its register
    assert device.answer(read(3, 16, 5)) == bytes.fromhex("03 0a 0000 0000 0000 0000 0041")  # gap: reads 0
    assert device.answer(read(3, 14, 2)) == b"\x83\x02"  # the hole
    assert device.answer(read(3, 9, 2)) == b"\x83\x02"
    assert device.answer(read(3, 20, 2)) == b"\x83\x02"
    assert device.answer(read(4, 10, 1)) == b"\x84\x02"  # no input registers here
    assert device.answer(read(3, 10, 9)) == b"\x83\x03"  # more than it takes at once
    assert device.answer(read(3, 10, 0)) == b"\x83\x03"
    assert device.answer(b"\x03\x00\x0a") == b"\x83\x03"
    assert device.answer(read(6, 10, 1)) == b"\x86\x01"
    assert device.refuse(read(3, 10, 1)) == b"\x83\x06"


def test_a_number_that_does_not_fit_is_the_devices_failure() -> None:
    rule = PROFILES["renke_dust_station"].rules["pm10_ug_m3"]
    device = ModbusDevice(
        {"pm10_ug_m3": Point("input", 0)}, Limits(), {"pm10_ug_m3": rule}, lambda: {"pm10_ug_m3": 1e5}
    )
    assert device.answer(read(4, 0, 1)) == b"\x84\x04"


def test_bits_and_coils() -> None:
    rule = PROFILES["renke_dust_station"].rules["pm10_ug_m3"]
    points = {
        "running": Point("holding", 5, "bit", bit=0),
        "spraying": Point("holding", 5, "bit", bit=9),
        "warning_bits": Point("coil", 2),
    }
    numbers = {"running": 1.0, "spraying": 1.0, "warning_bits": 1.0}
    device = ModbusDevice(points, Limits(max_gap=0), dict.fromkeys(points, rule), lambda: numbers)
    assert device.answer(read(3, 5, 1)) == bytes.fromhex("03 02 0201")
    assert device.answer(read(1, 2, 1)) == bytes.fromhex("01 01 01")


def test_the_ears_frame_as_printed_in_manuals(world: World) -> None:
    """Requests from the makers' papers: SDM630 total power, weather station in one read."""
    meter = Bus([RtuEar({1: modbus(PROFILES["eastron_sdm630"], world)})])
    [reply] = meter.hear(bytes.fromhex("01 04 00 34 00 02 30 05"))
    assert reply.data[:3] == b"\x01\x04\x04"
    assert struct.unpack(">f", reply.data[3:7])[0] == pytest.approx(world.main.total_w, rel=1e-6)
    assert crc16(reply.data) == 0

    station = Bus([RtuEar({1: modbus(PROFILES["renke_dust_station"], world)})])
    [reply] = station.hear(bytes.fromhex("01 03 01 F4 00 0E 84 00"))
    assert len(reply.data) == 5 + 28


@given(st.binary(max_size=40), st.data())
def test_an_rtu_request_is_found_in_noise_and_in_slices(noise: bytes, data: st.DataObject) -> None:
    body = bytes([7]) + read(3, 10, 3)
    wire = noise + body + crc16(body).to_bytes(2, "little")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=4)))
    ear = RtuEar({7: example()})
    replies = [r for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True) for r in ear.hear(wire[a:b], never)]
    assert replies[-1][:9] == bytes.fromhex("07 03 06 0070 fffffffd")


def test_only_the_addressed_unit_answers_on_a_line() -> None:
    body = bytes([8]) + read(3, 10, 1)
    assert RtuEar({7: example()}).hear(body + crc16(body).to_bytes(2, "little"), never) == []


def test_half_a_request_is_forgotten_after_silence() -> None:
    body = bytes([7]) + read(3, 10, 1)
    frame = body + crc16(body).to_bytes(2, "little")
    ear = RtuEar({7: example()})
    assert ear.hear(frame[:5], never) == []
    ear.forget()
    assert ear.hear(frame[5:], never) == []
    assert len(ear.hear(frame, never)) == 1


def test_tcp_answers_every_request_with_its_transaction() -> None:
    ear = TcpEar({7: example()})
    one = struct.pack(">HHHB", 0x1234, 0, 6, 7) + read(3, 10, 1)
    other = struct.pack(">HHHB", 0x1235, 0, 6, 9) + read(3, 10, 1)
    assert ear.hear(one[:4], never) == []
    assert ear.hear(one[4:] + other, never) == [
        bytes.fromhex("1234 0000 0005 07 03 02 0070"),
        bytes.fromhex("1235 0000 0003 09 83 0b"),  # no such unit behind this gateway
    ]
    assert ear.hear(b"GET / HTTP/1.1\r\n\r\n", never) == []
    assert len(ear.hear(one, never)) == 1


def test_a_bus_carries_its_faults() -> None:
    body = bytes([7]) + read(3, 10, 1)
    frame = body + crc16(body).to_bytes(2, "little")
    busy = Bus([RtuEar({7: example()})], WireFaults(FaultRates(refuse=1.0), stream(1, "x")))
    [chunk] = busy.hear(frame)
    assert chunk.data[:3] == b"\x07\x83\x06"
    assert Bus([RtuEar({7: example()})], WireFaults(FaultRates(drop=1.0), stream(1, "x"))).hear(frame) == []
    late = Bus([RtuEar({7: example()})], WireFaults(FaultRates(delay=1.0, delay_s=2.5), stream(1, "x")))
    assert [type(c) for c in late.hear(frame)] == [Chunk]
    assert late.hear(frame)[0].after_s == 2.5


ADDRESS = "000020260001"


def meter(world: World, **options: Any) -> Dlt645Meter:
    return Dlt645Meter(
        ADDRESS, PROFILES["dlt645_three_phase"].rules, reader("m", "zone:living", lambda: world), **options
    )


def ask(of: Dlt645Meter, di: str) -> codec.Frame:
    reply = of.answer(codec.read_request(ADDRESS, di))
    assert reply is not None
    return reply


@pytest.mark.parametrize(
    ("di", "metrics"),
    [
        ("0201FF00", ["voltage_l1_v", "voltage_l2_v", "voltage_l3_v"]),
        ("02010200", ["voltage_l2_v"]),
        ("0202FF00", ["current_l1_a", "current_l2_a", "current_l3_a"]),
        ("0203FF00", ["active_power_w", "active_power_l1_w", "active_power_l2_w", "active_power_l3_w"]),
        ("0204FF00", ["reactive_power_var", *(f"reactive_power_l{i}_var" for i in (1, 2, 3))]),
        ("0205FF00", ["apparent_power_va", *(f"apparent_power_l{i}_va" for i in (1, 2, 3))]),
        ("0206FF00", ["power_factor", "power_factor_l1", "power_factor_l2", "power_factor_l3"]),
        ("0001FF00", ["energy_import_kwh", *(f"energy_tariff{i}_kwh" for i in (1, 2, 3, 4))]),
        ("00010000", ["energy_import_kwh"]),
        ("02800002", ["frequency_hz"]),
    ],
)
def test_the_meter_shows_the_world(di: str, metrics: list[str], world: World) -> None:
    reply = ask(meter(world), di)
    assert (reply.control, codec.di_text(reply.data[:4])) == (0x91, di)
    item = find_item(di)
    assert item is not None
    shown = item.decode(reply.data[4:])
    assert shown is not None
    meant = ROLES["zone:living"](world)
    for metric, field, value in zip(metrics, item.fields, shown, strict=False):
        thousand = 1000.0 if field.unit.startswith("k") and field.unit not in ("kWh", "kvarh") else 1.0
        assert isinstance(value, float)
        assert value * thousand == pytest.approx(meant[metric], abs=0.51 * thousand / 10**field.decimals)
    assert len(shown) == len(metrics)


def test_the_meter_says_no_and_stays_silent_as_the_standard_wants(world: World) -> None:
    one = meter(world)
    refusal = ask(one, "04AA0101")
    assert (refusal.control, codec.error_names(refusal.data[0])) == (0xD1, ["no_requested_data"])
    assert ask(meter(world, blocks=False), "0201FF00").error
    assert not ask(meter(world, blocks=False), "02010100").error
    assert one.answer(codec.Frame(ADDRESS, 0x14, b"\0" * 12)) == codec.error_reply(ADDRESS, 0x14, 0x01)
    assert one.answer(codec.read_request("000020260002", "02800002")) is None
    assert one.answer(codec.Frame(codec.BROADCAST, 0x08, b"\0" * 6)) is None
    assert one.answer(codec.address_request()) == codec.address_reply(ADDRESS)
    assert codec.di_text(ask(one, "04000402").data[4:]) == ADDRESS
    assert one.refuse(codec.read_request(ADDRESS, "02800002")).error


@given(st.integers(1, 30))
@settings(deadline=None)
def test_a_long_item_comes_in_parts(max_data: int) -> None:
    play = SCENARIOS["normal"]
    still = World(3, play.start_ms(1_790_000_000_000), play)
    whole = ask(meter(still), "0001FF00").data[4:]
    short = meter(still, max_data=max_data)
    reply = ask(short, "0001FF00")
    parts, number = reply.data[4:], 0
    while reply.more_follows:
        number += 1
        following = short.answer(codec.following_request(ADDRESS, "0001FF00", number))
        assert following is not None
        reply = following
        assert reply.function == codec.READ_FOLLOWING
        assert reply.data[-1] == number
        parts += reply.data[4:-1]
    assert parts == whole
    beyond = short.answer(codec.following_request(ADDRESS, "0001FF00", number + 1))
    assert beyond is not None
    assert beyond.error


def test_two_meters_on_one_line(world: World) -> None:
    other = Dlt645Meter("000020260002", {}, reader("m", "main", lambda: world))
    ear = dlt645_ear([meter(world), other])
    wire = codec.encode(codec.read_request(ADDRESS, "02800002")) + codec.encode(
        codec.read_request("000020260002", "02800002")
    )
    assert ear.hear(wire[:9], never) == []
    decoder = codec.Decoder()
    for reply in ear.hear(wire[9:], never):
        decoder.feed(reply)
    first, second = decoder.next_frame(), decoder.next_frame()
    assert first is not None
    assert second is not None
    assert [first.address, second.address] == [ADDRESS, "000020260002"]


def test_the_crane_publishes_the_platforms_own_fields(world: World) -> None:
    profile = PROFILES["yunzhu_tower_crane"]
    [node] = nodes_of("tc-01", profile.points, profile.limits, profile.rules, reader("c", "crane:1", lambda: world))
    assert node.every_s == 2.0
    topic, payload = node.message(1_795_311_015_000)
    assert topic == "sitegate/tower-crane/tc-01/live"
    message = json.loads(payload)
    assert message["deviceTime"] == "2026-11-22 09:30:15"
    assert len(message["warning"]) == 32
    assert set(message["warning"]) <= {"0", "1"}
    assert message["liftingCapacity"] == pytest.approx(world.crane.load_t, abs=0.001)
    assert message["height"] == pytest.approx(world.crane.height_m, abs=0.01)


def test_a_counter_starts_again_where_its_register_ends() -> None:
    rule = PROFILES["dlt645_three_phase"].rules["energy_import_kwh"]
    assert rule.wrap == 1_000_000
    assert to_raw(rule, 1_000_123.45) == pytest.approx(123.45)


@given(st.sampled_from(sorted(PROFILES)), st.data())
def test_raw_numbers_are_the_way_back_through_the_scaling(name: str, data: st.DataObject) -> None:
    rule = PROFILES[name].rules[data.draw(st.sampled_from(sorted(PROFILES[name].points)))]
    value = data.draw(st.floats(max(rule.low, -1e6), min(rule.high, 1e6)))
    raw = to_raw(rule, value)
    expected = value % rule.wrap if rule.wrap is not None else value
    assert raw * rule.multiply / rule.divide + rule.offset == pytest.approx(expected, rel=1e-9, abs=1e-9)
