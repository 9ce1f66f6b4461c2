"""A dust or noise station that speaks HJ 212: it uploads what it measures and lets its clock be set."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, tzinfo
from functools import partial

from drivers.hj212.codec import HAS_PARTS, LONGEST_SEGMENT, VERSION_BITS, WANTS_ACK, Malformed, compose, in_parts, parse
from drivers.hj212.points import Address, Limits, Point
from gateway.config.profile import PointRule
from simulators.roles import Reader
from simulators.scaling import to_raw

UNCHANGED_PW = "123456"
"""What stations carry when nobody has set another."""
_DUST_ST = "39"
_ENVELOPE = 12  # bytes of a packet that its data segment does not count: ##, length, check sum, CR LF


class Hj212Station:
    """State and answers of one station; sending, waiting and resending is ``serve_hj212``'s work."""

    def __init__(
        self,
        address: Address,
        points: Mapping[str, Point],
        limits: Limits,
        rules: Mapping[str, PointRule],
        read: Reader,
        zone: tzinfo,
        *,
        most_bytes: int = LONGEST_SEGMENT,
    ) -> None:
        """``most_bytes``: of a data segment; longer uploads go out in parts."""
        self.address = address
        self.every_s = min(rules[name].every_s for name in points)
        self.clock_set = ""
        """SystemTime of the last request 1012."""
        self._points = {name: point for name, point in points.items() if point.cn == "2011"}
        self._rules = rules
        self._read = read
        self._zone = zone
        self._most_bytes = most_bytes
        self._compose = partial(compose, kind=limits.crc)
        self._qn_ms = 0

    def upload(self, now_ms: int) -> list[tuple[str, bytes]]:
        """Return the real-time upload of this moment: (QN, packet) of each part, to be sent one after the other."""
        values = self._read()
        stamp = f"{self._local(now_ms):%Y%m%d%H%M%S}"
        items = [f"DataTime={stamp}", *(self._item(name, values.get(name, 0.0)) for name in self._points)]
        longest = compose(self._fields(self._qn(now_ms), "2011", _DUST_ST, WANTS_ACK | HAS_PARTS, (99, 99)))
        areas = in_parts(items, self._most_bytes - len(longest) + _ENVELOPE)
        packets = []
        for number, area in enumerate(areas, 1):
            qn = self._qn(now_ms)
            if len(areas) > 1:
                header = self._fields(qn, "2011", _DUST_ST, WANTS_ACK | HAS_PARTS, (len(areas), number))
            else:
                header = self._fields(qn, "2011", _DUST_ST, WANTS_ACK)
            packets.append((qn, self._compose(header, area, key=self.address.key)))
        return packets

    def clock_request(self, now_ms: int) -> bytes:
        """Return the notice 1013, which asks the platform to set our clock."""
        return self._compose(self._fields(self._qn(now_ms), "1013", _DUST_ST, WANTS_ACK), "")

    def answer(self, segment: bytes) -> list[bytes]:
        """Return what the station says to a packet of the platform."""
        try:
            packet = parse(segment)
        except Malformed:
            return []
        if packet.header["CN"] != "1012" or packet.header["MN"] != self.address.mn:
            return []
        self.clock_set = packet.fields.get("SystemTime", "")
        qn = packet.header.get("QN", "")
        results = (("9011", "QnRtn=1"), ("9012", "ExeRtn=1"))
        return [self._compose(self._fields(qn, cn, "91", 0), area) for cn, area in results]

    def _item(self, name: str, value: float) -> str:
        rule, point = self._rules[name], self._points[name]
        # One decimal more than people are shown, as stations print them.
        shown = f"{to_raw(rule, value):.{rule.metric.decimals + 1}f}"
        key = f"{point.factor}-{point.item}" if point.item else point.factor
        return f"{key}={shown},{point.factor}-Flag=N"

    def _fields(self, qn: str, cn: str, st: str, bits: int, part: tuple[int, int] | None = None) -> dict[str, str]:
        flag = VERSION_BITS[self.address.edition] << 2 | bits
        fields = {"QN": qn, "ST": st, "CN": cn, "PW": self.address.password or UNCHANGED_PW, "MN": self.address.mn}
        fields["Flag"] = str(flag)
        return fields if part is None else {**fields, "PNUM": str(part[0]), "PNO": str(part[1])}

    def _qn(self, now_ms: int) -> str:
        self._qn_ms = max(now_ms, self._qn_ms + 1)
        return f"{self._local(self._qn_ms):%Y%m%d%H%M%S}{self._qn_ms % 1000:03d}"

    def _local(self, time_ms: int) -> datetime:
        return datetime.fromtimestamp(time_ms / 1000, self._zone)
