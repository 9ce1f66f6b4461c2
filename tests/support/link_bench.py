"""Link workers on scripted wires and devices, and a notebook in place of the pipeline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from drivers.api import Request, Value, WireCost
from drivers.errors import DriverError, LinkDown
from gateway.links import Writer
from gateway.links.worker import LinkWorker, Polled
from gateway.model import DeviceHealth, LinkHealth, Mark
from tests.support.clock import ManualClock

Answer = Callable[[Request], tuple[Value, ...]]


@dataclass
class ScriptedWire:
    refuse_opens: int = 0
    opens: int = 0
    closes: int = 0
    busy_s: float = 0.0
    bytes_discarded: int = 0

    async def open(self) -> None:
        self.opens += 1
        if self.opens <= self.refuse_opens:
            raise LinkDown("no such port")

    async def close(self) -> None:
        self.closes += 1


@dataclass
class ScriptedDevice:
    """One request per point; ``answer`` and ``obey`` decide what comes back."""

    clock: ManualClock
    answer: Answer = lambda request: tuple(1.0 for _ in request.points)
    asked: list[float] = field(default_factory=list)
    obey: Callable[[float], None] = lambda raw: None
    written: list[tuple[str, float, float | None]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    """Everything that was put on the wire, in order: ``read p``, ``write p``."""
    takes_s: float = 0.0
    """Of the clock, for a read."""

    def plan(self, names: Sequence[str]) -> list[Request]:
        return [Request((name,)) for name in names]

    async def ask(self, request: Request) -> tuple[Value, ...]:
        self.asked.append(self.clock.monotonic_s() - 1000.0)
        self.told.append(f"read {request.points[0]}")
        await self.clock.sleep(self.takes_s)
        return self.answer(request)

    async def write(self, point: str, raw: float, hold_s: float | None = None) -> None:
        self.told.append(f"write {point}")
        await asyncio.sleep(0)
        self.obey(raw)
        self.written.append((point, raw, hold_s))

    def cost(self, request: Request) -> WireCost:
        return WireCost(8, 9)

    async def probe(self, request: Request) -> tuple[tuple[Value, ...], bytes, bytes]:
        return await self.ask(request), b"", b""


@dataclass
class Notebook:
    taken: list[tuple[str, tuple[str, ...], tuple[Value, ...]]] = field(default_factory=list)
    missing: list[tuple[str, tuple[str, ...], str]] = field(default_factory=list)

    def prepare(self, device: str, points: tuple[str, ...]) -> Callable[[Sequence[Value], int], None]:
        return lambda values, time_ms, marks=None: self.taken.append((device, points, tuple(values)))

    def missed(self, device: str, points: tuple[str, ...], mark: Mark, time_ms: int) -> None:
        self.missing.append((device, points, str(mark)))


@dataclass
class Bench:
    clock: ManualClock
    wire: ScriptedWire
    book: Notebook
    health: LinkHealth
    devices: dict[str, DeviceHealth]
    worker: Writer


@asynccontextmanager
async def running(
    clock: ManualClock, polled: Sequence[Polled], wire: ScriptedWire | None = None
) -> AsyncIterator[Bench]:
    wire, book, health = wire or ScriptedWire(), Notebook(), LinkHealth("bus", "serial", "port")
    devices = {p.name: DeviceHealth(p.name) for p in polled}
    worker = LinkWorker(wire, polled, book, clock, health, devices, chance=lambda: 0.5)
    task = asyncio.create_task(worker.run())
    try:
        await clock.advance(0)
        yield Bench(clock, wire, book, health, devices, worker)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert wire.closes >= 1


def failing(error: DriverError) -> Answer:
    """An answer that is this error."""

    def answer(request: Request) -> tuple[Value, ...]:
        raise error

    return answer
