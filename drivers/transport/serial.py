"""Bytes over a serial port (RS-485 adapters, ptys), through pyserial and its asyncio fork."""

from __future__ import annotations

import asyncio
import errno
import os
import termios
from pathlib import Path
from typing import Literal, cast

import serial
import serial_asyncio_fast

from drivers.errors import LinkDown
from drivers.transport.inbox import ConnectedStream, Connection

Parity = Literal["none", "even", "odd"]

_PARITY = {"none": serial.PARITY_NONE, "even": serial.PARITY_EVEN, "odd": serial.PARITY_ODD}


def character_s(baudrate: int, parity: Parity, stop_bits: int, bytesize: int = 8) -> float:
    """Return the time one character takes on the wire: start bit, data, parity, stop bits."""
    return (1 + bytesize + (parity != "none") + stop_bits) / baudrate


def modbus_silence_s(baudrate: int, char_s: float) -> float:
    """Return the quiet that Modbus RTU asks for between frames (Serial Line guide 1.02, 2.5.1.1)."""
    return 0.00175 if baudrate > 19200 else 3.5 * char_s


class SerialStream(ConnectedStream):
    """A ByteStream on a serial port, opened exclusively."""

    def __init__(
        self, port: str, baudrate: int, parity: Parity = "none", stop_bits: int = 1, bytesize: int = 8
    ) -> None:
        super().__init__(port)
        self.port = port
        self.baudrate = baudrate
        self.parity: Parity = parity
        self.stop_bits = stop_bits
        self.bytesize = bytesize

    async def open(self) -> None:
        """Open the port, closing it first if it is open. Raises LinkDown."""
        await self.close()
        loop = asyncio.get_running_loop()
        try:
            _, connection = await serial_asyncio_fast.create_serial_connection(
                loop,
                lambda: Connection(self.port),
                self.port,
                baudrate=self.baudrate,
                parity=_PARITY["none" if _is_pty(self.port) else self.parity],
                stopbits=self.stop_bits,
                bytesize=self.bytesize,
                exclusive=True,
            )
        except termios.error:
            raise LinkDown(
                f"{self.port} does not do {self.baudrate} baud, {self.bytesize} data bits, parity {self.parity}, "
                f"{self.stop_bits} stop bits: use another adapter or another setting of the devices"
            ) from None
        except (OSError, ValueError) as why:  # SerialException is an OSError
            raise LinkDown(open_failure(self.port, _error_number(why), str(why))) from None
        await self._use(cast(Connection, connection))


def _is_pty(port: str) -> bool:
    """A pseudo terminal has no wire and so no parity: asking it for one fails. (Linux majors of its far ends.)"""
    try:
        return 136 <= os.major(Path(port).stat().st_rdev) <= 143
    except OSError:
        return False


def _error_number(why: BaseException) -> int | None:
    """pyserial drops the number of a failed configuration; it is in the error behind its own."""
    behind = why.__context__
    if isinstance(behind, termios.error):
        return cast(int, behind.args[0])
    return getattr(why, "errno", None)


def open_failure(port: str, code: int | None, text: str) -> str:
    """Return one sentence on why a port does not open, and what to do."""
    if code == errno.ENOENT:
        return f"there is no serial port {port}: plug the adapter in, or choose a name from ls /dev/serial/by-id"
    if code in (errno.ENODEV, errno.ENXIO, errno.EIO):
        return f"{port}: the adapter behind this port is gone: plug it in again"
    if code in (errno.EACCES, errno.EPERM):
        return f"no permission to open {port}: add this user to the group dialout and log in again"
    if code in (errno.EAGAIN, errno.EBUSY):
        return f"{port} is in use by another program: stop that one (fuser {port} shows it)"
    if code == errno.ENOTTY:
        return f"{port} is not a serial port"
    return f"{port} does not open: {text}"
