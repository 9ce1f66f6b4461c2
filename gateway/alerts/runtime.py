"""Alarms while the gateway runs: minutes and device states in, events to disk and to the page.

What is durable: every event, with the state of the rule it led to, in one transaction. While the disk takes nothing
both wait in memory, and the page shows the alarms all the same. After a start the windows are built again from the
ledger and judged once: what was raised before is not raised twice, what ended meanwhile is cleared.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import structlog

from gateway.alerts import engine, figures
from gateway.alerts.alarm import STEPS, follow, why_not
from gateway.alerts.condition import Stuck, device_state
from gateway.alerts.rule import Rule, RuleSet
from gateway.alerts.state import NORMAL, Event, Member, State
from gateway.alerts.store import AlarmStore
from gateway.alerts.watch import Minutes, Seen, Watch, in_turns
from gateway.clock import Clock
from gateway.errors import NotNow
from gateway.ledger.day import Calendar
from gateway.ledger.minute import Minute
from gateway.model import Alarm, DeviceHealth, LimitLine, WindowVerdict

log = structlog.get_logger()

TICK_S = 1.0
_IDLE_EVERY_S = 10.0
"""How often rules are told that time has passed: missing data, alarms that nobody answers."""
_REST_EVERY_S = 600.0
"""How often states are stored that changed without an event."""
_PRUNE_EVERY_S = 6 * 3600.0
_MOST_UNSAVED = 20_000
"""Events that memory holds while the disk takes nothing; the oldest go first."""

Key = tuple[str, str]


class AlertRuntime:
    """Fulfils the page's AlarmDesk. ``feed`` it with minutes and keep ``run`` running."""

    def __init__(
        self,
        rules: RuleSet,
        store: AlarmStore,
        ledger: Minutes,
        clock: Clock,
        calendar: Calendar,
        health: Mapping[str, DeviceHealth],
        metrics: Mapping[str, Iterable[str]],
        newest_ms: Callable[[str], int | None],
        labels: Mapping[str, Mapping[str, str]],
        *,
        simulated: bool,
        keep_s: float,
    ) -> None:
        """``metrics`` is device -> its metrics; ``newest_ms`` gives the stamp of a device's newest record.

        ``labels`` is device or zone -> language -> what people call it.
        """
        self._rules = {rule.name: rule for rule in rules.rules}
        self._set = rules
        self._store = store
        self._ledger = ledger
        self._clock = clock
        self._health = health
        self._newest_ms = newest_ms
        self._labels = labels
        self._mark = {"simulated": True} if simulated else {}
        self._keep_ms = int(keep_s * 1000)
        self._watch = Watch(rules, calendar, metrics)
        self._stuck = Stuck()
        self._inbox: list[Minute] = []
        self._alarms = {alarm.id: alarm for alarm in store.kept.alarms}
        self._states: dict[Key, State] = {}
        self._unsaved: list[Event] = []
        self._resting: set[Key] = set()
        """States that changed without an event: stored now and then."""
        self._due: dict[Key, str | None] = {}
        self._turns: dict[str, float] = {}
        self._failing = False
        self.revision = 0
        self._begin(clock.wall_ms())

    # --- at the start ------------------------------------------------------------------------------------------

    def _begin(self, now_ms: int) -> None:
        """Take up the states that were kept; what no rule speaks of any more is ended, not forgotten."""
        wanted = {(rule.name, subject): devices for rule in self._set.rules for subject, devices in
                  self._set.subjects(rule).items()}  # fmt: skip
        for key, devices in wanted.items():
            self._states[key] = _revived(self._store.kept.states.get(key), self._rules[key[0]], key[1], devices, now_ms)
        for key in self._store.kept.states.keys() - wanted.keys():
            self._due[key] = None
        for alarm in self._store.kept.alarms:
            if alarm.active and (alarm.rule, alarm.subject) not in wanted:
                details = {"reason": "the rule is no longer used"}
                self._note([Event(alarm.id, "cleared", now_ms, alarm.rule, alarm.subject, alarm.severity, details)])

    # --- in ----------------------------------------------------------------------------------------------------

    def feed(self, minutes: Iterable[Minute]) -> None:
        """Take closed and corrected minutes. Never waits."""
        self._inbox += minutes

    async def load(self) -> None:
        """Build all windows from the ledger, and judge what ended meanwhile."""
        await self._judge(await self._watch.load(self._ledger, self._clock.wall_ms()))

    async def run(self) -> None:
        """Judge what comes, once a second, until cancelled."""
        await self.load()
        while True:
            await self.tick()
            await self._clock.sleep(TICK_S)

    async def tick(self) -> None:
        """Judge what has come since the last call, and store it."""
        minutes, self._inbox = self._inbox, []
        now_ms = self._clock.wall_ms()
        for minute in minutes:
            self._stuck.note(minute)
        await self._judge(await self._watch.take_in_turns(minutes, now_ms))
        await self._judge(await self._watch.judge_late(self._ledger, minutes))
        idle = self._turn("idle", _IDLE_EVERY_S)
        self._judge_devices(now_ms, clocks=idle)
        if idle:
            async for key in in_turns(list(self._states)):
                self._step(self._rules[key[0]], key, None, now_ms, self._states[key])
        if self._turn("rest", _REST_EVERY_S):
            self._due |= {key: self._states[key].to_json() for key in self._resting}
            self._resting.clear()
        await self.save()
        if self._turn("prune", _PRUNE_EVERY_S):
            await self._prune(now_ms - self._keep_ms)

    def _turn(self, what: str, every_s: float) -> bool:
        now_s = self._clock.monotonic_s()
        if now_s - self._turns.get(what, -every_s) < every_s:
            return False
        self._turns[what] = now_s
        return True

    async def _judge(self, seen: Sequence[Seen]) -> None:
        now_ms = self._clock.wall_ms()
        async for rule, observation in in_turns(seen):
            key = (rule.name, self._set.subject(rule, observation.device))
            self._step(rule, key, observation, now_ms, self._states[key])

    def _judge_devices(self, now_ms: int, *, clocks: bool) -> None:
        for device, rules in self._set.by_device.items():
            for rule in rules:
                if rule.condition is None or (rule.condition == "clock" and not clocks):
                    continue
                key = (rule.name, self._set.subject(rule, device))
                state = self._states[key]
                newest_ms = self._newest_ms(device) if rule.condition == "clock" else None
                seen = device_state(rule.condition, self._health[device], self._stuck, newest_ms, now_ms)
                if seen is None:
                    continue
                if seen.holds or not _rests(state.members.get(device)):
                    self._step(rule, key, seen, now_ms, state)

    def _step(
        self, rule: Rule, key: Key, seen: engine.Observation | engine.DeviceState | None, now_ms: int, before: State
    ) -> None:
        state, events = engine.step(rule, before, seen, now_ms)
        if state is not before:
            self._states[key] = state
            self._resting.add(key)
        if events:
            self._due[key] = state.to_json()
            self._note([self._told(rule, event) for event in events])

    def _told(self, rule: Rule, event: Event) -> Event:
        """Complete an event so that it can be read when the rule is long gone."""
        return replace(event, details={**figures.words(rule, event, self._labels), **event.details, **self._mark})

    def _note(self, events: Sequence[Event]) -> None:
        for event in events:
            self._unsaved.append(event)
            alarm = follow(self._alarms.get(event.alarm), event)
            if alarm is None:
                continue
            self.revision += 1
            self._alarms[alarm.id] = alarm
            if alarm.state == "closed" and not alarm.active:
                del self._alarms[alarm.id]
            if event.kind != "verdict":
                log.info("alarm", alarm=event.alarm, what=event.kind, severity=event.severity, **self._mark)

    # --- out ---------------------------------------------------------------------------------------------------

    def alarms(self) -> list[Alarm]:
        """Every alarm that is not over: those that hold first, then the newest."""
        return sorted(self._alarms.values(), key=lambda a: (not a.active, -a.raised_ms))

    def limits(self) -> list[LimitLine]:
        """The levels of all rules of this site, per series."""
        return figures.limits(self._set, self._clock.wall_ms())

    def verdicts(self) -> list[WindowVerdict]:
        """How the days and nights stand, today's and yesterday's."""
        return figures.verdicts(self._set, self._watch, self._states)

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
        if key in self._states:
            self._states[key] = engine.acknowledge(self._states[key], alarm)
            self._due[key] = self._states[key].to_json()
        details = {"by": by, "note": note, **self._mark}
        said = Event(alarm, kind, now_ms, found.rule, found.subject, found.severity, details)
        self._alarms.setdefault(alarm, found)
        self._note([said])
        await self.save()
        return follow(found, said)

    # --- to disk -----------------------------------------------------------------------------------------------

    async def save(self) -> None:
        """Store events and states that are not stored yet; what the disk does not take stays for the next time."""
        if not self._unsaved and not self._due:
            return
        events, self._unsaved = self._unsaved, []
        due, self._due = self._due, {}
        try:
            await self._store.keep(events, due)
        except (sqlite3.Error, OSError) as error:
            self._unsaved = [*events, *self._unsaved][-_MOST_UNSAVED:]
            self._due = {**due, **self._due}
            if not self._failing:
                log.error("alarms cannot be stored, they wait in memory", error=str(error))
            self._failing = True
        else:
            if self._failing:
                log.info("alarms are stored again")
            self._failing = False
            self._resting -= due.keys()

    async def _prune(self, before_ms: int) -> None:
        try:
            await self._store.prune(before_ms)
        except (sqlite3.Error, OSError) as error:
            log.warning("old alarms cannot be removed, trying again later", error=str(error))

    async def close(self) -> None:
        """Store everything, also states that changed without an event."""
        self._due |= {key: self._states[key].to_json() for key in self._resting}
        self._resting.clear()
        await self.save()
        await self._store.close()


def _rests(member: Member | None) -> bool:
    """True when hearing once more that all is well would change nothing."""
    return member is None or (member.level == NORMAL and member.over_since_ms is None and not member.silent)


def _revived(kept: str | None, rule: Rule, subject: str, devices: Sequence[str], now_ms: int) -> State:
    """The state that was kept, for the devices of today; silence counts from now, our own standstill is not theirs."""
    fresh = engine.start(rule, subject, devices, now_ms)
    if kept is None:
        return fresh
    try:
        state = State.from_json(kept)
    except (ValueError, KeyError, TypeError) as why:
        log.warning("state of an alarm rule cannot be read, it starts anew", rule=rule.name, reason=str(why))
        return fresh
    members = {
        name: member if member.silent else replace(member, good_ms=max(member.good_ms, now_ms))
        for name, member in ((name, state.members.get(name, fresh.members[name])) for name in devices)
    }
    return replace(state, members=members)
