"""From the site file to wires and devices: which stream, which silence, which driver. Does no I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeGuard, cast
from zoneinfo import ZoneInfo

from drivers.api import LearningDevice, Listener, PolledDriver
from drivers.registry import asks
from drivers.registry import load as load_driver
from drivers.transport.line import Line
from drivers.transport.serial import SerialStream, character_s, modbus_silence_s
from drivers.transport.tcp import TcpStream
from gateway.config.loader import LoadedDevice
from gateway.config.site import Hj212ServerLink, HttpLink, Link, MqttLink, SerialLink, TcpLink
from gateway.links.notebook import Notebook
from gateway.links.worker import Polled

_HJ212_IDLE_S = 300.0
"""On a line that we open: without a packet for so long it is opened again."""


def is_polled(link: Link, devices: Sequence[LoadedDevice]) -> TypeGuard[SerialLink | TcpLink]:
    """True when the gateway asks on this link; else its devices speak first, and ``make_listener`` hears them."""
    return isinstance(link, SerialLink | TcpLink) and all(asks(load_driver(d.profile.driver)) for d in devices)


def address_of(link: Link) -> str:
    """Return where a link leads, for people."""
    return link.port if isinstance(link, SerialLink) else f"{link.host}:{link.port}"


def make_line(link: SerialLink | TcpLink, drain_s: float | None = None) -> Line:
    """Return the wire of a polled link, not yet open. ``drain_s``: as ``Line`` has it."""
    if isinstance(link, TcpLink):
        return Line(_stream(link), kind="tcp", framing=link.framing, drain_s=drain_s)
    char_s = character_s(link.baudrate, link.parity, link.stop_bits)
    return Line(
        _stream(link),
        kind="serial",
        framing="rtu",
        char_s=char_s,
        silence_s=modbus_silence_s(link.baudrate, char_s),
        echo=link.echo,
        drain_s=drain_s,
    )


def polled(device: LoadedDevice, line: Line, timeout_s: float, notebook: Notebook | None = None) -> Polled:
    """Return a device as its link worker wants it. ``notebook``: where it keeps what it learns."""
    driver = cast(PolledDriver, load_driver(device.profile.driver))
    opened = driver.open_device(line, device.address, device.points, device.profile.limits, timeout_s)
    if notebook is not None and isinstance(opened, LearningDevice):
        identity = f"{device.config.link} {device.profile.name} {device.address}"
        opened.keep_notes(notebook.page(device.name, identity))
    return Polled(device.name, opened, {name: rule.every_s for name, rule in device.rules.items()})


def make_listener(
    link: Link, client_id: str, devices: Sequence[LoadedDevice], zone: ZoneInfo, wall_ms: Callable[[], int]
) -> Listener:
    """Return what hears the devices of a link that is not polled.

    ``client_id`` is for a broker's link that names none, ``zone`` for stamps in local time.
    """
    members = {d.name: (d.address, d.points, d.profile.limits) for d in devices}
    if isinstance(link, MqttLink):
        return _mqtt_listener(link, client_id, members)
    if isinstance(link, HttpLink):
        return _push_listener(link, members)
    if isinstance(link, SerialLink | TcpLink) and all(d.profile.driver == "serial_text" for d in devices):
        from drivers.serial_text.listener import LineListener

        every_s = {d.name: min(rule.every_s for rule in d.rules.values()) for d in devices}
        return LineListener(_stream(link), members, every_s, link.timeout)
    from drivers.hj212.listener import Call, Door, Port, StationListener

    door: Door = Port(link.host, link.port) if isinstance(link, Hj212ServerLink) else Call(_stream(link))
    idle_s = link.idle if isinstance(link, Hj212ServerLink) else _HJ212_IDLE_S
    return StationListener(door, members, zone, wall_ms, idle_s)


def _stream(link: SerialLink | TcpLink) -> TcpStream | SerialStream:
    if isinstance(link, TcpLink):
        return TcpStream(link.host, link.port)
    return SerialStream(link.port, link.baudrate, link.parity, link.stop_bits)


def _push_listener(link: HttpLink, members: Mapping[str, tuple[Any, Any, Any]]) -> Listener:
    from drivers.http_push.listener import Door, PushListener  # aiohttp's server only where it is used

    tls = link.tls
    door = Door(
        host=link.host,
        port=link.port,
        path=link.path,
        max_payload_bytes=link.max_payload_kib * 1024,
        max_per_min=link.max_per_min,
        cert_file=tls.cert_file if tls else None,
        key_file=tls.key_file if tls else None,
    )
    return PushListener(door, members)


def _mqtt_listener(link: MqttLink, client_id: str, members: Mapping[str, tuple[Any, Any, Any]]) -> Listener:
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
    return MqttListener(broker, members)
