"""Alarms while the gateway runs: readings, minutes and device states in, events to disk, to listeners and to the page.

What is durable: every event, with the state of the rule it led to, in one transaction. While the disk takes nothing
both wait in memory, and the page shows the alarms all the same. After a start the windows are built again from the
ledger and judged once: what was raised before is not raised twice, what ended meanwhile is cleared.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import structlog

from gateway.alerts import figures
from gateway.alerts.alarm import GATEWAY, STEPS, closes_itself, follow, why_not
from gateway.alerts.condition import Conditions
from gateway.alerts.judge import Judge
from gateway.alerts.keeper import Keeper
from gateway.alerts.live import Key
from gateway.alerts.rule import Condition, Rule, RuleSet
from gateway.alerts.state import Event, State
from gateway.alerts.store import AlarmStore
from gateway.alerts.watch import Minutes, in_turns
from gateway.clock import Clock
from gateway.errors import NotNow
from gateway.ledger.day import Calendar
from gateway.ledger.minute import Minute
from gateway.model import Alarm, DeviceHealth, LimitLine, Readings, WindowVerdict

log = structlog.get_logger()

TICK_S = 1.0
_IDLE_EVERY_S = 10.0
"""How often rules are told that time has passed: missing data, alarms that nobody answers."""
_REST_EVERY_S = 600.0
"""How often states are stored that changed without an event."""
_PRUNE_EVERY_S = 6 * 3600.0
Listener = Callable[[Event, Alarm], None]
"""Is told at once of every event that changed an alarm, with the alarm as it is then. Must neither wait nor raise."""


class AlertRuntime:
    """Fulfils the page's AlarmDesk. ``feed`` it with minutes, let it ``see`` the pipeline, and keep ``run`` running."""

    def __init__(
        self,
        rules: RuleSet,
        store: AlarmStore,
        ledger: Minutes,
        clock: Clock,
        calendar: Calendar,
        health: Mapping[str, DeviceHealth],
        every_s: Mapping[str, Mapping[str, float]],
        newest_ms: Callable[[str], int | None],
        labels: Mapping[str, Mapping[str, str]],
        *,
        simulated: bool,
        keep_s: float,
    ) -> None:
        """``every_s`` is device -> its metrics -> seconds between readings.

        ``newest_ms`` gives the stamp of a device's newest record; ``labels`` is device or zone -> language -> its name.
        """
        self._store = store
        self._ledger = ledger
        self._clock = clock
        self._every_s = every_s
        self._labels = labels
        self._mark = {"simulated": True} if simulated else {}
        self._keep_ms = int(keep_s * 1000)
        self._conditions = Conditions(health, newest_ms, clock.wall_ms)
        self._inbox: list[Minute] = []
        self._alarms = {alarm.id: alarm for alarm in store.kept.alarms}
        self._keeper = Keeper(store)
        self._turns: dict[str, float] = {"rest": clock.monotonic_s()}
        self._listeners: list[Listener] = []
        self._verdict_listeners: list[Callable[[Event], None]] = []
        self._untold: deque[tuple[Event, Alarm]] = deque()
        self._telling = False
        self._judging = asyncio.Lock()
        self.revision = 0
        self._judge = self._make_judge(rules, calendar)
        self._judge.revive(store.kept.states)
        self._end_what_is_gone(store.kept.states)

    def _make_judge(self, rules: RuleSet, calendar: Calendar) -> Judge:
        return Judge(rules, calendar, self._every_s, self._conditions, self._clock, self._tell)

    def _end_what_is_gone(self, before: Iterable[Key]) -> None:
        """What no rule speaks of any more is ended, not forgotten."""
        states, now_ms = self._judge.states, self._clock.wall_ms()
        for key in before:
            if key not in states:
                self._keeper.state(key, None)
        for alarm in list(self._alarms.values()):
            if alarm.active and (alarm.rule, alarm.subject) not in states:
                details = {"reason": "the rule is no longer used"}
                self._note([Event(alarm.id, "cleared", now_ms, alarm.rule, alarm.subject, alarm.severity, details)])

    def listen(self, listener: Listener) -> None:
        """Tell ``listener`` of every event from now on; ``alarms`` gives what is open already."""
        self._listeners.append(listener)

    def listen_to_verdicts(self, listener: Callable[[Event], None]) -> None:
        """Tell ``listener`` of every verdict and correction, those too that belong to no alarm. It must not wait."""
        self._verdict_listeners.append(listener)

    async def reload(self, rules: RuleSet, calendar: Calendar) -> None:
        """Judge by other rules from now on. Alarms, and the states of rules that stay, are kept."""
        async with self._judging:
            judge = self._make_judge(rules, calendar)
            seen = await judge.read(self._ledger)
            kept = self._judge.kept()  # after the wait: readings were judged meanwhile
            judge.revive(kept)
            self._judge = judge
            self._end_what_is_gone(kept)
            await judge.judge(seen)
        await self.save()

    # --- in ----------------------------------------------------------------------------------------------------

    def see(self, readings: Readings) -> None:
        """Take a record from the pipeline: rules on single readings judge it at once. Never waits."""
        self._judge.see(readings)
        self._conditions.see(readings)

    def feed(self, minutes: Iterable[Minute]) -> None:
        """Take closed and corrected minutes. Never waits."""
        self._inbox += minutes

    def tell(self, device: str, condition: Condition, what: str, why: str | None) -> None:
        """Say why a condition holds for one thing (``what``) of a device, such as an output; None: it does not."""
        self._conditions.tell(device, condition, what, why)

    def acted(self, alarm: str, by: str, note: str, details: Mapping[str, object]) -> None:
        """Record what the gateway itself did about an alarm. Nothing happens when it is not open."""
        found = self._alarms.get(alarm)
        if found is not None:
            said = {**details, "by": by, "note": note, **self._mark}
            self._note([Event(alarm, "acted", self._clock.wall_ms(), found.rule, found.subject, found.severity, said)])

    async def load(self) -> None:
        """Build all windows from the ledger, and judge what ended meanwhile."""
        await self._judge.judge(await self._judge.read(self._ledger))

    async def run(self) -> None:
        """Judge what comes, once a second, and store what happens at once, until cancelled."""
        await self.load()
        async with asyncio.TaskGroup() as both:
            both.create_task(self._tick_for_ever())
            both.create_task(self._keeper.save_at_once())

    async def _tick_for_ever(self) -> None:
        while True:
            await self.tick()
            await self._clock.sleep(TICK_S)

    async def tick(self) -> None:
        """Judge what has come since the last call, and store it."""
        async with self._judging:
            minutes, self._inbox = self._inbox, []
            for minute in minutes:
                self._conditions.note(minute)
            await self._judge.take(minutes, self._ledger)
            idle = self._turn("idle", _IDLE_EVERY_S)
            self._judge.judge_devices(clocks=idle)
            if idle:
                await self._judge.let_time_pass()
            self._close_what_is_over()
            if self._turn("rest", _REST_EVERY_S):
                async for key in in_turns(self._judge.take_changed()):
                    self._keeper.state(key, self._judge.states[key].to_json())
        await self.save()
        if self._turn("prune", _PRUNE_EVERY_S):
            await self._prune(self._clock.wall_ms() - self._keep_ms)

    def _turn(self, what: str, every_s: float) -> bool:
        now_s = self._clock.monotonic_s()
        if now_s - self._turns.get(what, -every_s) < every_s:
            return False
        self._turns[what] = now_s
        return True

    def _close_what_is_over(self) -> None:
        """Close alarms whose rule says that nobody needs to."""
        now_ms = self._clock.wall_ms()
        for alarm in list(self._alarms.values()):
            rule = self._judge.rule(alarm.rule)
            if rule is not None and closes_itself(alarm, rule.close_after_ms, now_ms):
                said = {"by": GATEWAY, **figures.closing(alarm), **self._mark}
                self._note([Event(alarm.id, "closed", now_ms, alarm.rule, alarm.subject, alarm.severity, said)])

    def _tell(self, rule: Rule, state: State, events: Sequence[Event]) -> None:
        """Complete events so that they can be read when the rule is long gone."""
        key = (state.rule, state.subject)
        self._keeper.state(key, state.to_json())
        self._note([
            replace(event, details={**figures.words(rule, event, self._labels), **event.details, **self._mark})
            for event in events
        ])  # fmt: skip

    def _note(self, events: Sequence[Event]) -> None:
        for event in events:
            self._keeper.event(event)
            if event.kind in ("verdict", "corrected"):
                for hear in self._verdict_listeners:
                    hear(event)
            alarm = follow(self._alarms.get(event.alarm), event)
            if alarm is None:
                continue
            self.revision += 1
            self._alarms[alarm.id] = alarm
            if alarm.state == "closed" and not alarm.active:
                del self._alarms[alarm.id]
            self._untold.append((event, alarm))
            if event.kind != "verdict":
                log.info("alarm", alarm=event.alarm, what=event.kind, severity=event.severity, **self._mark)
        self._tell_listeners()

    def _tell_listeners(self) -> None:
        if self._telling:
            return  # a listener has acted: all hear of that after what it acted upon
        self._telling = True
        try:
            while self._untold:
                event, alarm = self._untold.popleft()
                for listener in self._listeners:
                    listener(event, alarm)
        finally:
            self._telling = False

    # --- out ---------------------------------------------------------------------------------------------------

    def alarms(self) -> list[Alarm]:
        """Every alarm that is not over: those that hold first, then the newest."""
        return sorted(self._alarms.values(), key=lambda a: (not a.active, -a.raised_ms))

    def limits(self) -> list[LimitLine]:
        """The levels of all rules of this site, per series."""
        return figures.limits(self._judge.rules, self._clock.wall_ms())

    def judged(self) -> list[Key]:
        """Rule and subject of everything that is judged, fine or not."""
        return list(self._judge.states)

    def verdicts(self) -> list[WindowVerdict]:
        """How the days and nights stand, today's and yesterday's."""
        return figures.verdicts(self._judge.rules, self._judge.watch, self._judge.states)

    async def find(self, from_ms: int, to_ms: int) -> list[Alarm]:
        """Alarms raised in that time, the newest first."""
        await self.save()
        return await self._store.find(from_ms, to_ms)

    async def history(self, alarm: str) -> tuple[Alarm, list[Event]] | None:
        """An alarm and all that happened to it; None when there is none of that name."""
        await self.save()
        return await self._store.history(alarm)

    async def answer(self, alarm: str, step: str, by: str, note: str) -> Alarm | None:
        """Take a step of a person: acknowledge, act or close. None: no such alarm. Raises NotNow with a sentence."""
        found = self._alarms.get(alarm)
        if found is None:
            stored = await self.history(alarm)
            if stored is None:
                return None
            found = stored[0]
        if refusal := why_not(found, step, note):
            raise NotNow(refusal)
        key, kind, now_ms = (found.rule, found.subject), STEPS[step][0], self._clock.wall_ms()
        if state := self._judge.acknowledge(key, alarm):
            self._keeper.state(key, state.to_json())
        details = {"by": by, "note": note, **self._mark}
        said = Event(alarm, kind, now_ms, found.rule, found.subject, found.severity, details)
        self._alarms.setdefault(alarm, found)
        self._note([said])
        await self.save()
        return follow(found, said)

    # --- to disk -----------------------------------------------------------------------------------------------

    async def save(self) -> None:
        """Store events and states that are not stored yet; what the disk does not take stays for the next time."""
        await self._keeper.save()

    async def _prune(self, before_ms: int) -> None:
        try:
            await self._store.prune(before_ms)
        except (sqlite3.Error, OSError) as error:
            log.warning("old alarms cannot be removed, trying again later", error=str(error))

    async def close(self) -> None:
        """Store everything, also states that changed without an event."""
        for key in self._judge.take_changed():
            self._keeper.state(key, self._judge.states[key].to_json())
        await self.save()
        await self._store.close()
