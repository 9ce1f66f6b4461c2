"""How a profile and a site file describe an HJ 212 station. Pure; serves gateway and simulator."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Literal

from drivers.hj212.codec import Edition
from drivers.hj212.crc import CrcKind

_PLAIN = re.compile(r"[^\s;,=&#-]+")
_MN = re.compile(r"[!-~]{1,64}")
_KEY_DIGITS = 32


@dataclass(frozen=True, slots=True)
class Point:
    """Where a value is found in the station's packets."""

    factor: str
    """The factor's code: ``a34002``. A key of the data area without ``-`` has an empty item."""
    item: str = "Rtd"
    """Rtd, or for statistics Avg, Min, Max, Cou, Data."""
    cn: Literal["2011", "2051", "2061", "2031"] = "2011"
    """In which upload: real-time, minute, hour or day data. The latter three carry their interval's start as time."""
    also: tuple[str, ...] = ()
    """Other keys that stations of this kind write instead, in full: ``LA-td``."""

    @property
    def keys(self) -> tuple[tuple[str, str], ...]:
        """The key of the value and that of its mark, as they may stand in a packet; the right ones first."""
        own = f"{self.factor}-{self.item}" if self.item else self.factor
        return tuple((key, f"{key.partition('-')[0]}-Flag") for key in (own, *self.also))


@dataclass(frozen=True, slots=True)
class Limits:
    """In what the station differs from the standard."""

    crc: CrcKind = "hj212"
    """The check sum that it sends; answers always carry the standard's."""
    short_crc: bool = False
    """True: it drops a leading zero of its check sum."""
    ack: Literal["asked", "always", "never"] = "asked"
    """When an upload is answered 9014; the standard's way is to look at the last bit of Flag."""


@dataclass(frozen=True, slots=True)
class Address:
    """Which station on the link, and what it must show to be believed. ``mn`` alone tells stations apart."""

    mn: str
    """MN, as set in the station."""
    edition: Edition = field(default="2017", compare=False)
    """Of the standard: 2005, 2017 or 2025, in quotes. Our answers carry its version bits; only 2025 enciphers."""
    password: str | None = field(default=None, compare=False, repr=False)
    """PW that each packet must carry; without it any PW is taken."""
    sm4_key: str | None = field(default=None, compare=False, repr=False)
    """32 hexadecimal digits; edition 2025 only. Clear packets are taken as well."""
    source: str | None = field(default=None, compare=False)
    """Address or network from which it must connect: 10.20.0.0/16."""

    def __post_init__(self) -> None:
        if not _MN.fullmatch(self.mn) or re.search("[;=&]", self.mn):
            raise ValueError(f"mn {self.mn!r} must be 1 to 64 plain characters without blanks ; = &")
        if self.sm4_key is not None and not re.fullmatch(f"[0-9A-Fa-f]{{{_KEY_DIGITS}}}", self.sm4_key):
            raise ValueError(f"sm4_key must be {_KEY_DIGITS} hexadecimal digits (16 bytes)")
        if self.sm4_key is not None and self.edition != "2025":
            raise ValueError('sm4_key: only edition "2025" enciphers; write edition: "2025", or remove the key')
        if self.source is not None:
            self._network(self.source)

    @property
    def key(self) -> bytes | None:
        """The SM4 key as bytes."""
        return None if self.sm4_key is None else bytes.fromhex(self.sm4_key)

    def admits(self, host: str) -> bool:
        """True when the station may connect from this address."""
        if self.source is None:
            return True
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        return (mapped or address) in self._network(self.source)

    @staticmethod
    def _network(source: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
        try:
            return ipaddress.ip_network(source)
        except ValueError:
            raise ValueError(f"source {source!r} is no address or network, such as 10.20.0.0/16") from None


def fault(point: Point) -> str | None:
    """Return what is wrong with a point beyond its types, or None."""
    if not _PLAIN.fullmatch(point.factor):
        return f'factor "{point.factor}" must be the code alone, such as a34002; what follows the - is the item'
    if point.item and not _PLAIN.fullmatch(point.item.replace("-", "_")):
        return f'item "{point.item}" must be plain text, such as Rtd'
    wrong = next((key for key in point.also if not _PLAIN.fullmatch(key.replace("-", "_"))), None)
    return None if wrong is None else f'also: "{wrong}" must be a whole key, such as LA-td'
