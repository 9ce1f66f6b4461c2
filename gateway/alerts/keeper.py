"""Events and states on their way to disk, each event with the state that it led to; what is not taken waits here."""

from __future__ import annotations

import asyncio
import sqlite3

import structlog

from gateway.alerts.live import Key
from gateway.alerts.state import Event
from gateway.alerts.store import AlarmStore

log = structlog.get_logger()

_MOST_UNSAVED = 20_000
"""Events that memory holds while the disk takes nothing; the oldest go first."""


class Keeper:
    """Writes to one store, one batch after the other."""

    def __init__(self, store: AlarmStore) -> None:
        self._store = store
        self._events: list[Event] = []
        self._states: dict[Key, str | None] = {}
        self._happened = asyncio.Event()
        self._storing = asyncio.Lock()
        self._failing = False

    def event(self, event: Event) -> None:
        """Store an event at once."""
        self._events.append(event)
        self._happened.set()

    def state(self, key: Key, text: str | None) -> None:
        """Store a state with the next event, or the next time; None forgets it."""
        self._states[key] = text

    async def save_at_once(self) -> None:
        """Save whenever something has happened, until cancelled."""
        while True:
            await self._happened.wait()
            await self.save()

    async def save(self) -> None:
        """Store what is not stored yet; what the disk does not take stays for the next time."""
        async with self._storing:
            self._happened.clear()
            if not self._events and not self._states:
                return
            events, self._events = self._events, []
            states, self._states = self._states, {}
            try:
                await self._store.keep(events, states)
            except (sqlite3.Error, OSError) as error:
                self._events = [*events, *self._events][-_MOST_UNSAVED:]
                self._states = {**states, **self._states}
                if not self._failing:
                    log.error("alarms cannot be stored, they wait in memory", error=str(error))
                self._failing = True
            else:
                if self._failing:
                    log.info("alarms are stored again")
                self._failing = False
