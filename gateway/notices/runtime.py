"""Notices while the gateway runs: the alarms' events in, few messages out, each channel at its own pace.

An endpoint that is down keeps nobody waiting but its own channel, which tries again ever more rarely and then tells in
one message what had gathered. While the disk takes nothing, changes wait in memory and people are told all the same.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import structlog

from gateway.backoff import delay_s
from gateway.clock import Clock
from gateway.model import NoticeEntry, NoticeHealth
from gateway.notices.line import AlarmEvent, Line, follow, told
from gateway.notices.policy import HOUR_MS, Settings, plan
from gateway.notices.service import Send
from gateway.notices.store import Changes, Channel, Cursor, Key, NoticeStore
from gateway.notices.text import About, Message, compose, sentence

log = structlog.get_logger()

TICK_S = 1.0
FIRST_S, CAP_S = 30.0, 1800.0
"""Waits after failures: half a minute at first, half an hour at most."""
_AT_ONCE = 500
"""Events taken in one go."""
_MOST_UNSAVED = 1000
"""Messages that memory remembers while the disk takes nothing."""


class AlarmEvents(Protocol):
    """Where the alarms' events are read: their store."""

    async def events_after(self, number: int, limit: int) -> Sequence[tuple[int, AlarmEvent]]:
        """Events with a greater number, each with its own, in order."""
        ...

    async def last_number(self, until_ms: int | None = None) -> int:
        """Number of the newest event, or of the newest that had happened by then; 0 when there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Outlet:
    """One configured channel: how it wants to be told, in which language, and the way out."""

    settings: Settings
    language: str
    send: Send


class NoticeRuntime:
    """Made by ``open``. Keep ``run`` running; ``health`` and ``outbox`` say how it stands."""

    def __init__(
        self,
        outlets: Mapping[str, Outlet],
        about: About,
        events: AlarmEvents,
        store: NoticeStore,
        cursor: Cursor,
        clock: Clock,
        chance: Callable[[], float],
    ) -> None:
        """Use ``open``."""
        self._outlets = outlets
        self._about = about
        self._events = events
        self._store = store
        self._cursor = cursor
        self._clock = clock
        self._chance = chance
        self._channels = dict(store.kept.channels)
        self._lines: dict[str, dict[str, Line]] = {name: {} for name in outlets}
        for (channel, alarm), line in store.kept.lines.items():
            self._lines[channel][alarm] = line
        self._sent_ms = {name: list(store.kept.sent_ms.get(name, ())) for name in outlets}
        self._health = {name: NoticeHealth(name) for name in outlets}
        self._unsaved = Changes(cursor=cursor)
        self._saving = asyncio.Lock()
        self._failing = False
        self._show()

    @classmethod
    async def open(
        cls,
        outlets: Mapping[str, Outlet],
        about: About,
        events: AlarmEvents,
        store: NoticeStore,
        clock: Clock,
        chance: Callable[[], float] = random.random,
    ) -> NoticeRuntime:
        """Begin where the last run ended; the first time with what happens from now on.

        ``store`` was opened for exactly these channels, and belongs to the runtime from here on.
        """
        cursor = store.kept.cursor or Cursor(await events.last_number(), clock.wall_ms())
        runtime = cls(outlets, about, events, store, cursor, clock, chance)
        await runtime.save()
        return runtime

    async def run(self) -> None:
        """Take and tell until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._again(self.take), name="notices")
            for name in self._outlets:
                tasks.create_task(self._again(partial(self.serve, name)), name=f"notices {name}")

    async def _again(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await work()
            await self._clock.sleep(TICK_S)

    # --- in ----------------------------------------------------------------------------------------------------

    async def take(self) -> None:
        """Turn the alarms' new events into lines; the cursor moves with them."""
        try:
            while events := await self._events.events_after(self._cursor.number, _AT_ONCE):
                self._follow(events)
            if await self._events.last_number() < self._cursor.number:
                await self._begin_anew()
        except (sqlite3.Error, OSError) as why:
            log.debug("the alarms' events cannot be read, trying again", reason=str(why))  # the alarms complain
        await self.save()

    def _follow(self, events: Sequence[tuple[int, AlarmEvent]]) -> None:
        now_ms = self._clock.wall_ms()
        for number, event in events:
            for name, outlet in self._outlets.items():
                if outlet.settings.wants(event.rule):
                    before = self._lines[name].get(event.alarm)
                    self._put(name, event.alarm, follow(before, event, number, outlet.settings.severity, now_ms))
            self._cursor = Cursor(number, max(self._cursor.newest_ms, event.at_ms))
        self._unsaved.cursor = self._cursor

    async def _begin_anew(self) -> None:
        """The alarms' file was set aside or emptied, and its numbers begin again: go on by time.

        Nobody will tell the end of what was told before, so it is forgotten.
        """
        number = await self._events.last_number(self._cursor.newest_ms)
        log.warning("the alarms' events begin anew", before=self._cursor.number, now=number)
        self._cursor = self._unsaved.cursor = replace(self._cursor, number=number)
        for name, lines in self._lines.items():
            for line in [line for line in lines.values() if not line.news]:
                self._put(name, line.alarm, None)

    def _put(self, name: str, alarm: str, line: Line | None) -> None:
        if self._lines[name].get(alarm) == line:
            return
        if line is None:
            del self._lines[name][alarm]
        else:
            self._lines[name][alarm] = line
        key: Key = (name, alarm)
        self._unsaved.lines[key] = line

    # --- out ---------------------------------------------------------------------------------------------------

    async def serve(self, name: str) -> None:
        """Send what is due on one channel, and settle it."""
        outlet, now_ms = self._outlets[name], self._clock.wall_ms()
        if not self._lines[name]:
            return
        due = plan(self._lines[name].values(), outlet.settings, self._sent_ms[name], now_ms)
        if due.expired:
            self._expire(name, due.expired, now_ms)
        channel = self._channels[name]
        # a time further ahead than any wait was written before the clock was set back
        rests = channel.failures and 0 < channel.retry_ms - now_ms <= CAP_S * 1000
        if due.send and not rests:
            message = compose(due.send, self._about, outlet.language, channel.unsaid, now_ms)
            why_not = await outlet.send(message)
            if why_not is None:
                self._settle(name, due.send, message, channel.unsaid)
            else:
                self._postpone(name, why_not)
        await self.save()

    def _expire(self, name: str, lines: Sequence[Line], now_ms: int) -> None:
        for line in lines:
            self._put(name, line.alarm, None)
        channel, count = self._channels[name], len(lines)
        self._set(name, replace(channel, expired=channel.expired + count, unsaid=channel.unsaid + count))
        alarms = tuple(line.alarm for line in lines)
        title = sentence(lines[0], "en") if count == 1 else f"{count} notices"
        self._unsaved.messages.append(NoticeEntry(name, "expired", now_ms, title, "", alarms))
        log.warning("notices are too old to be sent", channel=name, count=count)

    def _settle(self, name: str, sent: Sequence[Line], message: Message, said: int) -> None:
        now_ms, before = self._clock.wall_ms(), self._channels[name]
        for line in sent:
            if (current := self._lines[name].get(line.alarm)) is not None:
                self._put(name, line.alarm, told(current, line, now_ms))
        since_ms = now_ms if before.failures or not before.since_ms else before.since_ms
        self._set(name, replace(before, failures=0, retry_ms=0, since_ms=since_ms, unsaid=before.unsaid - said))
        entry = NoticeEntry(name, "sent", now_ms, message.title, message.body, message.alarms)
        self._unsaved.messages = [*self._unsaved.messages, entry][-_MOST_UNSAVED:]
        self._sent_ms[name] = [ms for ms in self._sent_ms[name] if abs(now_ms - ms) < HOUR_MS] + [now_ms]
        self._health[name].sent += 1
        if before.failures:
            down_s = max(0, now_ms - before.since_ms) // 1000
            log.info("notices are taken again", channel=name, after_s=down_s, alarms=len(sent))

    def _postpone(self, name: str, why_not: str) -> None:
        now_ms, before = self._clock.wall_ms(), self._channels[name]
        failures = before.failures + 1
        wait_s = delay_s(failures, first_s=FIRST_S, cap_s=CAP_S, chance=self._chance())
        since_ms = before.since_ms if before.failures else now_ms
        retry_ms = now_ms + round(wait_s * 1000)
        self._set(name, replace(before, failures=failures, retry_ms=retry_ms, since_ms=since_ms, last_error=why_not))
        self._health[name].failed += 1
        if not before.failures:
            log.error("notices are not taken, they wait", channel=name, reason=why_not)

    def _set(self, name: str, channel: Channel) -> None:
        self._channels[name] = self._unsaved.channels[name] = channel

    # --- how it stands -----------------------------------------------------------------------------------------

    def health(self) -> Mapping[str, NoticeHealth]:
        """Each channel's live state, by name; the objects stay the same."""
        return self._health

    def _show(self) -> None:
        for name, health in self._health.items():
            channel = self._channels[name]
            health.state = "down" if channel.failures else "up" if channel.since_ms else "waiting"
            health.since_ms, health.last_error, health.expired = channel.since_ms, channel.last_error, channel.expired
            health.waiting = sum(bool(line.news) for line in self._lines[name].values())

    async def outbox(self) -> Sequence[NoticeEntry]:
        """What waits, then what was sent or left out lately, the newest first."""
        await self.save()
        return await self._store.outbox()

    # --- to disk -----------------------------------------------------------------------------------------------

    async def save(self) -> None:
        """Store what changed; what the disk does not take stays for the next time."""
        async with self._saving:
            if not self._unsaved:
                return
            self._show()
            changes, self._unsaved = self._unsaved, Changes()
            try:
                await self._store.keep(changes)
            except (sqlite3.Error, OSError) as why:
                self._unsaved = changes.before(self._unsaved)
                if not self._failing:
                    log.error("notices cannot be stored, they wait in memory", reason=str(why))
                self._failing = True
            else:
                if self._failing:
                    log.info("notices are stored again")
                self._failing = False

    async def close(self) -> None:
        """Store everything and release the file."""
        await self.save()
        await self._store.close()
