"""Simulated devices on real sockets, ttys and MQTT, read by the real drivers and by programs that are not ours."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import aiomqtt
import pytest

from drivers.api import Report
from drivers.errors import DriverError, LinkDown
from drivers.json_fields.fields import Reader
from drivers.mqtt_json.codec import by_topic
from gateway.config.loader import LoadedSite
from gateway.config.profiles import engineering_value
from gateway.config.site import MqttLink, SerialLink
from gateway.vocabulary import METRICS, Kind
from simulators import site as simulators_site
from simulators.errors import SimulatorError
from simulators.faults import FaultRates
from simulators.roles import reader
from simulators.site import simulated_site
from tests.support.clock import ManualClock
from tests.support.demo_site import demo_site, open_line, read_device
from tests.support.machine import need
from tests.support.mosquitto import Mosquitto

POLLED = ("meters", "environment", "utilities", "zones")
FAST = {"meters": {"baudrate": 115200}, "environment": {"baudrate": 115200}, "utilities": {"baudrate": 115200}}


@contextlib.contextmanager
def time_passing(clock: ManualClock) -> Iterator[None]:
    """Let simulated seconds pass for as long as somebody waits: messages over a real broker take real time."""

    async def pass_on() -> None:
        while True:
            await clock.advance(0.5)
            await asyncio.sleep(0.01)

    task = asyncio.create_task(pass_on())
    try:
        yield
    finally:
        task.cancel()


def mqtt_link(site: LoadedSite) -> MqttLink:
    link = site.config.links["equipment"]
    assert isinstance(link, MqttLink)
    return link


async def test_every_polled_device_shows_the_world_through_its_own_protocol(tmp_path: Path) -> None:
    site = demo_site(tmp_path, **FAST)
    clock = ManualClock()  # the world stands still while it is read
    async with simulated_site(site, clock=clock) as running:
        readers = {d.name: reader(d.name, d.config.role, running.live) for d in site.devices.values()}
        for name in POLLED:
            devices = [d for d in site.devices.values() if d.config.link == name]
            assert len(devices) >= 2
            async with open_line(site.config.links[name]) as line:
                for device in devices:
                    shown = await read_device(line, device)
                    meant = readers[device.name]()
                    assert shown.keys() == device.points.keys()
                    for metric, value in shown.items():
                        assert value is not None
                        assert METRICS[metric].low <= value <= METRICS[metric].high
                        # f32 has 7 digits; registers and BCD end at their last decimal, times the CT ratio.
                        last_digit = abs(engineering_value(device.rules[metric], 1) or 1)
                        if device.profile.driver == "dlt645":
                            last_digit = 0.1
                        assert value == pytest.approx(meant[metric], rel=1e-6, abs=last_digit), (device.name, metric)


async def test_a_moving_clock_moves_the_world_as_fast_as_asked(tmp_path: Path) -> None:
    site, clock = demo_site(tmp_path, **FAST), ManualClock()
    async with simulated_site(site, clock=clock, speed=60.0) as running:
        async with open_line(site.config.links["zones"]) as line:
            before = await read_device(line, site.devices["office-meter"])
            started_ms = running.live().now_ms
            await clock.advance(60.0)
            after = await read_device(line, site.devices["office-meter"])
        assert running.live().now_ms == started_ms + 3_600_000
        used = (after["energy_import_kwh"] or 0) - (before["energy_import_kwh"] or 0)
        assert 1.0 < used < 12.0


async def test_mqtt_devices_publish_what_their_profiles_read(tmp_path: Path) -> None:
    site = demo_site(tmp_path)
    link = mqtt_link(site)
    clock = ManualClock()
    wanted = {}
    for device in (each for each in site.devices.values() if each.config.link == "equipment"):
        for topic, points in by_topic(device.points, device.address.id).items():
            wanted[topic] = (device, Reader(device.name, topic, points, device.profile.limits))
    async with (
        simulated_site(site, clock=clock) as running,
        aiomqtt.Client(link.host, link.port, protocol=aiomqtt.ProtocolVersion.V311) as client,
        contextlib.AsyncExitStack() as stack,
    ):
        for topic in wanted:
            await client.subscribe(topic, qos=1)
        stack.enter_context(time_passing(clock))
        seen: set[str] = set()
        async for message in client.messages:
            device, messages = wanted[str(message.topic)]
            report = messages.read(bytes(message.payload))
            assert isinstance(report, Report), report
            assert message.qos == 1
            assert report.sent_at_ms is not None
            assert abs(clock.wall_ms() - report.sent_at_ms) <= 13_000
            meant = reader(device.name, device.config.role, running.live)()
            for metric, raw in zip(report.points, report.values, strict=True):
                value = engineering_value(device.rules[metric], raw)
                assert value is not None
                assert METRICS[metric].low <= value <= METRICS[metric].high
                if METRICS[metric].kind is Kind.COUNTER:
                    assert value == pytest.approx(meant[metric], abs=0.1)
            seen.add(str(message.topic))
            if seen == set(wanted):
                break


async def test_a_broker_that_is_there_is_used_and_found_again(tmp_path: Path) -> None:
    (tmp_path / "broker").mkdir()
    clock = ManualClock()
    async with Mosquitto(tmp_path / "broker") as broker:
        site = demo_site(tmp_path, equipment={"port": broker.port, "version": "5"})
        async with simulated_site(site, clock=clock):
            for _ in range(2):
                async with aiomqtt.Client(
                    "127.0.0.1", broker.port, protocol=aiomqtt.ProtocolVersion.V5, identifier="reader"
                ) as client:
                    await client.subscribe("sitegate/fog-cannon/fc-01/state", qos=1)
                    coming = asyncio.create_task(anext(client.messages))
                    while not coming.done():
                        await clock.advance(1.0)
                        await asyncio.sleep(0.01)  # mosquitto is another process and has its own time
                    message = coming.result()
                    assert message.qos == 1  # mosquitto lowers it to what the publisher asked for
                    assert not message.retain
                await broker.stop()
                await broker.start()


async def test_the_site_leaves_nothing_behind_and_starts_again(tmp_path: Path) -> None:
    site = demo_site(tmp_path)
    before = asyncio.all_tasks()
    loop = asyncio.get_running_loop()
    for _ in range(2):
        async with simulated_site(site):
            assert (tmp_path / "tty-meters").is_symlink()
            client, writer = await asyncio.open_connection("127.0.0.1", site.config.links["zones"].port)
            began_s = loop.time()
        assert loop.time() - began_s < 1.0
        assert not [t.name for t in threading.enumerate() if t.name.startswith("broker")]
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(client.read(), 1.0) == b""
        writer.close()
        assert list(tmp_path.iterdir()) == []
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == before
        for name in ("zones", "equipment"):
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", site.config.links[name].port)


async def test_a_client_that_stays_does_not_keep_the_broker(tmp_path: Path) -> None:
    site = demo_site(tmp_path)
    link = mqtt_link(site)
    before = asyncio.all_tasks()
    async with simulated_site(site):
        client = aiomqtt.Client(link.host, link.port, protocol=aiomqtt.ProtocolVersion.V311)
        await client.__aenter__()
    with pytest.raises(aiomqtt.MqttError):
        async for _ in client.messages:
            pass
    await client.__aexit__(None, None, None)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    assert not [t.name for t in threading.enumerate() if t.name.startswith("broker")]


async def test_a_unit_that_is_not_there_is_silent_on_a_line_and_refused_on_tcp(tmp_path: Path) -> None:
    site = demo_site(tmp_path, **FAST)
    async with simulated_site(site):
        for name, text in (("meters", "no answer|silent"), ("zones", "exception 11")):
            device = next(d for d in site.devices.values() if d.config.link == name and d.profile.driver == "modbus")
            absent = dataclasses.replace(device, address=dataclasses.replace(device.address, unit=77))
            async with open_line(site.config.links[name]) as line:
                with pytest.raises(DriverError, match=text):
                    await read_device(line, absent, timeout_s=0.1)
                assert await read_device(line, device)


async def test_a_bad_line_can_be_lived_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the faults, a value that comes through is a value that the device sent."""
    rates = FaultRates(noise=0.1, drop=0.1, garble=0.1, split=0.3, refuse=0.05, delay=0.05, delay_s=0.08)
    monkeypatch.setattr(simulators_site, "NOISY_LINE", rates)
    site = demo_site(tmp_path, **FAST)
    async with (
        simulated_site(site, scenario="line-noise", clock=ManualClock()) as running,
        open_line(site.config.links["meters"]) as line,
    ):
        good, bad = 0, 0
        for _ in range(12):
            for name in ("main-meter", "living-meter"):
                device = site.devices[name]
                meant = reader(name, device.config.role, running.live)()
                try:
                    shown = await read_device(line, device, timeout_s=0.05)
                except DriverError:
                    bad += 1
                    continue
                good += 1
                for metric, value in shown.items():
                    assert value == pytest.approx(meant[metric], rel=1e-6, abs=0.1), (name, metric)
    assert good > 0
    assert bad > 0


async def test_an_echoing_adapter(tmp_path: Path) -> None:
    site = demo_site(tmp_path, meters={"baudrate": 115200, "echo": True})
    async with simulated_site(site), open_line(site.config.links["meters"]) as line:
        assert await read_device(line, site.devices["main-meter"])
        assert await read_device(line, site.devices["living-meter"])


async def test_raw_serial_frames_over_tcp(tmp_path: Path) -> None:
    """A serial server in front of the zone meters: the same units, RTU frames instead of Modbus TCP."""
    site = demo_site(tmp_path, zones={"framing": "rtu"})
    async with simulated_site(site), open_line(site.config.links["zones"]) as line:
        for name in ("crane-meter", "workshop-meter"):
            assert await read_device(line, site.devices[name])


async def test_a_simulated_port_never_takes_the_place_of_something_real(tmp_path: Path) -> None:
    site = demo_site(tmp_path)
    port = tmp_path / "tty-meters"
    port.write_text("mine")
    with pytest.raises(SimulatorError, match=r"tty-meters exists and is no simulated port.*another path"):
        async with simulated_site(site):
            pass
    assert port.read_text() == "mine"

    port.unlink()
    port.symlink_to(tmp_path / "gone")  # left behind by a simulator that was killed
    async with simulated_site(site):
        assert str(port.readlink()).startswith("/dev/pts/")
    assert list(tmp_path.iterdir()) == []


async def test_addresses_in_use_and_impossible_brokers_are_named(tmp_path: Path) -> None:
    site = demo_site(tmp_path)
    zones = site.config.links["zones"]
    async with simulated_site(site):
        second = demo_site(tmp_path / "second", zones={"port": zones.port})
        with pytest.raises(SimulatorError, match=rf"cannot listen on 127.0.0.1:{zones.port} .*another port"):
            async with simulated_site(second):
                pass
    with pytest.raises(SimulatorError, match=r'MQTT 3\.1\.1 only.*version: "3\.1\.1"'):
        async with simulated_site(demo_site(tmp_path, equipment={"version": "5"})):
            pass
    with pytest.raises(SimulatorError, match="no scenario 'flood'; choose one of: normal, dust"):
        async with simulated_site(site, scenario="flood"):
            pass


async def test_a_serial_line_takes_the_time_of_its_baud_rate(tmp_path: Path) -> None:
    site = demo_site(tmp_path, environment={"baudrate": 4800})
    loop = asyncio.get_running_loop()
    async with simulated_site(site), open_line(site.config.links["environment"]) as line:
        device = site.devices["noise-gate"]
        await read_device(line, device)
        began_s = loop.time()
        await read_device(line, device)
        assert loop.time() - began_s >= (8 + 7) * 10 / 4800  # request and reply, ten bits a character


async def test_closing_the_site_is_an_unplugged_line(tmp_path: Path) -> None:
    site = demo_site(tmp_path, **FAST)
    async with simulated_site(site):
        opened = open_line(site.config.links["meters"])
        line = await opened.__aenter__()
        assert await read_device(line, site.devices["main-meter"])
    with pytest.raises(LinkDown):
        await read_device(line, site.devices["main-meter"])
    await opened.__aexit__(None, None, None)


async def _mbpoll(*arguments: str) -> list[float]:
    """Read with Debian's mbpoll, which shares no line of code with us; return the values it prints."""
    process = await asyncio.create_subprocess_exec(
        need("mbpoll", "mbpoll"), "-1", "-q", *arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output, _ = await process.communicate()
    text = output.decode()
    assert process.returncode == 0, text
    return [float(line.split(":")[1].split()[0]) for line in text.splitlines() if line.startswith("[")]


async def test_mbpoll_reads_the_tcp_simulator(tmp_path: Path) -> None:
    site = demo_site(tmp_path)
    port = str(site.config.links["zones"].port)
    async with simulated_site(site, clock=ManualClock()) as running:
        # DTSD1352: three voltages in tenths, u16; mbpoll counts from 1 unless told -0.
        tenths = await _mbpoll("-m", "tcp", "-p", port, "-a", "1", "-0", "-r", "97", "-c", "3", "-t", "4", "127.0.0.1")
        zone = running.live().zones["tower-crane"]
        assert tenths == [round(volt * 10) for volt in zone.voltage_v]
        # SDM120: active power, f32 in input registers, high word first.
        [watts] = await _mbpoll(
            "-m", "tcp", "-p", port, "-a", "4", "-0", "-r", "12", "-c", "1", "-t", "3:float", "-B", "127.0.0.1"
        )
        assert watts == pytest.approx(running.live().zones["office"].total_w, rel=1e-4)


async def test_mbpoll_reads_the_serial_simulator(tmp_path: Path) -> None:
    site = demo_site(tmp_path, **FAST)
    link = site.config.links["meters"]
    assert isinstance(link, SerialLink)
    async with simulated_site(site, clock=ManualClock()) as running:
        [watts] = await _mbpoll(
            *("-m", "rtu", "-b", "115200", "-P", "none", "-a", "1", "-0", "-r", "52", "-c", "1"),
            *("-t", "3:float", "-B", link.port),
        )
        assert watts == pytest.approx(running.live().main.total_w, rel=1e-4)


def test_the_command_line_runs_until_it_is_told_to_stop(tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(
        json.dumps(
            {
                "site": {"id": "t", "name": "t", "simulated": True},
                "links": {"bus": {"kind": "serial", "port": str(tmp_path / "tty")}},
                "devices": {"noise": {"link": "bus", "profile": "renke_noise", "address": {"unit": 1}, "role": "gate"}},
            }
        )
    )
    command = [sys.executable, "-m", "simulators", str(site), "--scenario", "dust", "--seed", "7", "--speed", "10"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert "1 simulated devices, scenario dust" in process.stdout.readline()
    assert (tmp_path / "tty").exists()
    process.terminate()
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 0, errors
    assert not (tmp_path / "tty").is_symlink()

    wrong = subprocess.run([*command[:3], str(tmp_path / "none.yaml")], capture_output=True, text=True, check=False)
    assert wrong.returncode == 1
    assert "none.yaml" in wrong.stderr
