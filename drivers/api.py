"""The contract between the gateway and every field protocol.

A protocol is a folder with a pure ``codec`` and a module ``driver`` that fulfils ``Driver`` below. Polled
protocols (Modbus, DL/T 645) give a ``Device``: it *plans* requests and *asks* them one at a time, so that the
link worker decides what goes over the shared wire and when. Protocols that speak first (MQTT) give a ``Listener``.

Drivers return what the device said, as numbers, before scale, unit or judgement: that is the pipeline's work.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from drivers.transport.line import Line

Value = float | int | None
"""One raw number. None: the device answered, but says that it has no value for this point."""


@dataclass(frozen=True, slots=True)
class Request:
    """One exchange on the wire. Drivers subclass it; the worker only looks at ``points``."""

    points: tuple[str, ...]
    """Names of the points that a good answer brings, in the order of the values."""


@dataclass(frozen=True, slots=True)
class WireCost:
    """What one exchange costs on its wire, for ``sitegate check``."""

    request_bytes: int
    reply_bytes: int


class Device(Protocol):
    """One device on a polled wire. Made once; holds no connection of its own."""

    def plan(self, names: Sequence[str]) -> Sequence[Request]:
        """Return the requests that read exactly these points, in wire order. Pure; the worker caches it.

        The union of ``points`` over all requests is ``names``; nothing is read twice.
        """
        ...

    async def ask(self, request: Request) -> tuple[Value, ...]:
        """Do one exchange and return one value per ``request.points``.

        Raises NoAnswer, BadFrame, Refused or LinkDown. Never returns a value that this device did not
        send in answer to this request. Does not retry: that is the worker's decision.
        """
        ...

    def cost(self, request: Request) -> WireCost:
        """Return the bytes that this exchange puts on the wire."""
        ...

    async def probe(self, request: Request) -> tuple[tuple[Value, ...], bytes, bytes]:
        """Like ``ask``, and also return the raw request and reply frames, for people to look at."""
        ...


@dataclass(frozen=True, slots=True)
class Report:
    """What a device sent of its own accord, after the profile's mapping."""

    device: str
    points: tuple[str, ...]
    values: tuple[Value, ...]
    sent_at_ms: int | None
    """The device's own time stamp, Unix milliseconds; None when the message has none."""
    retained: bool
    """True: the broker repeated an old message. Not a fresh reading."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that was not understood: counted by cause, never a value."""

    device: str | None
    cause: str
    """Short and from a closed set, for metrics: too_large, not_json, not_a_number, missing_field, stale_retained, …"""
    detail: str
    """One sentence for people; at most 200 characters, control characters removed."""


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The connection stands; subscriptions that the broker refused came as Rejected before. Messages may follow."""


class Listener(Protocol):
    """A connection on which devices speak first. The worker runs it and reconnects it."""

    def reports(self) -> AsyncGenerator[Report | Rejected | Subscribed, None]:
        """Connect, subscribe, yield Subscribed, then messages until the connection ends; then raise LinkDown."""
        ...


class Driver(Protocol):
    """What the module ``drivers/<protocol>/driver.py`` offers; nothing of it is optional.

    ``Point``, ``Address`` and ``Limits`` are frozen slotted dataclasses with plain typed fields: the gateway turns
    them into strict YAML models. ``Point`` says where a value is found in the device (profile, ``points:``),
    ``Limits`` what the device tolerates (profile, ``limits:``), ``Address`` how one device is told from its
    neighbours on the wire (site file, keys of the device).
    """

    Point: type[Any]
    Address: type[Any]
    Limits: type[Any]
    WIRES: frozenset[str]
    """Kinds of link that this protocol runs on: of ``serial``, ``tcp``, ``mqtt``."""
    FRAMINGS: frozenset[str]
    """What it understands on a TCP link: of ``rtu`` (raw frames of a serial line), ``modbus_tcp``."""

    def check_point(self, name: str, point: Any, limits: Any) -> str | None:
        """Return what is wrong with this point beyond its types, or why ``limits`` never let it be read, or None.

        The sentence begins with ``name``.
        """
        ...

    def check_address(self, address: Any, wire: str) -> str | None:
        """Return why no device can have this address on this kind of link, or None."""
        ...

    def read_example(self, points: Mapping[str, Any], raw: Any) -> dict[str, Value]:
        """Decode the ``raw`` part of a profile's example as if the device had sent it. Pure.

        Raises ValueError with a clear sentence when ``raw`` has the wrong shape.
        """
        ...


class PolledDriver(Driver, Protocol):
    """A protocol in which the gateway asks."""

    def open_device(self, line: Line, address: Any, points: Mapping[str, Any], limits: Any, timeout_s: float) -> Device:
        """Return the device. Does no I/O."""
        ...
