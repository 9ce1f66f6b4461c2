"""What a closed, fixed window was: exceeded, passed, or not enough data; never "passed" without data. Pure."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from gateway.alerts.explain import facts_of_window, make_event
from gateway.alerts.rule import Rule
from gateway.alerts.standing import (
    Step,
    at_rest,
    heard_until_ms,
    in_maintenance,
    is_calm,
    is_over,
    not_in_force,
    settle,
    suppress,
    with_member,
)
from gateway.alerts.state import OVER, Judged, Member, Observation, Outcome, State

_KEEP_JUDGED_MS = 2 * 86_400_000
_DAYS_AND_LONGER = frozenset({"day", "night", "24h", "month"})


def judge_closed(rule: Rule, state: State, seen: Observation, now_ms: int) -> Step:
    """State what a closed window was. A correction is told when it changes the outcome."""
    window, device, end_ms = seen.window, seen.device, seen.window.end_ms
    member = state.members.get(device, Member(good_ms=now_ms))
    known = end_ms <= heard_until_ms(member, now_ms)
    if not window.closed or (known and not window.corrected):
        return state, []
    fresh = not known and end_ms >= now_ms - 2 * (end_ms - window.start_ms)
    member = replace(member, end_ms=max(heard_until_ms(member, now_ms), end_ms))
    if reason := not_in_force(rule, window.start_ms, end_ms):
        explain = partial(facts_of_window, rule, seen, reason=reason)
        return settle(rule, state, device, at_rest(member), end_ms, explain) if fresh else (state, [])
    outcome: Outcome = "not_enough_data"
    if window.enough and window.value is not None:
        outcome = "exceeded" if is_over(rule, window.value, rule.limit) else "passed"
        member = replace(member, value=window.value)
    period = in_maintenance(rule, device, window.start_ms, end_ms) if outcome == "exceeded" else None
    if period is not None:
        return suppress(rule, with_member(state, device, member), period, end_ms, partial(facts_of_window, rule, seen))
    before: Outcome = dict(member.judged).get(window.start_ms, "passed")
    member = replace(member, judged=_remember(member.judged, window.start_ms, outcome))
    count = _count_today(rule, member, window.start_ms)
    explain = partial(facts_of_window, rule, seen, outcome=outcome, count_today=count)
    severity = rule.severity if outcome == "exceeded" else "info"
    if known:
        state = with_member(state, device, member)
        corrected = make_event(rule, state, state.alarm or "", "corrected", now_ms, explain(before=before), "info")
        return state, [corrected] if outcome != before else []
    if not fresh:
        state = with_member(state, device, member)
        return state, [make_event(rule, state, "", "verdict", end_ms, explain(late=True), severity)]
    state, events = settle(rule, state, device, _weigh(rule, member, outcome, count), end_ms, explain)
    alarm = events[-1].alarm if events else state.alarm or ""
    events.append(make_event(rule, state, alarm, "verdict", end_ms, explain(), severity))
    if state.alarm is not None and rule.window.length in _DAYS_AND_LONGER:
        # the next window of its kind closes a day later: the fact stands, but nothing goes on
        member = at_rest(state.members[device])
        state, more = settle(rule, state, device, member, end_ms, partial(explain, reason="the window has ended"))
        events += more
    return state, events


def _weigh(rule: Rule, member: Member, outcome: Outcome, count_today: int) -> Member:
    """An exceedance beyond the day's allowance is an alarm; missing data never end one."""
    if outcome == "exceeded":
        return replace(member, level=OVER) if count_today > rule.allowance else member
    calm = outcome == "passed" and member.value is not None and is_calm(rule, member.value)
    return at_rest(member) if calm else member


def _remember(judged: Judged, start_ms: int, outcome: Outcome) -> Judged:
    newest = max([start_ms, *(at for at, _ in judged)])
    kept = [(at, was) for at, was in judged if at != start_ms and at > newest - _KEEP_JUDGED_MS]
    return tuple(kept) if outcome == "passed" else tuple(sorted([*kept, (start_ms, outcome)]))


def _count_today(rule: Rule, member: Member, start_ms: int) -> int:
    date_of = rule.when.calendar.date_of
    today = date_of(start_ms)
    return sum(was == "exceeded" and date_of(at) == today for at, was in member.judged)
