"""Runs the cases beside a rule file: feeds in, events out, through the same windows and engine as on a site.

A feed such as ``"160x7 90x2 _x3"`` holds one sample per ``step``: seven times 160, twice 90, three times nothing. A
sample stands for the step that ends at its time: the first at 0, so that ``5m raised`` is the sixth sample's word.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import Field

from gateway.alerts import engine
from gateway.alerts.presets import bind
from gateway.alerts.rule import Rule, RuleSet
from gateway.alerts.rule_file import Written, read_rules
from gateway.alerts.state import DeviceState, Event
from gateway.alerts.watch import Watch
from gateway.config.alerts import AlertsConfig, Moment
from gateway.config.model import Duration, Model
from gateway.config.report import Report, unknown
from gateway.ledger import levels
from gateway.ledger.day import Calendar
from gateway.ledger.minute import MINUTE_MS, Minute, kind_of
from gateway.vocabulary import METRICS, Kind

DEVICE, REFERENCE, WEATHER = "device", "reference", "weather"
_MOST_MINUTES = 100_000
_SAMPLE = re.compile(r"(_|-?\d+(?:\.\d+)?)(?:x(\d{1,6}))?")
_OFFSET = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?:in)?)?(?:(\d+)s)?")
_WORDS = {"firing": "raised", "silent": "no_data"}
"""Words for people that mean a kind of event."""

Samples = list[float | None]


class Case(Model):
    """One feed and all that must follow from it, in order."""

    name: str = Field(min_length=1)
    rule: str | None = None
    """May be left out where the file holds one rule only."""
    start: Moment = datetime(2026, 6, 1, 8)  # noqa: DTZ001  # the zone is the file's
    feed: dict[str, str]
    """Metric or condition -> samples. ``reference`` feeds what the rule compares with."""
    expect: tuple[str, ...]
    """Such as ``5m raised``, ``60m verdict exceeded``; further words of the event may be left out."""


class CaseFile(Model):
    """``NAME_test.yaml`` beside the rules."""

    rules: str
    step: Duration = 60.0
    timezone: str = "Asia/Shanghai"
    site: AlertsConfig = AlertsConfig()
    """What a site file would say: stage, hours, permits, maintenance."""
    cases: tuple[Case, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Result:
    """How one case went."""

    file: str
    case: str
    rule: str
    faults: tuple[str, ...]


def cases_beside(file: Path) -> Path:
    """Return where the cases of a rule file stand; a file of cases is its own answer."""
    return file if file.stem.endswith("_test") else file.with_name(f"{file.stem}_test{file.suffix}")


def test_rules(file: Path) -> list[Result]:
    """Run the cases of a rule file or of a file of cases. Raises ConfigError for what is wrong in either."""
    case_file = cases_beside(file)
    report = Report(case_file)
    if not case_file.is_file():
        rules = read_rules(file)
        missing = f"rule {rules[0].keys.alert!r} has no case: write {case_file.name} beside {file.name}"
        report.add((), missing)
        report.finish()
    data: Any = report.read().data()
    if not isinstance(data, dict):
        report.add((), "a file of cases is a mapping that starts with rules: FILE.yaml")
    cases = report.check(CaseFile, data)
    if cases is None or not isinstance(data, dict):
        report.finish()
    assert cases is not None, "finish() has raised"
    rules = read_rules(case_file.with_name(cases.rules))
    _check(cases, rules, report)
    report.finish()
    by_name = {rule.keys.alert: rule for rule in rules}
    return [_run(cases, case, by_name[case.rule or rules[0].keys.alert], case_file) for case in cases.cases]


def _check(cases: CaseFile, rules: Sequence[Written], report: Report) -> None:
    names = [rule.keys.alert for rule in rules]
    if cases.step * 1000 % MINUTE_MS:
        report.add(("step",), "a step is one or more whole minutes, such as 1m")
    for i, case in enumerate(cases.cases):
        if case.rule is None and len(names) > 1:
            report.add(("cases", i), "this file holds several rules; say which one with rule: NAME")
        elif case.rule is not None and case.rule not in names:
            report.add(("cases", i, "rule"), unknown("rule", case.rule, names))
        else:
            keys = next(rule.keys for rule in rules if rule.keys.alert == (case.rule or names[0]))
            needed = keys.metric or keys.condition or ""
            known = {needed, "wind_speed_m_s", "rain_mm"} | ({"reference"} if keys.reference else set())
            if needed not in case.feed:
                report.add(("cases", i, "feed"), f"rule {keys.alert!r} looks at {needed}; feed it")
            for name in case.feed.keys() - known:
                report.add(("cases", i, "feed", name), unknown("feed", name, known), at_key=True)
        for name, text in case.feed.items():
            if fault := _fault_of(text, cases.step):
                report.add(("cases", i, "feed", name), fault)
        for j, text in enumerate(case.expect):
            if offset_ms(text.split(" ")[0]) is None or len(text.split()) < 2:
                report.add(("cases", i, "expect", j), "write when and what, such as 5m raised")
    for name in names:
        if name not in {case.rule or names[0] for case in cases.cases}:
            report.add(("cases",), f"rule {name!r} has no case; every rule needs one", at_key=True)


def _fault_of(text: str, step_s: float) -> str | None:
    parts = text.split()
    for part in parts:
        if not _SAMPLE.fullmatch(part):
            return f"{part[:40]!r} is no sample; write 160, 160x7, or _ for nothing"
    total = sum(int(match[2] or 1) for part in parts if (match := _SAMPLE.fullmatch(part)))
    if not parts:
        return "no sample is written; write such as 160x7"
    return "that is more than two months of minutes" if total * step_s / 60 > _MOST_MINUTES else None


def samples(text: str) -> Samples:
    """Return the samples of a feed: ``"160x2 _"`` is [160, 160, None]."""
    found: Samples = []
    for part in text.split():
        match = _SAMPLE.fullmatch(part)
        assert match is not None, "checked before"
        found += [None if match[1] == "_" else float(match[1])] * int(match[2] or 1)
    return found


def offset_ms(text: str) -> int | None:
    """Return ``5m``, ``1h30m`` or ``2d`` in milliseconds; None when it is something else."""
    match = _OFFSET.fullmatch(text)
    if match is None or not text:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return (((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1000


def _offset_text(ms: int) -> str:
    hours, minutes = divmod(ms // MINUTE_MS, 60)
    return f"{hours}h{minutes}m" if hours and minutes else f"{hours}h" if hours else f"{minutes}m"


# --- one case ---------------------------------------------------------------------------------------------------


def _run(cases: CaseFile, case: Case, written: Written, file: Path) -> Result:
    calendar = Calendar(ZoneInfo(cases.timezone), *cases.site.hours.day)
    rule = bind(written.keys, written, calendar, cases.site)
    zero_ms = round(case.start.replace(tzinfo=calendar.zone).timestamp() * 1000)
    events = list(_play(rule, case, calendar, zero_ms, round(cases.step * 1000)))
    return Result(str(file), case.name, rule.name, tuple(_compare(case.expect, events, zero_ms)))


def _compare(expect: Sequence[str], events: Sequence[Event], zero_ms: int) -> Iterator[str]:
    happened = [_told(event, zero_ms) for event in events]
    for i in range(max(len(expect), len(happened))):
        wanted = expect[i].split() if i < len(expect) else []
        got = happened[i].split() if i < len(happened) else []
        if not wanted:
            yield f"not expected: {' '.join(got)}"
        elif not got:
            yield f"did not happen: {' '.join(wanted)}"
        elif (offset_ms(wanted[0]), [_WORDS.get(w, w) for w in wanted[1:]]) != (
            offset_ms(got[0]),
            got[1 : len(wanted)],
        ):
            yield f"expected {' '.join(wanted)}, got {' '.join(got)}"


def _told(event: Event, zero_ms: int) -> str:
    word = event.details.get("outcome") if event.kind == "verdict" else event.severity
    return f"{_offset_text(event.at_ms - zero_ms)} {event.kind} {word}"


def _play(rule: Rule, case: Case, calendar: Calendar, zero_ms: int, step_ms: int) -> Iterator[Event]:
    feeds = {name: samples(text) for name, text in case.feed.items()}
    first_ms = zero_ms - step_ms
    state = engine.start(rule, DEVICE, [DEVICE], first_ms)
    watch = _watch(rule, calendar, first_ms)
    for k in range(max(map(len, feeds.values()))):
        for start_ms in range(zero_ms + (k - 1) * step_ms, zero_ms + k * step_ms, MINUTE_MS):
            now_ms = start_ms + MINUTE_MS
            now = {name: feed[k] if k < len(feed) else None for name, feed in feeds.items()}
            for observation in _observations(rule, watch, now, start_ms, first_ms):
                state, events = engine.step(rule, state, observation, now_ms)
                yield from events
            state, events = engine.step(rule, state, None, now_ms)
            yield from events


def _observations(
    rule: Rule, watch: Watch, now: dict[str, float | None], start_ms: int, first_ms: int
) -> Sequence[engine.Observation | DeviceState]:
    """Return what one minute gives to judge; no verdict speaks of a window that began before the feed."""
    end_ms = start_ms + MINUTE_MS
    if rule.condition is not None:
        value = now[rule.condition]
        return [] if value is None else [DeviceState(DEVICE, rule.condition, value != 0, end_ms)]
    minutes = [
        _minute(device, metric, start_ms, value)
        for device, metric, value in _placed(rule, now)
        if value is not None and metric in METRICS
    ]
    # windows are closed a little after their end; the word is about the end all the same
    seen = watch.take(minutes, end_ms) + watch.take([], end_ms + 10_000)
    return [each for _, each in seen if rule.kind == "warning" or each.window.start_ms >= first_ms]


def _placed(rule: Rule, now: dict[str, float | None]) -> Iterator[tuple[str, str, float | None]]:
    for name, value in now.items():
        if name == "reference" and rule.reference is not None:
            yield REFERENCE, rule.reference.metric, value
        else:
            yield (DEVICE if name == rule.metric else WEATHER), name, value


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


def _watch(rule: Rule, calendar: Calendar, now_ms: int) -> Watch:
    references = ((rule.reference.metric, REFERENCE),) if rule.reference else ()
    series = {(rule.metric, DEVICE): (rule,)} if rule.metric else {}
    rules = RuleSet((rule,), series, {}, {DEVICE: "site"}, {rule.name: references})
    watch = Watch(rules, calendar, {WEATHER: ("wind_speed_m_s", "humidity_pct", "rain_mm")})
    asyncio.run(watch.load(_NoMinutes(), now_ms))
    return watch
