"""Up or down, whoever speaks first on the wire: health, one log line each way, the wait before the next try."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog

from drivers.errors import LinkDown
from gateway.backoff import delay_s
from gateway.clock import Clock
from gateway.model import DeviceHealth, LinkHealth

log = structlog.get_logger()

RECONNECT_FIRST_S, RECONNECT_CAP_S = 0.5, 30.0
STABLE_S = 10.0
"""A connection that is lost sooner was no recovery: whoever accepts and hangs up is tried less and less often."""


class LinkState:
    """What a worker says of its wire. ``devices`` are those on it: with the wire down they are down too."""

    def __init__(
        self, health: LinkHealth, devices: Mapping[str, DeviceHealth], clock: Clock, chance: Callable[[], float]
    ) -> None:
        self._health = health
        self._devices = devices
        self._clock = clock
        self._chance = chance
        self._failures = 0
        self._lost_s = 0.0
        self._up_s: float | None = None
        self._use_mark = (clock.monotonic_s(), 0.0)

    def came_up(self) -> None:
        """Note that the wire carries requests or reports."""
        health = self._health
        health.state, health.since_ms, health.last_error = "up", self._clock.wall_ms(), None
        if self._failures:
            health.reconnects += 1
            log.info("link is back", link=health.name, after_s=round(self._clock.monotonic_s() - self._lost_s, 1))
        for device in self._devices.values():
            if device.state == "link_down":
                device.state = "waiting"
        self._up_s = self._clock.monotonic_s()

    def heard(self, anybody: bool) -> bool:
        """Note whether any of several devices answers; True when they do again after none did.

        A wire that is open and dead is neither up nor down: the adapter is there, and what hangs on it is not.
        """
        health, state = self._health, "up" if anybody else "silent"
        if health.state == state:
            return False
        health.state, health.since_ms = state, self._clock.wall_ms()
        if anybody:
            log.info("devices answer again", link=health.name)
        else:
            log.warning("no device on the link answers", link=health.name, address=health.address)
        return anybody

    def went_down(self, why: LinkDown) -> bool:
        """Note a loss or another failed try; return True for the loss itself."""
        health = self._health
        now_s = self._clock.monotonic_s()
        if self._up_s is not None and now_s - self._up_s >= STABLE_S:
            self._failures = 0
        if self._up_s is not None or not self._failures:
            self._lost_s = now_s
        self._up_s = None
        self._failures += 1
        health.count("link_down")
        health.last_error = str(why)
        for device in self._devices.values():
            device.state, device.last_error = "link_down", str(why)
        if health.state == "down":
            return False
        health.state, health.since_ms = "down", self._clock.wall_ms()
        log.warning("link lost", link=health.name, address=health.address, reason=str(why))
        return True

    def wait_s(self) -> float:
        """Return the pause before the next try."""
        failures = max(1, self._failures)
        return delay_s(failures, first_s=RECONNECT_FIRST_S, cap_s=RECONNECT_CAP_S, chance=self._chance())

    def note_use(self, busy_s: float) -> None:
        """Refresh the share of time in which the wire was in use, over windows of ten seconds.

        ``busy_s``: how long it was, since the start.
        """
        now_s = self._clock.monotonic_s()
        since_s, before_s = self._use_mark
        if now_s - since_s >= 10.0:
            self._health.busy_share = min(1.0, (busy_s - before_s) / (now_s - since_s))
            self._use_mark = (now_s, busy_s)
