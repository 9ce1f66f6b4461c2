"""One task dies, the gateway lives: restarted with back-off and counted, and nobody else waits (fault 9)."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from gateway.supervisor import CALM_S, CAP_S, FIRST_S, Supervisor
from tests.support.clock import ManualClock


class Failing:
    """Runs for ``runs_s``, then raises; notes when it was started."""

    def __init__(self, clock: ManualClock, runs_s: float = 0.0) -> None:
        self.clock, self.runs_s = clock, runs_s
        self.starts_s: list[float] = []

    async def run(self) -> None:
        self.starts_s.append(self.clock.monotonic_s())
        await self.clock.sleep(self.runs_s)
        raise RuntimeError("bad luck")

    def waits_s(self) -> list[float]:
        return [b - a - self.runs_s for a, b in zip(self.starts_s, self.starts_s[1:], strict=False)]


async def kept(supervisor: Supervisor, clock: ManualClock, task: Failing, for_s: float) -> None:
    keeping = asyncio.create_task(supervisor.keep("link a", task.run))
    await clock.advance(for_s)
    keeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await keeping


async def test_a_task_that_fails_is_started_again_ever_more_rarely_and_counted() -> None:
    clock = ManualClock()
    supervisor, task = Supervisor(clock), Failing(clock)
    with capture_logs() as logs:
        await kept(supervisor, clock, task, 600)
    waits = task.waits_s()
    assert FIRST_S / 2 <= waits[0] <= FIRST_S
    assert all(CAP_S / 2 <= wait <= CAP_S for wait in waits[8:])
    assert 10 < len(task.starts_s) < 40, "neither given up nor in a circle"
    assert supervisor.restarts == {"link a": len(task.starts_s)}
    assert supervisor.last_errors == {"link a": "RuntimeError: bad luck"}
    assert {(entry["task"], entry["exc_info"]) for entry in logs} == {("link a", True)}


async def test_after_a_calm_time_the_wait_is_short_again() -> None:
    clock = ManualClock()
    task = Failing(clock, CALM_S + 1)
    await kept(Supervisor(clock), clock, task, 10 * CALM_S)
    assert all(wait <= FIRST_S for wait in task.waits_s())


async def test_the_others_go_on_meanwhile() -> None:
    clock, ticks = ManualClock(), 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await clock.sleep(1.0)
            ticks += 1

    supervisor = Supervisor(clock)
    other = asyncio.create_task(supervisor.keep("control", tick))
    await kept(supervisor, clock, Failing(clock), 60)
    assert ticks == 60
    assert "control" not in supervisor.restarts
    other.cancel()
    await asyncio.gather(other, return_exceptions=True)


async def test_a_task_that_ends_by_itself_is_not_started_again() -> None:
    starts = 0

    async def once() -> None:
        nonlocal starts
        starts += 1

    await Supervisor(ManualClock()).keep("once", once)
    assert starts == 1
