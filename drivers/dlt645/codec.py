"""DL/T 645 frames (2007 and 1997): bytes in, frames out, and back. The same codec serves gateway and simulator.

    [FE ..] 68  A0 A1 A2 A3 A4 A5  68  C  L  DATA[L]  CS  16
    preamble    address, low       |   |  |  |        sum of 68 .. DATA as sent, modulo 256
                pair first         |   |  |  each byte + 33H on the wire
                                   |   |  number of data bytes
                                   |   D7 from meter, D6 error, D5 more follows, D4-D0 function
                                   second start, always seven bytes after the first

A frame is found by position (68 at 0 and at 7), because 68 may also stand inside an address. An address byte need
not be BCD: one real meter uses 3A. What is not a sound frame is stepped over byte by byte, so that a cut-off start
never hides the good frame behind it. Nothing here raises on noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

START, END, PREAMBLE = 0x68, 0x16, 0xFE
HEADER_SIZE = 10  # up to and including L
FRAME_SIZE = HEADER_SIZE + 2  # of a frame without data
MAX_BUFFER = 4096

WILDCARD = "AAAAAAAAAAAA"  # any meter answers: one meter per line only
BROADCAST = "999999999999"  # clock and freeze; nobody answers

READ, READ_FOLLOWING, READ_ADDRESS = 0x11, 0x12, 0x13
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

Fault = Literal["no_start", "too_short", "incomplete", "length", "checksum", "end_byte"]
"""Why no sound frame starts at a place. ``too_short`` and ``incomplete`` may be cured by more bytes."""


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
    masked = frame.data.translate(_MASK)
    body = b"".join((b"\x68", bytes.fromhex(frame.address)[::-1], bytes((START, frame.control, len(masked))), masked))
    return b"\xfe" * preamble + body + bytes((sum(body) & 0xFF, END))


def fault_at(buffer: bytes | bytearray, at: int) -> Fault | None:
    """Say what keeps a frame from starting at ``at``; None: a sound one starts there."""
    here = len(buffer) - at
    if here < 1:
        return "too_short"
    if buffer[at] != START or (here > 7 and buffer[at + 7] != START):
        return "no_start"
    if here < HEADER_SIZE:
        return "too_short"
    last = at + FRAME_SIZE + buffer[at + 9] - 1
    if last >= len(buffer):
        return "incomplete"
    sum_right = sum(buffer[at : last - 1]) & 0xFF == buffer[last - 1]
    end_right = buffer[last] == END
    if sum_right:
        return None if end_right else "end_byte"
    return "checksum" if end_right else "length"  # both wrong: L itself points to the wrong place


def frame_at(buffer: bytes | bytearray, at: int) -> tuple[Frame, int]:
    """Return the sound frame at ``at`` and the position after it; ask ``fault_at`` first."""
    end = at + FRAME_SIZE + buffer[at + 9]
    address = bytes(buffer[at + 1 : at + 7])[::-1].hex().upper()
    data = bytes(buffer[at + HEADER_SIZE : end - 2]).translate(_UNMASK)
    return Frame(address, buffer[at + 8], data), end


def take_frame(buffer: bytearray) -> tuple[Frame | None, int]:
    """Remove the next frame from ``buffer``; return it and how many bytes were stepped over (preambles count).

    None: more bytes are needed; what may still become a frame stays in the buffer.
    """
    at = 0
    while (at := buffer.find(START, at)) >= 0:
        fault = fault_at(buffer, at)
        if fault is None:
            frame, end = frame_at(buffer, at)
            del buffer[:end]
            return frame, at
        if fault in ("too_short", "incomplete"):
            break
        at += 1
    if at < 0:
        at = len(buffer)
    del buffer[:at]
    return None, at


class Decoder:
    """Collects bytes and gives whole frames, stepping over whatever is not one. Holds at most MAX_BUFFER bytes."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.skipped = 0
        """Bytes that belonged to no frame, preambles included."""

    def feed(self, data: bytes) -> None:
        """Take bytes as they come, in slices of any size."""
        self._buffer += data
        excess = len(self._buffer) - MAX_BUFFER
        if excess > 0:
            del self._buffer[:excess]
            self.skipped += excess

    def next_frame(self) -> Frame | None:
        """Return the next frame; None: more bytes are needed."""
        frame, skipped = take_frame(self._buffer)
        self.skipped += skipped
        return frame

    def clear(self) -> None:
        """Forget half a frame: the line fell silent, so the rest will not come."""
        self.skipped += len(self._buffer)
        self._buffer.clear()


def matches(pattern: str, address: str) -> bool:
    """True when a meter at ``address`` is meant by ``pattern``, whose AA pairs stand for anything."""
    return pattern == address or all(
        pattern[i : i + 2] in ("AA", address[i : i + 2]) for i in range(0, len(pattern), 2)
    )


def di_bytes(di: str) -> bytes:
    """Data identifier as printed ("0201FF00", or "9010" of 1997) to its bytes, low first."""
    return bytes.fromhex(di)[::-1]


def di_text(data: bytes) -> str:
    """Inverse of ``di_bytes``."""
    return data[::-1].hex().upper()


def read_request(address: str, di: str) -> Frame:
    """Ask for one data item (2007)."""
    return Frame(address, READ, di_bytes(di))


def following_request(address: str, di: str, seq: int) -> Frame:
    """Ask for the next part of an item; ``seq`` 1 .. 255."""
    return Frame(address, READ_FOLLOWING, di_bytes(di) + bytes((seq,)))


def address_request() -> Frame:
    """Ask the only meter on the line for its address."""
    return Frame(WILDCARD, READ_ADDRESS, b"")


def read_reply(address: str, di: str, data: bytes, *, more: bool = False) -> Frame:
    """Answer to ``read_request``; ``more``: the master must ask for the rest."""
    return Frame(address, READ | FROM_METER | (MORE_FOLLOWS if more else 0), di_bytes(di) + data)


def following_reply(address: str, di: str, data: bytes, seq: int, *, more: bool = False) -> Frame:
    """Answer to ``following_request``; the sequence byte stands at the end (place from memory)."""
    control = READ_FOLLOWING | FROM_METER | (MORE_FOLLOWS if more else 0)
    return Frame(address, control, di_bytes(di) + data + bytes((seq,)))


def address_reply(address: str) -> Frame:
    """Answer to ``address_request``: the real address in the header and in the data."""
    return Frame(address, READ_ADDRESS | FROM_METER, bytes.fromhex(address)[::-1])


def error_reply(address: str, function: int, error_byte: int) -> Frame:
    """Refusal of a request; bit n of ``error_byte`` means ERROR_BITS[n]."""
    return Frame(address, function | FROM_METER | ERROR, bytes((error_byte,)))


def error_names(error_byte: int) -> list[str]:
    """Names of the bits that are set, lowest first."""
    return [name for bit, name in enumerate(ERROR_BITS) if error_byte >> bit & 1]
