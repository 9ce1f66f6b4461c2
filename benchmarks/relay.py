"""The other side of the alarm benchmark: dust sensors that get dusty one after the other, and the relay that answers.

Prints its ports; a line on standard input ends it, and it prints how long each relay frame took after its reading.
"""

from __future__ import annotations

import asyncio
import json
import struct
import sys
import time
from typing import ClassVar, cast

import uvloop

CLEAN, DUSTY = 40.0, 400.0
REST_S = 3.0
SENSORS = 5
"""One output each: an output may be started 60 times an hour."""


class Story:
    """One sensor at a time is dusty, until its output runs; then clean, until it stands still."""

    turn = 0
    begins_s: float | None = None
    """The start of the gateway is not what is measured."""
    told_s: float | None = None
    """When the dusty reading left us."""
    on: ClassVar[list[bool]] = [False] * SENSORS
    took_s: ClassVar[list[float]] = []

    @classmethod
    def reading(cls, sensor: int) -> float:
        """What a sensor says now."""
        now_s = time.perf_counter()
        cls.begins_s = cls.begins_s or now_s + REST_S
        if sensor != cls.turn % SENSORS or cls.on[sensor] or now_s < cls.begins_s:
            return CLEAN
        cls.told_s = cls.told_s or now_s
        return DUSTY

    @classmethod
    def switch(cls, output: int, on: bool) -> None:
        """Take a relay frame."""
        if on and not cls.on[output] and cls.told_s is not None:
            cls.took_s.append(time.perf_counter() - cls.told_s)
            cls.told_s = None
        elif not on and cls.on[output]:
            cls.turn += 1
        cls.on[output] = on


class Modbus(asyncio.Protocol):
    """Unit n + 1 is sensor n (FC 04) on one port, the relay (FC 01, 05) answers on the same."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self.rest = b""

    def data_received(self, data: bytes) -> None:
        data = self.rest + data
        while len(data) >= 12:
            request, data = data[:12], data[12:]
            self.transport.write(self.answer(request))
        self.rest = data

    def answer(self, request: bytes) -> bytes:
        """Return the reply to one request."""
        unit, function, address, number = struct.unpack(">BBHH", request[6:])
        if function == 5:
            Story.switch(address, number == 0xFF00)
            return request
        if function == 1:
            bits = sum(1 << n for n in range(number) if Story.on[address + n])
            body = bytes([1, bits])
        else:
            body = struct.pack(">Bf", 4, Story.reading(unit - 1))
        return request[:4] + (2 + len(body)).to_bytes(2, "big") + request[6:8] + body


async def main() -> None:
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(Modbus, "127.0.0.1", 0) for _ in range(SENSORS + 1)]
    print(json.dumps([server.sockets[0].getsockname()[1] for server in servers]), flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)  # until the benchmark has seen enough
    print(json.dumps(Story.took_s), flush=True)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
