"""How one value moves a device's level, and the levels of its devices the one alarm of a subject. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gateway.alerts.explain import make_event
from gateway.alerts.rule import Rule
from gateway.alerts.schedule import Period
from gateway.alerts.state import NORMAL, OVER, WARN, Details, Event, Member, State

_AHEAD_MS = 60_000

Step = tuple[State, list[Event]]
Explain = Callable[..., Details]
"""Makes the details of an event, when there is one, with what more is known."""


def is_over(rule: Rule, value: float, limit: float) -> bool:
    """Compare as the rule says: "more than", unless the limit itself counts."""
    if rule.rounding == "half_even_db":
        value = float(round(value))
    return (value > limit if rule.direction == "above" else value < limit) or (rule.inclusive and value == limit)


def is_calm(rule: Rule, value: float) -> bool:
    """True when a value is beyond the clear level on the good side."""
    if rule.clear is None:
        return not is_over(rule, value, rule.limit if rule.warn is None else rule.warn)
    return value < rule.clear if rule.direction == "above" else value > rule.clear


def advance(
    rule: Rule, member: Member, value: float | None, over: bool, warned: bool, calm: bool, at_ms: int
) -> Member:  # fmt: skip
    """Move one device's level by one value: up after ``for``, down after the minimum clear time."""
    over_since = None if not over else at_ms if member.over_since_ms is None else member.over_since_ms
    warn_since = None if not warned else at_ms if member.warn_since_ms is None else member.warn_since_ms
    calm_since = None if not calm else at_ms if member.calm_since_ms is None else member.calm_since_ms
    over_row, warn_row = (member.over_row + 1 if over else 0), (member.warn_row + 1 if warned else 0)
    level = member.level
    if over_since is not None and at_ms - over_since >= rule.for_ms and over_row >= rule.confirm:
        level = OVER
    elif warn_since is not None and at_ms - warn_since >= rule.for_ms and warn_row >= rule.confirm:
        level = max(level, WARN)
    elif calm_since is not None and at_ms - calm_since >= rule.clear_for_ms:
        level = NORMAL
    return replace(
        member, level=level, value=value, over_since_ms=over_since, warn_since_ms=warn_since, calm_since_ms=calm_since,
        over_row=over_row, warn_row=warn_row,
    )  # fmt: skip


def settle(rule: Rule, state: State, device: str, member: Member, at_ms: int, explain: Explain) -> Step:
    """Put a device's standing into its subject: one alarm for all of them, raised once, cleared by the last."""
    state = with_member(state, device, member)
    before, alarm, level = state.level, state.alarm, max(m.level for m in state.members.values())
    if not before and not level:
        return state, []
    state = replace(state, peak=_worse(rule, state.peak, member.value))
    if level > before:
        severity = rule.severity if level == OVER else "warning"
        state = replace(state, level=level, severity=severity, acknowledged=False)
        if alarm is not None:
            return state, [make_event(rule, state, alarm, "escalated", at_ms, explain(reason="limit"))]
        alarm = f"{rule.name}@{state.subject}@{at_ms}"
        state = replace(state, alarm=alarm, raised_ms=at_ms, peak=member.value, pressed=False)
        return state, [make_event(rule, state, alarm, "raised", at_ms, explain())]
    if level or alarm is None:
        return state, []
    details = explain(peak=state.peak, lasted_ms=at_ms - state.raised_ms)
    state = replace(state, level=NORMAL, alarm=None, peak=None)
    return state, [make_event(rule, state, alarm, "cleared", at_ms, details)]


def suppress(rule: Rule, state: State, period: Period, at_ms: int, explain: Explain) -> Step:
    """Note that something was over in maintenance, once for each period."""
    if at_ms <= state.suppressed_until_ms:
        return state, []
    state = replace(state, suppressed_until_ms=period.to_ms)
    details = explain(reason="maintenance", note=period.note)
    return state, [make_event(rule, state, state.alarm or "", "suppressed", at_ms, details, "info")]


def not_in_force(rule: Rule, start_ms: int, end_ms: int) -> str | None:
    """Say why a rule does not speak about a window; None when it does."""
    if not rule.when.covers(start_ms, end_ms):
        return "outside the rule's schedule"
    permit = next((p for p in rule.permits if p.holds(start_ms, end_ms)), None)
    return None if permit is None else f"night-work permit {permit.note}"


def in_maintenance(rule: Rule, device: str, start_ms: int, end_ms: int) -> Period | None:
    """Return the maintenance of the device that touches a window."""
    found = (p for p in rule.maintenance if p.device in (None, device) and p.touches(start_ms, end_ms))
    return next(found, None)


def heard_until_ms(member: Member, now_ms: int) -> int:
    """Until when a device was heard; what lies ahead of us was heard before the clock was set back."""
    return member.end_ms if member.end_ms <= now_ms + _AHEAD_MS else 0


def with_member(state: State, device: str, member: Member) -> State:
    """Return the state with another standing of one device."""
    return replace(state, members={**state.members, device: member})


def at_rest(member: Member) -> Member:
    """Return a device of which nothing is held any more."""
    return replace(uncounted(member), level=NORMAL)


def uncounted(member: Member) -> Member:
    """Return a device whose times and readings in a row are counted anew."""
    return replace(member, over_since_ms=None, warn_since_ms=None, calm_since_ms=None, over_row=0, warn_row=0)


def _worse(rule: Rule, a: float | None, b: float | None) -> float | None:
    if a is None or b is None:
        return b if a is None else a
    return max(a, b) if rule.direction == "above" else min(a, b)
