"""What a device was told to do, until it lets go by itself: a pulse ends, or its master falls silent.

Its times are those of the gateway that talks to it, never those of a world that runs faster: a dead-man time would
prove nothing otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from gateway.config.profiles import TIMEOUT
from simulators.errors import Silent

REBOOT_S = 0.5


class Outputs:
    """Points of one device that were written, by metric. What was never written, or was let go, is not in ``now``.

    The point ``output_timeout_s`` is the watchdog's time, 0 for never; it survives a reboot.
    """

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._written: dict[str, tuple[float, float]] = {}
        self._heard_s = monotonic_s()
        self._back_s = -math.inf

    def set(self, metric: str, value: float, hold_s: float | None = None) -> None:
        """Do as told, for ``hold_s`` at most. Raises Silent during a reboot."""
        self.heard()
        until_s = math.inf if hold_s is None else self._monotonic_s() + hold_s
        self._written[metric] = (value, until_s)

    def heard(self) -> None:
        """The master spoke to this device: its watchdog starts anew. Raises Silent during a reboot."""
        self._let_go()
        now_s = self._monotonic_s()
        if now_s < self._back_s:
            raise Silent
        self._heard_s = now_s

    def now(self) -> dict[str, float]:
        """Return what holds at this moment."""
        self._let_go()
        return {metric: value for metric, (value, _) in self._written.items()}

    def on(self, metric: str) -> bool:
        """Tell whether this output is on."""
        return self.now().get(metric, 0.0) > 0.0

    def reboot(self) -> None:
        """Forget everything but the watchdog's time, and answer nothing for half a second."""
        self._forget()
        self._back_s = self._monotonic_s() + REBOOT_S

    def _let_go(self) -> None:
        now_s = self._monotonic_s()
        timeout_s, _ = self._written.get(TIMEOUT, (0.0, 0.0))
        if timeout_s > 0.0 and now_s - self._heard_s > timeout_s:
            self._forget()
        for metric in [metric for metric, (_, until_s) in self._written.items() if until_s <= now_s]:
            del self._written[metric]

    def _forget(self) -> None:
        self._written = {metric: kept for metric, kept in self._written.items() if metric == TIMEOUT}
