"""``sitegate demo``: a simulated pilot site on real sockets, serial lines and a broker, and the gateway on it."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

import structlog

import configs
from gateway.app import Gateway, running
from gateway.commands.loop import run_loop, set_up_logging, told_to_stop
from gateway.commands.output import FINE, MISUSE, PROBLEM, complain, print_json, say
from gateway.commands.simulate import is_scenario
from gateway.config.loader import LoadedSite, load_site
from gateway.config.site import Link, SerialLink
from gateway.errors import AddressUnavailable, StoreBusy
from simulators.errors import SimulatorError
from simulators.scenarios import SCENARIOS
from simulators.site import simulated_site

QUIET_S = 0.25
"""Pause between two looks at whether every device has a good value."""


def demo(*, port: int, seconds: float | None, scenario: str, seed: int, speed: float, as_json: bool) -> int:
    """Run until Ctrl-C or for ``seconds``; with ``as_json`` print one JSON object at the end and nothing else."""
    if not is_scenario(scenario):
        return MISUSE
    set_up_logging()
    if as_json:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    with tempfile.TemporaryDirectory(prefix="sitegate-demo-") as folder:
        site = moved(load_site(configs.path("site.demo.yaml")), Path(folder), port, scenario)
        try:
            summary = run_loop(_demo(site, seconds, scenario, seed, speed, quiet=as_json))
        except (StoreBusy, AddressUnavailable, SimulatorError, OSError) as why:
            complain(why)
            return PROBLEM
    if as_json:
        print_json(summary)
    return FINE


def moved(site: LoadedSite, folder: Path, port: int, scenario: str) -> LoadedSite:
    """Return the site with its data and serial ports in ``folder``, on TCP ports that are free, where it is now day.

    The scenario begins at an hour of its own, whatever the hour is here; the site is put into the time zone in which
    its clock agrees, so that day and night limits fit what is simulated.
    """
    config = site.config
    links: dict[str, Link] = {}
    with _FreePorts() as free:
        for name, link in config.links.items():
            if isinstance(link, SerialLink):
                links[name] = link.model_copy(update={"port": str(folder / f"tty-{name}")})
            else:
                links[name] = link.model_copy(update={"host": "127.0.0.1", "port": free.take()})
    changes = {
        "links": links,
        "site": config.site.model_copy(update={"timezone": zone_of(scenario, time.time_ns() // 1_000_000)}),
        "data_dir": folder / "data",
        "page": config.page.model_copy(update={"port": port}),
    }
    return dataclasses.replace(site, config=config.model_copy(update=changes))


def zone_of(scenario: str, now_ms: int) -> str:
    """Return the whole-hour time zone in which the scenario's time of day is now, to the hour."""
    shanghai_h = 8
    ahead_h = shanghai_h + round((SCENARIOS[scenario].start_ms(now_ms) - now_ms) / 3_600_000)
    ahead_h = (ahead_h + 11) % 24 - 11
    return f"Etc/GMT{-ahead_h:+d}"  # POSIX counts the other way round


class _FreePorts:
    """Free loopback ports, all different: each stays bound until all are chosen."""

    def __init__(self) -> None:
        self._held: list[socket.socket] = []

    def __enter__(self) -> _FreePorts:
        return self

    def __exit__(self, *_: object) -> None:
        for holder in self._held:
            holder.close()

    def take(self) -> int:
        holder = socket.create_server(("127.0.0.1", 0))
        self._held.append(holder)
        return int(holder.getsockname()[1])


async def _demo(
    site: LoadedSite, seconds: float | None, scenario: str, seed: int, speed: float, *, quiet: bool
) -> dict[str, Any]:
    begun_s = time.monotonic()
    async with simulated_site(site, scenario=scenario, seed=seed, speed=speed), running(site) as gateway:
        if not quiet:
            say(f"\n  {site.config.site.name.en} · {site.config.site.name.zh}")
            say(f"  {len(site.devices)} simulated devices on real wires; scenario {scenario}")
            say(f"\n  Open  {gateway.page.url}   (stop with Ctrl-C)")
            if password := site.config.page.password:
                say(f"  Looking is free; to answer alarms and to switch the fog cannon, the password is  {password}")
            say("")
        watch = asyncio.create_task(_say_when_complete(gateway, begun_s, quiet=quiet))
        try:
            await told_to_stop(seconds)
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
    return _summary(gateway, time.monotonic() - begun_s)


async def _say_when_complete(gateway: Gateway, begun_s: float, *, quiet: bool) -> None:
    """Tell once that every device has shown a good value."""
    while not all(health.state == "good" for health in gateway.device_health.values()):
        await gateway.clock.sleep(QUIET_S)
    if not quiet:
        say(f"  every device answers after {time.monotonic() - begun_s:.1f} s")


def _summary(gateway: Gateway, seconds: float) -> dict[str, Any]:
    latest, buffer = gateway.latest, gateway.buffer.stats()
    return {
        "devices": len(gateway.site.devices),
        "devices_good": sum(h.state == "good" for h in gateway.device_health.values()),
        "readings": latest.good_values,
        "bad_readings": latest.bad_values,
        "records": latest.records,
        "minutes": gateway.ledger.minutes_total(),
        "bytes_on_disk": buffer.bytes_on_disk + gateway.ledger.bytes_on_disk(),
        "dropped_records": buffer.dropped_records,
        "requests": sum(link.requests for link in gateway.links.values()),
        "failures": {n: link.failures for n, link in gateway.links.items() if link.failures},
        "restarts": gateway.supervisor.restarts,
        "seconds": round(seconds, 2),
    }
