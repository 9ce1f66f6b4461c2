"""A whole simulated site: everything that a site file names, on the addresses it names, in one world."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import structlog

from drivers.transport.serial import character_s
from gateway.clock import Clock, SystemClock
from gateway.config.loader import LoadedDevice, LoadedSite
from gateway.config.site import Hj212ServerLink, HttpLink, MqttLink, SerialLink, TcpLink
from simulators.bus import Bus, Ear
from simulators.chance import stream
from simulators.cjt188_meter import Cjt188Meter, cjt188_ear
from simulators.dlt645_meter import Dlt645Meter, dlt645_ear
from simulators.errors import SimulatorError
from simulators.faults import NOISY_LINE, WireFaults
from simulators.hj212_station import Hj212Station
from simulators.modbus_device import ModbusDevice, RtuEar, TcpEar
from simulators.mqtt_node import ears_of, nodes_of
from simulators.outputs import Outputs
from simulators.roles import Live, Reader, reader
from simulators.scenarios import SCENARIOS, Scenario
from simulators.serve_hj212 import serve_hj212
from simulators.serve_http import http_nodes, serve_http
from simulators.serve_mqtt import serve_mqtt
from simulators.serve_serial import serve_serial
from simulators.serve_tcp import serve_tcp
from simulators.text_instrument import TextEar, instruments_of
from simulators.world import World

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RunningSite:
    """What is up while the context is entered."""

    scenario: Scenario
    live: Live
    """Gives the world, moved on to this moment."""


@asynccontextmanager
async def simulated_site(
    site: LoadedSite,
    *,
    scenario: str = "normal",
    seed: int = 1,
    speed: float = 1.0,
    clock: Clock | None = None,
) -> AsyncIterator[RunningSite]:
    """Answer for every device of ``site`` while inside; afterwards no task, socket or link is left.

    The world begins at the scenario's time of day whatever the time is now, and runs ``speed`` times as fast. Raises
    SimulatorError with a sentence that says what to change.
    """
    if scenario not in SCENARIOS:
        raise SimulatorError(f"there is no scenario {scenario!r}; choose one of: {', '.join(SCENARIOS)}")
    clock = clock or SystemClock()
    play = SCENARIOS[scenario]
    outputs = _outputs(site, clock)
    live = _live_world(World(seed, play.start_ms(clock.wall_ms()), play, outputs), speed, clock)
    readers = {name: _reader(device, live) for name, device in site.devices.items()}
    async with AsyncExitStack() as stack:
        for name, link in site.config.links.items():
            devices = [d for d in site.devices.values() if d.config.link == name]
            faults = WireFaults(NOISY_LINE, stream(seed, f"faults:{name}")) if play.line_faults else None
            if not isinstance(link, Hj212ServerLink) and any(d.profile.driver == "hj212" for d in devices):
                raise SimulatorError(f"link {name}: HJ 212 stations are simulated on links of kind hj212_server only")
            match link:
                case SerialLink():
                    stack.enter_context(
                        serve_serial(
                            link.port,
                            Bus(_serial_ears(devices, readers, outputs), faults),
                            char_s=character_s(link.baudrate, link.parity, link.stop_bits),
                            echo=link.echo,
                            printers=instruments_of(devices, readers),
                        )
                    )
                case TcpLink():
                    make_bus = _tcp_bus(link, devices, readers, outputs)
                    printers = instruments_of(devices, readers)
                    await stack.enter_async_context(serve_tcp(link.host, link.port, make_bus, printers))
                case MqttLink():
                    nodes = [
                        node
                        for d in devices
                        for node in nodes_of(d.address.id, d.points, d.profile.limits, d.rules, readers[d.name])
                    ]
                    ears = [
                        ear
                        for d in devices
                        for ear in ears_of(
                            d.address.id,
                            d.points,
                            d.rules,
                            readers[d.name],
                            d.profile.writes,
                            outputs.get(d.config.role or ""),
                        )
                    ]
                    await stack.enter_async_context(serve_mqtt(link, nodes, ears, clock))
                case Hj212ServerLink():
                    stations = _stations(devices, readers, ZoneInfo(site.config.site.timezone))
                    await stack.enter_async_context(serve_hj212(link, stations, clock))
                case HttpLink():
                    await stack.enter_async_context(serve_http(link, http_nodes(devices, readers), clock))
        yield RunningSite(play, live)


def _outputs(site: LoadedSite, clock: Clock) -> dict[str, Outputs]:
    """What may be written on this site, by the role of the device."""
    roles = [d.config.role for d in site.devices.values() if d.profile.writes]
    return {role: Outputs(clock.monotonic_s) for role in roles if role is not None}


def _stations(devices: list[LoadedDevice], readers: dict[str, Reader], zone: ZoneInfo) -> list[Hj212Station]:
    return [
        Hj212Station(d.address, d.points, d.profile.limits, d.rules, readers[d.name], zone)
        for d in devices
        if d.profile.driver == "hj212"
    ]


def _live_world(world: World, speed: float, clock: Clock) -> Live:
    began_s = clock.monotonic_s()

    def live() -> World:
        world.advance(world.start_ms + int((clock.monotonic_s() - began_s) * 1000.0 * speed))
        return world

    return live


def _reader(device: LoadedDevice, live: Live) -> Reader:
    read = reader(device.name, device.config.role, live)
    silent = sorted(device.points.keys() - read().keys())
    if silent:
        log.warning(
            "the simulated device has no source for some points: they read 0",
            device=device.name,
            role=device.config.role,
            points=silent,
        )
    return read


def _serial_ears(devices: list[LoadedDevice], readers: dict[str, Reader], outputs: dict[str, Outputs]) -> list[Ear]:
    """What listens on an RS-485 line: the protocols of its devices."""
    ears: list[Ear] = []
    if units := _modbus(devices, readers, outputs):
        ears.append(RtuEar(units))
    meters = [
        Dlt645Meter(
            d.address.meter,
            d.rules,
            readers[d.name],
            edition_1997=all(len(point.item) == 4 for point in d.points.values()),
            blocks=d.profile.limits.blocks,
        )
        for d in devices
        if d.profile.driver == "dlt645"
    ]
    if meters:
        ears.append(dlt645_ear(meters))
    others = [
        Cjt188Meter(d.address, d.points, d.profile.limits, d.rules, readers[d.name])
        for d in devices
        if d.profile.driver == "cjt188"
    ]
    if others:
        ears.append(cjt188_ear(others))
    if asked := [instrument for instrument in instruments_of(devices, readers) if instrument.request]:
        ears.append(TextEar(asked))
    return ears


def _tcp_bus(
    link: TcpLink, devices: list[LoadedDevice], readers: dict[str, Reader], outputs: dict[str, Outputs]
) -> Callable[[], Bus]:
    if link.framing == "rtu":
        return lambda: Bus(_serial_ears(devices, readers, outputs))
    units = _modbus(devices, readers, outputs)
    return lambda: Bus([TcpEar(units)])


def _modbus(
    devices: list[LoadedDevice], readers: dict[str, Reader], outputs: dict[str, Outputs]
) -> dict[int, ModbusDevice]:
    return {
        d.address.unit: ModbusDevice(
            d.points, d.profile.limits, d.rules, readers[d.name], d.profile.writes, outputs.get(d.config.role or "")
        )
        for d in devices
        if d.profile.driver == "modbus"
    }
