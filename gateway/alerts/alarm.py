"""The life of one alarm: its events folded into what holds now, and what people may do about it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gateway.alerts.state import Event, EventKind
from gateway.model import Alarm

STATES = ("open", "acknowledged", "acted", "closed")
GATEWAY = "sitegate"
"""Who acts where no person does."""
MOST_ACTIONS = 20
"""Actions that an alarm lists; its events have them all."""
STEPS: dict[str, tuple[EventKind, bool]] = {
    "acknowledge": ("acknowledged", False),
    "act": ("acted", True),
    "close": ("closed", True),
}
"""What people may do -> (kind of event, is a note needed)."""
_BEGINS = frozenset({"raised", "no_data"})
_ENDS = frozenset({"cleared", "data_back"})
_BY_PEOPLE = frozenset(kind for kind, _ in STEPS.values())


def follow(alarm: Alarm | None, event: Event) -> Alarm | None:
    """Return the alarm after one more of its events; None where the event neither belongs to one nor begins one."""
    if alarm is None:
        if event.kind not in _BEGINS or not event.alarm:
            return None
        return Alarm(
            event.alarm, event.rule, event.subject, event.severity, event.kind, "open", True,
            event.at_ms, event.at_ms, None, None, event.details,
        )  # fmt: skip
    changed = replace(alarm, changed_ms=max(alarm.changed_ms, event.at_ms), details=_told(alarm, event))
    if event.kind in _BY_PEOPLE:
        if STATES.index(event.kind) <= STATES.index(alarm.state):
            return changed
        return replace(changed, state=event.kind, closed_ms=event.at_ms if event.kind == "closed" else None)
    if event.kind in _ENDS:
        return replace(changed, active=False, cleared_ms=event.at_ms)
    return replace(changed, severity=event.severity) if event.kind == "escalated" else changed


def _told(alarm: Alarm, event: Event) -> Mapping[str, object]:
    """An alarm shows its worst, not the value with which it went: later events add only what changes the case."""
    new = event.details
    if event.kind in _BY_PEOPLE:
        return {**alarm.details, **_answered(alarm, event), **_acted(alarm, event)}
    if event.kind == "cleared":
        return {**alarm.details, **{key: new[key] for key in ("peak", "lasted_ms") if key in new}}
    if event.kind == "escalated" and new.get("reason") == "limit":
        return {**alarm.details, **new}
    if event.kind == "verdict" and new.get("outcome") == "exceeded":
        return {**alarm.details, **new}
    if event.kind == "corrected" and new.get("window_start_ms") == alarm.details.get("window_start_ms"):
        return {**alarm.details, **new, "corrected": True}
    return alarm.details


def _answered(alarm: Alarm, event: Event) -> Mapping[str, object]:
    by = event.details.get("by")
    return {} if by == GATEWAY or "answered_by" in alarm.details else {"answered_by": by}


def _acted(alarm: Alarm, event: Event) -> Mapping[str, object]:
    if event.kind != "acted":
        return {}
    before = alarm.details.get("actions")
    action = {"at_ms": event.at_ms, **{key: value for key, value in event.details.items() if key != "simulated"}}
    return {"actions": [*(before if isinstance(before, list) else []), action][-MOST_ACTIONS:]}


def closes_itself(alarm: Alarm, after_ms: int | None, now_ms: int) -> bool:
    """True when the cause has been gone for so long that nobody needs to close the alarm."""
    if after_ms is None or alarm.active or alarm.state == "closed" or alarm.cleared_ms is None:
        return False
    return now_ms - alarm.cleared_ms >= after_ms


def why_not(alarm: Alarm, step: str, note: str) -> str | None:
    """Say why people cannot take this step now; None when they can."""
    kind, needs_note = STEPS[step]
    if alarm.state == "closed":
        return "This alarm is closed already; its history stays readable."
    only_ours = alarm.state == "acted" and "answered_by" not in alarm.details  # people may still take note of it
    if STATES.index(kind) <= STATES.index(alarm.state) and not only_ours:
        return f"This alarm is {alarm.state} already."
    if needs_note and not note:
        return "Say in the note what was done or found; it stays in the alarm's history."
    if step == "close" and alarm.active:
        return "The cause still holds. An alarm can be closed once it has cleared; until then note what is being done."
    return None
