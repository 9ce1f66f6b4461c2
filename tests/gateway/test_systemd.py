"""What systemd hears: ready, alive while wires and pumps get on, stopping. On a real notify socket."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from gateway.app import Gateway
from gateway.buffer.memory import MemoryBuffer
from gateway.config.loader import load_site
from gateway.model import LinkHealth, Mark, Readings, SinkHealth
from gateway.systemd import STILL_S, TOLD_TO_WAIT_S, Notifier, Progress, parts_of, told_to_systemd
from tests.support.clock import ManualClock
from tests.support.machine import free_port
from tests.support.sitegate import ROOT

WATCHDOG_S = 120.0


class NotifySocket:
    """The service manager's end."""

    def __init__(self, path: Path) -> None:
        self.address = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._socket.settimeout(20)
        self._collected: list[str] = []

    def wait(self) -> str:
        return self._socket.recv(4096).decode()

    def collect(self) -> None:
        """Take what has come; the system keeps no more than ten messages."""
        self._socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self._collected.append(self._socket.recv(4096).decode())
        self._socket.settimeout(20)

    def heard(self) -> list[str]:
        """What came since it was asked last."""
        self.collect()
        found, self._collected = self._collected, []
        return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[NotifySocket]:
    end = NotifySocket(tmp_path / "notify")
    yield end
    end.close()


class FakeGateway:
    """As much of a gateway as the watchdog looks at: one polled wire, one broker, one sink."""

    def __init__(self, folder: Path, manager: NotifySocket) -> None:
        self.manager = manager
        file = folder / "site.yaml"
        file.write_text(
            "site: {id: watched, name: watched}\n"
            "links:\n  bus: {kind: tcp, host: 127.0.0.1, port: 9}\n  broker: {kind: mqtt, host: 127.0.0.1}\n"
            "devices:\n"
            "  meter: {link: bus, profile: eastron_sdm630, address: {unit: 1}, every: 10s}\n"
            "  crane: {link: broker, profile: yunzhu_tower_crane, address: {id: tc-01}}\n"
        )
        self.site = load_site(file)
        self.clock = ManualClock()
        self.links = {name: LinkHealth(name, "tcp", "here") for name in self.site.config.links}
        self.buffer = MemoryBuffer(["influx"])
        self.pump = SinkHealth("influx")
        self.pumps = {"influx": SimpleNamespace(health=self.pump)}
        self.page = SimpleNamespace(url="http://127.0.0.1:8080/")

    def reading(self) -> None:
        self.buffer.put(Readings("meter", self.clock.wall_ms(), ("voltage_v",), (230.0,), Mark.GOOD))

    def gateway(self) -> Gateway:
        return cast(Gateway, self)


def environment(manager: NotifySocket, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6)), **more}


async def run_for(fake: FakeGateway, seconds: float, *, polls: bool = True) -> None:
    for _ in range(int(seconds / 10)):
        if polls:
            fake.links["bus"].requests += 1
        await fake.clock.advance(10)
        fake.manager.collect()


async def test_ready_alive_stopping(manager: NotifySocket, tmp_path: Path) -> None:
    fake = FakeGateway(tmp_path, manager)
    async with told_to_systemd(fake.gateway(), environment(manager)):
        await run_for(fake, 300)
        first, *rest = manager.heard()
        assert first.startswith("READY=1\n")
        assert rest == ["WATCHDOG=1"] * 11  # at once, then four in each of its times
    assert manager.heard() == ["STOPPING=1\nSTATUS=stops"]


@pytest.mark.parametrize("part", ["wire", "pump"])
async def test_a_part_that_stands_still_starves_the_watchdog(part: str, manager: NotifySocket, tmp_path: Path) -> None:
    fake = FakeGateway(tmp_path, manager)
    async with told_to_systemd(fake.gateway(), environment(manager)):
        if part == "pump":
            fake.reading()
        await run_for(fake, STILL_S - 60, polls=part != "wire")
        assert manager.heard().count("WATCHDOG=1") > 10  # patience first
        await run_for(fake, 200, polls=part != "wire")
        manager.heard()
        await run_for(fake, 2 * WATCHDOG_S, polls=part != "wire")
        assert "WATCHDOG=1" not in manager.heard()
        fake.links["bus"].requests += 1  # it moves again before it was killed
        fake.pump.sent_records += 1
        await run_for(fake, WATCHDOG_S)
        assert "WATCHDOG=1" in manager.heard()


async def test_what_rests_for_a_reason_is_not_still(manager: NotifySocket, tmp_path: Path) -> None:
    fake = FakeGateway(tmp_path, manager)  # nothing to send, and a broker on which nobody speaks
    async with told_to_systemd(fake.gateway(), environment(manager)):
        await run_for(fake, 3 * STILL_S)
        fake.reading()
        fake.pump.state = "down"  # a server that said: in half an hour
        manager.heard()
        await run_for(fake, TOLD_TO_WAIT_S - 600)
        heard = manager.heard()
        assert heard.count("WATCHDOG=1") >= (TOLD_TO_WAIT_S - 600) / WATCHDOG_S * 4 - 1
        assert all(text == "WATCHDOG=1" for text in heard)


def test_rare_devices_have_more_patience(manager: NotifySocket, tmp_path: Path) -> None:
    fake = FakeGateway(tmp_path, manager)
    (_, patience_s) = parts_of(fake.gateway())["link bus"]
    assert patience_s == STILL_S + 30


def test_a_part_is_timed_from_its_last_move_and_forgotten_when_it_goes() -> None:
    progress = Progress()
    assert progress.still({"a": (1, 10.0)}, 0.0) == []
    assert progress.still({"a": (1, 10.0)}, 10.0) == []
    assert progress.still({"a": (1, 10.0)}, 10.1) == ["a"]
    assert progress.still({"a": (2, 10.0)}, 11.0) == []
    assert progress.still({}, 30.0) == []
    assert progress.still({"a": (2, 10.0)}, 31.0) == []


@pytest.mark.parametrize(
    ("given", "watchdog_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "2000000"}, None),  # without a socket there is nobody to tell
        ({"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "2000000"}, 2.0),
        ({"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "1"}, None),  # meant for another
        ({"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(os.getpid())}, 2.0),
        ({"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_what_the_environment_asks_for(given: dict[str, str], watchdog_s: float | None) -> None:
    notifier = Notifier(given)
    assert notifier.watchdog_s == watchdog_s
    notifier.tell("READY=1")  # a socket that is not there is no reason to fall


def test_the_abstract_namespace() -> None:
    name = f"sitegate-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(f"\0{name}")
        end.settimeout(5)
        Notifier({"NOTIFY_SOCKET": f"@{name}"}).tell("READY=1", "STATUS=fine")
        assert end.recv(100) == b"READY=1\nSTATUS=fine"


def test_the_real_command_tells(manager: NotifySocket, tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(
        "site: {id: told, name: told}\n"
        f"links: {{bus: {{kind: tcp, host: 127.0.0.1, port: {free_port()}}}}}\n"
        "devices: {meter: {link: bus, profile: eastron_sdm630, address: {unit: 1}}}\n"
        "page: {port: 0}\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "run", str(site)],
        cwd=ROOT,
        env={**os.environ, "NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "400000"},
        stderr=subprocess.DEVNULL,
    )
    try:
        assert manager.wait().startswith("READY=1\n")
        assert [manager.wait() for _ in range(3)] == ["WATCHDOG=1"] * 3
        process.send_signal(signal.SIGTERM)
        last = "WATCHDOG=1"
        while last == "WATCHDOG=1":
            last = manager.wait()
        assert last.startswith("STOPPING=1\n")
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait(5)
