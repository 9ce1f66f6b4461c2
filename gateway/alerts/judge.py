"""The rules of a site at work: minutes, readings and conditions in, states and events out.

Made anew for another RuleSet, with the states of the one before: what was raised before is not raised twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import structlog

from gateway.alerts import engine
from gateway.alerts.condition import Conditions
from gateway.alerts.live import Key, Live, rests
from gateway.alerts.rule import Rule, RuleSet
from gateway.alerts.state import DeviceState, Event, Observation, State
from gateway.alerts.watch import Minutes, Seen, Watch, in_turns
from gateway.clock import Clock
from gateway.ledger.day import Calendar
from gateway.ledger.minute import Minute
from gateway.model import Readings

log = structlog.get_logger()

Kept = Mapping[Key, str]
"""Rule and subject -> ``State.to_json``."""


class Judge:
    """Everything that looks at rules. First ``read``, then ``revive``, then ``judge`` what was read."""

    def __init__(
        self,
        rules: RuleSet,
        calendar: Calendar,
        every_s: Mapping[str, Mapping[str, float]],
        conditions: Conditions,
        clock: Clock,
        told: Callable[[Rule, State, list[Event]], None],
    ) -> None:
        """``told`` is called with a rule's state and the events that led to it."""
        self.rules = rules
        self.watch = Watch(rules, calendar, every_s)
        self.states: dict[Key, State] = {}
        self._changed: set[Key] = set()
        """States that changed without an event."""
        self._by_name = {rule.name: rule for rule in rules.rules}
        self._live = Live(rules, every_s, self.states, self._judge, clock.wall_ms)
        self._conditions = conditions
        self._clock = clock
        self._told = told

    async def read(self, ledger: Minutes) -> list[Seen]:
        """Build all windows from the ledger; return what ended meanwhile."""
        return await self.watch.load(ledger, self._clock.wall_ms())

    def revive(self, kept: Kept) -> None:
        """Take up the states of a judge before; rules without one start anew."""
        now_ms = self._clock.wall_ms()
        for rule in self.rules.rules:
            for subject, devices in self.rules.subjects(rule).items():
                key = (rule.name, subject)
                self.states[key] = _revived(kept.get(key), rule, subject, devices, now_ms)

    def rule(self, name: str) -> Rule | None:
        """Return the rule of that name."""
        return self._by_name.get(name)

    def kept(self) -> dict[Key, str]:
        """Return all states as text."""
        return {key: state.to_json() for key, state in self.states.items()}

    def take_changed(self) -> set[Key]:
        """Return once each the states that changed without an event: they need to be stored now and then."""
        changed, self._changed = self._changed, set()
        return changed

    def acknowledge(self, key: Key, alarm: str) -> State | None:
        """Note that a person took note of an alarm; None when no rule speaks of it any more."""
        if key in self.states:
            self.states[key] = engine.acknowledge(self.states[key], alarm)
        return self.states.get(key)

    # --- what comes in -----------------------------------------------------------------------------------------

    def see(self, readings: Readings) -> None:
        """Judge a record from the pipeline by the rules on single readings. Never waits."""
        self._live.see(readings)

    async def judge(self, seen: Sequence[Seen]) -> None:
        """Judge windows."""
        async for rule, observation in in_turns(seen):
            self._judge(rule, (rule.name, self.rules.subject(rule, observation.device)), observation)

    async def take(self, minutes: Sequence[Minute], ledger: Minutes) -> None:
        """Judge the windows that closed and corrected minutes change."""
        await self.judge(await self.watch.take_in_turns(minutes, self._clock.wall_ms()))
        await self.judge(await self.watch.judge_late(ledger, minutes))

    def judge_devices(self, *, clocks: bool) -> None:
        """Judge every device's condition; ``clocks`` too, which takes longer."""
        now_ms = self._clock.wall_ms()
        for device, rules in self.rules.by_device.items():
            for rule in rules:
                if rule.condition is None or (rule.condition == "clock" and not clocks):
                    continue
                key = (rule.name, self.rules.subject(rule, device))
                seen, member = self._conditions.of(device, rule.condition, now_ms), self.states[key].members.get(device)
                if seen is not None and (seen.holds or (member is not None and not rests(member))):
                    self._judge(rule, key, seen)

    async def let_time_pass(self) -> None:
        """Judge what is missing, and escalate what nobody answers."""
        async for key in in_turns(list(self.states)):
            self._put(key, self._live.caught_up(key, self.states[key]))
            self._judge(self._by_name[key[0]], key, None)

    # --- inside ------------------------------------------------------------------------------------------------

    def _judge(self, rule: Rule, key: Key, seen: Observation | DeviceState | None) -> None:
        state, events = engine.step(rule, self.states[key], seen, self._clock.wall_ms())
        self._put(key, state)
        if events:
            self._changed.discard(key)
            self._told(rule, state, events)

    def _put(self, key: Key, state: State) -> None:
        if state is not self.states[key]:
            self.states[key] = state
            self._changed.add(key)


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
