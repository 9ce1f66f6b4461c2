"""Who answers on a wire of which nothing is known but where it is: speeds, parities, protocols, addresses. Only reads.

First the addresses where devices leave the factory are asked in every setting, the usual ones first; where somebody
answers, all addresses. Only when nobody answers anywhere, all addresses in every setting.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import get_args

from drivers.cjt188 import identity as cjt188
from drivers.dlt645 import identity as dlt645
from drivers.errors import LinkDown
from drivers.modbus import identity as modbus
from drivers.modbus.points import Table
from drivers.sighting import Sighting
from drivers.transport.serial import Parity
from gateway.config.profile import Profile
from gateway.config.site import SerialLink, TcpLink
from gateway.links.guess import Guess, guess
from gateway.links.wires import make_line

PROTOCOLS = ("modbus", "dlt645", "cjt188")
SETTINGS: tuple[tuple[int, Parity], ...] = (
    (9600, "none"), (9600, "even"), (2400, "even"), (4800, "none"), (19200, "none"), (19200, "even"),
    (115200, "none"), (38400, "none"), (57600, "none"), (2400, "none"), (1200, "even"), (4800, "even"), (9600, "odd"),
)  # fmt: skip
"""Speed and parity, the usual ones first."""
_METERS = (("dlt645", dlt645.find), ("cjt188", cjt188.find))
_NOBODY = 213
"""A host that answers for this unit, too, answers for all."""
_METER_PATIENCE, _GUESS_PATIENCE, _MIN_GUESS_S = 3.0, 5.0, 0.3
"""Meters may take longer than Modbus devices, and whole blocks longer than one register."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How far a scan goes."""

    timeout_s: float = 0.2
    """So long a Modbus unit that is likely has for its first byte; an unlikely one half of it, a meter three times."""
    protocols: tuple[str, ...] = PROTOCOLS
    units: tuple[int, ...] = modbus.ALL_UNITS
    every_setting: bool = False
    """Go on with the other settings after somebody has answered."""


@dataclass(frozen=True, slots=True)
class Found:
    """One device."""

    link: SerialLink | TcpLink
    sighting: Sighting
    guesses: list[Guess]


@dataclass(slots=True)
class Survey:
    """What is known of one wire; grows while the scan runs, so that one that is stopped leaves what it has."""

    address: str
    ways: Sequence[SerialLink | TcpLink]
    found: list[Found] = field(default_factory=list)
    failure: str | None = None
    """Why the wire, or one of its settings, could not be scanned."""
    complete: bool = False


OnStep = Callable[[int, int, str], None]
"""Takes how many addresses of this stage are done, of how many, and what is asked now."""


def serial_ways(port: str, baudrates: Sequence[int] = (), parities: Sequence[str] = ()) -> list[SerialLink | TcpLink]:
    """Return the settings to try on a serial port; what is given replaces the usual choice."""
    speeds = SerialLink.model_fields["baudrate"].annotation
    if unknown := [b for b in baudrates if b not in get_args(speeds)]:
        raise ValueError(f"{unknown[0]} is no baud rate here; choose of {', '.join(map(str, get_args(speeds)))}")
    if unknown_parity := [p for p in parities if p not in get_args(Parity)]:
        raise ValueError(f"{unknown_parity[0]!r} is no parity; choose of {', '.join(get_args(Parity))}")
    settings: Iterable[tuple[int, str]] = SETTINGS
    if baudrates:
        settings = [(b, p) for b in baudrates for p in (parities or ("none", "even"))]
    elif parities:
        settings = [(b, p) for b, p in dict.fromkeys((b, p) for p in parities for b, _ in SETTINGS)]
    return [
        SerialLink.model_validate({"kind": "serial", "port": port, "baudrate": b, "parity": p}) for b, p in settings
    ]


def tcp_ways(host: str, port: int) -> list[SerialLink | TcpLink]:
    """Return Modbus TCP, and a serial server's raw frames."""
    return [TcpLink(kind="tcp", host=host, port=port, framing=framing) for framing in ("modbus_tcp", "rtu")]


def setting_of(link: SerialLink | TcpLink) -> str:
    """Return how a wire is spoken on, for people: 9600 8E1."""
    if isinstance(link, TcpLink):
        return "Modbus TCP" if link.framing == "modbus_tcp" else "raw frames"
    return f"{link.baudrate} 8{link.parity[0].upper()}{link.stop_bits}"


async def scan(survey: Survey, effort: Effort, profiles: Sequence[Profile], on_step: OnStep) -> None:
    """Fill ``survey``. Raises nothing of the wire's: why a setting could not be scanned is ``survey.failure``."""
    ways = [_Way(survey, link, effort, profiles, on_step) for link in survey.ways]
    for ask in (_Way.ask_the_usual, _Way.ask_the_rest):
        for way in list(ways):
            try:
                await ask(way)
            except LinkDown as why:  # gone, or a setting that the adapter does not do
                survey.failure = survey.failure or str(why)
                ways.remove(way)
            if survey.found and not effort.every_setting:
                break
        if survey.found:
            break
    survey.complete = survey.failure is None


class _Way:
    """One setting of one wire."""

    def __init__(
        self,
        survey: Survey,
        link: SerialLink | TcpLink,
        effort: Effort,
        profiles: Sequence[Profile],
        on_step: OnStep,
    ) -> None:
        self._survey = survey
        self._link = link
        self._effort = effort
        self._profiles = profiles
        self._on_step = on_step
        self._line = make_line(link, drain_s=0.0)
        self._one_for_all = False  # a device that ignores the unit was found
        units = effort.units if "modbus" in effort.protocols else ()
        self._usual = [unit for unit in units if unit in modbus.USUAL_UNITS]
        self._others = [unit for unit in units if unit not in modbus.USUAL_UNITS]

    async def ask_the_usual(self) -> None:
        """Ask whoever is likely; where somebody answers, everybody."""
        before = len(self._survey.found)
        async with self._open():
            if self._line.framing == "rtu":
                await self._ask_meters()
            await self._ask_units(self._usual, self._effort.timeout_s, modbus.TABLES)
            if len(self._survey.found) > before:
                await self._ask_others()

    async def ask_the_rest(self) -> None:
        """Ask the addresses that are unlikely."""
        async with self._open():
            await self._ask_others()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[None]:
        try:
            await self._line.open()
            yield
        finally:
            await self._line.close()

    async def _ask_meters(self) -> None:
        for step, (protocol, find) in enumerate(_METERS):
            if protocol in self._effort.protocols:
                self._on_step(step, len(_METERS), f"{setting_of(self._link)}: {protocol} meters")
                async for sighting in find(self._line, _METER_PATIENCE * self._effort.timeout_s):
                    await self._note(sighting)

    async def _ask_others(self) -> None:
        await self._ask_units(self._others, self._effort.timeout_s / 2, modbus.TABLES[:1])

    async def _ask_units(self, units: Sequence[int], timeout_s: float, tables: tuple[Table, ...]) -> None:
        for i, unit in enumerate(units):
            if self._one_for_all:
                return
            self._on_step(i, len(units), f"{setting_of(self._link)}: modbus unit {unit}")
            if not self._line.is_open:
                await self._line.open()  # some hosts hang up on a unit that they do not know
            with suppress(LinkDown):
                if sighting := await modbus.find(self._line, unit, timeout_s, tables):
                    await self._note(await self._told_apart(sighting))

    async def _told_apart(self, sighting: Sighting) -> Sighting:
        """Behind a host: see whether it cares for the unit at all."""
        if self._line.framing == "modbus_tcp" and await modbus.find(self._line, _NOBODY, self._effort.timeout_s):
            self._one_for_all = True
            return replace(sighting, note="it answers under every unit: one device that ignores it")
        return sighting

    async def _note(self, sighting: Sighting) -> None:
        """Keep the device first, so that a scan that is stopped while guessing still has it."""
        sent, received = self._line.last_frames
        if isinstance(self._link, SerialLink) and received.startswith(sent):
            self._link = self._link.model_copy(update={"echo": True})
        guesses: list[Guess] = []
        self._survey.found.append(Found(self._link, sighting, guesses))
        timeout_s = max(_MIN_GUESS_S, _GUESS_PATIENCE * self._effort.timeout_s)
        guesses += await guess(self._line, sighting, self._profiles, timeout_s)
