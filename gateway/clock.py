"""Wall time for stamps, monotonic time for every duration, behind one small protocol.

Everything that decides gets a ``Clock`` injected; tests hand in a ``ManualClock`` (tests/support/clock.py).
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """What the gateway may ask about time."""

    def wall_ms(self) -> int:
        """Unix time in milliseconds: for stamps only, it may jump."""
        ...

    def monotonic_s(self) -> float:
        """Seconds from an arbitrary start that never jump: for every duration."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait; a negative or zero time only yields to the loop."""
        ...


class SystemClock:
    """The clock of this machine."""

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))
