"""The worker of a wire on which devices speak first (MQTT): takes reports, reconnects, notices who fell silent."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import aclosing

import structlog

from drivers.api import Listener, Rejected, Report, Subscribed, Value
from drivers.errors import LinkDown
from gateway.clock import Clock
from gateway.links import Intake, Take
from gateway.links.link_state import LinkState
from gateway.model import DeviceHealth, LinkHealth, Mark

log = structlog.get_logger()

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
        self._state = LinkState(health, device_health, clock, chance)
        self._takes: dict[tuple[str, tuple[str, ...]], Take] = {}
        self._newest: dict[tuple[str, tuple[str, ...]], tuple[int, tuple[Value, ...]]] = {}
        self._heard_s = dict.fromkeys(every_s, clock.monotonic_s())

    async def run(self) -> None:
        """Listen until the connection is lost, then connect again."""
        watch = asyncio.create_task(self._watch_silence())
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
                                    self._state.came_up()
                                    self._heard_s = dict.fromkeys(self._heard_s, self._clock.monotonic_s())
                except LinkDown as why:
                    if self._state.went_down(why):
                        for name, points in self._points.items():
                            self._intake.missed(name, points, Mark.NO_ANSWER, self._clock.wall_ms())
                await self._clock.sleep(self._state.wait_s())
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)

    def _take(self, report: Report) -> None:
        now_ms = self._clock.wall_ms()
        time_ms = report.sent_at_ms
        if report.retained and time_ms is None:
            self._reject("stale_retained", report.device, "a retained message without a time stamp is of unknown age")
            return
        if time_ms is None:
            time_ms = now_ms
        elif time_ms > now_ms + AHEAD_MS or time_ms < now_ms - OLDEST_MS:
            self._health.count("implausible_time")
            if report.retained:
                return
            time_ms = now_ms
        key = (report.device, report.points)
        if time_ms == report.sent_at_ms and self._is_known(key, report, time_ms):
            return
        take = self._takes.get(key)
        if take is None:
            take = self._takes[key] = self._intake.prepare(*key)
        take(report.values, time_ms)
        self._health.answers += 1
        if report.retained and now_ms - time_ms > 1000 * self._patience_s(report.device):
            return  # its last word, but no sign of life
        self._heard_s[report.device] = self._clock.monotonic_s()
        health = self._device_health[report.device]
        if health.state != "good":
            if health.state in ("silent", "link_down"):
                log.info("device reports again", device=health.name)
            health.state, health.last_error, health.failures_in_row = "good", None, 0
        health.last_answer_ms = now_ms

    def _is_known(self, key: tuple[str, tuple[str, ...]], report: Report, time_ms: int) -> bool:
        """True for what was taken before: a message delivered twice, or retained and repeated at each connection."""
        newest = self._newest.get(key)
        if newest is not None and (newest == (time_ms, report.values) or (report.retained and time_ms <= newest[0])):
            self._health.count("repeated")
            if not report.retained:
                self._heard_s[report.device] = self._clock.monotonic_s()
            return True
        if newest is None or time_ms >= newest[0]:
            self._newest[key] = (time_ms, report.values)
        return False

    def _patience_s(self, device: str) -> float:
        return max(3 * self._every_s[device], 5.0)

    def _reject(self, cause: str, device: str | None, detail: str) -> None:
        self._health.count(cause)
        if device is not None and device in self._device_health:
            self._device_health[device].last_error = detail
        self._health.last_error = detail

    async def _watch_silence(self) -> None:
        """Mark a device silent once when three of its reports are missing."""
        while True:
            await self._clock.sleep(1.0)
            now_s = self._clock.monotonic_s()
            for name in self._every_s:
                health = self._device_health[name]
                if health.state in ("silent", "link_down"):
                    continue
                if now_s - self._heard_s[name] > self._patience_s(name):
                    health.state = "silent"
                    health.last_error = f"no report for {now_s - self._heard_s[name]:.0f} s"
                    log.warning("device is silent", device=name, reason=health.last_error)
                    self._intake.missed(name, self._points[name], Mark.NO_ANSWER, self._clock.wall_ms())
