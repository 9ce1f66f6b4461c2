"""Good, partly, refused or silent: what a worker says of one polled device, and how long it leaves it alone."""

from __future__ import annotations

import structlog

from gateway.backoff import delay_s
from gateway.model import DeviceHealth

log = structlog.get_logger()

SILENT_FIRST_S, SILENT_CAP_S = 2.0, 120.0
SILENT_AFTER = 2
"""Rounds without any answer before a device is asked less often."""


def note_round(health: DeviceHealth, *, answered: int, refused: int, failed: int, now_ms: int) -> None:
    """Note how the requests of one round ended; one log line when that changes what holds of the device."""
    before = health.state
    if answered and not refused and not failed:
        health.state, health.last_error = "good", None
    elif answered:
        health.state = "partly"
    elif refused:
        health.state = "refused"
    if answered or refused:
        health.last_answer_ms = now_ms
    if health.state != before:
        if before in ("silent", "link_down") and answered:
            log.info("device answers again", device=health.name)
        elif health.state in ("partly", "refused"):
            log.warning("device refuses points", device=health.name, reason=health.last_error)


def note_silence(health: DeviceHealth, chance: float, at_least_s: float = 0.0) -> float:
    """Note a round without any answer; return how long to leave the device alone (0: next round as usual)."""
    health.failures_in_row += 1
    if health.failures_in_row < SILENT_AFTER:
        return 0.0
    if health.state != "silent":
        health.state = "silent"
        log.warning("device is silent", device=health.name, reason=health.last_error)
    wait_s = delay_s(
        health.failures_in_row - SILENT_AFTER + 1, first_s=SILENT_FIRST_S, cap_s=SILENT_CAP_S, chance=chance
    )
    wait_s = max(wait_s, at_least_s)
    health.next_try_in_s = wait_s
    return wait_s
