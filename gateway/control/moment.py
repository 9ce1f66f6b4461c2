"""Monotonic time begins anew with each boot: what is stored or shown is wall time. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Now:
    """One moment on both clocks."""

    wall_ms: int
    s: float
    """Monotonic."""

    def to_ms(self, at_s: float | None) -> int | None:
        """Return the wall time of a monotonic moment; None for never."""
        if at_s is None or math.isinf(at_s):
            return None
        return round(self.wall_ms + (at_s - self.s) * 1000)

    def to_s(self, at_ms: int) -> float:
        """Return the monotonic moment. What seems to lie ahead was just now: our clock was set back meanwhile."""
        return self.s - max(0, self.wall_ms - at_ms) / 1000
