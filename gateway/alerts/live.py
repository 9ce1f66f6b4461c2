"""Rules on single readings: a record from the pipeline is judged before the call returns.

What there is to do for a kind of record is prepared once. A calm value of a device that is at rest costs a comparison;
only what may move something becomes an observation for the engine. Late and replayed records move nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gateway.alerts.engine import note_calm, observe
from gateway.alerts.rule import Rule, RuleSet
from gateway.alerts.state import NORMAL, Member, Observation, State
from gateway.ledger.windows import WindowResult
from gateway.model import Readings

_LEAST_FRESH_MS = 30_000
_FRESH_ROUNDS = 3
"""A reading may be so many of its own intervals old, or 30 s, whichever is longer."""

Key = tuple[str, str]
"""Rule and subject: what a State belongs to."""
Judge = Callable[[Rule, Key, Observation], None]


@dataclass(slots=True)
class _Probe:
    """One rule on one series."""

    rule: Rule
    key: Key
    position: int
    """Of the metric in the record."""
    edge: float
    """On the good side of this nothing can begin."""
    fresh_ms: int
    references: tuple[tuple[str, str], ...]
    """(metric, device) of what the value is compared with."""


@dataclass(slots=True)
class _Plan:
    """What is to be done with one kind of record."""

    probes: list[_Probe]
    kept: list[tuple[int, tuple[str, str]]]
    """Positions of values that rules compare others with, and their series."""


@dataclass(slots=True)
class _Newest:
    value: float
    time_ms: int


@dataclass(slots=True)
class Live:
    """Made for one RuleSet. ``states`` are looked at, never changed: that is what ``judge`` is for."""

    rules: RuleSet
    every_s: Mapping[str, Mapping[str, float]]
    """Device -> its metrics -> expected seconds between readings."""
    states: Mapping[Key, State]
    judge: Judge
    wall_ms: Callable[[], int]
    _plans: dict[tuple[str, tuple[str, ...]], _Plan] = field(init=False, default_factory=dict)
    _newest: dict[tuple[str, str], _Newest] = field(init=False, default_factory=dict)
    _heard: dict[Key, dict[str, int]] = field(init=False, default_factory=dict)
    """Rule and subject -> device -> time of its newest calm reading; only where missing data count."""
    _devices: frozenset[str] = field(init=False)
    _references: dict[tuple[str, str], tuple[tuple[str, str], ...]] = field(init=False)

    def __post_init__(self) -> None:
        at_once = [
            (metric, device, rule)
            for (metric, device), rules in self.rules.by_series.items()
            for rule in rules
            if rule.at_once
        ]
        self._references = {(rule.name, device): self.rules.compared_with(rule, device) for _, device, rule in at_once}
        others = {device for references in self._references.values() for _, device in references}
        self._devices = frozenset({device for _, device, _ in at_once} | others)

    def see(self, readings: Readings) -> None:
        """Judge a record. Never waits."""
        if readings.device not in self._devices:
            return
        plan = self._plans.get((readings.device, readings.metrics)) or self._prepare(readings)
        if not plan.probes and not plan.kept:
            return
        time_ms, values, now_ms = readings.time_ms, readings.values, self.wall_ms()
        age_ms = abs(now_ms - time_ms)
        for position, series in plan.kept:
            if (value := values[position]) is not None:
                self._newest[series] = _Newest(value, time_ms)
        for probe in plan.probes:
            value = values[probe.position]
            if age_ms > probe.fresh_ms:
                continue
            if value is None:
                self._judge_missing(probe, readings)
            elif probe.references or probe.rule.rated is not None:
                self._judge_compared(probe, readings.device, value, time_ms)
            else:
                upwards = probe.rule.direction == "above"
                if (value < probe.edge if upwards else value > probe.edge) and self._rests(probe, readings.device):
                    if probe.rule.no_data_after_ms is not None:
                        self._heard[probe.key][readings.device] = time_ms
                else:
                    window = _moment(time_ms, value)
                    self.judge(probe.rule, probe.key, Observation(readings.device, window, fresh_ms=probe.fresh_ms))

    def caught_up(self, key: Key, state: State) -> State:
        """Return a state with what calm readings since then say about missing data."""
        heard = self._heard.get(key)
        return note_calm(state, heard) if heard else state

    # --- inside ------------------------------------------------------------------------------------------------

    def _rests(self, probe: _Probe, device: str) -> bool:
        member = self.states[probe.key].members.get(device)
        return member is not None and rests(member)

    def _judge_missing(self, probe: _Probe, readings: Readings) -> None:
        """Too much to be measured (mark T) is a warning; all other missing values say nothing."""
        if probe.position in readings.above and probe.rule.direction == "above":
            window = _moment(readings.time_ms, None)
            seen = Observation(readings.device, window, fresh_ms=probe.fresh_ms, above_range=True)
            self.judge(probe.rule, probe.key, seen)

    def _judge_compared(self, probe: _Probe, device: str, value: float, time_ms: int) -> None:
        found = [self._newest[series] for series in probe.references if series in self._newest]
        fresh = [newest.value for newest in found if abs(time_ms - newest.time_ms) <= probe.fresh_ms]
        reference = _moment(time_ms, sum(fresh) / len(fresh)) if fresh else None
        seen = observe(probe.rule, device, _moment(time_ms, value), reference)
        self.judge(probe.rule, probe.key, Observation(device, seen.window, seen.background, fresh_ms=probe.fresh_ms))

    def _prepare(self, readings: Readings) -> _Plan:
        device = readings.device
        wanted = {series for references in self._references.values() for series in references}
        plan = _Plan([], [(i, (m, device)) for i, m in enumerate(readings.metrics) if (m, device) in wanted])
        for position, metric in enumerate(readings.metrics):
            every_s = self.every_s.get(device, {}).get(metric, 0.0)
            fresh_ms = max(round(_FRESH_ROUNDS * every_s * 1000), _LEAST_FRESH_MS)
            for rule in self.rules.for_series(metric, device):
                if rule.at_once:
                    key = (rule.name, self.rules.subject(rule, device))
                    references = self._references[rule.name, device]
                    plan.probes.append(_Probe(rule, key, position, _edge(rule), fresh_ms, references))
                    self._heard.setdefault(key, {})
        self._plans[device, readings.metrics] = plan
        return plan


def rests(member: Member) -> bool:
    """True when hearing once more that all is well would change nothing."""
    counts = member.over_since_ms is not None or member.warn_since_ms is not None
    return member.level == NORMAL and not counts and not member.silent


def _moment(time_ms: int, value: float | None) -> WindowResult:
    good = value is not None
    return WindowResult(time_ms, time_ms, value, float(good), int(good), 1, good, closed=False, corrected=False)


def _edge(rule: Rule) -> float:
    """The first level that is reached; rounding to whole decibels may reach it half a one earlier."""
    first = rule.limit if rule.warn is None else rule.warn
    margin = 0.5 if rule.rounding == "half_even_db" else 0.0
    return first - margin if rule.direction == "above" else first + margin
