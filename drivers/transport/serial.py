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

_SIZE = {5: termios.CS5, 6: termios.CS6, 7: termios.CS7, 8: termios.CS8}
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
            port = await loop.run_in_executor(None, self._open_port)
        except termios.error:
            raise LinkDown(
                f"{self.port} does not do {self.baudrate} baud, {self.bytesize} data bits, parity {self.parity}, "
                f"{self.stop_bits} stop bits: use another adapter or another setting of the devices"
            ) from None
        except (OSError, ValueError) as why:  # SerialException is an OSError
            raise LinkDown(open_failure(self.port, _error_number(why), str(why))) from None
        _, connection = await serial_asyncio_fast.connection_for_serial(loop, lambda: Connection(self.port), port)
        await self._use(cast(Connection, connection))

    def _open_port(self) -> serial.Serial:
        """Open and make sure that the settings hold. Blocks. Raises termios.error, OSError."""
        port = serial.Serial(
            self.port,
            baudrate=self.baudrate,
            parity=_PARITY["none" if _is_pty(self.port) else self.parity],
            stopbits=self.stop_bits,
            bytesize=self.bytesize,
            timeout=0,
            write_timeout=0,
            exclusive=True,
        )
        if not self._holds_on(port.fileno()):
            port.close()
            raise termios.error(errno.EINVAL, "other settings hold")
        return port

    def _holds_on(self, fd: int) -> bool:
        """Some adapters take any setting and keep their own: ask what holds."""
        _, _, flags, _, _, speed, _ = termios.tcgetattr(fd)
        common = getattr(termios, f"B{self.baudrate}", None)
        held_parity = "none" if not flags & termios.PARENB else "odd" if flags & termios.PARODD else "even"
        return (
            (common is None or speed == common)
            and flags & termios.CSIZE == _SIZE[self.bytesize]
            and bool(flags & termios.CSTOPB) == (self.stop_bits == 2)
            and (_is_pty(self.port) or held_parity == self.parity)
        )


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
