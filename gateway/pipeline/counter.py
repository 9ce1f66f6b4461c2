"""Does a counter register tell the truth? Wraps, resets and leaps of registers that should only grow. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.vocabulary import has_wrapped


@dataclass(slots=True)
class CounterGuard:
    """Watches one register. A fall that is no wrap, or a leap faster than plausible, must be confirmed once.

    The unconfirmed reading is not good (mark T): a meter that restarts, or a bit that flipped, shows one odd
    number; a meter that was replaced or set to zero goes on from there.
    """

    wrap: float | None = None
    max_per_hour: float | None = None
    last: float | None = None
    last_ms: int = 0
    suspect: float | None = None
    suspect_ms: int = 0
    wraps: int = 0
    resets: int = 0

    def judge(self, value: float, time_ms: int) -> bool:
        """Return True when the value is to be believed."""
        if self.last is None or self._follows(self.last, self.last_ms, value, time_ms):
            self._believe(value, time_ms)
            return True
        if has_wrapped(self.last, value, self.wrap):
            self.wraps += 1
            self._believe(value, time_ms)
            return True
        if self.suspect is not None and self._follows(self.suspect, self.suspect_ms, value, time_ms):
            self.resets += 1
            self._believe(value, time_ms)
            return True
        self.suspect, self.suspect_ms = value, time_ms
        return False

    def _believe(self, value: float, time_ms: int) -> None:
        self.last, self.last_ms, self.suspect = value, time_ms, None

    def _follows(self, before: float, before_ms: int, value: float, time_ms: int) -> bool:
        if value < before:
            return False
        if self.max_per_hour is None:
            return True
        hours = max(time_ms - before_ms, 60_000) / 3_600_000  # registers step: allow a minute's worth at once
        return value - before <= self.max_per_hour * hours
