"""The way of the minutes from the ledger to the sinks, across stops and kills.

A minute goes out when it is over: of two versions on the way the older may arrive last, for lanes overtake one another,
and would stay. The last minute that an earlier process stored goes out once more, since nobody knows whether it did.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Protocol

from gateway.clock import Clock
from gateway.ledger.minute import MINUTE_MS, Minute
from gateway.ledger.records import as_readings
from gateway.ledger.store import GRACE_MS, Ledger
from gateway.model import Readings


class Records(Protocol):
    """What is needed of the buffer."""

    def put(self, readings: Readings) -> None: ...
    def replay(self, from_ms: int) -> AsyncIterator[Readings]: ...


class MinuteOutbox:
    """Closes the minutes of a ledger and puts them into the buffer."""

    def __init__(self, buffer: Records, ledger: Ledger, clock: Clock) -> None:
        self._buffer = buffer
        self._ledger = ledger
        self._clock = clock
        self._again_ms = ledger.last_stored_ms()

    async def catch_up(self) -> None:
        """At the start: count again what the buffer holds beyond the ledger."""
        async for record in self._buffer.replay(self._again_ms or 0):
            self._ledger.replay(record)

    async def close_minutes(self) -> list[Minute]:
        """Store and send the minutes that have ended, and return them; call every second."""
        now_ms = self._clock.wall_ms()
        minutes = await self._ledger.close_minutes(now_ms)
        if self._again_ms is None or now_ms < self._again_ms + MINUTE_MS + GRACE_MS:
            self._send(minutes)
        else:
            self._send(m for m in minutes if m.start_ms < self._again_ms)
            self._send(await self._ledger.stored_since(self._again_ms))
            self._again_ms = None
        return minutes

    async def close(self) -> None:
        """At an orderly stop: store everything, send what is over."""
        minutes = await self._ledger.flush()
        if self._again_ms is not None:
            minutes = await self._ledger.stored_since(self._again_ms)
        over_ms = self._clock.wall_ms() - MINUTE_MS
        self._send(m for m in minutes if m.start_ms <= over_ms)

    def _send(self, minutes: Iterable[Minute]) -> None:
        for record in as_readings(minutes):
            self._buffer.put(record)
