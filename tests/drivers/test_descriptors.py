"""Wires that are lost and opened again, thousands of times in a life: nothing is left behind (fault 145)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from drivers.errors import LinkDown
from drivers.transport.serial import SerialStream
from drivers.transport.tcp import TcpStream
from tests.support.machine import free_port
from tests.support.pty import PtyWire

TIMES = 300


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def serial_port() -> None:
    """Opened, unplugged while a read waits, closed."""
    wire = PtyWire()
    stream = SerialStream(wire.port, 9600)
    await stream.open()
    asyncio.get_running_loop().call_soon(wire.unplug)
    with pytest.raises(LinkDown):
        await stream.read(1)
    await stream.close()


async def missing_port() -> None:
    with pytest.raises(LinkDown):
        await SerialStream("/dev/sitegate-none", 9600).open()


async def refused_address() -> None:
    with pytest.raises(LinkDown):
        await TcpStream("127.0.0.1", free_port()).open()


async def closed_by_the_peer() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    stream = TcpStream("127.0.0.1", server.sockets[0].getsockname()[1])
    for _ in range(2):  # the second drops what is left of the first
        await stream.open()
        with pytest.raises(LinkDown):
            await stream.read(1)
    await stream.close()
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("life", [serial_port, missing_port, refused_address, closed_by_the_peer])
async def test_opening_again_and_again_leaks_nothing(life: Callable[[], Awaitable[None]]) -> None:
    for _ in range(3):
        await life()
    await asyncio.sleep(0.01)
    before, tasks = descriptors(), len(asyncio.all_tasks())
    for _ in range(TIMES):
        await life()
    await asyncio.sleep(0.01)
    assert descriptors() <= before + 1
    assert len(asyncio.all_tasks()) <= tasks
