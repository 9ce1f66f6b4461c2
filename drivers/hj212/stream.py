"""Cuts a stream of bytes into HJ 212 packets: by length, never by delimiter. Pure.

A cipher may contain ``##``, ``&&`` and CR LF. After a false start the search goes on one byte behind it, so whatever
is damaged costs itself only. At most one longest packet (9999 bytes) is ever kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

Judge = Callable[[bytes, bytes], bytes | None]
"""(data segment, check sum as sent) -> the clear data segment, or None when the two do not belong together."""

_HEADER = re.compile(rb"##(\d{4})")
_BEGUN = re.compile(rb"#(?:#\d{0,3})?\Z")
_BLANK = re.compile(rb"[\r\n \t]*")
_HEAD, _CRC = 6, 4


@dataclass(frozen=True, slots=True)
class Piece:
    """One packet, or one stretch that is none."""

    fault: str | None
    """None: a sound packet · bad_crc · bad_tail (strict only) · half: its end never came · noise."""
    data: bytes
    """The clear data segment; as it came where there is a fault."""
    crc: str = ""
    enciphered: bool = False


class Cutter:
    """Takes bytes in any pieces, gives packets. One per connection.

    ``strict``: a packet needs CR LF behind it, or the next one's header; otherwise it is taken as soon as its check
    sum is there, and blanks and line ends between packets are no noise.
    """

    def __init__(self, judge: Judge, *, strict: bool = False) -> None:
        self._judge = judge
        self._strict = strict
        self._buffer = b""
        self._noisy = False
        self.skipped_bytes = 0
        """Bytes since the last sound packet that belonged to none."""

    @property
    def pending(self) -> bool:
        """True while a packet has begun whose end has not come."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[Piece]:
        """Return what is complete now."""
        self._buffer += data
        pieces: list[Piece] = []
        at = 0
        while True:
            found = _HEADER.search(self._buffer, at)
            if found is None:
                begun = _BEGUN.search(self._buffer, max(at, len(self._buffer) - 5))
                end = begun.start() if begun else len(self._buffer)
                self._skip(at, end, pieces)
                at = end
                break
            self._skip(at, found.start(), pieces)
            at = found.start()
            end = at + _HEAD + int(found[1])
            if end + _CRC > len(self._buffer):
                break
            fault = self._packet(at + _HEAD, end, pieces)
            if fault == "open":
                break
            at = at + 2 if fault else end + _CRC
        self._buffer = self._buffer[at:]
        return pieces

    def give_up(self) -> list[Piece]:
        """The packet that has begun will not end: step over its header, return what was hidden behind it."""
        if not self._buffer:
            return []
        half, self._buffer, self._noisy = self._buffer, b"", True
        tail_missing = self._strict and self._sound_without_tail(half)
        pieces = [tail_missing or Piece("half", half)]
        return pieces + (self.feed(half[2:]) if not tail_missing else [])

    def _packet(self, start: int, end: int, pieces: list[Piece]) -> str | None:
        segment, crc = self._buffer[start:end], self._buffer[end : end + _CRC]
        clear = self._judge(segment, crc)
        fault = "bad_crc" if clear is None else self._tail_fault(end + _CRC)
        if fault == "open":
            return fault
        text = crc.decode("ascii", "replace").upper()
        pieces.append(Piece(fault, segment if clear is None else clear, text, clear not in (None, segment)))
        self._noisy = fault is not None
        self.skipped_bytes = self.skipped_bytes if fault else 0
        return fault

    def _tail_fault(self, at: int) -> str | None:
        tail = self._buffer[at : at + 2]
        if not self._strict or tail in (b"\r\n", b"##"):
            return None
        return "open" if tail in (b"", b"\r", b"#") else "bad_tail"

    def _sound_without_tail(self, half: bytes) -> Piece | None:
        found = _HEADER.match(half)
        end = _HEAD + int(found[1]) if found else 0
        crc = half[end : end + _CRC]
        clear = self._judge(half[_HEAD:end], crc) if len(crc) == _CRC else None
        if clear is None:
            return None
        return Piece("bad_tail", clear, crc.decode("ascii", "replace").upper(), clear != half[_HEAD:end])

    def _skip(self, start: int, end: int, pieces: list[Piece]) -> None:
        """Step over what is no packet; told once until the next sound one."""
        if start == end:
            return
        self.skipped_bytes += end - start
        blank = _BLANK.match(self._buffer, start, end)
        if not self._noisy and (blank is None or blank.end() < end):
            self._noisy = True
            pieces.append(Piece("noise", self._buffer[start:end]))
