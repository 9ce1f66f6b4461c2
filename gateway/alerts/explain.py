"""What stands in an event, so that a reader can follow the number. Pure."""

from __future__ import annotations

from gateway.alerts.rule import Rule
from gateway.alerts.state import Details, Event, EventKind, Observation, State


def make_event(
    rule: Rule, state: State, alarm: str, kind: EventKind, at_ms: int, details: Details, severity: str | None = None
) -> Event:  # fmt: skip
    """Return one step of an alarm; its severity is the alarm's unless another is given."""
    return Event(alarm, kind, at_ms, rule.name, state.subject, severity or state.severity, details)


def facts_of(rule: Rule, **more: object) -> Details:
    """Return where a limit comes from, and what more is known."""
    facts: Details = {
        "edition": rule.edition,
        "source": rule.source,
        "confidence": rule.confidence,
        "metric": rule.metric,
        "schedule": rule.when.name,
        "stage": rule.stage,
        "warning_level": rule.level,
    }
    return facts | more


def facts_of_window(rule: Rule, seen: Observation, **more: object) -> Details:
    """Return what a reader needs to follow the number."""
    window = seen.window
    if seen.above_range:
        more = {"reason": "above_range"} | more
    if seen.sprayed_minutes is not None:
        more = {"sprayed": rule.sprayed, "sprayed_minutes": seen.sprayed_minutes} | more
    return facts_of(
        rule,
        device=seen.device,
        window_start_ms=window.start_ms,
        window_end_ms=window.end_ms,
        window=rule.window.length,
        sliding=rule.window.sliding,
        statistic=str(rule.statistic),
        value=window.value,
        limit=rule.limit,
        warn=rule.warn,
        clear=rule.clear,
        direction=rule.direction,
        valid_share=window.valid_share,
        good_minutes=window.good_minutes,
        expected_minutes=window.expected_minutes,
        background=seen.background,
        allowance=rule.allowance,
        **more,
    )
