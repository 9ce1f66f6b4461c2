"""The worker of a wire on which devices speak first: takes reports, reconnects, notices who fell silent.

What was taken is acknowledged when it is durable, so that nothing is lost between a sender and our disk. While the disk
takes nothing, senders that wait for our word pause when the listener's window is full, and send it all again later.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import aclosing

import structlog

from drivers.api import Gone, Listener, Rejected, Report, Subscribed
from drivers.errors import DriverError, LinkDown
from gateway.clock import Clock
from gateway.links import Intake, Store, Take
from gateway.links.link_state import LinkState
from gateway.links.repeats import Repeats
from gateway.model import DeviceHealth, LinkHealth, Mark

log = structlog.get_logger()

AHEAD_MS = 60_000
"""A device clock this far ahead of ours is wrong: the arrival time is used and the case counted."""
OLDEST_MS = 30 * 86_400_000
"""Stamps older than this are a device without a clock, not late data."""
FRESH_MS = 30_000
"""Data younger than this, or than three reports, may raise alarms and move relays. What was retained never may."""


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
        store: Store | None = None,
    ) -> None:
        """``store`` None: what was taken counts as durable at once."""
        self._listener = listener
        self._every_s = every_s
        self._intake = intake
        self._clock = clock
        self._health = health
        self._device_health = device_health
        self._points = points
        self._state = LinkState(health, device_health, clock, chance)
        self._takes: dict[tuple[str, tuple[str, ...]], Take] = {}
        self._repeats: dict[tuple[str, tuple[str, ...]], Repeats] = {}
        self._store = store
        self._given = self._acknowledged = 0
        """Messages of this connection that the listener has yielded, and those that it was told to be durable."""
        self._news = asyncio.Event()
        self._heard_s = dict.fromkeys(every_s, clock.monotonic_s())

    async def run(self) -> None:
        """Listen until the connection is lost, then connect again."""
        watch = asyncio.create_task(self._watch_silence())
        try:
            while True:
                try:
                    await self._listen()
                except LinkDown as why:
                    if self._state.went_down(why):
                        for name, points in self._points.items():
                            self._intake.missed(name, points, Mark.NO_ANSWER, self._clock.wall_ms())
                await self._clock.sleep(self._state.wait_s())
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)

    async def _listen(self) -> None:
        """Take what comes until the connection ends; then raise LinkDown."""
        self._given = self._acknowledged = 0
        receipts = asyncio.create_task(self._acknowledge())
        try:
            async with aclosing(self._listener.reports()) as messages:
                async for message in messages:
                    match message:
                        case Report():
                            self._take(message)
                        case Rejected(device=device, cause=cause, detail=detail):
                            self._reject(cause, device, detail)
                        case Gone(device=device, detail=detail):
                            self._silent(device, detail)
                        case Subscribed():
                            self._state.came_up()
                            self._heard_s = dict.fromkeys(self._heard_s, self._clock.monotonic_s())
                    self._given += 1
                    self._news.set()
                    if self._store is not None and 2 * (self._given - self._acknowledged) >= self._listener.window:
                        self._store.hurry()
        finally:
            receipts.cancel()
            await asyncio.gather(receipts, return_exceptions=True)

    async def _acknowledge(self) -> None:
        """Tell the listener again and again how much is durable."""
        while True:
            await self._news.wait()
            self._news.clear()
            given = self._given
            if self._store is not None:
                await self._store.durable()
            self._listener.acknowledge(given)
            self._acknowledged = given
            for repeats in self._repeats.values():
                repeats.acknowledged()

    async def write(self, device: str, point: str, raw: float, hold_s: float | None) -> None:
        """As ``gateway.links.Writer.write``: returns when the broker has it; the next report shows what came of it."""
        try:
            await self._listener.write(device, point, raw, hold_s)
        except DriverError as why:
            self._health.count_write(why.cause)
            self._device_health[device].last_error = str(why)
            raise
        self._health.count_write(None)

    def refresh(self, device: str, points: tuple[str, ...]) -> None:
        """As ``gateway.links.Writer.refresh``: devices here speak first."""

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
        if report.retained and now_ms - time_ms <= max(FRESH_MS, 1000 * self._patience_s(report.device)):
            self._health.count("retained")  # never a fresh reading, whatever its stamp says; the next report is
            return
        key = (report.device, report.points)
        if time_ms == report.sent_at_ms and self._is_known(key, report, time_ms):
            return
        take = self._takes.get(key)
        if take is None:
            take = self._takes[key] = self._intake.prepare(*key)
        take(report.values, time_ms, report.marks)
        self._health.answers += 1
        if report.retained:
            return  # its last word, but no sign of life
        self._heard_s[report.device] = self._clock.monotonic_s()
        health = self._device_health[report.device]
        if health.state != "good":
            if health.state in ("silent", "link_down"):
                log.info("device reports again", device=health.name)
            health.state, health.last_error, health.failures_in_row = "good", None, 0
        health.last_answer_ms = now_ms

    def _is_known(self, key: tuple[str, tuple[str, ...]], report: Report, time_ms: int) -> bool:
        repeats = self._repeats.get(key)
        if repeats is None:
            repeats = self._repeats[key] = Repeats()
        if not repeats.is_known(report, time_ms):
            return False
        self._health.count("repeated")
        if not report.retained:
            self._heard_s[report.device] = self._clock.monotonic_s()
        return True

    def _patience_s(self, device: str) -> float:
        return max(3 * self._every_s[device], 5.0)

    def _reject(self, cause: str, device: str | None, detail: str) -> None:
        self._health.count(cause)
        if not detail:
            return  # counted, and nothing to act on
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
                    self._silent(name, f"no report for {now_s - self._heard_s[name]:.0f} s")

    def _silent(self, name: str, why: str) -> None:
        health = self._device_health[name]
        if health.state == "silent":
            return
        health.state, health.last_error = "silent", why
        log.warning("device is silent", device=name, reason=why)
        self._intake.missed(name, self._points[name], Mark.NO_ANSWER, self._clock.wall_ms())
