"""Stations that connect to the gateway's port and upload, each on a connection of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import structlog

from drivers.errors import LinkDown
from drivers.hj212.codec import Malformed, opened, parse
from drivers.hj212.stream import Cutter
from drivers.transport.tcp import TcpStream
from gateway.clock import Clock
from gateway.config.site import Hj212ServerLink
from simulators.errors import Silent
from simulators.hj212_station import Hj212Station

RETRY_S = 1.0
ACK_S = 5.0
"""So long a station waits for the ack of a packet (HJ 212-2017 table 1, ADSL) …"""
RESENDS = 3
"""… and so often it sends the same bytes again before it takes the connection for dead."""

log = structlog.get_logger(__name__)


@asynccontextmanager
async def serve_hj212(link: Hj212ServerLink, stations: Sequence[Hj212Station], clock: Clock) -> AsyncIterator[None]:
    """Let the stations connect and upload while inside; they try again for ever while nobody listens."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(link.host, link.host)
    tasks = [
        asyncio.create_task(_upload_for_ever(TcpStream(host, link.port), station, clock), name=station.address.mn)
        for station in stations
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended  # a station never ends by itself: show what ended it


async def _upload_for_ever(stream: TcpStream, station: Hj212Station, clock: Clock) -> None:
    up = True
    while True:
        try:
            await stream.open()
            up = True
            await _upload(stream, station, clock)
        except LinkDown as why:
            if up:
                log.warning("the simulated station lost its platform", mn=station.address.mn, error=str(why))
            up = False
        except Silent:  # it has lost its power, and its connection with it
            pass
        finally:
            await stream.close()
        await clock.sleep(RETRY_S)


async def _upload(stream: TcpStream, station: Hj212Station, clock: Clock) -> None:
    """Send at the station's pace, each packet until it is acked. Raises LinkDown when nobody acks."""
    cutter = Cutter(opened)
    stream.write(station.clock_request(clock.wall_ms()))
    due_s = clock.monotonic_s()
    while True:
        for qn, packet in station.upload(clock.wall_ms()):
            for _ in range(1 + RESENDS):
                stream.write(packet)
                if await _acked(stream, cutter, station, qn):
                    break
            else:
                raise LinkDown(f"no ack for {qn} after {RESENDS} resends")
        due_s = max(due_s + station.every_s, clock.monotonic_s())
        await clock.sleep(due_s - clock.monotonic_s())


async def _acked(stream: TcpStream, cutter: Cutter, station: Hj212Station, qn: str) -> bool:
    """Answer the platform until it acks ``qn``; False when it does not in time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(ACK_S):
            while True:
                for piece in cutter.feed(await stream.read(ACK_S)):
                    if piece.fault is None and _acks(piece.data, qn):
                        return True
                    for packet in station.answer(piece.data) if piece.fault is None else ():
                        stream.write(packet)
    return False


def _acks(segment: bytes, qn: str) -> bool:
    try:
        header = parse(segment).header
    except Malformed:
        return False
    return header["CN"] == "9014" and header.get("QN") == qn
