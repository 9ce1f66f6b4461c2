"""A TCP port of ours: connections as byte streams, each with bounded buffers on both sides."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from drivers.errors import LinkDown

_READ_AHEAD = 16_384
"""Bytes of one connection that may wait; then TCP holds the peer back."""
_MOST_UNSENT = 65_536
"""A peer that does not fetch its answers is not kept."""


class Accepted:
    """One connection that somebody else opened."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._why = "closed by the other side"

    def write(self, data: bytes) -> None:
        """Send. Raises LinkDown when the connection is gone, or its peer takes nothing."""
        transport = self._writer.transport
        if transport.get_write_buffer_size() > _MOST_UNSENT:
            self._why = "does not fetch our answers"
            transport.abort()
        if transport.is_closing():
            raise LinkDown(self._why)
        self._writer.write(data)

    async def read(self, timeout_s: float) -> bytes:
        """As ``drivers.transport.ByteStream.read``."""
        try:
            async with asyncio.timeout(timeout_s):
                data = await self._reader.read(_READ_AHEAD)
        except TimeoutError:
            return b""
        except OSError as why:
            raise LinkDown(why.strerror or str(why)) from None
        if not data:
            raise LinkDown(self._why)
        return data

    async def close(self) -> None:
        """Hang up and return when the socket is free."""
        self._writer.transport.abort()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


@asynccontextmanager
async def listening(host: str, port: int, welcome: Callable[[Accepted, str], None]) -> AsyncIterator[None]:
    """Hand every connection to ``welcome``, with its peer's address, while inside. Raises LinkDown."""

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        welcome(Accepted(reader, writer), peer[0] if peer else "unknown")

    try:
        server = await asyncio.start_server(accepted, host, port, limit=_READ_AHEAD)
    except OSError as why:
        text = f"cannot listen on {host}:{port}: {why.strerror or why}"
        raise LinkDown(f"{text}: take an address of this machine, and a port that no other program has") from None
    try:
        yield
    finally:
        server.close()
