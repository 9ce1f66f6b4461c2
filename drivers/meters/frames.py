"""What the frames of DL/T 645 and CJ/T 188 share: how they are built, found in a stream, and why one is broken. Pure.

    [FE ..] 68  header  L  DATA[L]  CS  16
    preamble    |       |           sum of 68 .. DATA as sent, modulo 256
                |       number of data bytes
                as long as the protocol says

What is not a sound frame is stepped over byte by byte, so that a cut-off start never hides the good frame behind it.
Nothing here raises on noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

F = TypeVar("F")

START, END, PREAMBLE = 0x68, 0x16, 0xFE
MAX_BUFFER = 4096

Fault = Literal["no_start", "too_short", "incomplete", "length", "checksum", "end_byte"]
"""Why no sound frame starts at a place. ``too_short`` and ``incomplete`` may be cured by more bytes."""


@dataclass(frozen=True, slots=True)
class Framing:
    """The outline of one protocol's frames."""

    header_size: int
    """Bytes from 68 up to and including L."""
    second_start: int | None = None
    """Where a second 68 stands in the header, from 0."""

    @property
    def frame_size(self) -> int:
        """Bytes of a frame without data."""
        return self.header_size + 2

    def wrap(self, header: bytes, data: bytes, preamble: int) -> bytes:
        """Return the bytes on the wire; ``header`` is what stands between 68 and L."""
        body = b"".join((b"\x68", header, bytes((len(data),)), data))
        return b"\xfe" * preamble + body + bytes((sum(body) & 0xFF, END))

    def fault_at(self, buffer: bytes | bytearray, at: int) -> Fault | None:
        """Say what keeps a frame from starting at ``at``; None: a sound one starts there."""
        here = len(buffer) - at
        second = self.second_start
        if here < 1:
            return "too_short"
        if buffer[at] != START or (second is not None and here > second and buffer[at + second] != START):
            return "no_start"
        if here < self.header_size:
            return "too_short"
        last = self.end_of(buffer, at) - 1
        if last >= len(buffer):
            return "incomplete"
        sum_right = sum(buffer[at : last - 1]) & 0xFF == buffer[last - 1]
        end_right = buffer[last] == END
        if sum_right:
            return None if end_right else "end_byte"
        return "checksum" if end_right else "length"  # both wrong: L itself points to the wrong place

    def end_of(self, buffer: bytes | bytearray, at: int) -> int:
        """Return the position after the frame at ``at``; its header must be there."""
        return at + self.frame_size + buffer[at + self.header_size - 1]

    def take(self, buffer: bytearray) -> tuple[bytes | None, int]:
        """Remove the next frame from ``buffer``; return it and how many bytes were stepped over (preambles count).

        None: more bytes are needed; what may still become a frame stays in the buffer.
        """
        at = 0
        while (at := buffer.find(START, at)) >= 0:
            fault = self.fault_at(buffer, at)
            if fault is None:
                end = self.end_of(buffer, at)
                frame = bytes(buffer[at:end])
                del buffer[:end]
                return frame, at
            if fault in ("too_short", "incomplete"):
                break
            at += 1
        if at < 0:
            at = len(buffer)
        del buffer[:at]
        return None, at


class Decoder(Generic[F]):
    """Collects bytes and gives whole frames, stepping over whatever is not one. Holds at most MAX_BUFFER bytes."""

    def __init__(self, take: Callable[[bytearray], tuple[F | None, int]]) -> None:
        self._take = take
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

    def next_frame(self) -> F | None:
        """Return the next frame; None: more bytes are needed."""
        frame, skipped = self._take(self._buffer)
        self.skipped += skipped
        return frame

    def clear(self) -> None:
        """Forget half a frame: the line fell silent, so the rest will not come."""
        self.skipped += len(self._buffer)
        self._buffer.clear()
