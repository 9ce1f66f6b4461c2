"""Modbus, both editions of DL/T 645 and CJ/T 188 on one wire: a real tty and a serial server, simulated meters."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from drivers.cjt188 import codec
from drivers.cjt188.codec import Frame
from drivers.cjt188.driver import Address, Limits
from drivers.dlt645 import codec as dlt645
from drivers.errors import NoAnswer
from gateway.config.loader import LoadedSite, load_site
from gateway.config.profiles import find_profile
from simulators.bus import Bus
from simulators.cjt188_meter import Cjt188Meter, cjt188_ear
from simulators.dlt645_meter import Dlt645Meter, dlt645_ear
from simulators.roles import reader
from simulators.site import simulated_site
from tests.support.clock import ManualClock
from tests.support.demo_site import open_line, read_device
from tests.support.machine import free_port

DEVICES = """
devices:
  zone-meter: {link: wire, profile: eastron_sdm120, address: {unit: 1}, role: "zone:workshop"}
  main-meter: {link: wire, profile: dlt645_three_phase, address: {meter: "000020260010"}, role: "zone:living"}
  old-meter: {link: wire, profile: dlt645_1997_three_phase, address: {meter: "199700000012"}, role: "zone:office"}
  water-meter: {link: wire, profile: cjt188_water, address: {meter: "78330011223344"}, role: water}
  hot-water-meter: {link: wire, profile: cjt188_water, address: {meter: "5", type: hot_water}, role: water}
  heat-meter: {link: wire, profile: cjt188_heat, address: {meter: "68681168686868"}, role: heat}
  gas-meter: {link: wire, profile: cjt188_gas, address: {meter: "00990000000123"}, role: gas}
"""
SERIAL = "{{kind: serial, port: {path}/tty, baudrate: 115200, parity: even}}"
DTU = "{{kind: tcp, host: 127.0.0.1, port: {port}, framing: rtu}}"


def site_on(link: str, folder: Path) -> LoadedSite:
    file = folder / "site.yaml"
    wire = link.format(path=folder, port=free_port())
    file.write_text(f"site: {{id: lot-2, name: Lot 2, simulated: true}}\nlinks:\n  wire: {wire}\n{DEVICES}")
    return load_site(file)


@pytest.mark.parametrize("link", [SERIAL, DTU], ids=["serial", "dtu"])
async def test_all_of_them_share_a_wire(link: str, tmp_path: Path) -> None:
    site = site_on(link, tmp_path)
    async with simulated_site(site, clock=ManualClock()) as running, open_line(site.config.links["wire"]) as line:
        for _ in range(2):
            for device in site.devices.values():
                shown = await read_device(line, device)
                meant = reader(device.name, device.config.role, running.live)()
                assert shown.keys() == device.points.keys()
                for metric, value in shown.items():
                    # kW with two decimals is 10 W, and whole volts are a digit of 1
                    last_digit = 10.0 if metric == "heat_power_w" else 1.0 if "voltage" in metric else 0.2
                    assert value == pytest.approx(meant[metric], rel=1e-6, abs=last_digit), (device.name, metric)


async def test_a_silent_meter_does_not_hurt_the_others(tmp_path: Path) -> None:
    site = site_on(SERIAL, tmp_path)
    nobody = dataclasses.replace(site.devices["water-meter"], address=Address("78330011223399"))
    async with simulated_site(site, clock=ManualClock()), open_line(site.config.links["wire"]) as line:
        for name in ("zone-meter", "main-meter", "old-meter", "gas-meter"):
            with pytest.raises(NoAnswer):
                await read_device(line, nobody, timeout_s=0.08)
            assert await read_device(line, site.devices[name])


WATER = find_profile("cjt188_water")


def water_meter(**limits: Any) -> Cjt188Meter:
    return Cjt188Meter(
        Address("12"), WATER.points, Limits(**limits), WATER.rules, lambda: {"water_volume_m3": 1_000_012.34}
    )


def test_the_simulated_meter_speaks_its_variant() -> None:
    ask = codec.read_request(0x10, "00000000000012", "901F", 7, "high_first")
    reply = water_meter(di_order="high_first", unit_position="before").answer(ask)
    assert reply is not None
    assert reply.data == bytes.fromhex("90 1F 07 2C 34 12 00 00 2C 00 00 00 00") + bytes(9), "the register has wrapped"
    assert water_meter().answer(ask) == Frame(0x10, "00000000000012", 0xC1, b"\x07\x00\x02")


def test_the_simulated_meter_keeps_its_valve_and_its_peace() -> None:
    one = water_meter()
    close_valve = Frame(0x10, "00000000000012", codec.WRITE, bytes.fromhex("A0 17 01 99"))
    refusal = one.answer(close_valve)
    assert refusal is not None
    assert refusal.control == 0xC4
    assert one.answer(codec.read_request(0x10, "00000000000013", "901F", 0)) is None
    assert one.answer(codec.read_request(0x11, "00000000000012", "901F", 0)) is None
    assert one.answer(Frame(0x10, "00000000000012", 0x81, b"\x1f\x90\x00")) is None
    broken = one.answer(Frame(0x10, "00000000000012", 0x01, b""))
    assert broken is not None
    assert broken.error
    whoever = one.answer(Frame(0xAA, codec.WILDCARD, codec.READ_ADDRESS, b"\x81\x0a\x05"))
    assert whoever == Frame(0x10, "00000000000012", 0x83, b"\x81\x0a\x05")


def test_a_frame_of_another_protocol_is_no_beginning_of_ours() -> None:
    meter_645 = Dlt645Meter("000000123410", {}, lambda: {"frequency_hz": 50.0})
    bus = Bus([cjt188_ear([water_meter()]), dlt645_ear([meter_645])])
    # to a CJ/T 188 ear this begins a frame of type 10 with 53 bytes of data
    assert len(bus.hear(dlt645.encode(dlt645.read_request("000000123410", "02800002"), 0))) == 1
    [reply] = bus.hear(codec.encode(codec.read_request(0x10, "00000000000012", "901F", 0)))
    assert codec.parse(reply.data.lstrip(b"\xfe")).control == 0x81
