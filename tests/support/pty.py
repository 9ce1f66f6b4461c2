"""Pseudo terminals that stand in for RS-485 lines: real tty devices, opened by path like any serial port."""

from __future__ import annotations

import asyncio
import os
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class PtyWire:
    """One serial port and the far end of its wire: what a device hears and says. Needs a running loop."""

    def __init__(self) -> None:
        self._master, self._slave = os.openpty()
        tty.setraw(self._master)
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.port = os.ttyname(self._slave)
        """Path for SerialStream. The helper keeps the tty open, so the port may be closed and opened again."""
        self._heard = bytearray()
        self._news = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._master, self._on_readable)

    def write(self, data: bytes) -> None:
        """Say something on the wire."""
        os.write(self._master, data)

    async def read(self, count: int) -> bytes:
        """Wait until ``count`` bytes were heard and take them."""
        while len(self._heard) < count:
            self._news.clear()
            await self._news.wait()
        data = bytes(self._heard[:count])
        del self._heard[:count]
        return data

    def unplug(self) -> None:
        """Take the wire away: the port gives EIO from now on. Twice does no harm."""
        if self._master >= 0:
            self._loop.remove_reader(self._master)
            os.close(self._master)
            os.close(self._slave)
            self._master = -1

    def _on_readable(self) -> None:
        self._heard += os.read(self._master, 4096)
        self._news.set()


@contextmanager
def joined_ports() -> Iterator[tuple[str, str]]:
    """Yield the paths of two serial ports that are wired to each other (a null modem). Needs a running loop."""
    loop = asyncio.get_running_loop()
    (one, one_tty), (other, other_tty) = os.openpty(), os.openpty()
    for fd in (one, one_tty, other, other_tty):
        tty.setraw(fd)

    def pass_on(source: int, target: int) -> None:
        with suppress(OSError):
            os.write(target, os.read(source, 4096))

    loop.add_reader(one, pass_on, one, other)
    loop.add_reader(other, pass_on, other, one)
    try:
        yield os.ttyname(one_tty), os.ttyname(other_tty)
    finally:
        loop.remove_reader(one)
        loop.remove_reader(other)
        for fd in (one, one_tty, other, other_tty):
            os.close(fd)
