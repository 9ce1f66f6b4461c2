"""Clocks for tests: one that only moves when a test says so, and one that runs fast."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time


class ManualClock:
    """Fulfils gateway.clock.Clock. ``advance`` moves both times and wakes sleepers in order."""

    def __init__(self, wall_ms: int = 1_790_000_000_000) -> None:
        self._wall_ms = float(wall_ms)
        self._monotonic_s = 1000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def wall_ms(self) -> int:
        return int(self._wall_ms)

    def monotonic_s(self) -> float:
        return self._monotonic_s

    def jump_wall(self, seconds: float) -> None:
        """What NTP does: wall time moves, durations do not."""
        self._wall_ms += seconds * 1000

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._monotonic_s + seconds, next(self._order), future))
        await future

    async def advance(self, seconds: float) -> None:
        """Move time, waking each sleeper at its own moment and letting it run."""
        end = self._monotonic_s + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            due, _, future = heapq.heappop(self._sleepers)
            self._move_to(max(due, self._monotonic_s))
            if not future.done():
                future.set_result(None)
            await settle()
        self._move_to(end)
        await settle()

    def _move_to(self, monotonic_s: float) -> None:
        self._wall_ms += (monotonic_s - self._monotonic_s) * 1000
        self._monotonic_s = monotonic_s


async def settle(rounds: int = 20) -> None:
    """Let everything that is ready run."""
    for _ in range(rounds):
        await asyncio.sleep(0)


class FastClock:
    """Fulfils gateway.clock.Clock: ``speed`` seconds pass in each real one, so that an hour is short."""

    def __init__(self, speed: float, wall_ms: int) -> None:
        self._speed = speed
        self._wall_ms = wall_ms
        self._begun_s = time.monotonic()

    def wall_ms(self) -> int:
        return self._wall_ms + int(1000 * self.monotonic_s())

    def monotonic_s(self) -> float:
        return self._speed * (time.monotonic() - self._begun_s)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds) / self._speed)
