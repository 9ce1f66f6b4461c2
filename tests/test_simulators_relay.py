"""Simulated relay modules: frames from their makers, timed pulses, the watchdog, and the cannon behind the contact."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import struct
import subprocess
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import NoAnswer, Refused
from drivers.modbus.driver import open_device
from drivers.modbus.points import Point
from drivers.mqtt_json.commands import command
from gateway.config.loader import LoadedSite, load_site
from gateway.config.profiles import find_profile
from simulators.bus import Bus
from simulators.errors import Silent
from simulators.modbus_device import ModbusDevice, RtuEar, crc16
from simulators.mqtt_node import MqttEar, ears_of
from simulators.outputs import REBOOT_S, Outputs
from simulators.roles import reader
from simulators.scenarios import SCENARIOS, Cycle, Scenario
from simulators.site import simulated_site
from simulators.world import World
from tests.support.clock import ManualClock
from tests.support.demo_site import open_line
from tests.support.machine import free_port, need

RELAYS = ("waveshare_relay_8", "lc_relay_8", "juying_dam0404", "relay_controller_8")


class Module:
    """One relay module on a line of its own, with a clock that moves by hand."""

    def __init__(self, profile_name: str, unit: int) -> None:
        self.now_s = 100.0
        self.outputs = Outputs(lambda: self.now_s)
        play = SCENARIOS["dust"]
        self.world = World(1, play.start_ms(1_790_000_000_000), play, {"relay:gate": self.outputs})
        profile = find_profile(profile_name)
        self.points = profile.points
        device = ModbusDevice(
            profile.points,
            profile.limits,
            profile.rules,
            reader("relay", "relay:gate", lambda: self.world),
            profile.writes,
            self.outputs,
        )
        self._unit = unit
        self._bus = Bus([RtuEar({unit: device})])
        self.device = device

    def hear(self, frame: str) -> str:
        """Return the answer to a whole RTU frame, in hex without its CRC; empty for silence."""
        replies = self._bus.hear(bytes.fromhex(frame))
        assert all(crc16(reply.data) == 0 for reply in replies)
        return "".join(reply.data[:-2].hex() for reply in replies)

    def ask(self, pdu: str) -> str:
        """The same for a PDU."""
        body = bytes([self._unit]) + bytes.fromhex(pdu)
        return self.hear((body + crc16(body).to_bytes(2, "little")).hex())[2:]

    def coils(self) -> str:
        """The first byte of coils, in hex."""
        count = sum(point.table == "coil" for point in self.points.values())
        return self.ask(f"01 0000 {count:04x}")[4:]


module = lru_cache(partial(Module, unit=1))
"""A world takes its time to warm up: one for all examples of a property."""


def test_frames_from_the_makers_switch_and_are_read_back() -> None:
    """Frames as printed in the sources that the profiles name."""
    lc = Module("lc_relay_8", 255)
    assert lc.hear("FF 05 00 00 FF 00 99 E4") == "ff050000ff00"
    assert lc.coils() == "01"
    assert lc.hear("FF 0F 00 00 00 08 01 FF 30 1D") == "ff0f00000008"
    assert lc.coils() == "ff"

    juying = Module("juying_dam0404", 254)
    assert juying.hear("FE 05 00 00 FF 00 98 35") == "fe050000ff00"
    assert juying.hear("FE 01 00 00 00 04 29 C6") == "fe010101"
    assert juying.hear("FE 05 00 00 00 00 D9 C5") == "fe0500000000"
    assert juying.hear("FE 01 00 00 00 04 29 C6") == "fe010100"


def test_a_timed_pulse_ends_by_itself() -> None:
    relay = Module("waveshare_relay_8", 1)
    assert relay.hear("01 05 02 00 00 07 8D B0") == "010502000007"
    relay.now_s += 0.69
    assert relay.coils() == "01"
    relay.now_s += 0.02
    assert relay.coils() == "00"


@pytest.mark.parametrize("name", ["waveshare_relay_8", "lc_relay_8", "juying_dam0404"])
def test_a_pulse_given_again_prolongs_it_and_a_plain_off_ends_it(name: str) -> None:
    relay = Module(name, 1)
    pulse = "05 0202 001e" if name == "waveshare_relay_8" else "10 000d 0002 04 0004 001e"  # output 3, 3 s
    for _ in range(5):
        assert relay.ask(pulse)[:2] in ("05", "10")
        relay.now_s += 2.5
        assert relay.coils() == "04"
    assert relay.ask("05 0002 0000") == "0500020000"
    assert relay.coils() == "00"
    assert relay.ask(pulse)
    relay.now_s += 3.01
    assert relay.coils() == "00"


def test_the_watchdog_lets_go_of_everything_when_nobody_talks_to_the_unit() -> None:
    relay = Module("relay_controller_8", 1)
    assert relay.ask("05 0000 ff00")
    relay.now_s += 3600.0
    assert relay.coils() == "01", "without a time it holds for ever"
    assert relay.ask("06 0000 0064") == "0600000064"  # 10 s
    for _ in range(10):
        relay.now_s += 9.9
        assert relay.coils() == "01", "a read is a word, too"
    relay.now_s += 10.1
    assert relay.coils() == "00"
    assert relay.ask("03 0000 0001") == "03020064", "the time itself stays"
    assert relay.coils() == "00", "and nothing comes back by itself"


def test_a_request_to_somebody_else_does_not_feed_the_watchdog() -> None:
    relay = Module("relay_controller_8", 1)
    assert relay.ask("06 0000 0064")
    assert relay.ask("05 0000 ff00")
    for _ in range(3):
        relay.now_s += 4.0
        assert relay.hear("02 01 00 00 00 08 3d ff") == ""
    assert relay.coils() == "00"


def test_a_reboot_forgets_the_outputs_and_is_silent_meanwhile() -> None:
    relay = Module("relay_controller_8", 1)
    assert relay.ask("06 0000 00c8")
    assert relay.ask("0f 0000 0008 01 a5")
    relay.outputs.reboot()
    assert relay.ask("01 0000 0008") == ""
    assert relay.ask("05 0000 ff00") == ""
    relay.now_s += REBOOT_S
    assert relay.coils() == "00"
    assert relay.ask("03 0000 0001") == "030200c8"


@pytest.mark.parametrize(
    ("pdu", "answer"),
    [
        ("05 0000 1234", "8503"),  # neither on nor off
        ("05 0008 ff00", "8502"),  # no such coil
        ("05 0000 ff", "8503"),
        ("0f 0000 0009 02 ff01", "8f02"),
        ("0f 0000 0008 02 ff01", "8f03"),  # a byte too many
        ("0f 0000 0000 00", "8f03"),
        ("10 0000 0002 04 0000 0000", "9002"),  # the second register is not there
        ("10 0000 0001 04 0000", "9003"),
        ("06 0001 0000", "8602"),
        ("16 0000 ffff 0000", "9601"),  # mask write: not spoken
    ],
)
def test_what_a_module_does_not_do(pdu: str, answer: str) -> None:
    relay = Module("relay_controller_8", 1)
    assert relay.device.answer(bytes.fromhex(pdu)).hex() == answer
    assert relay.coils() == "00"


def test_a_flash_command_with_another_mode_word_is_refused() -> None:
    relay = Module("lc_relay_8", 1)
    assert relay.ask("10 0003 0002 04 0002 001e") == "9003"
    assert relay.ask("10 0003 0002 04 0004 0000") == "9003"
    assert relay.coils() == "00"


def test_a_device_that_only_measures_knows_no_writes() -> None:
    rule = find_profile("renke_noise").rules["noise_la_db"]
    meter = ModbusDevice(
        {"noise_la_db": Point("holding", 0)},
        find_profile("renke_noise").limits,
        {"noise_la_db": rule},
        lambda: {"noise_la_db": 60.0},
    )
    assert meter.answer(bytes.fromhex("06 0000 0001")).hex() == "8601"


@given(st.sampled_from(RELAYS), st.lists(st.tuples(st.integers(0, 7), st.booleans()), max_size=12))
def test_the_driver_reads_back_what_it_wrote(name: str, commands: list[tuple[int, bool]]) -> None:
    relay = module(name)
    width = len([point for point in relay.points.values() if point.table == "coil"])
    wanted = 0
    assert relay.ask(f"0f 0000 {width:04x} 01 00")
    for number, on in commands:
        if number >= width:
            continue
        assert relay.ask(struct.pack(">BHH", 5, number, 0xFF00 if on else 0).hex())
        wanted = wanted | 1 << number if on else wanted & ~(1 << number)
        assert relay.coils() == f"{wanted:02x}"


def site(folder: Path, profile: str = "lc_relay_8") -> LoadedSite:
    """A relay module, the station that it sprays, and its cannon's own report."""
    file = folder / "site.yaml"
    devices = {
        "relay": {"link": "cabinet", "profile": profile, "address": {"unit": 7}, "role": "relay:gate"},
        "dust": {"link": "fence", "profile": "renke_dust_station", "address": {"unit": 1}, "role": "gate"},
    }
    links = {
        "cabinet": {"kind": "tcp", "host": "127.0.0.1", "port": free_port(), "framing": "rtu"},
        "fence": {"kind": "tcp", "host": "127.0.0.1", "port": free_port(), "framing": "rtu"},
    }
    about = {"id": "t", "name": "t", "simulated": True}
    file.write_text(json.dumps({"site": about, "links": links, "devices": devices}))
    return load_site(file)


async def read(at: LoadedSite, line: Any, name: str) -> dict[str, float | None]:
    device = at.devices[name]
    opened = open_device(line, device.address, device.points, device.profile.limits, 0.2)
    values: dict[str, float | None] = {}
    for request in opened.plan(list(device.points)):
        values |= zip(request.points, await opened.ask(request), strict=True)
    return values


async def test_the_cannon_follows_the_relay_and_nobody_sees_it_earlier_than_a_second(tmp_path: Path) -> None:
    at, clock = site(tmp_path), ManualClock()
    async with (
        simulated_site(at, scenario="dust", clock=clock) as running,
        open_line(at.config.links["cabinet"]) as line,
    ):
        device = at.devices["relay"]
        relay = open_device(line, device.address, device.points, device.profile.limits, 1.0)
        await relay.write("output_1_on", 1, 10.0)
        assert (await read(at, line, "relay"))["output_1_on"] == 1
        assert not running.live().cannon.spraying
        await clock.advance(2.0)
        shown = await read(at, line, "relay")
        assert (shown["output_1_on"], shown["input_1_on"], shown["input_2_on"]) == (1, 1, 1)
        assert running.live().cannon.spraying
        await clock.advance(8.1)  # nobody speaks: the pulse ends
        await read(at, line, "relay")
        await clock.advance(2.0)
        shown = await read(at, line, "relay")
        assert (shown["output_1_on"], shown["input_1_on"]) == (0, 0)
        assert not running.live().cannon.spraying


@pytest.mark.parametrize(
    ("scenario", "while_on", "afterwards"),
    [("dust", 1, 0), ("stuck-relay", 0, 0), ("welded-relay", 1, 1)],
)
async def test_the_contact_may_do_other_than_the_coil_says(
    tmp_path: Path, scenario: str, while_on: int, afterwards: int
) -> None:
    at, clock = site(tmp_path), ManualClock()
    device = at.devices["relay"]
    async with simulated_site(at, scenario=scenario, clock=clock), open_line(at.config.links["cabinet"]) as line:
        relay = open_device(line, device.address, device.points, device.profile.limits, 1.0)
        for told, contact in ((1, while_on), (0, afterwards)):
            await relay.write("output_1_on", told)
            await clock.advance(3.0)
            await read(at, line, "relay")
            await clock.advance(3.0)
            shown = await read(at, line, "relay")
            assert (shown["output_1_on"], shown["input_1_on"]) == (told, contact)


async def test_the_relays_own_time_is_not_the_worlds(tmp_path: Path) -> None:
    at, clock = site(tmp_path), ManualClock()
    device = at.devices["relay"]
    async with (
        simulated_site(at, scenario="dust", speed=60.0, clock=clock),
        open_line(at.config.links["cabinet"]) as line,
    ):
        relay = open_device(line, device.address, device.points, device.profile.limits, 1.0)
        await relay.write("output_1_on", 1, 10.0)
        await clock.advance(9.0)
        assert (await read(at, line, "relay"))["output_1_on"] == 1
        await clock.advance(1.1)
        assert (await read(at, line, "relay"))["output_1_on"] == 0


async def test_a_site_with_a_fault_falls_silent_where_the_fault_is(tmp_path: Path) -> None:
    at, clock = site(tmp_path), ManualClock()
    async with (
        simulated_site(at, scenario="mute-sensor", clock=clock),
        open_line(at.config.links["cabinet"]) as cabinet,
        open_line(at.config.links["fence"]) as fence,
    ):
        assert await read(at, fence, "dust")
        await clock.advance(36.0)
        with pytest.raises(NoAnswer):
            await read(at, fence, "dust")
        assert await read(at, cabinet, "relay")


async def test_the_module_of_relay_reboot_loses_its_outputs(tmp_path: Path) -> None:
    at, clock = site(tmp_path), ManualClock()
    device = at.devices["relay"]
    async with (
        simulated_site(at, scenario="relay-reboot", clock=clock),
        open_line(at.config.links["cabinet"]) as line,
    ):
        relay = open_device(line, device.address, device.points, device.profile.limits, 0.2)
        await relay.write("output_1_on", 1)
        await clock.advance(36.0)
        with pytest.raises(NoAnswer):
            await read(at, line, "relay")
        await clock.advance(REBOOT_S)
        assert (await read(at, line, "relay"))["output_1_on"] == 0


async def test_a_refused_write_says_why(tmp_path: Path) -> None:
    at = site(tmp_path)
    device = at.devices["relay"]
    points = dict(device.points) | {"output_8_on": dataclasses.replace(device.points["output_8_on"], address=40)}
    async with simulated_site(at, clock=ManualClock()), open_line(at.config.links["cabinet"]) as line:
        relay = open_device(line, device.address, points, device.profile.limits, 1.0)
        with pytest.raises(Refused, match=r"unit 7.*illegal data address"):
            await relay.write("output_8_on", 1)


async def test_mbpoll_switches_the_simulated_module(tmp_path: Path) -> None:
    """A program that shares no line with us writes a coil and a register, and reads them back."""
    file = tmp_path / "site.yaml"
    port = free_port()
    file.write_text(
        json.dumps(
            {
                "site": {"id": "t", "name": "t", "simulated": True},
                "links": {"net": {"kind": "tcp", "host": "127.0.0.1", "port": port}},
                "devices": {
                    "plc": {
                        "link": "net",
                        "profile": "relay_controller_8",
                        "address": {"unit": 1},
                        "role": "relay:gate",
                    }
                },
            }
        )
    )
    command = [need("mbpoll", "mbpoll"), "-1", "-q", "-m", "tcp", "-p", str(port), "-a", "1", "-0"]

    async def mbpoll(*arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *command, *arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
        return output.decode()

    at = load_site(file)
    async with simulated_site(at, scenario="dust", clock=ManualClock()) as running:
        await mbpoll("-t", "0", "-r", "0", "127.0.0.1", "1", "0", "1")  # FC 0F
        await mbpoll("-t", "4", "-r", "0", "127.0.0.1", "250")
        assert running.live().outputs["relay:gate"].now() == {
            "output_1_on": 1.0,
            "output_2_on": 0.0,
            "output_3_on": 1.0,
            "output_timeout_s": 25.0,
        }
        assert "1" in await mbpoll("-t", "0", "-r", "2", "-c", "1", "127.0.0.1")


def test_outputs_of_a_module_without_power_cannot_be_set() -> None:
    outputs = Outputs(lambda: 0.0)
    outputs.reboot()
    with pytest.raises(Silent):
        outputs.set("output_1_on", 1.0)


def test_a_dry_tank_never_sprays_long() -> None:
    play = SCENARIOS["dry-tank"]
    world = World(1, play.start_ms(1_790_000_000_000), play)
    world.cannon.wanted = True
    sprayed = 0
    for _ in range(300):
        world.advance(world.now_ms + 1000)
        sprayed += world.cannon.spraying
    assert 0 < sprayed < 120
    assert not world.cannon.spraying
    assert world.cannon.tank_level_pct < 10.0


@given(st.floats(0, 100), st.floats(1, 100), st.floats(0, 10_000))
def test_a_cycle_comes_and_goes(first_s: float, on_s: float, second: float) -> None:
    cycle = Cycle(first_s, on_s, every_s=on_s + 50.0)
    assert not cycle.on(first_s - 0.5)
    assert cycle.on(first_s)
    assert cycle.on(second) == (second >= first_s and (second - first_s) % cycle.every_s < on_s)


@pytest.mark.parametrize("seed", range(6))
def test_in_the_dust_scenario_a_spray_ends_what_the_earthworks_began(seed: int) -> None:
    """The figures that the demo's loop rests on: over 150 within 20 s, below 100 with spraying within two minutes."""

    def play(scenario: Scenario, *, spray: bool) -> tuple[int, int]:
        world = World(seed, scenario.start_ms(1_790_000_000_000), scenario)
        first = last = 0
        for second in range(240):
            world.advance(world.start_ms + second * 1000)
            if world.dust.pm10_ug_m3 > 150 and not first:
                first = second
            if world.dust.pm10_ug_m3 >= 100:
                last = second
            world.cannon.wanted = spray and bool(first) and second >= first + 5
        return first, last

    began, over = play(SCENARIOS["dust"], spray=True)
    assert 5 < began <= 25
    assert 60 < over < 150
    assert play(SCENARIOS["dust"], spray=False)[1] > over + 10


def cannon_with_ears() -> tuple[World, Outputs, MqttEar]:
    play = SCENARIOS["dust"]
    world = World(1, play.start_ms(1_790_000_000_000), play)
    outputs = Outputs(lambda: world.now_ms / 1000.0)
    world.outputs = {"cannon:1": outputs}
    profile = find_profile("fog_cannon_mqtt")
    read_cannon = reader("cannon", "cannon:1", lambda: world)
    [ear] = ears_of("fc-01", profile.points, profile.rules, read_cannon, profile.writes, outputs)
    return world, outputs, ear


def test_the_cannon_obeys_its_own_command_for_as_long_as_it_says() -> None:
    world, outputs, ear = cannon_with_ears()
    shown = reader("cannon", "cannon:1", lambda: world)
    point = find_profile("fog_cannon_mqtt").points["running"]
    topic, payload = command(point, "fc-01", 1, 5.0)
    assert ear.topic == topic == "sitegate/fog-cannon/fc-01/set"
    ear.hear(payload, retained=False)
    world.advance(world.now_ms + 3_000)
    assert shown()["running"]
    world.advance(world.now_ms + 3_000)
    assert not shown()["running"], "five seconds, and nobody renewed them"
    ear.hear(payload, retained=False)
    ear.hear(command(point, "fc-01", 0)[1], retained=False)
    assert outputs.now() == {"running": 0.0}


def test_a_kept_or_broken_command_moves_nothing() -> None:
    _, outputs, ear = cannon_with_ears()
    ear.hear(b'{"run": true, "hold_s": 5}', retained=True)
    for payload in (
        b"",
        b"{",
        b"[]",
        b"7",
        b'{"run": "yes", "hold_s": 5}',
        b'{"run": true}',
        b'{"run": [1], "hold_s": 1}',
    ):
        ear.hear(payload, retained=False)
    assert outputs.now() == {}


async def test_a_command_reaches_the_cannon_through_the_broker(tmp_path: Path) -> None:
    file, port = tmp_path / "site.yaml", free_port()
    cannon = {"link": "mqtt", "profile": "fog_cannon_mqtt", "address": {"id": "fc-01"}}
    cannon |= {"role": "cannon:1", "every": "500ms"}
    link = {"kind": "mqtt", "host": "127.0.0.1", "port": port, "version": "3.1.1"}
    about = {"id": "t", "name": "t", "simulated": True}
    file.write_text(json.dumps({"site": about, "links": {"mqtt": link}, "devices": {"cannon": cannon}}))
    async with (
        simulated_site(load_site(file), scenario="dust") as running,
        aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V311) as client,
    ):
        await client.subscribe("sitegate/fog-cannon/fc-01/state")
        told = asyncio.create_task(_repeat(client))
        async for message in client.messages:
            if json.loads(bytes(message.payload))["state"]["running"]:
                break
        told.cancel()
        assert running.live().outputs["cannon:1"].on("running")


async def _repeat(client: aiomqtt.Client) -> None:
    """The simulated device may not have subscribed yet."""
    while True:
        await client.publish("sitegate/fog-cannon/fc-01/set", b'{"run": true, "hold_s": 20}', qos=1)
        await asyncio.sleep(0.2)
