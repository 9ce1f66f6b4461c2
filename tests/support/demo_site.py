"""The shipped demo site, moved to free ports and a temporary directory, and real drivers to read it with."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import configs
from drivers import registry
from drivers.api import PolledDriver
from drivers.transport import ByteStream
from drivers.transport.line import Line
from drivers.transport.serial import SerialStream, character_s, modbus_silence_s
from drivers.transport.tcp import TcpStream
from gateway.config.loader import LoadedDevice, LoadedSite, load_site
from gateway.config.profiles import engineering_value
from gateway.config.site import Link, SerialLink, TcpLink
from tests.support.machine import free_port


def demo_site(folder: Path, **changes: dict[str, Any]) -> LoadedSite:
    """Return the demo site with addresses of its own; ``changes`` goes into the links of these names."""
    site = load_site(configs.path("site.demo.yaml"))
    moved = {}
    for name, link in site.config.links.items():
        port: str | int = str(folder / f"tty-{name}") if isinstance(link, SerialLink) else free_port()
        moved[name] = link.model_copy(update={"port": port} | changes.get(name, {}))
    return dataclasses.replace(site, config=site.config.model_copy(update={"links": moved}))


@asynccontextmanager
async def open_line(link: Link) -> AsyncIterator[Line]:
    """Connect to a polled link as the gateway does."""
    stream: ByteStream
    if isinstance(link, SerialLink):
        char_s = character_s(link.baudrate, link.parity, link.stop_bits)
        stream = SerialStream(link.port, link.baudrate, link.parity, link.stop_bits)
        silence_s = modbus_silence_s(link.baudrate, char_s)
        line = Line(stream, kind="serial", framing="rtu", char_s=char_s, silence_s=silence_s, echo=link.echo)
    else:
        assert isinstance(link, TcpLink)
        line = Line(TcpStream(link.host, link.port), kind="tcp", framing=link.framing)
    await line.open()
    try:
        yield line
    finally:
        await line.close()


async def read_device(line: Line, device: LoadedDevice, timeout_s: float = 2.0) -> dict[str, float | None]:
    """Read every point of a device once, in the metrics' units."""
    driver = cast(PolledDriver, registry.load(device.profile.driver))
    opened = driver.open_device(line, device.address, device.points, device.profile.limits, timeout_s)
    values: dict[str, float | None] = {}
    for request in opened.plan(list(device.points)):
        for name, raw in zip(request.points, await opened.ask(request), strict=True):
            values[name] = engineering_value(device.rules[name], raw)
    return values
