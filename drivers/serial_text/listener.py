"""Listens to instruments that print lines on a serial port or behind a serial server; asks those that wait for it.

A line that falls silent in its middle is thrown away with what comes until the next end of line. After a time-out we
wait for quiet before we ask again: lines carry no number, and a late one must not pass for the next answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Protocol

from drivers.api import Heard, Rejected, Report, Subscribed
from drivers.serial_text.codec import Address, Limits, LineCutter, Point, Reader, request_of

SILENCE_S = 0.5
"""Longer than any pause inside a line, serial servers included."""
_QUIET_CAP_S = 5.0
_RETRY_S = 1.0


class Stream(Protocol):
    """The part of ``drivers.transport.ByteStream`` that we need."""

    async def open(self) -> None: ...

    def write(self, data: bytes) -> None: ...

    async def read(self, timeout_s: float) -> bytes: ...

    async def close(self) -> None: ...


class Instrument:
    """One instrument on the line."""

    def __init__(self, reader: Reader, request: bytes, end: bytes, every_s: float) -> None:
        self.reader = reader
        self.request = request
        """Empty: it prints by itself."""
        self.end = end
        self.every_s = every_s
        self.due_s = 0.0


class LineListener:
    """The instruments of one line; fulfils ``drivers.api.Listener``."""

    window = 1_000_000
    """Nobody waits: a line that was printed is not printed again."""

    def __init__(
        self,
        stream: Stream,
        devices: Mapping[str, tuple[Address, Mapping[str, Point], Limits]],
        every_s: Mapping[str, float],
        timeout_s: float,
    ) -> None:
        """All of one line are asked, or none; those that print by themselves end their lines alike."""
        self._stream = stream
        self._instruments = [
            Instrument(
                Reader(name, address, points, limits),
                request_of(address, limits),
                limits.end.encode(limits.encoding),
                every_s[name],
            )
            for name, (address, points, limits) in devices.items()
        ]
        self._timeout_s = timeout_s

    async def reports(self) -> AsyncGenerator[Heard, None]:
        """As ``drivers.api.Listener.reports``."""
        await self._stream.open()
        try:
            yield Subscribed()
            if any(instrument.request for instrument in self._instruments):
                while True:
                    yield await self._ask_next()
            cutter = LineCutter(self._instruments[0].end)
            while True:
                for message in await self._hear(cutter):
                    yield message
        finally:
            await self._stream.close()

    def acknowledge(self, count: int) -> None:
        """As ``drivers.api.Listener.acknowledge``: nobody waits for it."""

    async def write(self, device: str, point: str, raw: float, hold_s: float | None = None) -> None:
        """As ``drivers.api.Listener.write``: always ValueError."""
        raise ValueError(f"{point}: instruments that print lines are only ever read")

    # --- they speak --------------------------------------------------------------------------------------------------

    async def _hear(self, cutter: LineCutter) -> list[Report | Rejected]:
        broken = cutter.broken
        data = await self._stream.read(SILENCE_S)
        if not data:
            cutter.silence()
        messages = [message for line in cutter.feed(data) for message in self._read(line)]
        if cutter.broken > broken:
            messages.append(self._rejected("broken_line", "a line without an end: check end, speed and wiring"))
        return messages

    def _read(self, line: bytes) -> list[Report | Rejected]:
        told = [said for each in self._instruments if (said := each.reader.read(line)) is not None]
        if told:
            return told
        return [self._rejected("not_understood", f"no pattern matches the whole line {ascii(line)[1:]}"[:200])]

    def _rejected(self, cause: str, text: str) -> Rejected:
        only = self._instruments[0].reader.device if len(self._instruments) == 1 else None
        return Rejected(only, cause, text)

    # --- we ask ------------------------------------------------------------------------------------------------------

    async def _ask_next(self) -> Report | Rejected:
        """Wait until somebody is due, ask, and return what came of it."""
        loop = asyncio.get_running_loop()
        instrument = min(self._instruments, key=lambda each: each.due_s)
        while (wait_s := instrument.due_s - loop.time()) > 0:
            await self._stream.read(min(wait_s, _RETRY_S))  # what is said unasked belongs to nobody
        instrument.due_s = loop.time() + instrument.every_s
        self._stream.write(instrument.request)
        until_s = loop.time() + self._timeout_s
        cutter, strange = LineCutter(instrument.end), b""
        cutter.clear()
        while (left_s := until_s - loop.time()) > 0:
            for line in cutter.feed(await self._stream.read(left_s)):
                said = instrument.reader.read(line)
                if said is not None:
                    return said
                strange = line
        await self._quiet()
        device = instrument.reader.device
        if strange:
            return Rejected(device, "not_understood", f"no pattern matches the whole line {ascii(strange)[1:]}"[:200])
        return Rejected(device, "no_answer", f"no line within {self._timeout_s:g} s of {ascii(instrument.request)[1:]}")

    async def _quiet(self) -> None:
        """Listen until nobody speaks any more."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + _QUIET_CAP_S
        while loop.time() < until_s and await self._stream.read(SILENCE_S):
            pass
