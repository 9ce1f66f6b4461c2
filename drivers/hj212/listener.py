"""Listens to HJ 212 stations: they connect to our port, or we call the one behind a serial port or a DTU.

An upload is acked only after the consumer has taken it and asked for the next one: a station that hears nothing
sends it again.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import tzinfo
from typing import Protocol

from drivers.api import Heard, Subscribed
from drivers.hj212.accept import listening
from drivers.hj212.desk import Desk, Stations, Stream


class Door(Protocol):
    """How stations come to the desk."""

    def opened(self, desk: Desk) -> AbstractAsyncContextManager[None]:
        """Let them in while inside. Raises LinkDown when it does not open."""
        ...


class Port:
    """A TCP port of ours, to which stations connect."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port

    def opened(self, desk: Desk) -> AbstractAsyncContextManager[None]:
        """As ``Door.opened``."""
        return listening(self._host, self._port, desk.welcome)


class Called(Stream, Protocol):
    """A ByteStream that we open."""

    async def open(self) -> None: ...


class Call:
    """A serial port, or the TCP port of a station or DTU."""

    def __init__(self, stream: Called) -> None:
        self._stream = stream

    @asynccontextmanager
    async def opened(self, desk: Desk) -> AsyncIterator[None]:
        """As ``Door.opened``."""
        await self._stream.open()
        desk.call(self._stream)
        yield


class StationListener:
    """The stations of one link; fulfils ``drivers.api.Listener``."""

    window = 1_000_000
    """Nobody waits: the ack went out when the upload was taken."""

    def __init__(self, door: Door, stations: Stations, zone: tzinfo, wall_ms: Callable[[], int], idle_s: float) -> None:
        """``zone``: of DataTime. ``idle_s``: a connection without a packet for so long is closed."""
        self._door = door
        self._stations = stations
        self._zone = zone
        self._wall_ms = wall_ms
        self._idle_s = idle_s

    async def reports(self) -> AsyncGenerator[Heard, None]:
        """As ``drivers.api.Listener.reports``."""
        desk = Desk(self._stations, self._zone, self._wall_ms, self._idle_s)
        try:
            async with self._door.opened(desk):
                yield Subscribed()
                while True:
                    for message in await desk.next_messages():
                        yield message
                    desk.answer()
        finally:
            await desk.close()

    def acknowledge(self, count: int) -> None:
        """As ``drivers.api.Listener.acknowledge``: stations wait five seconds at most, they have had their ack."""

    async def write(self, device: str, point: str, raw: float, hold_s: float | None = None) -> None:
        """As ``drivers.api.Listener.write``: always ValueError."""
        raise ValueError(f"{point}: HJ 212 stations are only ever read")
