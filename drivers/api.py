"""The contract between the gateway and every field protocol.

A protocol is a folder with a pure ``codec`` and a module ``driver`` that fulfils ``Driver`` below. Polled
protocols (Modbus, DL/T 645) give a ``Device``: it *plans* requests and *asks* them one at a time, so that the
link worker decides what goes over the shared wire and when. Protocols that speak first (MQTT,
HJ 212) give a ``Listener``.

Drivers return what the device said, as numbers, before scale, unit or judgement: that is the pipeline's work.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

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
class Withheld(Request):
    """Points that are not asked for: the device refused them, and the driver asks again now and then by itself."""

    why: str


@dataclass(frozen=True, slots=True)
class WireCost:
    """What one exchange costs on its wire, for ``sitegate check``."""

    request_bytes: int
    reply_bytes: int


class Device(Protocol):
    """One device on a polled wire. Made once; holds no connection of its own."""

    def plan(self, names: Sequence[str]) -> Sequence[Request]:
        """Return the requests that read exactly these points, in wire order. Pure; the worker caches it.

        The union of ``points`` over all requests is ``names``; nothing is read twice. What a device that learns does
        not ask for comes last, as Withheld.
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

    async def write(self, point: str, raw: float, hold_s: float | None = None) -> None:
        """Set one point to the device's own number ``raw``; returns when the device has acknowledged it.

        ``hold_s``: the device itself goes back to rest after so long (a timed pulse), whatever becomes of us.
        Raises NoAnswer, BadFrame, Refused or LinkDown; after the first two the state of the device is unknown.
        Never retries. Raises ValueError for what ``check_write`` refuses.
        """
        ...

    async def probe(self, request: Request) -> tuple[tuple[Value, ...], bytes, bytes]:
        """Like ``ask``, and also return the raw request and reply frames, for people to look at."""
        ...


class Notes(Protocol):
    """A page on which a driver keeps what one device taught it, across restarts."""

    def read(self) -> Any:
        """Return what ``write`` got last, or None."""
        ...

    def write(self, facts: Any, news: Sequence[str]) -> None:
        """Keep ``facts`` (JSON) and tell people the ``news``: sentences that go on from the device's name."""
        ...


@runtime_checkable
class LearningDevice(Device, Protocol):
    """A Device that finds out on the wire what its unit tolerates and how fast it is, and plans accordingly."""

    revision: int
    """Another number than before: plans should be made anew."""

    def keep_notes(self, notes: Notes) -> None:
        """Remember what is in the notes, and write down what is learned from now on."""
        ...

    def question(self) -> Request | None:
        """Return a request that the device should be asked after its round, to learn from; it brings no points.

        Asked like any other; a refusal is an answer and is not raised.
        """
        ...

    def rides(self, due: Sequence[str], soon: Sequence[str]) -> bool:
        """Tell whether reading ``soon`` along with ``due`` takes less of the wire's time than apart from it."""
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
    marks: str | None = None
    """What the device itself says of each value, as one data mark (HJ 212) per point, N where there is a value. None:
    it says nothing, and a missing value is a fault."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that was not understood: counted by cause, never a value."""

    device: str | None
    cause: str
    """Short and from a closed set, for metrics: too_large, not_json, not_a_number, missing_field, stale_retained, …"""
    detail: str
    """One sentence for people; at most 200 characters, control characters removed. Empty: nothing that they need to
    act on, such as a repetition; it is counted only."""


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The connection stands; subscriptions that the broker refused came as Rejected before. Messages may follow."""


@dataclass(frozen=True, slots=True)
class Gone:
    """The device is gone at this moment, says whoever can know it (the last will that a broker keeps)."""

    device: str
    detail: str
    """One sentence for people."""


Heard = Report | Rejected | Gone | Subscribed
"""What a listener yields."""


class Listener(Protocol):
    """A connection on which devices speak first. The worker runs it and reconnects it."""

    window: int
    """So many messages may wait for ``acknowledge`` before the other side holds the next ones back."""

    def reports(self) -> AsyncGenerator[Heard, None]:
        """Connect, subscribe, yield Subscribed, then messages until the connection ends; then raise LinkDown."""
        ...

    def acknowledge(self, count: int) -> None:
        """Tell the other side that the first ``count`` things that this run of ``reports`` has yielded are durable.

        Until then it may send them again after a break. Does nothing once the connection has ended.
        """
        ...

    async def write(self, device: str, point: str, raw: float, hold_s: float | None = None) -> None:
        """As ``Device.write``, while ``reports`` runs; returns when the command has been acknowledged on its way.

        Whether the device obeyed is seen in its next report.
        """
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
    """Kinds of link that this protocol runs on: of ``serial``, ``tcp``, ``mqtt``, ``hj212_server``, ``http``."""
    FRAMINGS: frozenset[str]
    """What it understands on a TCP link: of ``rtu`` (raw frames of a serial line), ``modbus_tcp``."""

    def check_point(self, name: str, point: Any, limits: Any) -> str | None:
        """Return what is wrong with this point beyond its types, or why ``limits`` never let it be read, or None.

        The sentence begins with ``name``.
        """
        ...

    def check_write(
        self, name: str, point: Any, limits: Any, *, timed: bool, raws: Sequence[float] = (0, 1)
    ) -> str | None:
        """Return why this point cannot be set to each of ``raws``, or None. The sentence begins with ``name``.

        ``timed``: it must be possible to set it to 1 for a given time, as a pulse.
        """
        ...

    def check_address(self, address: Any, wire: str) -> str | None:
        """Return why no device can have this address on this kind of link, or None."""
        ...

    def read_example(self, points: Mapping[str, Any], raw: Any, limits: Any = None) -> dict[str, Value]:
        """Decode the ``raw`` part of a profile's example as if the device had sent it. Pure.

        Raises ValueError with a clear sentence when ``raw`` has the wrong shape.
        """
        ...


class PolledDriver(Driver, Protocol):
    """A protocol in which the gateway asks."""

    def open_device(self, line: Line, address: Any, points: Mapping[str, Any], limits: Any, timeout_s: float) -> Device:
        """Return the device. Does no I/O."""
        ...
