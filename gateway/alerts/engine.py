"""From observations to events: ``step(rule, state, observation, now_ms) -> (state, events)``. Pure.

A warning may run on open or sliding windows and follows the value at once. A verdict speaks of closed, fixed windows
only: exceeded, passed, or not enough data. Times inside are ends of windows, so that a slow or restarted gateway comes
to the same steps; what is older than two windows is history and raises nothing. Hearing a window twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from gateway.alerts.rule import Rule
from gateway.alerts.schedule import Period
from gateway.alerts.state import (
    NORMAL,
    OVER,
    WARN,
    Details,
    DeviceState,
    Event,
    EventKind,
    Judged,
    Member,
    Observation,
    Outcome,
    State,
)
from gateway.ledger.windows import WindowResult, difference, percent_of, ratio

__all__ = ["DeviceState", "Event", "Member", "Observation", "State", "acknowledge", "observe", "start", "step"]

_AHEAD_MS = 60_000
_KEEP_JUDGED_MS = 2 * 86_400_000
_DAYS_AND_LONGER = frozenset({"day", "night", "24h", "month"})

Step = tuple[State, list[Event]]
Explain = Callable[..., Details]
"""Makes the details of an event, when there is one, with what more is known."""


def start(rule: Rule, subject: str, devices: Sequence[str], now_ms: int) -> State:
    """Return the state of a rule that has heard nothing yet; silence counts from now."""
    return State(rule.name, subject, {device: Member(good_ms=now_ms) for device in devices})


def step(rule: Rule, state: State, observation: Observation | DeviceState | None, now_ms: int) -> Step:
    """Judge one observation, or None: nothing new, but time has passed (missing data, unanswered alarms)."""
    if isinstance(observation, Observation):
        judge = _judge_closed if rule.kind == "verdict" else _judge_live
        state, events = judge(rule, state, observation, now_ms)
    elif isinstance(observation, DeviceState):
        state, events = _judge_device(rule, state, observation, now_ms)
    else:
        state, events = _miss_data(rule, state, now_ms)
    state, more = _press(rule, state, now_ms)
    return state, events + more


def acknowledge(state: State, alarm: str) -> State:
    """Return the state after a person took note of an alarm, or did more about it: silence does not escalate it."""
    return replace(state, acknowledged=True) if alarm == state.alarm else state


def observe(rule: Rule, device: str, window: WindowResult, reference: WindowResult | None = None) -> Observation:
    """Compare a window with the rule's rated value or reference; without a good reference there is not enough data."""
    if window.value is None or not window.enough:
        return Observation(device, window)
    if rule.rated is not None:
        return Observation(device, replace(window, value=percent_of(window.value, rule.rated)))
    if rule.reference is None:
        return Observation(device, window)
    if reference is None or reference.value is None or not reference.enough:
        return Observation(device, replace(window, value=None, enough=False))
    if rule.reference.mode == "difference":
        cap = rule.reference.cap
        background = reference.value if cap is None else min(reference.value, cap)
        return Observation(device, difference(window, reference, cap), background)
    compared = ratio(window, reference)
    if rule.reference.mode == "percent" and compared.value is not None:
        compared = replace(compared, value=100 * compared.value)
    return Observation(device, compared, reference.value)


def is_over(rule: Rule, value: float, limit: float) -> bool:
    """Compare as the rule says: "more than", unless the limit itself counts."""
    if rule.rounding == "half_even_db":
        value = float(round(value))
    return (value > limit if rule.direction == "above" else value < limit) or (rule.inclusive and value == limit)


def _is_calm(rule: Rule, value: float) -> bool:
    if rule.clear is None:
        return not is_over(rule, value, rule.limit if rule.warn is None else rule.warn)
    return value < rule.clear if rule.direction == "above" else value > rule.clear


# --- warnings ---------------------------------------------------------------------------------------------------


def _judge_live(rule: Rule, state: State, seen: Observation, now_ms: int) -> Step:
    window, device = seen.window, seen.device
    member = state.members.get(device, Member(good_ms=now_ms))
    at_ms = min(window.end_ms, now_ms)  # an open window speaks of what it holds by now
    if at_ms <= _heard_ms(member, now_ms) or at_ms < now_ms - 2 * (window.end_ms - window.start_ms):
        return state, []  # heard before, or history: only fresh data raises and clears
    heard = 0 < window.good_minutes >= member.good_minutes  # a window that slides over silence only loses
    reason = _not_in_force(rule, window.start_ms, window.end_ms)
    good_ms = at_ms if heard or reason else member.good_ms  # nobody misses data while the rule rests
    member = replace(member, end_ms=at_ms, good_minutes=window.good_minutes, good_ms=good_ms)
    events: list[Event] = []
    if heard and member.silent:
        member, state, events = _data_back(rule, state, device, member, at_ms)
    value, explain = window.value, partial(_explain, rule, seen)
    if reason:
        state, more = _settle(rule, state, device, _calm(member), at_ms, partial(explain, reason=reason))
    elif value is None or not window.enough:
        return _with(state, device, member), events
    else:
        over = is_over(rule, value, rule.limit)
        warned = over or (rule.warn is not None and is_over(rule, value, rule.warn))
        period = _maintenance(rule, device, window.start_ms, window.end_ms) if warned else None
        if period is not None:
            state, more = _suppress(rule, _with(state, device, member), period, at_ms, explain)
        else:
            member = _advance(rule, member, value, over, warned, _is_calm(rule, value), at_ms)
            state, more = _settle(rule, state, device, member, at_ms, explain)
    return state, events + more


def _judge_device(rule: Rule, state: State, seen: DeviceState, now_ms: int) -> Step:
    at_ms, device = seen.at_ms, seen.device
    member = state.members.get(device, Member(good_ms=now_ms))
    if at_ms < _heard_ms(member, now_ms):
        return state, []
    member = replace(member, end_ms=at_ms, good_ms=at_ms)
    explain = partial(_basics, rule, device=device, condition=seen.condition, note=seen.note)
    if reason := _not_in_force(rule, at_ms, at_ms):
        return _settle(rule, state, device, _calm(member), at_ms, partial(explain, reason=reason))
    period = _maintenance(rule, device, at_ms, at_ms + 1) if seen.holds else None
    if period is not None:
        return _suppress(rule, _with(state, device, member), period, at_ms, explain)
    member = _advance(rule, member, None, seen.holds, seen.holds, not seen.holds, at_ms)
    return _settle(rule, state, device, member, at_ms, explain)


def _advance(
    rule: Rule, member: Member, value: float | None, over: bool, warned: bool, calm: bool, at_ms: int
) -> Member:  # fmt: skip
    """Move one device's level by one value: up after ``for``, down after the minimum clear time."""
    over_since = None if not over else at_ms if member.over_since_ms is None else member.over_since_ms
    warn_since = None if not warned else at_ms if member.warn_since_ms is None else member.warn_since_ms
    calm_since = None if not calm else at_ms if member.calm_since_ms is None else member.calm_since_ms
    level = member.level
    if over_since is not None and at_ms - over_since >= rule.for_ms:
        level = OVER
    elif rule.warn is not None and warn_since is not None and at_ms - warn_since >= rule.for_ms:
        level = max(level, WARN)
    elif calm_since is not None and at_ms - calm_since >= rule.clear_for_ms:
        level = NORMAL
    return replace(
        member, level=level, value=value, over_since_ms=over_since, warn_since_ms=warn_since, calm_since_ms=calm_since
    )


def _settle(rule: Rule, state: State, device: str, member: Member, at_ms: int, explain: Explain) -> Step:
    """Put a device's standing into its subject: one alarm for all of them, raised once, cleared by the last."""
    state = _with(state, device, member)
    before, alarm, level = state.level, state.alarm, max(m.level for m in state.members.values())
    if not before and not level:
        return state, []
    state = replace(state, peak=_worse(rule, state.peak, member.value))
    if level > before:
        severity = rule.severity if level == OVER else "warning"
        state = replace(state, level=level, severity=severity, acknowledged=False)
        if alarm is not None:
            return state, [_event(rule, state, alarm, "escalated", at_ms, explain(reason="limit"))]
        alarm = f"{rule.name}@{state.subject}@{at_ms}"
        state = replace(state, alarm=alarm, raised_ms=at_ms, peak=member.value, pressed=False)
        return state, [_event(rule, state, alarm, "raised", at_ms, explain())]
    if level or alarm is None:
        return state, []
    details = explain(peak=state.peak, lasted_ms=at_ms - state.raised_ms)
    state = replace(state, level=NORMAL, alarm=None, peak=None)
    return state, [_event(rule, state, alarm, "cleared", at_ms, details)]


def _suppress(rule: Rule, state: State, period: Period, at_ms: int, explain: Explain) -> Step:
    """Note that something was over in maintenance, once for each period."""
    if at_ms <= state.suppressed_until_ms:
        return state, []
    state = replace(state, suppressed_until_ms=period.to_ms)
    details = explain(reason="maintenance", note=period.note)
    return state, [_event(rule, state, state.alarm or "", "suppressed", at_ms, details, "info")]


# --- verdicts ---------------------------------------------------------------------------------------------------


def _judge_closed(rule: Rule, state: State, seen: Observation, now_ms: int) -> Step:
    """State what a closed window was. A correction is told when it changes the outcome."""
    window, device, end_ms = seen.window, seen.device, seen.window.end_ms
    member = state.members.get(device, Member(good_ms=now_ms))
    known = end_ms <= _heard_ms(member, now_ms)
    if not window.closed or (known and not window.corrected):
        return state, []
    fresh = not known and end_ms >= now_ms - 2 * (end_ms - window.start_ms)
    member = replace(member, end_ms=max(_heard_ms(member, now_ms), end_ms))
    if reason := _not_in_force(rule, window.start_ms, end_ms):
        explain = partial(_explain, rule, seen, reason=reason)
        return _settle(rule, state, device, _calm(member), end_ms, explain) if fresh else (state, [])
    outcome: Outcome = "not_enough_data"
    if window.enough and window.value is not None:
        outcome = "exceeded" if is_over(rule, window.value, rule.limit) else "passed"
        member = replace(member, value=window.value)
    period = _maintenance(rule, device, window.start_ms, end_ms) if outcome == "exceeded" else None
    if period is not None:
        return _suppress(rule, _with(state, device, member), period, end_ms, partial(_explain, rule, seen))
    before: Outcome = dict(member.judged).get(window.start_ms, "passed")
    member = replace(member, judged=_remember(member.judged, window.start_ms, outcome))
    count = _count_today(rule, member, window.start_ms)
    explain = partial(_explain, rule, seen, outcome=outcome, count_today=count)
    severity = rule.severity if outcome == "exceeded" else "info"
    if known:
        state = _with(state, device, member)
        corrected = _event(rule, state, state.alarm or "", "corrected", now_ms, explain(before=before), "info")
        return state, [corrected] if outcome != before else []
    if not fresh:
        state = _with(state, device, member)
        return state, [_event(rule, state, "", "verdict", end_ms, explain(late=True), severity)]
    state, events = _settle(rule, state, device, _weigh(rule, member, outcome, count), end_ms, explain)
    alarm = events[-1].alarm if events else state.alarm or ""
    events.append(_event(rule, state, alarm, "verdict", end_ms, explain(), severity))
    if state.alarm is not None and rule.window.length in _DAYS_AND_LONGER:
        # the next window of its kind closes a day later: the fact stands, but nothing goes on
        member = _calm(state.members[device])
        state, more = _settle(rule, state, device, member, end_ms, partial(explain, reason="the window has ended"))
        events += more
    return state, events


def _weigh(rule: Rule, member: Member, outcome: Outcome, count_today: int) -> Member:
    """An exceedance beyond the day's allowance is an alarm; missing data never end one."""
    if outcome == "exceeded":
        return replace(member, level=OVER) if count_today > rule.allowance else member
    calm = outcome == "passed" and member.value is not None and _is_calm(rule, member.value)
    return _calm(member) if calm else member


def _remember(judged: Judged, start_ms: int, outcome: Outcome) -> Judged:
    newest = max([start_ms, *(at for at, _ in judged)])
    kept = [(at, was) for at, was in judged if at != start_ms and at > newest - _KEEP_JUDGED_MS]
    return tuple(kept) if outcome == "passed" else tuple(sorted([*kept, (start_ms, outcome)]))


def _count_today(rule: Rule, member: Member, start_ms: int) -> int:
    date_of = rule.when.calendar.date_of
    today = date_of(start_ms)
    return sum(was == "exceeded" and date_of(at) == today for at, was in member.judged)


# --- time passes ------------------------------------------------------------------------------------------------


def _miss_data(rule: Rule, state: State, now_ms: int) -> Step:
    if rule.no_data_after_ms is None or _not_in_force(rule, now_ms, now_ms):
        return state, []
    missing = {
        name: replace(m, silent=True)
        for name, m in state.members.items()
        if not m.silent and now_ms - m.good_ms >= rule.no_data_after_ms
    }
    if not missing:
        return state, []
    alarm = state.silence or f"{rule.name}.no_data@{state.subject}@{now_ms}"
    first = state.silence is None
    state = replace(state, members={**state.members, **missing}, silence=alarm)
    if not first:
        return state, []
    details = _basics(rule, device=", ".join(missing), since_ms=min(m.good_ms for m in missing.values()))
    return state, [_event(rule, state, alarm, "no_data", now_ms, details, "warning")]


def _data_back(rule: Rule, state: State, device: str, member: Member, at_ms: int) -> tuple[Member, State, list[Event]]:
    member = replace(member, silent=False)
    members = {**state.members, device: member}
    alarm = state.silence
    if alarm is None or any(m.silent for m in members.values()):
        return member, replace(state, members=members), []
    state = replace(state, members=members, silence=None)
    details = _basics(rule, device=device)
    return member, state, [_event(rule, state, alarm, "data_back", at_ms, details, "info")]


def _press(rule: Rule, state: State, now_ms: int) -> Step:
    """Escalate once what nobody took note of."""
    late = rule.escalate_after_ms is not None and now_ms - state.raised_ms >= rule.escalate_after_ms
    if state.alarm is None or state.acknowledged or state.pressed or not late:
        return state, []
    state = replace(state, pressed=True)
    details = _basics(rule, reason="unacknowledged", raised_ms=state.raised_ms)
    return state, [_event(rule, state, state.alarm or "", "escalated", now_ms, details)]


# --- what all of them use -----------------------------------------------------------------------------------------


def _not_in_force(rule: Rule, start_ms: int, end_ms: int) -> str | None:
    """Say why a rule does not speak about a window; None when it does."""
    if not rule.when.covers(start_ms, end_ms):
        return "outside the rule's schedule"
    permit = next((p for p in rule.permits if p.holds(start_ms, end_ms)), None)
    return None if permit is None else f"night-work permit {permit.note}"


def _maintenance(rule: Rule, device: str, start_ms: int, end_ms: int) -> Period | None:
    found = (p for p in rule.maintenance if p.device in (None, device) and p.touches(start_ms, end_ms))
    return next(found, None)


def _heard_ms(member: Member, now_ms: int) -> int:
    """Until when a device was heard; what lies ahead of us was heard before the clock was set back."""
    return member.end_ms if member.end_ms <= now_ms + _AHEAD_MS else 0


def _with(state: State, device: str, member: Member) -> State:
    return replace(state, members={**state.members, device: member})


def _calm(member: Member) -> Member:
    return replace(member, level=NORMAL, over_since_ms=None, warn_since_ms=None, calm_since_ms=None)


def _worse(rule: Rule, a: float | None, b: float | None) -> float | None:
    if a is None or b is None:
        return b if a is None else a
    return max(a, b) if rule.direction == "above" else min(a, b)


def _event(
    rule: Rule, state: State, alarm: str, kind: EventKind, at_ms: int, details: Details, severity: str | None = None
) -> Event:  # fmt: skip
    return Event(alarm, kind, at_ms, rule.name, state.subject, severity or state.severity, details)


def _basics(rule: Rule, **more: object) -> Details:
    basics: Details = {
        "edition": rule.edition,
        "source": rule.source,
        "confidence": rule.confidence,
        "metric": rule.metric,
        "schedule": rule.when.name,
        "stage": rule.stage,
        "warning_level": rule.level,
    }
    return basics | more


def _explain(rule: Rule, seen: Observation, **more: object) -> Details:
    """Return what a reader needs to follow the number."""
    window = seen.window
    return _basics(
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
