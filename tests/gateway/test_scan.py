"""Scans of simulated wires: who is found, what is guessed, and that nothing is ever written."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import tty
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import configs
from drivers.dlt645 import codec
from drivers.dlt645 import identity as dlt645
from drivers.modbus.identity import ALL_UNITS
from drivers.transport.line import Line
from gateway.commands.scan import _document, _units
from gateway.config.loader import LoadedSite, load_site
from gateway.config.profile import Profile
from gateway.config.profiles import find_profile, list_profiles, read_profile
from gateway.config.site import SerialLink, TcpLink
from gateway.links.guess import is_sure, judge
from gateway.links.scan import Effort, Survey, scan, serial_ways, setting_of, tcp_ways
from simulators.modbus_device import ModbusDevice
from simulators.site import simulated_site
from tests.support.demo_site import demo_site
from tests.support.machine import free_port
from tests.support.pty import PtyWire
from tests.support.sitegate import Running, eventually, sitegate

QUICK = Effort(timeout_s=0.1, units=(*range(1, 25), 147, 247))
FAST = {"baudrate": 115200}
"""The simulators pace their replies at the link's speed."""


@pytest.fixture(scope="module")
def profiles() -> list[Profile]:
    return [read_profile(file) for file in list_profiles().values()]


def write_site(folder: Path, links: str, devices: str) -> LoadedSite:
    file = folder / "site.yaml"
    file.write_text(f"site: {{id: s, name: S, simulated: true}}\nlinks:\n{links}\ndevices:\n{devices}\n")
    return load_site(file)


@asynccontextmanager
async def scanned(site: LoadedSite, profiles: list[Profile], effort: Effort = QUICK) -> AsyncIterator[list[Survey]]:
    """All wires of a simulated site, scanned by their addresses alone."""
    surveys = []
    for link in site.config.links.values():
        if isinstance(link, SerialLink):
            surveys.append(Survey(link.port, serial_ways(link.port)))
        elif isinstance(link, TcpLink):
            surveys.append(Survey(f"{link.host}:{link.port}", tcp_ways(link.host, link.port)))
    async with simulated_site(site):
        await asyncio.gather(*[scan(survey, effort, profiles, lambda done, of, text: None) for survey in surveys])
        yield surveys


def seen(survey: Survey) -> set[tuple[str, str]]:
    return {(f.sighting.protocol, str(dict(f.sighting.address))) for f in survey.found}


async def test_every_device_of_the_demos_wires_is_found_by_the_port_alone(
    tmp_path: Path, profiles: list[Profile], monkeypatch: pytest.MonkeyPatch
) -> None:
    links = load_site(configs.path("site.demo.yaml")).config.links
    site = demo_site(tmp_path, **{name: FAST for name, link in links.items() if isinstance(link, SerialLink)})
    written: list[object] = []
    monkeypatch.setattr(ModbusDevice, "_write", lambda self, request, outputs: written.append(request) or b"\x85\x01")
    async with scanned(site, profiles) as surveys:
        pass
    assert not written
    by_address = {survey.address: survey for survey in surveys}
    told = 0
    for name, link in site.config.links.items():
        if not isinstance(link, SerialLink | TcpLink):
            continue
        address = link.port if isinstance(link, SerialLink) else f"{link.host}:{link.port}"
        survey = by_address[address]
        devices = [d for d in site.devices.values() if d.config.link == name]
        asked = {(d.profile.driver, str(d.config.address)) for d in devices if d.profile.driver in QUICK.protocols}
        assert seen(survey) == asked, name
        assert survey.complete
        for found in survey.found:
            told += _is_told(site, name, found)
    assert told >= 6  # what cannot be told by reading: relay boards, sensors with one register


def _is_told(site: LoadedSite, link: str, found: Any) -> bool:
    """A guess that is sure is right; one that is not has the right one among its candidates."""
    right = next(
        d.config.profile
        for d in site.devices.values()
        if d.config.link == link
        and (d.profile.driver, d.config.address) == (found.sighting.protocol, dict(found.sighting.address))
    )
    assert right in [guess.profile for guess in found.guesses], (right, found.guesses)
    if is_sure(found.guesses, found.sighting):
        assert found.guesses[0].profile == right
    return is_sure(found.guesses, found.sighting)


async def test_far_addresses_meters_of_every_kind_and_an_echo(tmp_path: Path, profiles: list[Profile]) -> None:
    site = write_site(
        tmp_path,
        f"  bus: {{kind: serial, port: {tmp_path}/tty, baudrate: 115200, echo: true}}",
        "  far: {link: bus, profile: eastron_sdm630, address: {unit: 147}, role: main}\n"
        '  hot: {link: bus, profile: cjt188_water, address: {meter: "00990000000123", type: hot_water}, role: water}\n'
        '  old: {link: bus, profile: dlt645_1997_three_phase, address: {meter: "000000001997"}, role: main}\n',
    )
    near_and_far = Effort(timeout_s=0.1, units=(1, 147))
    async with scanned(site, profiles, near_and_far) as (survey,):
        pass
    assert seen(survey) == {
        ("modbus", "{'unit': 147}"),
        ("cjt188", "{'meter': '00990000000123', 'type': 'hot_water'}"),
        ("dlt645", "{'meter': '000000001997'}"),
    }
    best = {f.sighting.protocol: f.guesses[0].profile for f in survey.found}
    assert best == {"modbus": "eastron_sdm630", "cjt188": "cjt188_water", "dlt645": "dlt645_1997_three_phase"}
    assert all(isinstance(f.link, SerialLink) and f.link.echo for f in survey.found)
    assert _document([survey])["wires"][0]["devices"][0]["link"]["echo"] is True


async def test_a_wire_where_nobody_answers_is_asked_everything_and_says_so(tmp_path: Path) -> None:
    wire = PtyWire()
    asked: list[str] = []
    survey = Survey(wire.port, serial_ways(wire.port, [9600, 19200], ["none"]))
    effort = Effort(timeout_s=0.005, units=(1, 2, 100))
    try:
        await scan(survey, effort, [], lambda done, of, text: asked.append(text))
    finally:
        wire.unplug()
    assert survey.complete
    assert not survey.found
    for setting in ("9600 8N1", "19200 8N1"):
        for what in ("dlt645 meters", "cjt188 meters", "modbus unit 1", "modbus unit 2", "modbus unit 100"):
            assert f"{setting}: {what}" in asked


async def test_a_port_that_does_not_exist_is_a_sentence() -> None:
    survey = Survey("/dev/no-such-port", serial_ways("/dev/no-such-port", [9600], ["none"]))
    await scan(survey, QUICK, [], lambda done, of, text: None)
    assert survey.failure
    assert "there is no serial port" in survey.failure
    assert not survey.complete


async def test_a_host_that_ignores_the_unit_is_one_device(tmp_path: Path) -> None:
    devices = "\n".join(
        f"  d{unit}: {{link: net, profile: renke_noise, address: {{unit: {unit}}}, role: gate}}"
        for unit in (*range(1, 9), 213)
    )
    site = write_site(tmp_path, f"  net: {{kind: tcp, host: 127.0.0.1, port: {free_port()}}}", devices)
    async with scanned(site, [find_profile("renke_noise")]) as (survey,):
        pass
    assert [dict(f.sighting.address) for f in survey.found] == [{"unit": 1}]
    assert "every unit" in survey.found[0].sighting.note
    assert setting_of(survey.found[0].link) == "Modbus TCP"


class Crowd:
    """DL/T 645 meters that talk on top of each other: who is asked together is not understood."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses
        self._reply = b""

    async def open(self) -> None: ...
    async def close(self) -> None: ...
    def pending(self) -> bytes:
        return b""

    def write(self, data: bytes) -> None:
        request, _ = codec.take_frame(bytearray(data))
        assert request is not None
        heard = request.function in (codec.READ, codec.READ_ADDRESS)
        asked = [address for address in self._addresses if heard and codec.matches(request.address, address)]
        replies = [codec.encode(codec.address_reply(address), 0) for address in asked]
        self._reply = bytes(a & b for a, b in zip(replies[0], replies[-1], strict=True)) if replies else b""

    async def read(self, timeout_s: float) -> bytes:
        await asyncio.sleep(0)
        data, self._reply = self._reply, b""
        return data


async def test_meters_that_talk_at_the_same_time_are_called_by_their_last_digits() -> None:
    addresses = {"000020260001", "000020260002", "000020270002", "123456789012"}
    line = Line(Crowd(*addresses), kind="serial", framing="rtu", drain_s=0.0)
    await line.open()
    found = [sighting.address["meter"] async for sighting in dlt645.find(line, 0.01)]
    assert sorted(found) == sorted(addresses)


def test_zero_says_nothing_and_a_float_next_to_nothing_is_wrong() -> None:
    rules = find_profile("eastron_sdm630").rules
    verdicts = [judge(rules["voltage_l1_v"], raw) for raw in (230.0, 0.0, 1e-38, 700.0, 5e9)]
    assert verdicts == ["telling", "zero", "wrong", "misfit", "wrong"]
    assert judge(rules["active_power_w"], float("nan")) == "empty"


def test_units_and_settings_are_checked() -> None:
    assert _units("1-3, 100") == (1, 2, 3, 100)
    assert ALL_UNITS[-1] == 255
    assert [setting_of(link) for link in serial_ways("/dev/x", [9600], ["even"])] == ["9600 8E1"]
    assert {link.parity for link in serial_ways("/dev/x", (), ["odd"]) if isinstance(link, SerialLink)} == {"odd"}
    with pytest.raises(ValueError, match="'0' are no units"):
        _units("0")
    with pytest.raises(ValueError, match="no baud rate"):
        serial_ways("/dev/x", [9601])
    with pytest.raises(ValueError, match="no parity"):
        serial_ways("/dev/x", (), ["mark"])


def test_the_command_finds_a_device_and_a_site_file_comes_of_it(tmp_path: Path) -> None:
    port = free_port()
    site = tmp_path / "site.yaml"
    site.write_text(
        "site: {id: s, name: S, simulated: true}\n"
        f"links: {{net: {{kind: tcp, host: 127.0.0.1, port: {port}}}}}\n"
        "devices: {main: {link: net, profile: eastron_sdm630, address: {unit: 3}, role: main}}\n"
    )
    with Running("simulate", str(site), log=tmp_path / "simulate.log"):
        eventually(lambda: "simulated" in (tmp_path / "simulate.log").read_text(), what="the simulators")
        arguments = ("scan", "--tcp", f"127.0.0.1:{port}", "--units", "1-5", "--timeout", "0.05")
        done = sitegate(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        document = json.loads(done.stdout)
        device = document["wires"][0]["devices"][0]
        assert document["complete"]
        assert (device["address"], device["profile"], device["sure"]) == ({"unit": 3}, "eastron_sdm630", True)
        shown = sitegate(*arguments)
        assert "eastron_sdm630" in shown.stdout
        assert "links:" in shown.stdout
        new = tmp_path / "new.yaml"
        made = sitegate("new", str(new), "--id", "fresh", "--scan", "-", stdin=done.stdout)
        assert made.returncode == 0, made.stderr
        assert sitegate("check", str(new)).returncode == 0
        assert sitegate("probe", str(new), "eastron-sdm630-3").returncode == 0


def test_a_scan_that_is_stopped_or_out_of_time_shows_what_it_has(tmp_path: Path) -> None:
    log = tmp_path / "scan.log"
    with PtyForCommand() as silent:
        late = sitegate("scan", "--serial", silent, "--within", "1")
        assert late.returncode == 1
        assert "not everything was asked" in late.stderr
    with PtyForCommand() as silent, Running("scan", "--serial", silent, "--json", log=log) as running:
        eventually(lambda: silent_is_held(silent), what="the port to be opened")
        status, took_s = running.stop(signal.SIGINT)
        assert (status, json.loads(log.read_text())["complete"]) == (1, False)
        assert took_s < 3


class PtyForCommand:
    """A serial port on which nobody answers, for a command in a process of its own."""

    def __enter__(self) -> str:
        self._fds = os.openpty()
        for fd in self._fds:
            tty.setraw(fd)
        return os.ttyname(self._fds[1])

    def __exit__(self, *_: object) -> None:
        for fd in self._fds:
            os.close(fd)


def silent_is_held(port: str) -> bool:
    """Another process has the port open: it took the exclusive lock."""
    with open(port) as tty_file:  # noqa: PTH123
        try:
            fcntl.flock(tty_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        fcntl.flock(tty_file, fcntl.LOCK_UN)
        return False


def test_wrong_use_of_scan_is_status_2() -> None:
    assert sitegate("scan").returncode == 2
    wrong = sitegate("scan", "--serial", "/dev/ttyS0", "--protocol", "morse")
    assert (wrong.returncode, "morse" in wrong.stderr) == (2, True)
