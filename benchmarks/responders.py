"""The other side, in a process of its own: bare Modbus TCP responders and a counting InfluxDB responder."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from typing import cast

import uvloop

from benchmarks.map60 import MANY_DEVICES, images


class ModbusResponder(asyncio.Protocol):
    """Answers FC 03 and 04 from memory; parses nothing else."""

    images = images()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self.turn = itertools.cycle(self.images)
        self.rest = b""

    def data_received(self, data: bytes) -> None:
        data = self.rest + data
        while len(data) >= 12:
            start, count = int.from_bytes(data[8:10], "big"), int.from_bytes(data[10:12], "big")
            image = next(self.turn) if start == 0 else self.images[start % len(self.images)]
            words = image[start * 2 : (start + count) * 2]
            head = data[:4] + (3 + len(words)).to_bytes(2, "big") + data[6:8] + bytes([len(words)])
            self.transport.write(head + words)
            data = data[12:]
        self.rest = data


class Counts:
    requests = 0
    lines = 0
    fields = 0
    bytes = 0


class InfluxResponder(asyncio.Protocol):
    """Counts what POST /write brings and says 204; GET /counts tells."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self.buffer = bytearray()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self.buffer[:end]).lower()
            length = 0
            for line in head.split(b"\r\n")[1:]:
                if line.startswith(b"content-length:"):
                    length = int(line[15:])
            if len(self.buffer) < end + 4 + length:
                return
            body = bytes(self.buffer[end + 4 : end + 4 + length])
            del self.buffer[: end + 4 + length]
            if head.startswith(b"get"):
                text = json.dumps({k: getattr(Counts, k) for k in ("requests", "lines", "fields", "bytes")}).encode()
                self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text)
                continue
            Counts.requests += 1
            Counts.lines += body.count(b"\n") + (not body.endswith(b"\n"))
            Counts.fields += body.count(b"=") - 3 * (body.count(b"\n") + (not body.endswith(b"\n")))
            Counts.bytes += len(body)
            self.transport.write(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n")


async def main() -> None:
    loop = asyncio.get_running_loop()
    modbus = [await loop.create_server(ModbusResponder, "127.0.0.1", 0) for _ in range(MANY_DEVICES)]
    influx = await loop.create_server(InfluxResponder, "127.0.0.1", 0)
    ports = [server.sockets[0].getsockname()[1] for server in modbus]
    print(json.dumps({"modbus": ports, "influx": influx.sockets[0].getsockname()[1]}), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)  # until the benchmark closes our input


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
