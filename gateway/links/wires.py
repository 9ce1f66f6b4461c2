"""From the site file to wires and devices: which stream, which silence, which driver. Does no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from drivers.api import Listener, PolledDriver
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


def make_listener(link: MqttLink, client_id: str, devices: Sequence[LoadedDevice]) -> Listener:
    """Return the broker connection of the devices on an MQTT link. ``client_id`` is for a link that names none."""
    from drivers.mqtt_json.driver import Broker, MqttListener  # paho and aiomqtt only where a broker is used

    tls = link.tls
    broker = Broker(
        host=link.host,
        port=link.port,
        version=link.version,
        client_id=link.client_id or client_id,
        username=link.username,
        password=link.password,
        tls=tls is not None,
        ca_file=tls.ca_file if tls else None,
        cert_file=tls.cert_file if tls else None,
        key_file=tls.key_file if tls else None,
        keepalive_s=link.keepalive,
        max_payload_bytes=link.max_payload_kib * 1024,
    )
    return MqttListener(broker, {d.name: (d.address, d.points, d.profile.limits) for d in devices})
