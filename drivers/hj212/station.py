"""What one HJ 212 station says, and what it is answered: the platform's side of the protocol. No I/O, no clock.

Parts of a split upload are taken one by one: each carries whole factors, the same DataTime and a QN of its own, and
is acked by itself, so nothing needs to be held back and a lost part costs itself only. What came before, word for
word, is acked again and not taken again, whatever its QN: stations resend until they hear us.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import NamedTuple

from drivers.api import Rejected, Report
from drivers.hj212.codec import VERSION_BITS, WANTS_ACK, Packet, compose
from drivers.hj212.points import Address, Limits, Point

READINGS = {"2011": "real-time", "2051": "minute", "2061": "hour", "2031": "day"}
"""Uploads that carry readings."""
_NOTICES = frozenset({"1001", "1013", "1014", "9015"})  # answered 9013: joining, clock, key, heartbeat
_RESULTS = {"9011": "QnRtn", "9012": "ExeRtn"}  # the station's answers to a request of ours; 1 is fine
_ANSWERS = frozenset({*_RESULTS, "9013", "9014"})
_CLOCK_WANTED = "1013"

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_STAMP = re.compile(r"\d{14}", re.ASCII)
_GOOD = frozenset("NS")  # S: entered by hand, and meant as a value
_MARKS = frozenset("NSDBTCMF")
_UNKNOWN_AS = "D"

AHEAD_MS, OLDEST_MS = 60_000, 30 * 86_400_000
"""Late data with a stamp outside of these was taken by a clock that is wrong, and has no place in time."""
_REMEMBERED = 256
_LONGEST_ECHO = 64
_SHAPES = 32  # a station sends a few sets of points; one that sends ever new ones must not grow our memory


@dataclass(frozen=True, slots=True)
class Heard:
    """What one packet means for us, and the packets to send back once it has been taken in."""

    messages: list[Report | Rejected]
    answers: list[bytes]


Keys = Mapping[str, tuple[tuple[str, str], ...]]
"""Point -> as ``Point.keys``."""


class One(NamedTuple):
    """What a station says of one point."""

    value: float | None
    mark: str
    """N exactly where there is a value; else one letter of the standard."""
    said: str
    """The mark as it came."""


@dataclass(slots=True)
class _Parts:
    """The parts that have come of one split upload."""

    of: tuple[str, str] = ("", "")
    missing: set[str] = field(default_factory=set)


class Station:
    """One station. Made anew with each opening of its link: what was not taken in before is not known either."""

    def __init__(
        self, device: str, address: Address, points: Mapping[str, Point], limits: Limits, zone: tzinfo
    ) -> None:
        self.device = device
        self.address = address
        self.limits = limits
        self.key = address.key
        self._zone = zone
        self._uploads = {cn: keys_of(points, cn) for cn in READINGS}
        self._shapes: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._seen: dict[int, None] = {}
        self._parts: dict[str, _Parts] = {}

    def refusal(self, packet: Packet, host: str) -> Rejected | None:
        """Return why this packet is not believed to come from the station."""
        if not self.address.admits(host):
            return Rejected(self.device, "wrong_source", f"a packet of this MN came from {host}: not its source")
        if self.address.password is not None and packet.header.get("PW", "") != self.address.password:
            return Rejected(self.device, "wrong_password", f"a packet of this MN from {host} carries another PW")
        return None

    def take(self, packet: Packet, now_ms: int, own_qn: str) -> Heard:
        """Return what to pass on and what to answer. ``own_qn``: for a request of ours, if it comes to that."""
        cn = packet.header["CN"]
        if cn in _ANSWERS:
            return Heard(list(self._result(packet, cn)), [])
        if cn in _NOTICES:
            answers = [self._answer(packet, "9013")] if _asks(packet, unless=False) else []
            return Heard([], answers + ([self._clock(packet, own_qn, now_ms)] if cn == _CLOCK_WANTED else []))
        ack = {"always": True, "never": False}.get(self.limits.ack, _asks(packet, unless=True))
        answers = [self._answer(packet, "9014")] if ack else []
        if cn not in READINGS:
            return Heard([Rejected(self.device, "other_command", "")], answers)
        if self._is_known(packet):
            return Heard([Rejected(self.device, "repeated", "")], answers)
        return Heard([*self._part(packet), *self._readings(packet, cn, now_ms)], answers)

    def _readings(self, packet: Packet, cn: str, now_ms: int) -> Iterator[Report | Rejected]:
        wanted = self._uploads[cn]
        if not wanted:
            yield Rejected(self.device, "archive_unused", "")  # the profile reads nothing of this kind of upload
            return
        found = read(packet, wanted)
        if not found:
            text = f"CN={cn}: none of the profile's factors is among {', '.join(packet.factors)}"
            yield Rejected(self.device, "missing_field", clean(text))
            return
        stamp = packet.data.get("DataTime", "")
        sent_at_ms = _moment_ms(stamp, self._zone)
        if sent_at_ms is None:
            text = f"CN={cn}: DataTime={stamp[:20]!a} is no time"
            yield Rejected(self.device, "bad_time", clean(text))
        late = cn != "2011" or packet.header.get("RF") == "1"
        if late and (sent_at_ms is None or not now_ms - OLDEST_MS <= sent_at_ms <= now_ms + AHEAD_MS):
            if sent_at_ms is not None:
                text = f"CN={cn}: late data of DataTime={stamp[:20]!a}"
                yield Rejected(self.device, "implausible_time", clean(text))
            return
        for names in self._sets(tuple(found)):
            marks = "".join([found[name].mark for name in names])
            yield Report(
                self.device,
                names,
                tuple([found[name].value for name in names]),
                sent_at_ms,
                retained=False,
                marks=None if marks == "N" * len(names) else marks,
            )
        for name, one in found.items():
            if one.said not in _MARKS:
                text = f"{name}: data mark {one.said[:10]!a} is not known, and taken as a fault"
                yield Rejected(self.device, "unknown_mark", clean(text))

    def _sets(self, names: tuple[str, ...]) -> list[tuple[str, ...]]:
        """The points as one set if this set is known or there is room for it, else one by one."""
        if names in self._shapes or len(self._shapes) < _SHAPES:
            return [self._shapes.setdefault(names, names)]
        return [(name,) for name in names]

    def _is_known(self, packet: Packet) -> bool:
        """Same command, same part, same content. Without DataTime only the QN tells a resend from a new reading."""
        header = packet.header
        qn = "" if "DataTime" in packet.data else header.get("QN", "")
        if not qn and "DataTime" not in packet.data:
            return False
        key = hash((header["CN"], header.get("PNO", ""), packet.area, qn))  # areas themselves would take megabytes
        if key in self._seen:
            return True
        self._seen[key] = None
        if len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]
        return False

    def _part(self, packet: Packet) -> Iterator[Rejected]:
        """Notice the parts that never came, when the next upload of the same kind begins."""
        header = packet.header
        total, number = header.get("PNUM", ""), header.get("PNO", "")
        if not (re.fullmatch(r"\d{1,2}", total, re.ASCII) and re.fullmatch(r"\d{1,2}", number, re.ASCII)):
            return
        parts = self._parts.setdefault(header["CN"], _Parts())
        this = (packet.data.get("DataTime", ""), total)
        if parts.of != this:
            if parts.missing:
                missing = ", ".join(sorted(parts.missing))
                text = f"of the upload of DataTime={parts.of[0][:20]!a}, part {missing} never came"
                yield Rejected(self.device, "missing_part", clean(text))
            parts.of, parts.missing = this, {str(n) for n in range(1, int(total) + 1)}
        parts.missing.discard(str(int(number)))

    def _result(self, packet: Packet, cn: str) -> Iterator[Rejected]:
        result = packet.data.get(_RESULTS.get(cn, ""), "1")
        if result != "1":
            text = f"the station answers our request with {_RESULTS[cn]}={result[:10]!a}"
            yield Rejected(self.device, "request_refused", clean(text))

    def _answer(self, packet: Packet, cn: str) -> bytes:
        return compose(self._header(packet, packet.header.get("QN"), "91", cn, 0))

    def _clock(self, packet: Packet, qn: str, now_ms: int) -> bytes:
        """Our request 1012, which sets the clock that the station asked for: its own, or that of one instrument."""
        instrument = packet.data.get("PolId")
        now = datetime.fromtimestamp(now_ms / 1000, self._zone)
        area = (f"PolId={instrument};" if instrument else "") + f"SystemTime={now:%Y%m%d%H%M%S}"
        return compose(self._header(packet, qn, packet.header.get("ST"), "1012", WANTS_ACK), area)

    def _header(self, packet: Packet, qn: str | None, st: str | None, cn: str, bits: int) -> dict[str, str]:
        fields = {
            "QN": qn,
            "ST": st,
            "CN": cn,
            "PW": self.address.password or packet.header.get("PW"),
            "MN": self.address.mn,
            "Flag": str(VERSION_BITS[self.address.edition] << 2 | bits),
        }
        return {name: value[:_LONGEST_ECHO] for name, value in fields.items() if value is not None}


def keys_of(points: Mapping[str, Point], cn: str) -> Keys:
    """Return where the points of one kind of upload stand."""
    return {name: point.keys for name, point in points.items() if point.cn == cn}


def read(packet: Packet, wanted: Keys) -> dict[str, One]:
    """Return those of the wanted points that are in the packet, in their order.

    There is a value only where the mark is N: what a station marks otherwise, or writes as no number, has none.
    """
    data = packet.data
    found: dict[str, One] = {}
    for name, spellings in wanted.items():
        for key, flag in spellings:
            text = data.get(key)
            if text is not None:
                found[name] = _one(text, data.get(flag) or "N")
                break
    return found


def _one(text: str, said: str) -> One:
    if said in _GOOD:
        number = float(text) if _NUMBER.fullmatch(text) else math.inf
        return One(number, "N", said) if math.isfinite(number) else One(None, _UNKNOWN_AS, said)
    return One(None, said if said in _MARKS else _UNKNOWN_AS, said)


def qn_of(time_ms: int, zone: tzinfo) -> str:
    """Return the 17 digits that name an exchange begun at this moment."""
    return f"{datetime.fromtimestamp(time_ms / 1000, zone):%Y%m%d%H%M%S}{time_ms % 1000:03d}"


def _asks(packet: Packet, *, unless: bool) -> bool:
    """True when Flag asks for an answer. Without a Flag: not for data (``unless``), but a notice wants to be heard."""
    bits = packet.flag_bits
    return not unless if bits is None else bits.needs_ack or packet.header["CN"] == _CLOCK_WANTED


def _moment_ms(text: str, zone: tzinfo) -> int | None:
    """The first 14 digits (some stations add milliseconds), in the site's time zone."""
    if not _STAMP.match(text):
        return None
    try:
        date, clock = (
            (int(text[:4]), int(text[4:6]), int(text[6:8])),
            (int(text[8:10]), int(text[10:12]), int(text[12:14])),
        )
        return int(datetime(*date, *clock, tzinfo=zone).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None


def clean(text: str) -> str:
    """Return text as people may see it, whatever a station wrote: at most 200 printable characters."""
    return "".join([c if c.isprintable() else "?" for c in text[:200]])
