"""From rule files and a site's choice to its RuleSet: "one project, one policy".

Rule files are looked for in ``alerts/`` beside the site file first, then among the shipped ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import configs
from gateway.alerts.case_file import read_cases
from gateway.alerts.rule import READING, Reference, Rule, RuleSet, Where
from gateway.alerts.rule_file import Written, check_rule, read_rules
from gateway.alerts.rule_keys import RuleKeys
from gateway.alerts.schedule import Period, When
from gateway.config.alerts import AlertsConfig
from gateway.config.loader import LoadedDevice, LoadedSite
from gateway.config.report import Report, unknown
from gateway.errors import ConfigError
from gateway.ledger.day import Calendar
from gateway.ledger.windows import WindowSpec
from gateway.vocabulary import METRICS

SHIPPED = configs.path("alerts")
_FIXED = ("alert", "policy", "kind", "metric", "condition")
_LIMITS = ("above", "at_least", "below")
_NO_PLACE = Where()


def list_rule_files(extra_dirs: Sequence[Path] = ()) -> dict[str, Path]:
    """Return name -> file, without the ``_test`` files. A file in ``extra_dirs`` hides the shipped one of that name."""
    files = {
        file.stem: file
        for folder in (SHIPPED, *reversed(extra_dirs))
        if folder.is_dir()
        for file in folder.glob("*.yaml")
        if not file.stem.endswith("_test")
    }
    return dict(sorted(files.items()))


def load_rules(site: LoadedSite) -> RuleSet:
    """Return the rules that a site has chosen. Raises ConfigError with every problem of site file and rule files."""
    report = Report(site.file)
    report.read()
    alerts = site.config.alerts
    known = _read_all(site.file.absolute().parent, report) if alerts.use or alerts.set else []
    calendar = calendar_of(site)
    in_use = _chosen(known, alerts, report)
    _check_cases(in_use, report)
    chosen = _changed(in_use, alerts, report)
    rules = [bind(keys, written, calendar, alerts) for keys, written in chosen if _in_force(keys, alerts, report)]
    rules_in_use = _index(rules, site.devices, report)
    report.finish()
    return rules_in_use


def calendar_of(site: LoadedSite) -> Calendar:
    """Return the site's time zone with the hours of its day and night."""
    return Calendar(ZoneInfo(site.config.site.timezone), *site.config.alerts.hours.day)


def _read_all(folder: Path, report: Report) -> list[Written]:
    found: list[Written] = []
    for file in list_rule_files([folder / "alerts"]).values():
        try:
            found += read_rules(file)
        except ConfigError as error:
            report.add_foreign(error.problems)
    return found


def _chosen(known: Sequence[Written], alerts: AlertsConfig, report: Report) -> list[Written]:
    """Return what ``use`` names, each once, in the order of the files."""
    names = {rule.keys.alert for rule in known}
    policies = {rule.policy for rule in known}
    for i, wanted in enumerate(alerts.use):
        if wanted not in names | policies:
            report.add(("alerts", "use", i), unknown("policy or rule", wanted, policies | names))
    chosen = [rule for rule in known if {rule.keys.alert, rule.policy} & set(alerts.use)]
    first: dict[str, Written] = {}
    for rule in chosen:
        other = first.setdefault(rule.keys.alert, rule)
        if other is not rule:
            text = f"rule {rule.keys.alert!r} stands in {other.file} and in {rule.file}; give one another name"
            report.add(("alerts", "use"), text)
    for name in alerts.set:
        if name not in first:
            used = "it is not in use here; name it or its policy under use" if name in names else ""
            report.add(("alerts", "set", name), used or unknown("rule", name, first), at_key=True)
    return chosen


def _check_cases(in_use: Iterable[Written], report: Report) -> None:
    """A rule of the site's own that nobody has tried is not in force; the shipped ones are tried before they ship."""
    for file in sorted({Path(rule.file) for rule in in_use}):
        if file.parent != SHIPPED:
            try:
                read_cases(file)
            except ConfigError as error:
                report.add_foreign(error.problems)


def _changed(
    chosen: Iterable[Written], alerts: AlertsConfig, report: Report
) -> list[tuple[RuleKeys, Written]]:  # fmt: skip
    """Put in what the site file decides otherwise; the changed rule is checked like any other."""
    result: list[tuple[RuleKeys, Written]] = []
    for rule in chosen:
        changes = alerts.set.get(rule.keys.alert)
        if not changes:
            result.append((rule.keys, rule))
            continue
        path = ("alerts", "set", rule.keys.alert)
        for key in changes.keys() & set(_FIXED):
            report.add((*path, key), "this makes it another rule; write your own in alerts/ beside the site file")
        keys = check_rule(_merge(rule.data, changes), path, report)
        if keys is not None:
            result.append((keys, rule))
    return result


def _merge(data: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A changed rule says so: it is the project's choice now, whoever wrote the figure before."""
    dropped = _LIMITS if changes.keys() & set(_LIMITS) else ()
    merged = {key: value for key, value in data.items() if key not in dropped} | dict(changes)
    if "source" not in changes:
        merged["source"] = f"{data.get('source', '')}; changed in the site file: {', '.join(sorted(changes))}"
    if "confidence" not in changes:
        merged["confidence"] = "project choice"
    return merged


def _in_force(keys: RuleKeys, alerts: AlertsConfig, report: Report) -> bool:
    """Stage and regional warning level are chosen by the site file."""
    if keys.stage and alerts.stage is None:
        stages = ", ".join(keys.stage)
        report.add(("alerts", "use"), f"rule {keys.alert!r} depends on the stage ({stages}); write alerts.stage")
    return (not keys.stage or alerts.stage in keys.stage) and (not keys.level or alerts.level in keys.level)


def bind(keys: RuleKeys, written: Written, calendar: Calendar, alerts: AlertsConfig) -> Rule:
    """Return a rule with the calendar, the permits and the maintenance of a site in it."""
    upwards = keys.below is None
    metric = METRICS.get(keys.metric or "")
    title = keys.title.model_dump() if keys.title else {"en": keys.alert, "zh": keys.alert}
    return Rule(
        name=keys.alert,
        kind=keys.kind,
        metric=metric.name if metric else None,
        condition=keys.condition,
        where=_where(keys.where),
        statistic=keys.asked,
        window=READING if keys.at_once else WindowSpec(keys.window.length, keys.window.sliding),
        limit=keys.limit,
        direction="above" if upwards else "below",
        inclusive=keys.at_least is not None or keys.condition is not None,
        warn=keys.warn,
        clear=keys.clear_below if upwards else keys.clear_above,
        for_ms=_ms(keys.hold) or 0,
        confirm=keys.confirm,
        clear_for_ms=_ms(keys.clear_for) or 0,
        close_after_ms=_ms(keys.close_after),
        no_data_after_ms=_ms(keys.no_data_after),
        escalate_after_ms=_ms(keys.escalate_after),
        severity=keys.severity,
        group=keys.group,
        valid_share=keys.valid_share,
        allowance=keys.allowance,
        rounding=keys.rounding,
        reference=_reference(keys),
        spread=keys.spread,
        rated=keys.rated,
        wind_below=keys.wind_below,
        dry_only=keys.dry_only,
        sprayed=keys.sprayed,
        when=_when(keys, calendar),
        permits=_permits(alerts, calendar) if keys.lifted_by_permit else (),
        maintenance=_maintenance(alerts, calendar),
        edition=keys.edition,
        source=keys.source,
        confidence=keys.confidence,
        stage=alerts.stage if keys.stage else None,
        level=alerts.level if keys.level else None,
        policy=written.policy,
        title=title,
        say=keys.say.model_dump() if keys.say else title,
        file=written.file,
        line=written.line,
    )


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


def _where(keys: Any) -> Where:
    return Where(keys.zone, keys.device, None if keys.domain is None else str(keys.domain))


def _reference(keys: RuleKeys) -> Reference | None:
    ref = keys.reference
    return None if ref is None else Reference(ref.metric, _where(ref.where), ref.mode, ref.cap)


def _when(keys: RuleKeys, calendar: Calendar) -> When:
    when = When(calendar, keys.schedule, valid_from=keys.valid_from, valid_until=keys.valid_until)
    if keys.hours is not None:
        begin, end = (t.hour * 60 + t.minute for t in keys.hours)
        when = replace(when, name="hours", begin=begin, end=end)
    if keys.season is not None:
        first, last = (_month_day(text) for text in (keys.season.first, keys.season.last))
        when = replace(when, season=(first, last))
    return when


def _month_day(text: str) -> tuple[int, int]:
    month, day = text.split("-")
    return int(month), int(day)


def _moment_ms(moment: datetime, calendar: Calendar) -> int:
    return round(moment.replace(tzinfo=calendar.zone).timestamp() * 1000)


def _permits(alerts: AlertsConfig, calendar: Calendar) -> tuple[Period, ...]:
    return tuple(
        Period(_moment_ms(p.begin, calendar), _moment_ms(p.end, calendar), None, p.number) for p in alerts.night_permits
    )


def _maintenance(alerts: AlertsConfig, calendar: Calendar) -> tuple[Period, ...]:
    return tuple(
        Period(_moment_ms(m.begin, calendar), _moment_ms(m.end, calendar), m.device, m.note) for m in alerts.maintenance
    )


# --- which devices ----------------------------------------------------------------------------------------------


def _index(rules: Sequence[Rule], devices: Mapping[str, LoadedDevice], report: Report) -> RuleSet:
    """Find each rule's series once. A station that others are compared with is not judged by their metric's limits."""
    references: dict[str, tuple[tuple[str, str], ...]] = {}
    stations: set[tuple[str, str]] = set()
    for rule in rules:
        if rule.reference is None:
            continue
        metric, where = rule.reference.metric, rule.reference.where
        series = tuple((metric, d.name) for d in devices.values() if metric in d.points and _matches(where, d, metric))
        references[rule.name] = series
        if where != _NO_PLACE:
            stations.update(series)
        if not series and where != _NO_PLACE:
            place = where.device or where.zone or where.domain
            text = f"rule {rule.name!r} compares with {metric} of {place!r}, which no device here measures"
            report.add(("alerts", "use"), f"{text}; change its reference under set, or do not use it")
    zones = {device.config.zone for device in devices.values()}
    by_series: dict[tuple[str, str], tuple[Rule, ...]] = {}
    by_device: dict[str, tuple[Rule, ...]] = {}
    for rule in rules:
        for what, wanted, known in (("device", rule.where.device, devices), ("zone", rule.where.zone, zones)):
            if wanted is not None and wanted not in known:
                report.add(("alerts", "use"), f"rule {rule.name!r} looks at {unknown(what, wanted, known)}")
        for device in devices.values():
            if (rule.metric and rule.metric not in device.points) or not _matches(rule.where, device, rule.metric):
                continue
            if rule.metric is None:
                by_device[device.name] = (*by_device.get(device.name, ()), rule)
            elif (rule.metric, device.name) not in stations:
                key = (rule.metric, device.name)
                by_series[key] = (*by_series.get(key, ()), rule)
    return RuleSet(
        tuple(rules),
        by_series,
        by_device,
        {name: device.config.zone for name, device in devices.items()},
        references,
    )


def _matches(where: Where, device: LoadedDevice, metric: str | None) -> bool:
    if where.zone not in (None, device.config.zone) or where.device not in (None, device.name):
        return False
    if where.domain is None:
        return True
    return any(str(METRICS[m].domain) == where.domain for m in ([metric] if metric else device.points))
