"""An instrument that prints lines: its profile's example with the world's numbers in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from drivers.serial_text.codec import Address, Limits, Point, printed, request_of
from gateway.config.loader import LoadedDevice
from gateway.config.profile import PointRule
from simulators.errors import Silent
from simulators.roles import Reader
from simulators.scaling import to_raw


class TextInstrument:
    """State and lines of one instrument."""

    def __init__(
        self,
        address: Address,
        points: Mapping[str, Point],
        limits: Limits,
        rules: Mapping[str, PointRule],
        read: Reader,
        example: Any,
    ) -> None:
        """``example``: the profile's raw example, whose lines it prints."""
        self.every_s = min(rules[name].every_s for name in points)
        self.request = request_of(address, limits)
        """Empty: it prints by itself."""
        self._id = address.id
        self._points = points
        self._limits = limits
        self._rules = rules
        self._read = read
        self._lines: Sequence[str] = example["lines"]

    def said(self) -> bytes:
        """Return what it prints now. Raises Silent without power."""
        now = self._read()
        values = {name: to_raw(self._rules[name], now.get(name, 0.0)) for name in self._points}
        lines = [printed(line, values, self._points, self._limits, self._id) for line in self._lines]
        return "".join([f"{line}{self._limits.end}" for line in lines]).encode(self._limits.encoding)


class TextEar:
    """The instruments of one line that print only when they are asked."""

    def __init__(self, instruments: Sequence[TextInstrument]) -> None:
        self._instruments = instruments
        self._heard = b""

    def hear(self, data: bytes, refuses: Callable[[], bool]) -> list[bytes]:
        """As ``simulators.bus.Ear.hear``."""
        self._heard = (self._heard + data)[-256:]
        for instrument in self._instruments:
            if self._heard.endswith(instrument.request):
                self._heard = b""
                return [instrument.said()]
        return []

    def forget(self) -> None:
        """As ``simulators.bus.Ear.forget``."""
        self._heard = b""


@contextmanager
def printing(instruments: Sequence[TextInstrument], write: Callable[[bytes], None]) -> Iterator[None]:
    """Let those print that do so by themselves, each at its own pace, from a running loop."""
    loop = asyncio.get_running_loop()
    handles: dict[int, asyncio.Handle] = {}

    def due(number: int, instrument: TextInstrument) -> None:
        handles[number] = loop.call_later(instrument.every_s, due, number, instrument)
        with suppress(Silent):
            write(instrument.said())

    for number, instrument in enumerate(instruments):
        if not instrument.request:
            handles[number] = loop.call_soon(due, number, instrument)
    try:
        yield
    finally:
        for handle in handles.values():
            handle.cancel()


def instruments_of(devices: Sequence[LoadedDevice], readers: Mapping[str, Reader]) -> list[TextInstrument]:
    """Return the instruments among the devices of one line."""
    return [
        TextInstrument(d.address, d.points, d.profile.limits, d.rules, readers[d.name], d.profile.example_raw)
        for d in devices
        if d.profile.driver == "serial_text"
    ]
