"""The demo site in fast motion with a real InfluxDB behind it: an hour's worth of everything for the dashboards."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from pathlib import Path

import configs
from gateway.app import running
from gateway.commands.demo import moved
from gateway.config.loader import LoadedDevice, LoadedSite, load_site
from gateway.config.site import InfluxSink, SerialLink, TcpLink
from simulators.site import simulated_site
from tests.support.clock import FastClock
from tests.support.machine import free_port
from tests.support.servers import Influx1

DATABASE = "site"
SPEED = 200.0
REAL_S = 7.5
EVERY_S = 15.0
"""No device is asked more often: at this speed the wires carry no more."""
WINDOW_MS = 5 * 60_000
ABSENT = "absent-meter"
"""A device that nobody plays: something must be silent, too."""


def fill(server: Influx1, folder: Path, scenario: str = "dust") -> tuple[LoadedSite, int, int]:
    """Run the demo for 25 of its minutes, some whole windows of its verdicts among them; return site, begin and end."""
    server.create_database(DATABASE)
    site = _demo(server, folder, scenario)
    now_ms = time.time_ns() // 1_000_000
    clock = FastClock(SPEED, now_ms - now_ms % WINDOW_MS - 90_000)
    begun_ms = clock.wall_ms()
    asyncio.run(_run(site, scenario, clock))
    return site, begun_ms, clock.wall_ms()


async def _run(site: LoadedSite, scenario: str, clock: FastClock) -> None:
    played = dataclasses.replace(site, devices={n: d for n, d in site.devices.items() if n != ABSENT})
    async with simulated_site(played, scenario=scenario, clock=clock), running(_with_nobody(site), clock) as gateway:
        await asyncio.sleep(REAL_S)
        async with asyncio.timeout(10):
            while any(sink.pending_records > 500 for sink in gateway.buffer.stats().sinks):
                await asyncio.sleep(0.05)  # real time: the server is a process of its own


def _demo(server: Influx1, folder: Path, scenario: str) -> LoadedSite:
    site = moved(load_site(configs.path("site.demo.yaml")), folder, 0, scenario)
    links = {
        name: link.model_copy(update={"baudrate": 115_200}) if isinstance(link, SerialLink) else link
        for name, link in site.config.links.items()
    }
    alerts = site.config.alerts.model_copy(
        update={"set": {**site.config.alerts.set, "pm10_hour": {"window": {"length": "5min"}, "valid_share": 0.5}}}
    )
    sink = InfluxSink(kind="influxdb", url=server.url, api="v1", database=DATABASE)
    config = site.config.model_copy(update={"links": links, "sinks": {"influxdb": sink}, "alerts": alerts})
    return dataclasses.replace(
        site, config=config, devices={name: _slower(device) for name, device in site.devices.items()}
    )


def _slower(device: LoadedDevice) -> LoadedDevice:
    rules = {m: dataclasses.replace(r, every_s=max(r.every_s, EVERY_S)) for m, r in device.rules.items()}
    return dataclasses.replace(device, rules=rules)


def _with_nobody(site: LoadedSite) -> LoadedSite:
    like = next(d for d in site.devices.values() if isinstance(site.config.links[d.config.link], TcpLink))
    link = site.config.links[like.config.link].model_copy(update={"port": free_port()})
    absent = dataclasses.replace(like, name=ABSENT, config=like.config.model_copy(update={"link": ABSENT}))
    config = site.config.model_copy(update={"links": {**site.config.links, ABSENT: link}})
    return dataclasses.replace(site, config=config, devices={**site.devices, ABSENT: absent})
