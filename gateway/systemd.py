"""What the service manager is told: that the gateway runs, that it gets on, that it stops (sd_notify(3)).

The watchdog is fed only while every polled wire and every pump gets on. A part that has not moved for ten minutes is
no fault of a device or server, for which the workers have patience of their own: then systemd kills the gateway and
starts it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Hashable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from gateway.clock import Clock
from gateway.links.wires import is_polled

if TYPE_CHECKING:
    from gateway.app import Gateway

log = structlog.get_logger()

STILL_S = 600.0
"""So long a part may stand still, beyond three of its own rounds."""
TOLD_TO_WAIT_S = 3600.0
"""So long a pump may: a server may name the time of the next try."""


class Notifier:
    """Sends states to systemd; without one it says nothing."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """``environment`` holds NOTIFY_SOCKET, and WATCHDOG_USEC and WATCHDOG_PID where the unit has a watchdog."""
        self._address = environment.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):  # Linux's abstract namespace
            self._address = "\0" + self._address[1:]
        ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        microseconds = environment.get("WATCHDOG_USEC", "")
        self.watchdog_s = int(microseconds) / 1e6 if self._address and ours and microseconds.isdigit() else None
        """It kills us when it hears nothing for so long; None: there is no watchdog."""

    def tell(self, *states: str) -> None:
        """Send states such as ``READY=1``. What does not get through is not missed: the watchdog judges by silence."""
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto("\n".join(states).encode(), self._address)


class Progress:
    """Remembers when each part moved last."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[Hashable, float]] = {}

    def still(self, parts: Mapping[str, tuple[Hashable, float]], now_s: float) -> list[str]:
        """Return the parts that have not moved for their time.

        ``parts``: name -> what changes when it moves, and how many seconds it may stay the same.
        """
        seen = {}
        for name, (state, _) in parts.items():
            before = self._seen.get(name)
            seen[name] = before if before is not None and before[0] == state else (state, now_s)
        self._seen = seen
        return [name for name, (_, patience_s) in parts.items() if now_s - seen[name][1] > patience_s]


def parts_of(gateway: Gateway) -> dict[str, tuple[Hashable, float]]:
    """Return what must move just now: polled wires, and pumps that have something to send (see ``Progress.still``)."""
    parts: dict[str, tuple[Hashable, float]] = {}
    for name, link in gateway.site.config.links.items():
        devices = [device for device in gateway.site.devices.values() if device.config.link == name]
        if devices and is_polled(link, devices):  # on the others devices speak when they please
            wire = gateway.links[name]
            every_s = min(rule.every_s for device in devices for rule in device.rules.values())
            moves = (wire.requests, wire.answers, wire.reconnects, sum(wire.failures.values()))
            parts[f"link {name}"] = (moves, STILL_S + 3 * every_s)
    for sink in gateway.buffer.stats().sinks:
        if sink.pending_records:
            pump = gateway.pumps[sink.name].health
            moved = (pump.sent_records, pump.rejected, pump.retries)
            parts[f"sink {sink.name}"] = (moved, TOLD_TO_WAIT_S if pump.state == "down" else STILL_S)
    return parts


@asynccontextmanager
async def told_to_systemd(gateway: Gateway, environment: Mapping[str, str] | None = None) -> AsyncIterator[None]:
    """Tell systemd that ``gateway`` is ready, alive inside the block, and stopping after it."""
    notifier = Notifier(os.environ if environment is None else environment)
    notifier.tell("READY=1", f"STATUS=page at {gateway.page.url}")
    feeding = asyncio.create_task(_feed(notifier, gateway, gateway.clock), name="watchdog")
    try:
        yield
    finally:
        feeding.cancel()
        await asyncio.wait([feeding])
        notifier.tell("STOPPING=1", "STATUS=stops")


async def _feed(notifier: Notifier, gateway: Gateway, clock: Clock) -> None:
    if notifier.watchdog_s is None:
        return
    progress = Progress()
    standing: list[str] = []
    while True:
        still = progress.still(parts_of(gateway), clock.monotonic_s())
        if not still:
            notifier.tell("WATCHDOG=1")
        elif still != standing:
            log.error("stands still: the watchdog will start the gateway again", parts=still)
            notifier.tell(f"STATUS=stands still: {', '.join(still)}")
        standing = still
        await clock.sleep(notifier.watchdog_s / 4)
