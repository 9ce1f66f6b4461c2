"""Keeps a task running: the one place that catches everything, logs it with its cause and starts again."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import structlog

from gateway.backoff import delay_s
from gateway.clock import Clock

log = structlog.get_logger()

FIRST_S, CAP_S = 1.0, 60.0
CALM_S = 300.0
"""A task that ran this long before it failed starts over with the shortest wait."""


class Supervisor:
    """Runs named tasks for ever and counts how often each had to be restarted."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.restarts: dict[str, int] = {}
        self.last_errors: dict[str, str] = {}

    async def keep(self, name: str, start: Callable[[], Awaitable[None]]) -> None:
        """Await ``start()`` again and again; returns only when it returns by itself or is cancelled."""
        failures = 0
        while True:
            begun_s = self._clock.monotonic_s()
            try:
                await start()
            except Exception as why:  # the supervisor: nothing else in the gateway catches everything
                self.restarts[name] = self.restarts.get(name, 0) + 1
                self.last_errors[name] = f"{type(why).__name__}: {why}"
                failures = 1 if self._clock.monotonic_s() - begun_s > CALM_S else failures + 1
                wait_s = delay_s(failures, first_s=FIRST_S, cap_s=CAP_S, chance=random.random())
                log.error("task failed, starting it again", task=name, after_s=round(wait_s, 1), exc_info=True)
                await self._clock.sleep(wait_s)
            else:
                return
