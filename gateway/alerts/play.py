"""Plays samples to one rule, through the same windows, readings and engine as on a site, without a clock or a disk."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from gateway.alerts import engine
from gateway.alerts.alarm import GATEWAY, closes_itself, follow
from gateway.alerts.live import Key, Live
from gateway.alerts.rule import Rule, RuleSet
from gateway.alerts.state import DeviceState, Event, Observation, State
from gateway.alerts.watch import Watch
from gateway.alerts.weather import SPRAYED
from gateway.ledger import levels
from gateway.ledger.day import Calendar
from gateway.ledger.minute import MINUTE_MS, Minute, kind_of
from gateway.model import Alarm, Mark, Readings
from gateway.vocabulary import METRICS, Kind

DEVICE, REFERENCE, WEATHER = "device", "reference", "weather"
Samples = Sequence[float | None]
"""None: nothing; infinite: a reading above the range."""
Feeds = Mapping[str, Samples]
"""Metric, condition or ``reference`` -> one sample per step."""


def play(rule: Rule, feeds: Feeds, calendar: Calendar, zero_ms: int, step_ms: int) -> Iterator[Event]:
    """Yield what a rule makes of its feeds; the first sample stands for the step that ends at ``zero_ms``."""
    stage = _Stage(rule, zero_ms - step_ms)
    act = _readings(stage, step_ms) if rule.at_once else _minutes(stage, calendar, step_ms)
    for step in range(max(map(len, feeds.values()))):
        yield from act({name: feed[step] if step < len(feed) else None for name, feed in feeds.items()})


Now = Mapping[str, float | None]
Act = Callable[[Now], Iterator[Event]]
"""Plays one step."""


class _Stage:
    """One rule on one subject, and its alarms."""

    def __init__(self, rule: Rule, first_ms: int) -> None:
        devices = (DEVICE, REFERENCE) if rule.spread else (DEVICE,)
        references = ((rule.reference.metric, REFERENCE),) if rule.reference else ()
        series = {(rule.metric, device): (rule,) for device in devices} if rule.metric else {}
        by_device = {} if rule.metric else {DEVICE: (rule,)}
        self.rule = rule
        self.rules = RuleSet((rule,), series, by_device, dict.fromkeys(devices, "site"), {rule.name: references})
        self.first_ms = self.now_ms = first_ms
        self.key: Key = (rule.name, self.rules.subject(rule, DEVICE))
        self.states: dict[Key, State] = {self.key: engine.start(rule, self.key[1], devices, first_ms)}
        self._alarms: dict[str, Alarm] = {}

    def hear(self, seen: Observation | DeviceState | None) -> Iterator[Event]:
        """Judge one observation, or that time has passed."""
        self.states[self.key], events = engine.step(self.rule, self.states[self.key], seen, self.now_ms)
        for event in events:
            yield self._told(event)

    def let_time_pass(self) -> Iterator[Event]:
        """Judge what is missing, and close what nobody needs to close."""
        yield from self.hear(None)
        for alarm in list(self._alarms.values()):
            if closes_itself(alarm, self.rule.close_after_ms, self.now_ms):
                details = {"by": GATEWAY}
                closed = Event(alarm.id, "closed", self.now_ms, alarm.rule, alarm.subject, alarm.severity, details)
                yield self._told(closed)

    def _told(self, event: Event) -> Event:
        alarm = follow(self._alarms.get(event.alarm), event)
        if alarm is not None:
            self._alarms[alarm.id] = alarm
        return event


def _placed(rule: Rule, now: Now) -> Iterator[tuple[str, str, float | None]]:
    """(device, metric, sample) of everything that is fed."""
    for name, value in now.items():
        if name == "reference":
            yield REFERENCE, rule.reference.metric if rule.reference else rule.metric or "", value
        else:
            yield DEVICE if name in (rule.metric, SPRAYED) else WEATHER, name, value


# --- rules on single readings -----------------------------------------------------------------------------------


def _readings(stage: _Stage, step_ms: int) -> Act:
    seen: list[Observation] = []
    every_s = {device: dict.fromkeys(METRICS, step_ms / 1000) for device in (DEVICE, REFERENCE)}
    live = Live(stage.rules, every_s, stage.states, lambda _, __, one: seen.append(one), lambda: stage.now_ms)

    def act(now: Now) -> Iterator[Event]:
        stage.now_ms += step_ms
        for device, metric, value in sorted(_placed(stage.rule, now), key=lambda each: each[0], reverse=True):
            if value is not None:  # what it is compared with comes first
                live.see(_reading(device, metric, value, stage.now_ms))
        for observation in seen:
            yield from stage.hear(observation)
        seen.clear()
        stage.states[stage.key] = live.caught_up(stage.key, stage.states[stage.key])
        yield from stage.let_time_pass()

    return act


def _reading(device: str, metric: str, value: float, time_ms: int) -> Readings:
    if math.isinf(value):
        return Readings(device, time_ms, (metric,), (None,), Mark.OUT_OF_RANGE, (0,))
    return Readings(device, time_ms, (metric,), (value,), Mark.GOOD)


# --- rules on windows and conditions ----------------------------------------------------------------------------


def _minutes(stage: _Stage, calendar: Calendar, step_ms: int) -> Act:
    rule = stage.rule
    known = {WEATHER: ("wind_speed_m_s", "humidity_pct", "rain_mm"), DEVICE: (SPRAYED,)}
    watch = Watch(stage.rules, calendar, known)
    asyncio.run(watch.load(_NoMinutes(), stage.first_ms))

    def seen(now: Now) -> Sequence[Observation | DeviceState]:
        """Return what one minute gives to judge; no verdict speaks of a window that began before the feed."""
        if rule.condition is not None:
            value = now[rule.condition]
            return [] if value is None else [DeviceState(DEVICE, rule.condition, value != 0, stage.now_ms)]
        minutes = [
            _minute(device, metric, stage.now_ms - MINUTE_MS, value)
            for device, metric, value in _placed(rule, now)
            if value is not None and metric in METRICS
        ]
        # windows are closed a little after their end; the word is about the end all the same
        found = watch.take(minutes, stage.now_ms) + watch.take([], stage.now_ms + 10_000)
        return [each for _, each in found if rule.kind == "warning" or each.window.start_ms >= stage.first_ms]

    def act(now: Now) -> Iterator[Event]:
        for _ in range(step_ms // MINUTE_MS):
            stage.now_ms += MINUTE_MS
            for observation in seen(now):
                yield from stage.hear(observation)
            yield from stage.let_time_pass()

    return act


def _minute(device: str, metric: str, start_ms: int, value: float) -> Minute:
    """A whole minute of one value."""
    kind = kind_of(metric)
    bins = levels.pack(levels.binned({value: 60})) if kind is Kind.LEVEL_DB else b""
    return Minute(
        device, metric, start_ms, 60, 0, 1.0, value, value,
        None if kind in (Kind.COUNTER, Kind.STATE) else value, value, start_ms + MINUTE_MS - 1000,
        value if kind is Kind.COUNTER else None,
        1.0 if kind is Kind.DIRECTION else None, levels=bins,
    )  # fmt: skip


class _NoMinutes:
    """A ledger that is as empty as that of a new site."""

    async def minutes(self, device: str, metric: str, from_ms: int, to_ms: int) -> list[Minute]:
        return []
