"""HJ 212 packets: data segments to keys and values and back, in the dialects of 2005, 2017 and 2025. Pure.

A packet on the wire is ``##``, four digits of length, the data segment, four hex digits of check sum, CR LF. The
segment is a header of ``key=value;`` and a data area between ``CP=&&`` and ``&&``. Keys come in any order; what a
station means by them is ``drivers.hj212.station``'s work.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from drivers.hj212.crc import CrcKind, crc_text, fits
from drivers.hj212.sm4 import decrypt, encrypt

Edition = Literal["2005", "2017", "2025"]
VERSION_BITS: dict[Edition, int] = {"2005": 0, "2017": 1, "2025": 2}
"""Bits 7 to 2 of Flag."""
WANTS_ACK = 0b01
HAS_PARTS = 0b10
"""The two lowest bits of Flag: an answer is wanted; PNUM and PNO are there."""
LONGEST_SEGMENT = 1024
"""The standard's limit; what is longer is to be sent in parts."""

_AREA = b"CP=&&"
_MN = re.compile(rb"(?:\A|;)\s*MN=([^;]*);")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ITEM = re.compile(r"(?://.*?//|[^;,])+")
_CN = re.compile(r"\d{4}", re.ASCII)


class Malformed(ValueError):
    """Sound by length and check sum, and still no packet. ``cause`` is one word for counters."""

    def __init__(self, cause: str, text: str) -> None:
        super().__init__(text)
        self.cause = cause


class FlagBits(NamedTuple):
    """What the Flag field says."""

    version: str | None
    """2005, 2017 or 2025; None for bits that no edition uses. A hint only: surface water used those of 2025 early."""
    has_packet_no: bool
    needs_ack: bool


@dataclass(frozen=True, slots=True)
class Packet:
    """One data segment, in the order in which it came; all values are the sender's own text."""

    header: Mapping[str, str]
    """QN, ST, CN, PW, MN, Flag, PNUM, PNO, RF and whatever else stands before CP. CN and MN are always there."""
    data: Mapping[str, str]
    """Of the data area, by whole keys: DataTime, a34002-Rtd, a34002-Flag, …"""
    area: str
    """The data area as it came."""

    @property
    def fields(self) -> dict[str, str]:
        """Of the data area, what belongs to no factor: keys without ``-``, such as DataTime and QnRtn."""
        return {key: value for key, value in self.data.items() if "-" not in key}

    @property
    def factors(self) -> dict[str, dict[str, str]]:
        """Of the data area, factor -> item -> value: ``a34002-Rtd=52.0`` is ``{"a34002": {"Rtd": "52.0"}}``."""
        factors: dict[str, dict[str, str]] = {}
        for key, value in self.data.items():
            factor, dash, item = key.partition("-")
            if dash:
                factors.setdefault(factor, {})[item] = value
        return factors

    @property
    def flag_bits(self) -> FlagBits | None:
        """What Flag says; None where it is missing or no number from 0 to 255."""
        flag = self.header.get("Flag", "")
        if not (flag.isascii() and flag.isdecimal()) or len(flag) > 3 or int(flag) > 255:
            return None
        bits = int(flag)
        version = next((edition for edition, number in VERSION_BITS.items() if number == bits >> 2), None)
        return FlagBits(version, bool(bits & HAS_PARTS), bool(bits & WANTS_ACK))


def mn_of(segment: bytes) -> str:
    """Return the sender's MN from a segment whose data area may still be enciphered; empty when there is none."""
    found = _MN.search(segment.partition(_AREA)[0])
    return found[1].strip().decode("ascii", "replace") if found else ""


def opened(
    segment: bytes, crc: bytes, kind: CrcKind = "hj212", *, short: bool = False, key: bytes | None = None
) -> bytes | None:
    """Return the clear data segment if the check sum fits it, else None.

    Nothing in a packet says that it is enciphered, and its check sum is that of the clear text: with ``key``, what
    does not fit, or fits by chance (1 of 256) and is not readable, is tried once more deciphered.
    """
    plain = fits(segment, crc, kind, short=short)
    if key is None or (plain and _is_readable(segment)):
        return segment if plain else None
    head, mark, rest = segment.partition(_AREA)
    if not mark or not rest.endswith(b"&&"):
        return None
    clear = head + mark + decrypt(rest[:-2], key) + b"&&"
    return clear if fits(clear, crc, kind, short=short) and _is_readable(clear) else None


def parse(segment: bytes) -> Packet:
    """Return what a clear data segment says. Raises Malformed and nothing else, whatever the bytes.

    The check sum cannot see two bytes exchanged eight places apart, so every field is checked here.
    """
    text = _text(segment)
    head, mark, rest = text.partition("CP=&&")
    rest = rest.rstrip()
    if not mark or not rest.endswith("&&") or "&&" in rest[:-2]:
        raise Malformed("bad_cp", "the data area does not stand between CP=&& and &&")
    header = _table(head.split(";"))
    if not _CN.fullmatch(header.get("CN", "")):
        raise Malformed("bad_field", f"CN={header.get('CN', '')!a} is not a command code of four digits")
    if "MN" not in header:
        raise Malformed("bad_field", "there is no MN")
    area = rest[:-2]
    return Packet(header, _table(_items(area)), area)


def compose(header: Mapping[str, str], area: str = "", kind: CrcKind = "hj212", *, key: bytes | None = None) -> bytes:
    """Return a whole packet with CR LF. With ``key`` the data area is enciphered, its check sum is that of the text."""
    head = "".join(f"{name}={value};" for name, value in header.items()).encode() + _AREA
    body = area.encode()
    crc = crc_text(head + body + b"&&", kind)
    segment = head + (body if key is None else encrypt(body, key)) + b"&&"
    return b"##%04d%s%s\r\n" % (len(segment), segment, crc.encode())


def in_parts(items: Sequence[str], room: int) -> list[str]:
    """Return data areas of at most ``room`` bytes; ``items`` (whole factors) are never cut, the first opens each part.

    The first item is DataTime: each part carries it. A factor that does not fit alone gets a part of its own.
    """
    first, *others = items
    parts: list[str] = []
    part = first
    for item in others:
        longer = f"{part};{item}"
        if len(longer.encode()) > room and part != first:
            parts.append(part)
            longer = f"{first};{item}"
        part = longer
    return [*parts, part]


def _is_readable(segment: bytes) -> bool:
    try:
        _text(segment)
    except Malformed:
        return False
    return True


def _text(segment: bytes) -> str:
    """UTF-8 by the standard of 2017, GB2312 by that of 2005 and by many stations since."""
    for charset in ("utf-8", "gb18030"):
        try:
            text = segment.decode(charset)
        except UnicodeDecodeError:
            continue
        if _CONTROL.search(text):
            break
        return text
    raise Malformed("bad_text", "the data segment is no text: damaged, or enciphered with a key that is not ours")


def _items(area: str) -> Iterable[str]:
    """Cut at ``;`` and ``,``, which the standard itself confuses; texts between ``//`` may contain both."""
    return _ITEM.findall(area) if "//" in area else area.replace(",", ";").split(";")


def _table(items: Iterable[str]) -> dict[str, str]:
    """``key=value`` each; blanks around them and empty items, which the standard itself prints, fall away."""
    table: dict[str, str] = {}
    for item in items:
        key, equals, value = item.partition("=")
        key, value = key.strip(), value.strip()
        if equals and key:
            if table.setdefault(key, value) != value:
                raise Malformed("bad_field", f"{key[:40]!a} stands twice, with different values")
        elif equals or key:
            raise Malformed("bad_field", f"{item.strip()[:40]!a} is not of the form key=value")
    return table
