"""The gateway dies while the cannon runs: the valve closes by itself within the stated time (fault 111, I6)."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.config.loader import load_site
from tests.support.demo_site import open_line, read_device
from tests.support.machine import free_port
from tests.support.sitegate import Running, eventually, get_json, sitegate

DEAD_MAN_S = {"lc_relay_8": 6.0, "relay_controller_8": 10.0}
UNITS = {"lc_relay_8": 255, "relay_controller_8": 1}
SITE = """
site: {{id: small, name: Small, simulated: true}}
links:
  cabinet: {{kind: tcp, host: 127.0.0.1, port: {relay_port}, framing: rtu, timeout: 300ms}}
devices:
  relay: {{link: cabinet, profile: {profile}, address: {{unit: {unit}}}, role: "relay:gate", every: 500ms, zone: gate}}
outputs:
  cannon: {{device: relay, point: output_1_on, mode: armed, dead_man: {dead_man:g}s, min_on: 1s}}
page: {{port: {page_port}, password: gravel-27}}
"""


class Cabinet:
    """A gateway and a simulated relay in processes of their own."""

    def __init__(self, folder: Path, profile: str) -> None:
        self.file, self.page_port = folder / "site.yaml", free_port()
        self.profile = profile
        self.file.write_text(
            SITE.format(
                relay_port=free_port(),
                page_port=self.page_port,
                profile=profile,
                unit=UNITS[profile],
                dead_man=DEAD_MAN_S[profile],
            )
        )

    def output(self) -> dict[str, Any]:
        done = sitegate("outputs", "list", str(self.file), "--json")
        found: list[dict[str, Any]] = json.loads(done.stdout) if done.returncode == 0 else [{}]
        return found[0]

    def start_by_hand(self) -> None:
        eventually(lambda: get_json(f"http://127.0.0.1:{self.page_port}/healthz"), what="the page")
        eventually(lambda: self.output().get("blocked_by") == [], what="an output that may be started")
        done = sitegate("outputs", "on", str(self.file), "cannon", "--by", "Li", "--minutes", "5")
        assert done.returncode == 0, done.stderr
        eventually(lambda: self.output().get("state") == "on", what="the cannon")

    def valve_is_open(self) -> bool:
        """Ask the relay itself, as a technician with a laptop would. Every question counts as a sign of life."""
        site = load_site(self.file)

        async def ask() -> float | None:
            async with open_line(site.config.links["cabinet"]) as line:
                return (await read_device(line, site.devices["relay"]))["output_1_on"]

        return bool(asyncio.run(ask()))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("profile", DEAD_MAN_S)
def test_a_killed_gateway_leaves_no_water_running(profile: str, tmp_path: Path) -> None:
    cabinet = Cabinet(tmp_path, profile)
    with Running("simulate", str(cabinet.file), log=tmp_path / "simulate.log"):
        with Running("run", str(cabinet.file), log=tmp_path / "run.log") as gateway:
            cabinet.start_by_hand()
            gateway.kill()
            killed_s = time.monotonic()
        assert cabinet.valve_is_open(), "it was running when the gateway died"
        asked_s = time.monotonic()
        time.sleep(max(0.0, DEAD_MAN_S[profile] + 0.3 - (time.monotonic() - asked_s)))  # the relay's time is real time
        assert not cabinet.valve_is_open()
        assert time.monotonic() - killed_s < DEAD_MAN_S[profile] + 6


@pytest.mark.timeout(60)
def test_a_stopped_gateway_closes_the_valve_before_it_goes(tmp_path: Path) -> None:
    cabinet = Cabinet(tmp_path, "lc_relay_8")
    with Running("simulate", str(cabinet.file), log=tmp_path / "simulate.log"):
        with Running("run", str(cabinet.file), log=tmp_path / "run.log") as gateway:
            cabinet.start_by_hand()
            status, took_s = gateway.stop(signal.SIGTERM)
            assert (status, took_s < 4) == (0, True)
        assert not cabinet.valve_is_open()
        with Running("run", str(cabinet.file), log=tmp_path / "second.log"):
            entries = eventually(_journal(cabinet), what="the journal")
            told = [(entry["step"], entry["command"], entry["reason"], entry["by"]) for entry in reversed(entries)]
            assert told[0] == ("manual", "on", "manual", "Li")
            assert ("confirmed", "on", "manual", "Li") in told
            assert told[-1][:3] == ("confirmed", "off", "shutdown")


def _journal(cabinet: Cabinet) -> Callable[[], list[dict[str, Any]]]:
    def ask() -> list[dict[str, Any]]:
        done = sitegate("outputs", "log", str(cabinet.file), "--json")
        found: list[dict[str, Any]] = json.loads(done.stdout) if done.returncode == 0 else []
        return found

    return ask
