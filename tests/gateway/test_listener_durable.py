"""What comes by itself is acknowledged when it is durable, known when it comes twice, and missed when it is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from drivers.api import Gone, Heard, Report, Subscribed, Value
from drivers.errors import LinkDown
from gateway.links import Take
from gateway.links.listener import ListenerWorker
from gateway.links.repeats import Repeats
from gateway.model import DeviceHealth, LinkHealth, Mark
from tests.gateway.test_buffer_contract import open_sqlite, record
from tests.support.clock import ManualClock, settle


class Disk:
    """Where readings become durable when the test says so."""

    def __init__(self) -> None:
        self.commit = asyncio.Event()
        self.hurried = 0

    async def durable(self) -> None:
        await self.commit.wait()

    def hurry(self) -> None:
        self.hurried += 1


class Source:
    window = 4

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Heard | LinkDown] = asyncio.Queue()
        self.acknowledged: list[int] = []

    async def reports(self) -> AsyncGenerator[Heard, None]:
        while not isinstance(item := await self.queue.get(), LinkDown):
            yield item
        raise item

    def acknowledge(self, count: int) -> None:
        self.acknowledged.append(count)

    async def write(self, device: str, point: str, raw: float, hold_s: float | None = None) -> None:
        raise ValueError

    async def says(self, *items: Heard | LinkDown) -> None:
        for item in items:
            self.queue.put_nowait(item)
        await settle()


@dataclass
class Book:
    taken: list[tuple[Value, ...]] = field(default_factory=list)
    gone: list[tuple[str, Mark]] = field(default_factory=list)

    def prepare(self, device: str, points: tuple[str, ...]) -> Take:
        return lambda raw, time_ms, marks=None, /: self.taken.append(tuple(raw))

    def missed(self, device: str, points: tuple[str, ...], mark: Mark, time_ms: int) -> None:
        self.gone.append((device, mark))


@dataclass
class Bench:
    source: Source
    disk: Disk
    book: Book
    clock: ManualClock
    link: LinkHealth
    crane: DeviceHealth


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    made = Bench(Source(), Disk(), Book(), ManualClock(), LinkHealth("mq", "mqtt", "x"), DeviceHealth("crane"))
    worker = ListenerWorker(
        made.source,
        {"crane": 2.0},
        made.book,
        made.clock,
        made.link,
        {"crane": made.crane},
        {"crane": ("load_t",)},
        lambda: 0.5,
        made.disk,
    )
    task = asyncio.create_task(worker.run())
    await made.source.says(Subscribed())
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def load(value: float, sent_at_ms: int | None = None, retained: bool = False) -> Report:
    return Report("crane", ("load_t",), (value,), sent_at_ms, retained)


async def test_nothing_is_acknowledged_before_it_is_durable() -> None:
    async with bench() as b:
        await b.source.says(load(1))
        assert b.book.taken == [(1,)], "it is shown at once"
        assert b.source.acknowledged == []
        b.disk.commit.set()
        await settle()
        assert b.source.acknowledged[-1] == 2


async def test_the_commit_is_hurried_when_half_the_window_waits() -> None:
    async with bench() as b:
        assert b.disk.hurried == 0
        await b.source.says(load(1))
        assert b.disk.hurried == 1, "two of four"


async def test_what_was_not_acknowledged_comes_again_and_counts_once() -> None:
    """Fault 59, and every break of the connection: the broker repeats what it has not been told to forget."""
    async with bench() as b:
        now_ms = b.clock.wall_ms()
        sent = [load(n, now_ms + n) for n in range(5)]
        await b.source.says(*sent, LinkDown("gone"))
        await b.clock.advance(1)
        await b.source.says(Subscribed(), *sent, load(9, now_ms + 9))
        assert b.book.taken == [(0,), (1,), (2,), (3,), (4,), (9,)]
        assert b.link.failures["repeated"] == 5
        assert b.source.acknowledged == [], "and a number of the connection before is never given to the new one"
        b.disk.commit.set()
        await settle()
        assert b.source.acknowledged[-1] == 7


async def test_a_last_will_marks_the_device_at_once() -> None:
    """Fault 68."""
    async with bench() as b:
        await b.source.says(load(1))
        assert b.crane.state == "good"
        await b.source.says(Gone("crane", "its last will"), Gone("crane", "its last will"))
        assert (b.crane.state, b.crane.last_error) == ("silent", "its last will")
        assert b.book.gone == [("crane", Mark.NO_ANSWER)], "once"
        await b.source.says(load(2))
        assert b.crane.state == "good"


def test_repeats_are_known_while_they_may_come_and_then_forgotten() -> None:
    repeats = Repeats()
    assert not any(repeats.is_known(load(n), n) for n in range(10))
    assert all(repeats.is_known(load(n), n) for n in range(10))
    assert not repeats.is_known(load(99), 3), "other values are another report"
    for _ in range(3):
        repeats.acknowledged()
    assert repeats.is_known(load(9), 9), "the newest stays known"
    assert repeats.is_known(load(5, retained=True), 5)
    assert len(repeats._before) + len(repeats._taken) <= 11
    for n in range(100, 5000):
        repeats.is_known(load(n), n)
    assert len(repeats._before) + len(repeats._taken) <= 2002


async def test_the_buffer_says_durable_with_the_commit_that_comes_anyway(tmp_path: Path) -> None:
    clock = ManualClock()
    buffer = await open_sqlite(tmp_path / "buffer.db", clock=clock)
    try:
        await buffer.durable()  # nothing waits
        buffer.put(record(1))
        waiting = asyncio.create_task(buffer.durable())
        await asyncio.sleep(0.05)
        assert not waiting.done(), "it hurries nothing"
        await clock.advance(1)
        await asyncio.wait_for(waiting, 5)
        buffer.put(record(2))
        waiting = asyncio.create_task(buffer.durable())
        await asyncio.sleep(0)
        buffer.hurry()
        await asyncio.wait_for(waiting, 5)
        assert [r.time_ms async for r in buffer.replay(0)] == [record(1).time_ms, record(2).time_ms]
    finally:
        await buffer.close()
