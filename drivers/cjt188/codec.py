"""CJ/T 188 frames (2004 and 2018): bytes in, frames out, and back. The same codec serves gateway and simulator.

    [FE ..] 68  T  A0 .. A6  C  L  DATA[L]  CS  16
    preamble    |  address,  |  |  |        sum of 68 .. DATA, modulo 256
                |  low pair  |  |  DI (2), SER (1), fields; no 33H as in DL/T 645
                |  first     |  number of data bytes
                |            D7 from meter, D6 error, D5-D0 function
                meter type

A6 and A5 are the manufacturer's code. SER grows with each request and comes back in the reply. DI goes over the wire
in either order: 1F 90 (ng-gateway calls it the order of 2018) or 90 1F (of 2004); both were seen in frames of real
meters. Nothing here raises on noise (drivers/meters/frames.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from drivers.meters import frames
from drivers.meters.frames import Framing

FRAMING = Framing(header_size=11)

WILDCARD = "AAAAAAAAAAAAAA"  # any meter answers: one meter per line only
ANY_TYPE = 0xAA

READ, READ_ADDRESS, WRITE = 0x01, 0x03, 0x04
FROM_METER, ERROR, FUNCTION = 0x80, 0x40, 0x3F
"""Functions 20 to 3F are vendors', so D5 belongs to the function here."""
CURRENT_DATA, ADDRESS = "901F", "810A"

Order = Literal["low_first", "high_first"]

_DI_CLASSES = frozenset((0x81, 0x90, 0x91, 0xA0, 0xA1, 0xD1))
"""High bytes of the identifiers that are known; none of them is the low byte of one."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame, either direction."""

    meter_type: int
    address: str
    """14 hexadecimal digits as printed on the meter (A6 .. A0), upper case."""
    control: int
    data: bytes

    @property
    def from_meter(self) -> bool:
        return bool(self.control & FROM_METER)

    @property
    def error(self) -> bool:
        """True: the meter refuses; ``data`` is SER and two bytes of status."""
        return bool(self.control & ERROR)

    @property
    def function(self) -> int:
        return self.control & FUNCTION


def encode(frame: Frame, preamble: int = 4) -> bytes:
    """Return the bytes on the wire, led by ``preamble`` bytes FE."""
    header = bytes((frame.meter_type,)) + bytes.fromhex(frame.address)[::-1] + bytes((frame.control,))
    return FRAMING.wrap(header, frame.data, preamble)


def parse(raw: bytes) -> Frame:
    """Return the frame in ``raw``, which holds one sound frame without preamble."""
    return Frame(raw[1], raw[8:1:-1].hex().upper(), raw[9], raw[FRAMING.header_size : -2])


def take_frame(buffer: bytearray) -> tuple[Frame | None, int]:
    """As ``drivers.meters.frames.Framing.take``."""
    raw, skipped = FRAMING.take(buffer)
    return (None if raw is None else parse(raw)), skipped


class Decoder(frames.Decoder[Frame]):
    """Collects bytes and gives whole frames."""

    def __init__(self) -> None:
        super().__init__(take_frame)


def di_bytes(di: str, order: Order) -> bytes:
    """Return a data identifier as printed ("901F") as it goes over the wire."""
    data = bytes.fromhex(di)
    return data if order == "high_first" else data[::-1]


def di_text(wire: bytes) -> tuple[str, Order]:
    """Return the identifier in two bytes as printed, and their order, told by its class; unknown ones as they came."""
    order: Order = "low_first" if wire[0] not in _DI_CLASSES and wire[1] in _DI_CLASSES else "high_first"
    return (wire if order == "high_first" else wire[::-1]).hex().upper(), order


def matches(pattern: str, address: str) -> bool:
    """True when a meter at ``address`` is meant by ``pattern``."""
    return pattern in (WILDCARD, address)


def read_request(meter_type: int, address: str, di: str, ser: int, order: Order = "low_first") -> Frame:
    """Ask for one data item; ``ser`` 0 .. 255."""
    return Frame(meter_type, address, READ, di_bytes(di, order) + bytes((ser,)))


def reply_to(request: Frame, meter_type: int, address: str, data: bytes = b"") -> Frame:
    """Answer to any request: its identifier and SER come back, then ``data``. An address is told by the header."""
    return Frame(meter_type, address, request.function | FROM_METER, request.data[:3] + data)


def error_reply(request: Frame, meter_type: int, address: str, status: bytes) -> Frame:
    """Refusal of a request: SER and two bytes of status."""
    return Frame(meter_type, address, request.function | FROM_METER | ERROR, request.data[2:3] + status)
