"""What people are shown of rules beside the alarms: sentences, lines in charts, how days and nights stand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gateway.alerts.rule import Rule, RuleSet
from gateway.alerts.standing import is_over
from gateway.alerts.state import Event, State
from gateway.alerts.watch import PERIODS, Watch
from gateway.ledger.minute import kind_of
from gateway.ledger.windows import Statistic, Wanted, WindowResult
from gateway.model import Alarm, LimitLine, WindowVerdict
from gateway.vocabulary import METRICS, Kind

LANGUAGES = ("en", "zh")
_SPEAKS = frozenset({"raised", "escalated", "no_data"})
_SHOWN_PERIODS = 2
_ABOVE_RANGE = {
    "en": "{subject}: {metric} is above what can be measured; there is no value",
    "zh": "{subject}:{metric}超出量程,无有效数值",
}
_SPRAYED = {
    ("en", "keep"): " ({minutes} sprayed minutes among them)",
    ("zh", "keep"): "(含喷雾影响 {minutes} 分钟)",
    ("en", "leave_out"): " ({minutes} sprayed minutes left out)",
    ("zh", "leave_out"): "(已剔除喷雾影响 {minutes} 分钟)",
}
Labels = Mapping[str, Mapping[str, str]]


def words(rule: Rule, event: Event, labels: Labels) -> dict[str, object]:
    """Title, sentence and unit of an event, so that it can be read without its rule."""
    if event.kind not in _SPEAKS:
        return {}
    metric = METRICS.get(rule.metric or "")
    found: dict[str, object] = {
        "title": dict(zip(LANGUAGES, _titles(rule), strict=True)),
        "label": {language: _label(event.subject, language, labels) for language in LANGUAGES},
        "kind": rule.kind,
    }
    if metric is not None:
        found["unit"] = "%" if rule.rated or (rule.reference and rule.reference.mode == "percent") else metric.unit
    if event.kind != "no_data" and rule.say:
        found["text"] = {language: _sentence(rule, event, language, labels) for language in rule.say}
    return found


def closing(alarm: Alarm) -> dict[str, object]:
    """What stands in the note of an alarm that the gateway closed: how long, how much, what was done."""
    facts, actions = alarm.details, alarm.details.get("actions")
    peak, unit, lasted_ms = facts.get("peak"), facts.get("unit", ""), facts.get("lasted_ms")
    lasted = f"{lasted_ms / 60_000:.1f} min" if isinstance(lasted_ms, int) else None
    done = [str(action["note"]) for action in actions] if isinstance(actions, list) else []
    most = f"{peak:g} {unit}".strip() if isinstance(peak, int | float) else None
    texts = {
        "en": [
            f"Cleared by itself after {lasted}" if lasted else "Cleared by itself",
            f"peak {most}" if most else "",
            "done: " + ", ".join(done) if done else "nothing was done",
        ],
        "zh": [
            f"已自行恢复,持续 {lasted}" if lasted else "已自行恢复",
            f"峰值 {most}" if most else "",
            "处置:" + "、".join(done) if done else "未采取措施",
        ],
    }
    text = {"en": "; ".join(filter(None, texts["en"])), "zh": ";".join(filter(None, texts["zh"]))}
    return {"note": text["en"], "text": text}


def _sentence(rule: Rule, event: Event, language: str, labels: Labels) -> str:
    details = event.details
    metric = METRICS.get(rule.metric or "")
    fields = {
        "device": _label(str(details.get("device", event.subject)), language, labels),
        "subject": _label(event.subject, language, labels),
        "value": details.get("value"),
        "limit": rule.limit,
        "unit": metric.unit if metric else "",
        "window": rule.window.length,
        "valid_share": details.get("valid_share"),
        "count_today": details.get("count_today"),
        "background": details.get("background"),
    }
    if details.get("reason") == "above_range" and metric is not None:
        return _ABOVE_RANGE[language].format(subject=fields["subject"], metric=getattr(metric, language))
    try:
        said = rule.say[language].format(**fields)
    except TypeError:  # a number that an escalation for want of an answer does not carry
        return ""
    sprayed = details.get("sprayed_minutes")
    return said + _SPRAYED[language, rule.sprayed].format(minutes=sprayed) if sprayed else said


def _titles(rule: Rule) -> tuple[str, str]:
    return rule.title.get("en") or rule.name, rule.title.get("zh") or rule.name


def _label(name: str, language: str, labels: Labels) -> str:
    return labels.get(name, {}).get(language, name)


def limits(rules: RuleSet, now_ms: int) -> list[LimitLine]:
    """The levels of all rules, per series. Differences and shares do not lie on the axis of their series."""
    lines: list[LimitLine] = []
    for (metric, device), of_series in rules.by_series.items():
        for rule in of_series:
            if rule.reference is not None or rule.rated is not None:
                continue
            en, zh = _titles(rule)
            hours, now = rule.when.name, rule.when.covers(now_ms, now_ms + 1)
            for value, warning in ((rule.limit, rule.kind == "warning"), (rule.warn, True)):
                if value is not None:
                    lines.append(LimitLine(device, metric, rule.name, en, zh, value, warning, hours, now))
    return lines


def verdicts(rules: RuleSet, watch: Watch, states: Mapping[tuple[str, str], State]) -> list[WindowVerdict]:
    """The newest two days and nights of every noise series against the rule that holds for them."""
    found: list[WindowVerdict] = []
    for (metric, device), of_series in rules.by_series.items():
        if kind_of(metric) is not Kind.LEVEL_DB:
            continue
        for period in PERIODS:
            shown: dict[int, WindowVerdict] = {}
            for rule in sorted(of_series, key=lambda r: (r.kind == "verdict", -r.limit)):
                for result in _periods(rule, device, period.length, watch):
                    over = sum(_over(each, device, result, rules, states) for each in of_series)
                    shown[result.start_ms] = _verdict(rule, device, period.length, result, over)
            found += [shown[ms] for ms in sorted(shown)[-_SHOWN_PERIODS:]]
    return found


def _periods(rule: Rule, device: str, length: str, watch: Watch) -> Iterator[WindowResult]:
    """Windows of a period to which a rule on the equivalent level applies."""
    if rule.statistic is not Statistic.MEAN or rule.reference is not None or rule.direction != "above":
        return
    period = next(p for p in PERIODS if p.length == length)
    for result in watch.results(rule, device, Wanted(period, Statistic.MEAN, rule.valid_share)):
        if rule.when.name == length and rule.when.covers(result.start_ms, result.end_ms):
            yield result


def _over(
    rule: Rule, device: str, within: WindowResult, rules: RuleSet, states: Mapping[tuple[str, str], State]
) -> int:
    """Windows of a rule inside that one which were judged to be over its limit: hours, or peaks at night."""
    state = states.get((rule.name, rules.subject(rule, device)))
    member = state.members.get(device) if state else None
    judged = member.judged if member else ()
    return sum(outcome == "exceeded" and within.start_ms <= at < within.end_ms for at, outcome in judged)


def _verdict(rule: Rule, device: str, length: str, window: WindowResult, over: int) -> WindowVerdict:
    assert rule.metric is not None
    value = window.value if window.enough else None
    if over or (value is not None and window.closed and is_over(rule, value, rule.limit)):
        result = "exceeded"
    elif not window.closed:
        result = "open"
    else:
        result = "not_enough_data" if value is None else "passed"
    en, zh = _titles(rule)
    return WindowVerdict(
        device, rule.metric, rule.name, en, zh, length, window.start_ms, window.end_ms, window.value, rule.limit,
        result, over, window.valid_share, window.corrected,
    )  # fmt: skip
