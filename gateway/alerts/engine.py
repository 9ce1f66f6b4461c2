"""From observations to events: ``step(rule, state, observation, now_ms) -> (state, events)``. Pure.

A warning may run on open or sliding windows and follows the value at once. A verdict speaks of closed, fixed windows
only: exceeded, passed, or not enough data. Times inside are ends of windows, so that a slow or restarted gateway comes
to the same steps; what is older than two windows is history and raises nothing. Hearing a window twice changes nothing.
A single reading is judged like an open window, as long as it is fresh.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from gateway.alerts.explain import facts_of, facts_of_window, make_event
from gateway.alerts.rule import Rule
from gateway.alerts.standing import (
    Step,
    advance,
    at_rest,
    heard_until_ms,
    in_maintenance,
    is_calm,
    is_over,
    not_in_force,
    settle,
    suppress,
    uncounted,
    with_member,
)
from gateway.alerts.state import DeviceState, Event, Member, Observation, State
from gateway.alerts.verdict import judge_closed
from gateway.ledger.windows import WindowResult, difference, percent_of, ratio


def start(rule: Rule, subject: str, devices: Sequence[str], now_ms: int) -> State:
    """Return the state of a rule that has heard nothing yet; silence counts from now."""
    return State(rule.name, subject, {device: Member(good_ms=now_ms) for device in devices})


def step(rule: Rule, state: State, observation: Observation | DeviceState | None, now_ms: int) -> Step:
    """Judge one observation, or None: nothing new, but time has passed (missing data, unanswered alarms)."""
    if isinstance(observation, Observation):
        judge = judge_closed if rule.kind == "verdict" else _judge_live
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


def note_calm(state: State, until_ms: Mapping[str, int]) -> State:
    """Return the state after calm readings that were not worth a step: device -> time of the newest."""
    newer = {
        device: replace(member, good_ms=until_ms[device])
        for device, member in state.members.items()
        if until_ms.get(device, 0) > member.good_ms and not member.silent
    }
    return replace(state, members={**state.members, **newer}) if newer else state


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


# --- warnings ---------------------------------------------------------------------------------------------------


def _judge_live(rule: Rule, state: State, seen: Observation, now_ms: int) -> Step:
    window, device = seen.window, seen.device
    member = state.members.get(device, Member(good_ms=now_ms))
    at_ms = min(window.end_ms, now_ms)  # an open window speaks of what it holds by now
    if at_ms <= heard_until_ms(member, now_ms) or not _is_fresh(seen, at_ms, now_ms):
        return state, []  # heard before, or history: only fresh data raises and clears
    # a window that slides over silence only loses
    is_heard = seen.fresh_ms is not None or 0 < window.good_minutes >= member.good_minutes
    reason = not_in_force(rule, window.start_ms, window.end_ms)
    good_ms = at_ms if is_heard or reason else member.good_ms  # nobody misses data while the rule rests
    if at_ms < member.end_ms or at_ms - member.end_ms > _longest_gap_ms(seen):
        member = uncounted(member)  # nobody knows what was in between, or our clock was set back
    member = replace(member, end_ms=at_ms, good_minutes=window.good_minutes, good_ms=good_ms)
    events: list[Event] = []
    if is_heard and member.silent:
        member, state, events = _data_back(rule, state, device, member, at_ms)
    value, explain = window.value, partial(facts_of_window, rule, seen)
    if reason:
        state, more = settle(rule, state, device, at_rest(member), at_ms, partial(explain, reason=reason))
    elif not seen.above_range and (value is None or not window.enough):
        return with_member(state, device, member), events
    else:
        over = value is not None and is_over(rule, value, rule.limit)
        warned = over or value is None or (rule.warn is not None and is_over(rule, value, rule.warn))
        period = in_maintenance(rule, device, window.start_ms, window.end_ms) if warned else None
        if period is not None:
            state, more = suppress(rule, with_member(state, device, member), period, at_ms, explain)
        else:
            calm = value is not None and is_calm(rule, value)
            member = advance(rule, member, value, over, warned, calm, at_ms)
            state, more = settle(rule, state, device, member, at_ms, explain)
    return state, events + more


def _longest_gap_ms(seen: Observation) -> int:
    """Between two observations of one device; beyond it they are no row."""
    return 2 * (seen.window.end_ms - seen.window.start_ms) if seen.fresh_ms is None else seen.fresh_ms


def _is_fresh(seen: Observation, at_ms: int, now_ms: int) -> bool:
    if seen.fresh_ms is not None:
        return abs(now_ms - seen.window.end_ms) <= seen.fresh_ms
    return at_ms >= now_ms - 2 * (seen.window.end_ms - seen.window.start_ms)


def _judge_device(rule: Rule, state: State, seen: DeviceState, now_ms: int) -> Step:
    at_ms, device = seen.at_ms, seen.device
    member = state.members.get(device, Member(good_ms=now_ms))
    if at_ms < heard_until_ms(member, now_ms):
        return state, []
    if at_ms < member.end_ms:
        member = uncounted(member)  # our clock was set back
    member = replace(member, end_ms=at_ms, good_ms=at_ms)
    explain = partial(facts_of, rule, device=device, condition=seen.condition, note=seen.note)
    if reason := not_in_force(rule, at_ms, at_ms):
        return settle(rule, state, device, at_rest(member), at_ms, partial(explain, reason=reason))
    period = in_maintenance(rule, device, at_ms, at_ms + 1) if seen.holds else None
    if period is not None:
        return suppress(rule, with_member(state, device, member), period, at_ms, explain)
    member = advance(rule, member, None, seen.holds, seen.holds, not seen.holds, at_ms)
    return settle(rule, state, device, member, at_ms, explain)


# --- time passes ------------------------------------------------------------------------------------------------


def _miss_data(rule: Rule, state: State, now_ms: int) -> Step:
    if rule.no_data_after_ms is None:
        return state, []
    if not_in_force(rule, now_ms, now_ms):  # nobody misses data while the rule rests
        return note_calm(state, dict.fromkeys(state.members, now_ms)), []
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
    details = facts_of(rule, device=", ".join(missing), since_ms=min(m.good_ms for m in missing.values()))
    return state, [make_event(rule, state, alarm, "no_data", now_ms, details, "warning")]


def _data_back(rule: Rule, state: State, device: str, member: Member, at_ms: int) -> tuple[Member, State, list[Event]]:
    member = replace(member, silent=False)
    members = {**state.members, device: member}
    alarm = state.silence
    if alarm is None or any(m.silent for m in members.values()):
        return member, replace(state, members=members), []
    state = replace(state, members=members, silence=None)
    details = facts_of(rule, device=device)
    return member, state, [make_event(rule, state, alarm, "data_back", at_ms, details, "info")]


def _press(rule: Rule, state: State, now_ms: int) -> Step:
    """Escalate once what nobody took note of."""
    late = rule.escalate_after_ms is not None and now_ms - state.raised_ms >= rule.escalate_after_ms
    if state.alarm is None or state.acknowledged or state.pressed or not late:
        return state, []
    state = replace(state, pressed=True)
    details = facts_of(rule, reason="unacknowledged", raised_ms=state.raised_ms)
    return state, [make_event(rule, state, state.alarm or "", "escalated", now_ms, details)]
