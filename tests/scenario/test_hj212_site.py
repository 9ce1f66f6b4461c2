"""The whole gateway with HJ 212 stations that connect to it: three dialects on one port, split, enciphered, resent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from drivers.api import Report
from drivers.hj212.codec import opened, parse
from drivers.hj212.points import Address
from drivers.hj212.station import Station
from drivers.hj212.stream import Cutter
from gateway.app import Gateway, running
from gateway.config.loader import load_site
from gateway.config.profiles import engineering_value, find_profile
from simulators.errors import SimulatorError
from simulators.hj212_station import Hj212Station
from simulators.site import simulated_site
from tests.support.machine import free_port

NOW_MS = int(datetime(2026, 11, 22, 10, 0, 0, tzinfo=ZoneInfo("Asia/Shanghai")).timestamp() * 1000)
KEY = "000102030405060708090a0b0c0d0e0f"
SITE = """
site: {{id: hj, name: HJ, simulated: true}}
links:
  stations: {{kind: hj212_server, host: 127.0.0.1, port: {port}}}
devices:
  gate: {{link: stations, profile: hj212_dust_station, every: 1s, role: gate, address: {{mn: "24"}}}}
  ng:
    link: stations
    profile: hj212_dust_station_ng
    every: 1s
    role: gate
    address: {{mn: "A25", edition: "2025", password: "654321", sm4_key: "{key}", source: 127.0.0.0/8}}
  old: {{link: stations, profile: hj212_dust_station_2005, every: 1s, role: gate, address: {{mn: J1, edition: "2005"}}}}
  stranger: {{link: other, profile: hj212_dust_station, every: 1s, role: gate, address: {{mn: X1}}}}
page: {{port: 0}}
"""


async def until(look: Callable[[], bool], what: str) -> None:
    try:
        async with asyncio.timeout(12):
            while not look():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(what) from None


def good(gateway: Gateway) -> bool:
    return all(health.state == "good" for health in gateway.device_health.values())


async def test_three_dialects_on_one_port(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    text = SITE.format(port=free_port(), key=KEY)
    file.write_text("\n".join(line for line in text.splitlines() if "stranger" not in line))
    site = load_site(file)
    async with running(site) as gateway, simulated_site(site) as simulated:
        await until(lambda: good(gateway), "all stations good")
        before = gateway.links["stations"].answers
        await until(lambda: gateway.links["stations"].answers > before + 2, "uploads go on: they are acked")
        values = {(v.device, v.metric): v for v in gateway.latest.values()}
        world = simulated.live()
        for device in ("gate", "ng", "old"):
            pm10 = values[device, "pm10_ug_m3"]
            assert pm10.mark == "N"
            assert pm10.value == pytest.approx(world.dust.pm10_ug_m3, abs=60), "ng/m³ or µg/m³, it is the same air"
        assert gateway.links["stations"].failures.keys() <= {"repeated"}, "stamps have no more than seconds"
        assert gateway.supervisor.restarts == {}


async def test_stations_come_back_after_the_gateway_was_away(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    text = SITE.format(port=free_port(), key=KEY)
    file.write_text("\n".join(line for line in text.splitlines() if "stranger" not in line))
    site = load_site(file)
    async with simulated_site(site):
        for _ in range(2):
            async with running(site) as gateway:
                await until(partial(good, gateway), "all stations good")


@pytest.mark.parametrize("edition", ["2005", "2017", "2025"])
def test_a_simulated_station_splits_what_is_too_long_and_every_value_arrives(edition: Any) -> None:
    profile, zone = find_profile("hj212_dust_station_ng"), ZoneInfo("Asia/Shanghai")
    address = Address("A", edition=edition, sm4_key=KEY if edition == "2025" else None)
    measured = dict.fromkeys(profile.points, 50.0)
    simulated = Hj212Station(
        address, profile.points, profile.limits, profile.rules, lambda: measured, zone, most_bytes=230
    )
    station = Station("gate", address, profile.points, profile.limits, zone)
    cutter = Cutter(lambda segment, crc: opened(segment, crc, key=address.key), strict=True)
    packets = [packet for _, packet in simulated.upload(NOW_MS)]
    assert len(packets) > 2
    assert all(len(packet) <= 230 + 12 for packet in packets)
    values: dict[str, float | None] = {}
    for packet in packets:
        (piece,) = cutter.feed(packet)
        assert piece.enciphered == (edition == "2025")
        for message in station.take(parse(piece.data), NOW_MS, "1").messages:
            assert isinstance(message, Report)
            for name, value in zip(message.points, message.values, strict=True):
                values[name] = engineering_value(profile.rules[name], value)
    assert values == measured


def test_a_simulated_station_lets_its_clock_be_set() -> None:
    profile, zone = find_profile("hj212_dust_station"), ZoneInfo("Asia/Shanghai")
    simulated = Hj212Station(Address("A"), profile.points, profile.limits, profile.rules, dict, zone)
    station = Station("gate", Address("A"), profile.points, profile.limits, zone)
    (asked,) = Cutter(opened, strict=True).feed(simulated.clock_request(NOW_MS))
    _, request = station.take(parse(asked.data), NOW_MS, "20261122100000001").answers
    results = simulated.answer(request[6:-6])
    assert simulated.clock_set == "20261122100000"
    assert [station.take(parse(r[6:-6]), NOW_MS, "1").messages for r in results] == [[], []]


async def test_what_speaks_by_itself_is_not_simulated_on_an_asked_line(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    other = f"  other: {{kind: tcp, host: 127.0.0.1, port: {free_port()}, framing: rtu}}\ndevices:"
    file.write_text(SITE.format(port=free_port(), key=KEY).replace("devices:", other))
    with pytest.raises(SimulatorError, match="hj212_server only"):
        async with simulated_site(load_site(file)):
            pass
