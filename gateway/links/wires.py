"""From the site file to wires and devices: which stream, which silence, which driver. Does no I/O."""

from __future__ import annotations

from typing import cast

from drivers.api import PolledDriver
from drivers.registry import load as load_driver
from drivers.transport.line import Line
from drivers.transport.serial import SerialStream, character_s, modbus_silence_s
from drivers.transport.tcp import TcpStream
from gateway.config.loader import LoadedDevice
from gateway.config.site import MqttLink, SerialLink, TcpLink
from gateway.links.worker import Polled


def address_of(link: SerialLink | TcpLink | MqttLink) -> str:
    """Return where a link leads, for people."""
    return link.port if isinstance(link, SerialLink) else f"{link.host}:{link.port}"


def make_line(link: SerialLink | TcpLink) -> Line:
    """Return the wire of a polled link, not yet open."""
    if isinstance(link, TcpLink):
        return Line(TcpStream(link.host, link.port), kind="tcp", framing=link.framing)
    char_s = character_s(link.baudrate, link.parity, link.stop_bits)
    return Line(
        SerialStream(link.port, link.baudrate, link.parity, link.stop_bits),
        kind="serial",
        framing="rtu",
        char_s=char_s,
        silence_s=modbus_silence_s(link.baudrate, char_s),
        echo=link.echo,
    )


def polled(device: LoadedDevice, line: Line, timeout_s: float) -> Polled:
    """Return a device as its link worker wants it."""
    driver = cast(PolledDriver, load_driver(device.profile.driver))
    opened = driver.open_device(line, device.address, device.points, device.profile.limits, timeout_s)
    return Polled(device.name, opened, {name: rule.every_s for name, rule in device.rules.items()})
