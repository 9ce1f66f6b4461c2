"""A whole simulated site: everything that a site file names, on the addresses it names, in one world."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog

from drivers.transport.serial import character_s
from gateway.clock import Clock, SystemClock
from gateway.config.loader import LoadedDevice, LoadedSite
from gateway.config.site import MqttLink, SerialLink, TcpLink
from simulators.bus import Bus, Ear
from simulators.chance import stream
from simulators.dlt645_meter import Dlt645Ear, Dlt645Meter
from simulators.errors import SimulatorError
from simulators.faults import NOISY_LINE, WireFaults
from simulators.modbus_device import ModbusDevice, RtuEar, TcpEar
from simulators.mqtt_node import nodes_of
from simulators.roles import Live, Reader, reader
from simulators.serve_mqtt import serve_mqtt
from simulators.serve_serial import serve_serial
from simulators.serve_tcp import serve_tcp
from simulators.world import SCENARIOS, Scenario, World

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
    live = _live_world(World(seed, play.start_ms(clock.wall_ms()), play), speed, clock)
    readers = {name: _reader(device, live) for name, device in site.devices.items()}
    async with AsyncExitStack() as stack:
        for name, link in site.config.links.items():
            devices = [d for d in site.devices.values() if d.config.link == name]
            faults = WireFaults(NOISY_LINE, stream(seed, f"faults:{name}")) if play.line_faults else None
            match link:
                case SerialLink():
                    stack.enter_context(
                        serve_serial(
                            link.port,
                            Bus(_serial_ears(devices, readers), faults),
                            char_s=character_s(link.baudrate, link.parity, link.stop_bits),
                            echo=link.echo,
                        )
                    )
                case TcpLink():
                    make_bus = _tcp_bus(link, devices, readers)
                    await stack.enter_async_context(serve_tcp(link.host, link.port, make_bus))
                case MqttLink():
                    nodes = [
                        node
                        for d in devices
                        for node in nodes_of(d.address.id, d.points, d.profile.limits, d.rules, readers[d.name])
                    ]
                    await stack.enter_async_context(serve_mqtt(link, nodes, clock))
        yield RunningSite(play, live)


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


def _serial_ears(devices: list[LoadedDevice], readers: dict[str, Reader]) -> list[Ear]:
    """What listens on an RS-485 line: the protocols of its devices."""
    ears: list[Ear] = []
    if units := _modbus(devices, readers):
        ears.append(RtuEar(units))
    meters = [
        Dlt645Meter(d.address.meter, d.rules, readers[d.name], blocks=d.profile.limits.blocks)
        for d in devices
        if d.profile.driver == "dlt645"
    ]
    if meters:
        ears.append(Dlt645Ear(meters))
    return ears


def _tcp_bus(link: TcpLink, devices: list[LoadedDevice], readers: dict[str, Reader]) -> Callable[[], Bus]:
    if link.framing == "rtu":
        return lambda: Bus(_serial_ears(devices, readers))
    units = _modbus(devices, readers)
    return lambda: Bus([TcpEar(units)])


def _modbus(devices: list[LoadedDevice], readers: dict[str, Reader]) -> dict[int, ModbusDevice]:
    return {
        d.address.unit: ModbusDevice(d.points, d.profile.limits, d.rules, readers[d.name])
        for d in devices
        if d.profile.driver == "modbus"
    }
