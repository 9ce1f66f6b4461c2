"""Listens on a TCP port, many connections at once: Modbus TCP, or raw serial frames as a serial server passes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import cast

from simulators.bus import Bus
from simulators.errors import SimulatorError
from simulators.text_instrument import TextInstrument, printing


class _Connection(asyncio.Protocol):
    """One client. Bytes of half a request wait in the connection's own bus."""

    def __init__(self, bus: Bus, open_connections: set[_Connection]) -> None:
        self._bus = bus
        self._open = open_connections
        self._pending: set[asyncio.TimerHandle] = set()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._open.add(self)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        after_s = 0.0
        for chunk in self._bus.hear(data):
            after_s += chunk.after_s
            if after_s <= 0.0:
                self._transport.write(chunk.data)
            else:
                self._write_later(after_s, chunk.data)

    def connection_lost(self, exc: Exception | None) -> None:
        for handle in self._pending:
            handle.cancel()
        self._open.discard(self)

    def say(self, data: bytes) -> None:
        """Send what nobody asked for."""
        assert self._transport is not None
        self._transport.write(data)

    def abort(self) -> None:
        """Hang up at once."""
        assert self._transport is not None
        self._transport.abort()

    def _write_later(self, after_s: float, data: bytes) -> None:
        def write() -> None:
            self._pending.discard(handle)
            assert self._transport is not None
            self._transport.write(data)

        handle = asyncio.get_running_loop().call_later(after_s, write)
        self._pending.add(handle)


@asynccontextmanager
async def serve_tcp(
    host: str, port: int, make_bus: Callable[[], Bus], printers: Sequence[TextInstrument] = ()
) -> AsyncIterator[int]:
    """Listen while inside; yield the port (its own choice for port 0). ``make_bus`` gives each connection its bus.

    ``printers`` speak to everybody who is connected, without being asked.
    """
    connections: set[_Connection] = set()
    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_server(lambda: _Connection(make_bus(), connections), host, port)
    except OSError as why:
        raise SimulatorError(
            f"cannot listen on {host}:{port} for the simulated devices ({why.strerror or why}): "
            "choose another port in the site file, or stop what uses it"
        ) from None

    def to_all(data: bytes) -> None:
        for connection in connections:
            connection.say(data)

    try:
        with printing(printers, to_all):
            yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for connection in list(connections):
            connection.abort()
        await server.wait_closed()
