"""Three ways to read the same ten meters, each in a process of its own.

Prints one JSON object: values read, CPU seconds used meanwhile, and what else is known.
"""

from __future__ import annotations

import asyncio
import json
import resource
import struct
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.map60 import ADDRESSES, BLOCKS


def cpu_s() -> float:
    """User and system time of this process, all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def rss_mib() -> float:
    """Resident memory now."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


async def bare_sockets(ports: list[int], seconds: float) -> dict[str, Any]:
    """The floor: an asyncio protocol that sends prepared bytes and unpacks the answer with one struct."""
    requests = [struct.pack(">HHHBBHH", 1, 0, 6, 1, 4, start, count) for start, count in BLOCKS]
    members = [[a for a in ADDRESSES if start <= a < start + count] for start, count in BLOCKS]
    unpackers = [
        struct.Struct(">" + "".join(f"{(a - before) * 2}xf" for before, a in zip([start, *[m + 2 for m in got]], got)))  # noqa: B905
        for (start, _), got in zip(BLOCKS, members, strict=True)
    ]
    loop = asyncio.get_running_loop()
    deadline = time.monotonic() + seconds
    values = 0

    class Reader(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport
            self.data = b""
            self.waiter: asyncio.Future[None] | None = None

        def data_received(self, data: bytes) -> None:
            self.data += data
            if self.waiter is not None and len(self.data) >= 9 and len(self.data) >= 9 + self.data[8]:
                waiter, self.waiter = self.waiter, None
                waiter.set_result(None)

    async def one(port: int) -> None:
        nonlocal values
        transport, reader = await loop.create_connection(Reader, "127.0.0.1", port)
        while time.monotonic() < deadline:
            for request, unpacker in zip(requests, unpackers, strict=True):
                reader.data = b""
                reader.waiter = loop.create_future()
                transport.write(request)
                await reader.waiter
                values += len(unpacker.unpack_from(reader.data, 9))
        transport.close()

    before = cpu_s()
    await asyncio.gather(*[one(port) for port in ports])
    return {"values": values, "cpu_s": cpu_s() - before, "rss_mib": rss_mib(), "requests_per_cycle": len(BLOCKS)}


async def bare_pymodbus(ports: list[int], seconds: float) -> dict[str, Any]:
    """A loop over pymodbus's own client; the registers are not even turned into floats."""
    from pymodbus.client import AsyncModbusTcpClient

    deadline = time.monotonic() + seconds
    values = 0

    async def one(port: int) -> None:
        nonlocal values
        client = AsyncModbusTcpClient("127.0.0.1", port=port)
        await client.connect()
        while time.monotonic() < deadline:
            for start, count in BLOCKS:
                answer = await client.read_input_registers(start, count=count, device_id=1)
                assert len(answer.registers) == count
            values += len(ADDRESSES)
        client.close()

    before = cpu_s()
    await asyncio.gather(*[one(port) for port in ports])
    return {"values": values, "cpu_s": cpu_s() - before, "rss_mib": rss_mib(), "requests_per_cycle": len(BLOCKS)}


async def sitegate(ports: list[int], seconds: float, influx: int, every: str) -> dict[str, Any]:
    """The whole chain: plan, poll, pipeline, durable buffer, minute ledger, InfluxDB sink; page open as always."""
    import structlog

    from benchmarks.site import write_site
    from gateway.app import running
    from gateway.config.loader import load_site
    from gateway.config.site import TcpLink
    from gateway.links.wires import make_line, polled

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))  # warnings and worse
    with tempfile.TemporaryDirectory(prefix="sitegate-bench-", dir=Path.cwd()) as folder:
        site = load_site(write_site(Path(folder), ports, influx, every))
        lags: list[float] = []
        async with running(site) as gateway:
            watch = asyncio.create_task(_lag(lags))
            await asyncio.sleep(1.0)
            values, before, begun = gateway.latest.good_values, cpu_s(), time.monotonic()
            await asyncio.sleep(seconds)
            values, polled_s = gateway.latest.good_values - values, time.monotonic() - begun
            pending = gateway.buffer.stats().sinks[0].pending_records
            used, rss = cpu_s() - before, rss_mib()
            watch.cancel()
            meter = site.devices["meter-0"]
            link = site.config.links[meter.config.link]
            assert isinstance(link, TcpLink)
            device = polled(meter, make_line(link), 1.0).device
            stats = gateway.buffer.stats()
        lags.sort()
        return {
            "values": values,
            "cpu_s": used,
            "rss_mib": rss,
            "requests_per_cycle": len(device.plan(tuple(meter.points))),
            "values_per_s": values / polled_s,
            "lag_p99_ms": lags[int(len(lags) * 0.99)] * 1000,
            "pending_records_at_end": pending,
            "bytes_on_disk": stats.bytes_on_disk,
            "dropped_records": stats.dropped_records,
            "bad_values": gateway.latest.bad_values,
        }


async def _lag(lags: list[float]) -> None:
    """Measure how late the loop wakes a sleeper."""
    while True:
        begun = time.monotonic()
        await asyncio.sleep(0.01)
        lags.append(max(0.0, time.monotonic() - begun - 0.01))


async def main() -> None:
    name, raw = sys.argv[1], json.loads(sys.argv[2])
    run = {"bare_sockets": bare_sockets, "bare_pymodbus": bare_pymodbus, "sitegate": sitegate}[name]
    print(json.dumps(await run(**raw)))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
