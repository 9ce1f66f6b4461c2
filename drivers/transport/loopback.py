"""Two byte streams joined in memory: what one writes, the other reads."""

from __future__ import annotations

from drivers.errors import LinkDown
from drivers.transport.inbox import Inbox


class Loopback:
    """One end of a pair; made by ``pair``. Closing one end ends the other; ``open`` makes it new again."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._inbox = Inbox()
        self._open = True
        self._peer: Loopback = self

    async def open(self) -> None:
        """Start anew with nothing unread."""
        self._inbox.end(f"{self._name}: opened again")
        self._inbox = Inbox()
        self._open = True

    def write(self, data: bytes) -> None:
        """Send. Raises LinkDown when either end is closed."""
        if not self._open or not self._peer._open:
            raise LinkDown(f"{self._name}: closed")
        self._peer._inbox.put(data)

    async def read(self, timeout_s: float) -> bytes:
        """As ``ByteStream.read``."""
        return await self._inbox.read(timeout_s)

    def pending(self) -> bytes:
        """As ``ByteStream.pending``."""
        return self._inbox.take()

    async def close(self) -> None:
        """Close; twice does no harm."""
        self._open = False
        self._inbox.end(f"{self._name}: closed by us")
        self._peer._inbox.end(f"{self._name}: connection lost: closed by the other side")


def pair() -> tuple[Loopback, Loopback]:
    """Return two joined ends, both open."""
    one, other = Loopback("loopback"), Loopback("loopback")
    one._peer, other._peer = other, one
    return one, other
