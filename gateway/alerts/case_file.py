"""The cases beside a rule file: what is fed, and what must happen when.

A feed such as ``"160x7 90x2 _x3"`` holds one sample per ``step``: seven times 160, twice 90, three times nothing; ``T``
is a reading above the range. A sample stands for the step that ends at its time: the first at 0, so that ``5m raised``
is the sixth sample's word. For a rule on single readings a sample is one reading, and a step may be seconds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import Field

from gateway.alerts.rule_file import Written, read_rules
from gateway.config.alerts import AlertsConfig, Moment
from gateway.config.model import Duration, Model, TimeZone
from gateway.config.report import Report, unknown
from gateway.ledger.minute import MINUTE_MS

_MOST_MINUTES = 100_000
_YEARS = range(2000, 2101)
_SAMPLE = re.compile(r"(_|T|-?\d{1,12}(?:\.\d{1,12})?)(?:x(\d{1,6}))?")
_OFFSET = re.compile(r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m(?:in)?)?(?:(\d{1,6})s)?")
OTHER_FEEDS = ("wind_speed_m_s", "rain_mm", "sprayed")
"""What any rule may be fed besides its own metric."""


class Case(Model):
    """One feed and all that must follow from it, in order."""

    name: str = Field(min_length=1)
    rule: str | None = None
    """May be left out where the file holds one rule only."""
    start: Moment = datetime(2026, 6, 1, 8)  # noqa: DTZ001  # the zone is the file's
    step: Duration | None = None
    """Instead of the file's."""
    feed: dict[str, str]
    """Metric or condition -> samples. ``reference``: what the rule compares with; ``sprayed``: 1 while a cannon ran."""
    expect: tuple[str, ...]
    """Such as ``5m raised``, ``60m verdict exceeded``; further words of the event may be left out."""


class CaseFile(Model):
    """``NAME_test.yaml`` beside the rules."""

    rules: str
    step: Duration = 60.0
    timezone: TimeZone = "Asia/Shanghai"
    site: AlertsConfig = AlertsConfig()
    """What a site file would say: stage, hours, permits, maintenance."""
    cases: tuple[Case, ...] = Field(min_length=1)


def cases_beside(file: Path) -> Path:
    """Return where the cases of a rule file stand; a file of cases is its own answer."""
    return file if file.stem.endswith("_test") else file.with_name(f"{file.stem}_test{file.suffix}")


def read_cases(file: Path) -> tuple[CaseFile, tuple[Written, ...]]:
    """Return the cases of a rule file, or of a file of cases, with its rules.

    Raises ConfigError for what is wrong in either, a rule without a case among it.
    """
    case_file = cases_beside(file)
    if not case_file.is_file():
        _say_missing(file, case_file)
    report = Report(case_file)
    data: Any = report.read().data()
    if not isinstance(data, dict):
        report.add((), "a file of cases is a mapping that starts with rules: FILE.yaml")
    cases = report.check(CaseFile, data)
    if cases is None or not isinstance(data, dict):
        report.finish()
    assert cases is not None, "finish() has raised"
    beside = f"{case_file.stem.removesuffix('_test')}{case_file.suffix}"
    if cases.rules != beside:
        report.add(("rules",), f"{case_file.name} holds the cases of the rules beside it; write {beside}")
        report.finish()
    rules = read_rules(case_file.with_name(beside))
    _check(cases, rules, report)
    report.finish()
    return cases, rules


def _say_missing(file: Path, case_file: Path) -> None:
    rules, report = read_rules(file), Report(file)
    report.read()
    for i, rule in enumerate(rules):
        text = f"rule {rule.keys.alert!r} has no case: write {case_file.name} beside {file.name}"
        report.add((i, "alert"), text)
    report.finish()


def _check(cases: CaseFile, rules: Sequence[Written], report: Report) -> None:
    names = [rule.keys.alert for rule in rules]
    for i, case in enumerate(cases.cases):
        if case.start.year not in _YEARS:
            report.add(("cases", i, "start"), f"write a year from {_YEARS[0]} to {_YEARS[-1]}")
        if case.rule is None and len(names) > 1:
            report.add(("cases", i), "this file holds several rules; say which one with rule: NAME")
        elif case.rule is not None and case.rule not in names:
            report.add(("cases", i, "rule"), unknown("rule", case.rule, names))
        else:
            keys = next(rule.keys for rule in rules if rule.keys.alert == (case.rule or names[0]))
            needed = keys.metric or keys.condition or ""
            known = {needed, *OTHER_FEEDS} | ({"reference"} if keys.reference or keys.spread else set())
            step_s = case.step or cases.step
            if not keys.at_once and step_s * 1000 % MINUTE_MS:
                where = ("step",) if case.step is None else ("cases", i, "step")
                report.add(where, "a step is one or more whole minutes, such as 1m")
            if needed not in case.feed:
                report.add(("cases", i, "feed"), f"rule {keys.alert!r} looks at {needed}; feed it")
            for name in case.feed.keys() - known:
                report.add(("cases", i, "feed", name), unknown("feed", name, known), at_key=True)
            for name, text in case.feed.items():
                if fault := _fault_of(text, step_s, at_once=keys.at_once):
                    report.add(("cases", i, "feed", name), fault)
        for j, text in enumerate(case.expect):
            if offset_ms(text.split(" ")[0]) is None or len(text.split()) < 2:
                report.add(("cases", i, "expect", j), "write when and what, such as 5m raised")
    for name in names:
        if name not in {case.rule or names[0] for case in cases.cases}:
            report.add(("cases",), f"rule {name!r} has no case; every rule needs one", at_key=True)


def _fault_of(text: str, step_s: float, *, at_once: bool) -> str | None:
    parts = text.split()
    for part in parts:
        if not _SAMPLE.fullmatch(part):
            return f"{part[:40]!r} is no sample; write 160, 160x7, or _ for nothing"
        if part.startswith("T") and not at_once:
            return "T is a single reading above the range; a window knows only that there is no value: write _"
    total = sum(int(match[2] or 1) for part in parts if (match := _SAMPLE.fullmatch(part)))
    if not total:
        return "no sample is written; write such as 160x7"
    return "that is more than two months of minutes" if total * step_s / 60 > _MOST_MINUTES else None


def samples(text: str) -> list[float | None]:
    """Return the samples of a feed: ``"160x2 _"`` is [160, 160, None]."""
    found: list[float | None] = []
    for part in text.split():
        match = _SAMPLE.fullmatch(part)
        assert match is not None, "checked before"
        one = {"_": None, "T": math.inf}.get(match[1], match[1])
        found += [None if one is None else float(one)] * int(match[2] or 1)
    return found


def offset_ms(text: str) -> int | None:
    """Return ``5m``, ``1h30m`` or ``2d`` in milliseconds; None when it is something else."""
    match = _OFFSET.fullmatch(text)
    if match is None or not text:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return (((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1000


def offset_text(ms: int) -> str:
    """Return milliseconds as such an offset."""
    minutes, seconds = divmod(ms // 1000, 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{number}{unit}" for number, unit in ((hours, "h"), (minutes, "m"), (seconds, "s")) if number]
    return "".join(parts) or "0m"
