"""Streams of bytes (TCP, serial, in-memory) and the Line that takes turns on them."""

from __future__ import annotations

from typing import Protocol


class ByteStream(Protocol):
    """A connection that carries bytes both ways. ``open`` may be called again after it was lost."""

    async def open(self) -> None:
        """Connect. Raises LinkDown with a sentence that names the address."""
        ...

    def write(self, data: bytes) -> None:
        """Send. Raises LinkDown when the connection is gone."""
        ...

    async def read(self, timeout_s: float) -> bytes:
        """Return what has arrived; b"" after ``timeout_s`` of silence. Raises LinkDown at the end."""
        ...

    def pending(self) -> bytes:
        """Take what has arrived already, without waiting; b"" when nothing has."""
        ...

    async def close(self) -> None:
        """Close. May be called twice, and before ``open``."""
        ...
