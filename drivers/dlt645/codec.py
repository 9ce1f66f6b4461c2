"""DL/T 645 frames (2007 and 1997): bytes in, frames out, and back. The same codec serves gateway and simulator.

    [FE ..] 68  A0 A1 A2 A3 A4 A5  68  C  L  DATA[L]  CS  16
    preamble    address, low       |   |  |  |        sum of 68 .. DATA as sent, modulo 256
                pair first         |   |  |  each byte + 33H on the wire
                                   |   |  number of data bytes
                                   |   D7 from meter, D6 error, D5 more follows, D4-D0 function
                                   second start, always seven bytes after the first

A frame is found by position (68 at 0 and at 7), because 68 may also stand inside an address. An address byte need
not be BCD: one real meter uses 3A. Nothing here raises on noise (drivers/meters/frames.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from drivers.meters import frames
from drivers.meters.frames import Framing

FRAMING = Framing(header_size=10, second_start=7)

WILDCARD = "AAAAAAAAAAAA"  # any meter answers: one meter per line only
BROADCAST = "999999999999"  # clock and freeze; nobody answers

READ, READ_FOLLOWING, READ_ADDRESS = 0x11, 0x12, 0x13
READ_1997, READ_FOLLOWING_1997 = 0x01, 0x02
FROM_METER, ERROR, MORE_FOLLOWS, FUNCTION = 0x80, 0x40, 0x20, 0x1F

ERROR_BITS = (
    "other_error",
    "no_requested_data",
    "password_or_not_authorised",
    "baud_rate_cannot_change",
    "too_many_year_zones",
    "too_many_day_periods",
    "too_many_tariffs",
    "reserved",
)
"""Names of the bits of the error byte, lowest first (2007; several may be set at once)."""

_MASK = bytes((n + 0x33) & 0xFF for n in range(256))
_UNMASK = bytes((n - 0x33) & 0xFF for n in range(256))


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame, either direction."""

    address: str
    """12 hexadecimal digits as printed on the meter (A5 .. A0), upper case."""
    control: int
    data: bytes
    """DATA with the 33H removed."""

    @property
    def from_meter(self) -> bool:
        return bool(self.control & FROM_METER)

    @property
    def error(self) -> bool:
        """True: the meter refuses; ``data`` is the error byte."""
        return bool(self.control & ERROR)

    @property
    def more_follows(self) -> bool:
        """True: the rest must be asked for with READ_FOLLOWING."""
        return bool(self.control & MORE_FOLLOWS)

    @property
    def function(self) -> int:
        return self.control & FUNCTION


def encode(frame: Frame, preamble: int = 4) -> bytes:
    """Return the bytes on the wire, led by ``preamble`` bytes FE."""
    header = bytes.fromhex(frame.address)[::-1] + bytes((frames.START, frame.control))
    return FRAMING.wrap(header, frame.data.translate(_MASK), preamble)


def parse(raw: bytes) -> Frame:
    """Return the frame in ``raw``, which holds one sound frame without preamble."""
    return Frame(raw[6:0:-1].hex().upper(), raw[8], raw[FRAMING.header_size : -2].translate(_UNMASK))


def take_frame(buffer: bytearray) -> tuple[Frame | None, int]:
    """As ``drivers.meters.frames.Framing.take``."""
    raw, skipped = FRAMING.take(buffer)
    return (None if raw is None else parse(raw)), skipped


class Decoder(frames.Decoder[Frame]):
    """Collects bytes and gives whole frames."""

    def __init__(self) -> None:
        super().__init__(take_frame)


def matches(pattern: str, address: str) -> bool:
    """True when a meter at ``address`` is meant by ``pattern``, whose AA pairs stand for anything."""
    return pattern == address or all(
        pattern[i : i + 2] in ("AA", address[i : i + 2]) for i in range(0, len(pattern), 2)
    )


def is_1997(di: str) -> bool:
    """True for an identifier of the edition of 1997: two bytes, 4 digits."""
    return len(di) == 4


def di_bytes(di: str) -> bytes:
    """Data identifier as printed ("0201FF00", or "9010" of 1997) to its bytes, low first."""
    return bytes.fromhex(di)[::-1]


def di_text(data: bytes) -> str:
    """Inverse of ``di_bytes``."""
    return data[::-1].hex().upper()


def read_request(address: str, di: str) -> Frame:
    """Ask for one data item; the length of its identifier tells the edition."""
    return Frame(address, READ_1997 if is_1997(di) else READ, di_bytes(di))


def following_request(address: str, di: str, seq: int) -> Frame:
    """Ask for the next part of an item; ``seq`` 1 .. 255, which 1997 does not send (from memory)."""
    if is_1997(di):
        return Frame(address, READ_FOLLOWING_1997, di_bytes(di))
    return Frame(address, READ_FOLLOWING, di_bytes(di) + bytes((seq,)))


def address_request() -> Frame:
    """Ask the only meter on the line for its address."""
    return Frame(WILDCARD, READ_ADDRESS, b"")


def read_reply(address: str, di: str, data: bytes, *, more: bool = False) -> Frame:
    """Answer to ``read_request``; ``more``: the master must ask for the rest."""
    function = READ_1997 if is_1997(di) else READ
    return Frame(address, function | FROM_METER | (MORE_FOLLOWS if more else 0), di_bytes(di) + data)


def following_reply(address: str, di: str, data: bytes, seq: int, *, more: bool = False) -> Frame:
    """Answer to ``following_request``; the sequence byte stands at the end (place from memory)."""
    control = FROM_METER | (MORE_FOLLOWS if more else 0)
    if is_1997(di):
        return Frame(address, control | READ_FOLLOWING_1997, di_bytes(di) + data)
    return Frame(address, control | READ_FOLLOWING, di_bytes(di) + data + bytes((seq,)))


def address_reply(address: str) -> Frame:
    """Answer to ``address_request``: the real address in the header and in the data."""
    return Frame(address, READ_ADDRESS | FROM_METER, bytes.fromhex(address)[::-1])


def error_reply(address: str, function: int, error_byte: int) -> Frame:
    """Refusal of a request; bit n of ``error_byte`` means ERROR_BITS[n]."""
    return Frame(address, function | FROM_METER | ERROR, bytes((error_byte,)))


def error_names(error_byte: int) -> list[str]:
    """Names of the bits that are set, lowest first."""
    return [name for bit, name in enumerate(ERROR_BITS) if error_byte >> bit & 1]
