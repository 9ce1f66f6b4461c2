"""What arrived on a connection and nobody read yet: the common half of all byte streams."""

from __future__ import annotations

import asyncio
from typing import cast

from drivers.errors import LinkDown

MAX_UNREAD_BYTES = 65_536
"""More than this unread is dropped and counted: no answer of any protocol here is longer than a few hundred bytes."""


class Inbox:
    """Bytes of one connection, for one reader at a time."""

    __slots__ = ("_end", "_unread", "_waiter", "dropped_bytes")

    def __init__(self) -> None:
        self.dropped_bytes = 0
        self._unread = bytearray()
        self._end: str | None = None
        self._waiter: asyncio.Future[None] | None = None

    def put(self, data: bytes) -> None:
        """Add what has arrived."""
        room = MAX_UNREAD_BYTES - len(self._unread)
        if len(data) > room:
            self.dropped_bytes += len(data) - room
            data = data[:room]
        self._unread += data
        self._wake()

    def end(self, text: str) -> None:
        """The connection is over; ``text`` says why. What came before is still read first."""
        if self._end is None:
            self._end = text
        self._wake()

    @property
    def ended(self) -> str | None:
        """Why the connection is over, or None while it lives."""
        return self._end

    def take(self) -> bytes:
        """Return everything unread, without waiting."""
        if not self._unread:
            return b""
        data = bytes(self._unread)
        self._unread.clear()
        return data

    async def read(self, timeout_s: float) -> bytes:
        """As ``ByteStream.read``."""
        if not self._unread and self._end is None:
            loop = asyncio.get_running_loop()
            # One future and one timer: asyncio.wait_for costs several times as much.
            self._waiter = loop.create_future()
            timer = loop.call_later(timeout_s, self._wake)
            try:
                await self._waiter
            finally:
                timer.cancel()
                self._waiter = None
        if self._unread:
            return self.take()
        if self._end is not None:
            raise LinkDown(self._end)
        return b""

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Connection(asyncio.Protocol):
    """Feeds an inbox from an asyncio transport. One per opening, so that an old one cannot disturb the next."""

    def __init__(self, address: str) -> None:
        loop = asyncio.get_running_loop()
        self.inbox = Inbox()
        self.data_received = self.inbox.put  # type: ignore[method-assign]  # straight: this is the hot path
        self.made: asyncio.Future[asyncio.WriteTransport] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()
        self._address = address

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.made.set_result(cast(asyncio.WriteTransport, transport))

    def connection_lost(self, exc: Exception | None) -> None:
        self.inbox.end(f"{self._address}: connection lost: {exc or 'closed by the other side'}")
        self.lost.set_result(None)


class ConnectedStream:
    """A ByteStream on an asyncio transport; a subclass says how to ``open`` it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._connection: Connection | None = None
        self._transport: asyncio.WriteTransport | None = None

    async def _use(self, connection: Connection) -> None:
        self._transport = await connection.made
        self._connection = connection

    def write(self, data: bytes) -> None:
        """Send. Raises LinkDown."""
        if self._transport is None or self._transport.is_closing():
            raise LinkDown(self._why())
        self._transport.write(data)

    async def read(self, timeout_s: float) -> bytes:
        """As ``ByteStream.read``."""
        if self._connection is None:
            raise LinkDown(self._why())
        return await self._connection.inbox.read(timeout_s)

    def pending(self) -> bytes:
        """As ``ByteStream.pending``."""
        return self._connection.inbox.take() if self._connection else b""

    async def close(self) -> None:
        """Close and return when socket or port is free; twice does no harm."""
        connection, transport = self._connection, self._transport
        self._connection = self._transport = None
        if connection is None or transport is None:
            return
        connection.inbox.end(f"{self.address}: closed by us")
        if not transport.is_closing():
            transport.abort()  # what is not sent yet must not hold the port
        await connection.lost

    def _why(self) -> str:
        ended = self._connection.inbox.ended if self._connection else f"{self.address} is not open"
        return ended or f"{self.address}: the connection is closing"
