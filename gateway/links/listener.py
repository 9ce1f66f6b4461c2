"""The worker of a wire on which devices speak first (MQTT): takes reports, reconnects, notices who fell silent."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import aclosing

import structlog

from drivers.api import Listener, Rejected, Report, Subscribed
from drivers.errors import LinkDown
from gateway.clock import Clock
from gateway.links import Intake, Take
from gateway.links.backoff import delay_s
from gateway.model import DeviceHealth, LinkHealth, Mark

log = structlog.get_logger()

RECONNECT_FIRST_S, RECONNECT_CAP_S = 0.5, 30.0
AHEAD_MS = 60_000
"""A device clock this far ahead of ours is wrong: the arrival time is used and the case counted."""
OLDEST_MS = 30 * 86_400_000
"""Stamps older than this are a device without a clock, not late data."""


class ListenerWorker:
    """Owns one broker connection. ``run`` never returns by itself."""

    def __init__(
        self,
        listener: Listener,
        every_s: Mapping[str, float],
        intake: Intake,
        clock: Clock,
        health: LinkHealth,
        device_health: Mapping[str, DeviceHealth],
        points: Mapping[str, tuple[str, ...]],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._listener = listener
        self._every_s = every_s
        self._intake = intake
        self._clock = clock
        self._health = health
        self._device_health = device_health
        self._points = points
        self._chance = chance
        self._takes: dict[tuple[str, tuple[str, ...]], Take] = {}
        self._heard_s = dict.fromkeys(every_s, clock.monotonic_s())

    async def run(self) -> None:
        """Listen until the connection is lost, then connect again."""
        watch = asyncio.create_task(self._watch_silence())
        failures, lost_s = 0, self._clock.monotonic_s()
        try:
            while True:
                try:
                    async with aclosing(self._listener.reports()) as messages:
                        async for message in messages:
                            match message:
                                case Report():
                                    self._take(message)
                                case Rejected(device=device, cause=cause, detail=detail):
                                    self._reject(cause, device, detail)
                                case Subscribed():
                                    self._back(failures, lost_s)
                                    failures = 0
                except LinkDown as why:
                    if failures == 0:
                        lost_s = self._clock.monotonic_s()
                    failures += 1
                    self._lost(why)
                wait_s = delay_s(
                    max(1, failures), first_s=RECONNECT_FIRST_S, cap_s=RECONNECT_CAP_S, chance=self._chance()
                )
                await self._clock.sleep(wait_s)
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)

    def _back(self, failures: int, lost_s: float) -> None:
        health = self._health
        health.state, health.since_ms, health.last_error = "up", self._clock.wall_ms(), None
        if failures:
            health.reconnects += 1
            log.info("link is back", link=health.name, after_s=round(self._clock.monotonic_s() - lost_s, 1))

    def _lost(self, why: LinkDown) -> None:
        health, now_ms = self._health, self._clock.wall_ms()
        health.failures["link_down"] = health.failures.get("link_down", 0) + 1
        health.last_error = str(why)
        if health.state != "down":
            health.state, health.since_ms = "down", now_ms
            log.warning("link lost", link=health.name, address=health.address, reason=str(why))
            for name, points in self._points.items():
                self._device_health[name].state = "link_down"
                self._device_health[name].last_error = str(why)
                self._intake.missed(name, points, Mark.NO_ANSWER, now_ms)

    def _take(self, report: Report) -> None:
        now_ms = self._clock.wall_ms()
        time_ms = report.sent_at_ms
        if report.retained and time_ms is None:
            self._reject("stale_retained", report.device, "a retained message without a time stamp is of unknown age")
            return
        if time_ms is None:
            time_ms = now_ms
        elif time_ms > now_ms + AHEAD_MS or time_ms < now_ms - OLDEST_MS:
            self._count("implausible_time")
            if report.retained:
                return
            time_ms = now_ms
        key = (report.device, report.points)
        take = self._takes.get(key)
        if take is None:
            take = self._takes[key] = self._intake.prepare(*key)
        take(report.values, time_ms)
        self._health.answers += 1
        self._heard_s[report.device] = self._clock.monotonic_s()
        health = self._device_health[report.device]
        if health.state != "good":
            if health.state in ("silent", "link_down"):
                log.info("device reports again", device=health.name)
            health.state, health.last_error, health.failures_in_row = "good", None, 0
        health.last_answer_ms = now_ms

    def _reject(self, cause: str, device: str | None, detail: str) -> None:
        self._count(cause)
        if device is not None and device in self._device_health:
            self._device_health[device].last_error = detail
        self._health.last_error = detail

    def _count(self, cause: str) -> None:
        self._health.failures[cause] = self._health.failures.get(cause, 0) + 1

    async def _watch_silence(self) -> None:
        """Mark a device silent once when three of its reports are missing."""
        while True:
            await self._clock.sleep(1.0)
            now_s = self._clock.monotonic_s()
            for name, every_s in self._every_s.items():
                health = self._device_health[name]
                if health.state in ("silent", "link_down"):
                    continue
                if now_s - self._heard_s[name] > max(3 * every_s, 5.0):
                    health.state = "silent"
                    health.last_error = f"no report for {now_s - self._heard_s[name]:.0f} s"
                    log.warning("device is silent", device=name, reason=health.last_error)
                    self._intake.missed(name, self._points[name], Mark.NO_ANSWER, self._clock.wall_ms())
