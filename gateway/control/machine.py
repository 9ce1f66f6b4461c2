"""What to do with one output now. Pure: settings, memory, demand, facts and the moment go in.

``look`` takes in what was read back, ``decide`` says what is wanted, ``step`` does both and names one act. The caller
does it and says by ``settled`` how it went. A command counts as carried out when the read-back agrees, never before; a
command of unknown outcome is read back before anything new is decided; off is repeated until it is seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from gateway.backoff import delay_s
from gateway.control.interlock import refusals
from gateway.control.output import HOUR_S, Demand, Facts, Output, Phase, State

Act = Literal["none", "on", "hold", "off", "set_dead_man"]
"""``hold`` gives a running output its next pulse; ``set_dead_man`` writes the device's own switch-off time."""
Outcome = Literal["done", "no_answer", "link_down", "refused", "no_journal"]

TRIES_ON = 2
"""Visible failures of a start before it is a fault."""
TRIES_OFF = 3
TAKEN = 3
"""Times that somebody else may switch it on within an hour before it is left alone."""
OFF_FIRST_S, OFF_CAP_S = 1.0, 60.0
AGAIN_S = 1.0
SET_EVERY_S = 10.0
BUSY_LOOK_S, IDLE_LOOK_S = 1.0, 5.0
_SEEN_TO_BE_GONE = frozenset({"stuck_on", "feedback_on"})
"""Faults that end by themselves once it is seen to be off."""


@dataclass(frozen=True, slots=True)
class Note:
    """One line for the journal."""

    step: str
    command: str
    reason: str
    details: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """What came of one look at an output."""

    state: State
    act: Act
    notes: tuple[Note, ...]
    wake_s: float
    """Look again at this moment at the latest."""


def step(output: Output, before: State, demand: Demand, facts: Facts, now_s: float) -> Step:
    """Return the state after looking, one thing to do, and what the journal should hold before it is done."""
    state, seen = look(output, _aged(before, now_s), facts, now_s)
    if output.mode == "off":
        return Step(replace(state, reason="not_armed"), "none", (), now_s + IDLE_LOOK_S)
    # found on: the gateway was started again while it ran; it goes on only if what asked for it still does
    found_on = state.phase == "unknown" and bool(facts.is_on)
    wanted, reason = decide(output, replace(state, phase="on") if found_on else state, demand, facts, now_s)
    wanted = wanted and not (found_on and reason == "min_on")
    state, refusal = _refused(state, demand, wanted, reason)
    state, act, done = _move(output, state, demand, facts, now_s, wanted=wanted, reason=reason)
    notes = (*seen, *refusal, *done, *_lease_note(before, state, now_s))
    return Step(state, act, notes, _wake_s(output, state, demand, now_s))


def decide(output: Output, state: State, demand: Demand, facts: Facts, now_s: float) -> tuple[bool, str]:
    """Return whether it should run, and the code of why."""
    lease = state.lease
    if lease is not None and not lease.on:
        return False, "manual"
    codes = refusals(output, state, demand, facts, now_s)
    if lease is None and not demand.alarms:
        young = state.run_since_s is not None and now_s - state.run_since_s < output.min_on_s
        if state.running and young and not codes:
            return True, "min_on"
        return False, "cleared" if state.running or state.refused else state.reason
    if codes:
        return False, state.fault if codes[0] == "fault" else codes[0]
    return True, "manual" if lease is not None else "alarm"


def settled(output: Output, state: State, act: Act, outcome: Outcome, now_s: float) -> tuple[State, tuple[Note, ...]]:
    """Return the state after an act, and what the journal should hold of it."""
    if act == "set_dead_man":
        return replace(state, set_s=now_s + SET_EVERY_S), _told("", outcome, 1)
    if outcome == "no_journal":  # nothing was written; off is, to be on the safe side
        return _stopping(state, now_s, "no_journal"), ()
    state = replace(state, told_s=now_s)
    notes: tuple[Note, ...] = ()
    if outcome == "refused" and not state.fault:
        state, notes = replace(state, fault="refused"), (Note("fault", "", "refused"),)
    if act == "off":
        wait_s = output.confirm_s if outcome == "done" else 0.0
        pause_s = delay_s(state.tries, first_s=OFF_FIRST_S, cap_s=OFF_CAP_S, chance=1.0)
        state = replace(state, next_s=now_s + max(wait_s, pause_s))
        return state, (*_told("off", outcome, state.tries), *notes)
    refresh_s = math.inf if output.refresh_s is None else output.refresh_s
    done = outcome == "done"
    pulse_s = now_s if done else state.pulse_s
    state = replace(state, next_s=now_s + (refresh_s if done else AGAIN_S), pulse_s=pulse_s)
    # one lost pulse is no event: the next comes in time
    return state, notes if act == "hold" else (*_told("on", outcome, state.tries), *notes)


def stop(state: State, reason: str, now_s: float) -> State:
    """Return the state in which a running output is to be switched off, whatever asks for it."""
    return _stopping(replace(state, lease=None), now_s, reason) if state.running else state


def looks_off(facts: Facts) -> bool:
    """True when all witnesses say that it is off."""
    return facts.is_on is False and not facts.feedback


# --- what was read back -------------------------------------------------------------------------------------------


def look(output: Output, state: State, facts: Facts, now_s: float) -> tuple[State, tuple[Note, ...]]:
    """Take in what was read back since the last command."""
    fresh = facts.is_on is not None and facts.read_s > state.told_s
    late = now_s - state.told_s > output.confirm_s
    notes: tuple[Note, ...] = ()
    if state.phase == "starting":
        state, notes = _look_starting(output, state, facts, now_s, fresh=fresh, late=late)
    elif state.phase == "on" and fresh and not facts.is_on:
        notes = (Note("failed", "on", "went_off", _ran(state, now_s)),)
        state = _phase(_ended(state, now_s), "off", now_s, "went_off")
    elif state.phase == "stopping":
        state, notes = _look_stopping(state, facts, now_s, fresh=fresh, late=late)
    elif state.phase == "off":
        state, notes = _look_off(output, state, facts, now_s, fresh=fresh)
    elif state.phase == "unknown" and (facts.is_on is False or (facts.is_on and state.fault == "contested")):
        state = _phase(_ended(state, now_s), "off", now_s, state.reason)
    return _look_at_witness(output, state, notes, facts, now_s)


def _look_starting(
    output: Output, state: State, facts: Facts, now_s: float, *, fresh: bool, late: bool
) -> tuple[State, tuple[Note, ...]]:
    if fresh and facts.is_on:
        took_s = round(now_s - (state.run_since_s or now_s), 2)
        return _phase(state, "on", now_s, state.reason), (Note("confirmed", "on", state.reason, {"took_s": took_s}),)
    if not late:
        return state, ()
    if not fresh:  # nobody knows: to be on the safe side it is switched off, until that is seen
        return _stopping(state, now_s, "no_answer"), (Note("unconfirmed", "on", "no_answer"),)
    failed = Note("unconfirmed", "on", "not_confirmed", {"try": state.tries})
    if state.tries < TRIES_ON:
        return state, (failed,)
    return replace(state, fault="not_confirmed"), (failed, Note("fault", "", "not_confirmed"))


def _look_stopping(
    state: State, facts: Facts, now_s: float, *, fresh: bool, late: bool
) -> tuple[State, tuple[Note, ...]]:
    if state.tries and fresh and not facts.is_on:
        note = Note("confirmed", "off", state.reason, {"tries": state.tries, **_ran(state, now_s)})
        return _phase(_ended(state, now_s), "off", now_s, state.reason), (note,)
    if fresh and late and state.tries >= TRIES_OFF and not state.fault:
        return replace(state, fault="stuck_on"), (Note("fault", "", "stuck_on", {"tries": state.tries}),)
    return state, ()


def _look_off(
    output: Output, state: State, facts: Facts, now_s: float, *, fresh: bool
) -> tuple[State, tuple[Note, ...]]:
    if facts.is_on is None:
        return _phase(state, "unknown", now_s, state.reason), ()
    if not facts.is_on or not fresh or output.mode == "off" or state.fault == "contested":
        return state, ()
    state = replace(state, taken=(*state.taken, now_s))
    found = Note("asked", "on", "switched_elsewhere", {"times": len(state.taken)})
    if len(state.taken) >= TAKEN:
        return replace(state, fault="contested"), (found, Note("fault", "", "contested"))
    return _stopping(state, now_s, "switched_elsewhere"), (found,)


def _look_at_witness(
    output: Output, state: State, notes: tuple[Note, ...], facts: Facts, now_s: float
) -> tuple[State, tuple[Note, ...]]:
    """Compare with the feedback, and end the faults that are seen to be gone."""
    expected = {"on": True, "off": False}.get(state.phase)
    odd = expected is not None and facts.is_on is expected and facts.feedback is (not expected)
    if not odd:
        state = replace(state, odd_since_s=None) if state.odd_since_s is not None else state
    elif state.odd_since_s is None:
        state = replace(state, odd_since_s=now_s)
    elif now_s - state.odd_since_s > output.feedback_within_s and not state.fault:
        code = "feedback_off" if expected else "feedback_on"
        return replace(state, fault=code), (*notes, Note("fault", "", code))
    if state.fault in _SEEN_TO_BE_GONE and state.phase == "off" and looks_off(facts):
        notes = (*notes, Note("confirmed", "off", state.fault))
        state = replace(state, fault="")
    return state, notes


# --- what follows from it -----------------------------------------------------------------------------------------


def _move(
    output: Output, state: State, demand: Demand, facts: Facts, now_s: float, *, wanted: bool, reason: str
) -> tuple[State, Act, tuple[Note, ...]]:
    alarm = demand.alarms[0] if demand.alarms and reason == "alarm" else ""
    found_on = state.phase == "unknown" and bool(facts.is_on)
    if wanted and (state.phase == "off" or found_on):
        starts = state.starts if found_on else (*state.starts, now_s)
        since_s = state.run_since_s if found_on and state.run_since_s is not None else now_s
        state = replace(state, run_since_s=since_s, starts=starts, tries=1, alarm=alarm, told_s=now_s)
        note = Note("intent", "on", reason, {"found_on": True} if found_on else {})
        return _phase(state, "starting", now_s, reason), "on", (note,)
    if found_on:
        state = _stopping(state, now_s, "restart" if state.told_s == -math.inf else "switched_elsewhere")
    elif state.running and not wanted:
        state = _stopping(state, now_s, reason)
    elif state.running:
        state = replace(state, reason=reason, alarm=alarm or state.alarm)
        if state.phase == "starting" and now_s - state.told_s > output.confirm_s:
            return replace(state, tries=state.tries + 1), "on", (Note("intent", "on", reason, {"try": TRIES_ON}),)
        hold = state.phase == "on" and output.refresh_s is not None and now_s >= state.next_s
        return state, "hold" if hold and _still_on(output, state, facts, now_s) else "none", ()
    if state.phase == "stopping":
        if now_s < state.next_s:
            return state, "none", ()
        state = replace(state, tries=state.tries + 1)
        note = Note("intent", "off", state.reason, {"try": state.tries, **_ran(state, now_s)})
        return state, "off", (note,) if _worth_telling(state.tries) else ()
    return _set_dead_man(output, replace(state, reason=reason), facts, now_s)


def _still_on(output: Output, state: State, facts: Facts, now_s: float) -> bool:
    """A pulse that comes too late is a start without a rest: first it must be seen that the last one still holds."""
    lapses_s = state.pulse_s + (output.dead_man_s or math.inf)
    return now_s < lapses_s or (facts.is_on is True and facts.read_s >= lapses_s)


def _set_dead_man(output: Output, state: State, facts: Facts, now_s: float) -> tuple[State, Act, tuple[Note, ...]]:
    wrong = facts.timeout_s is not None and facts.timeout_s != output.dead_man_s
    if output.mode == "armed" and output.dead_man == "module" and wrong and now_s >= state.set_s:
        return state, "set_dead_man", (Note("intent", "", "no_dead_man", {"seconds": output.dead_man_s}),)
    return state, "none", ()


def _stopping(state: State, now_s: float, reason: str) -> State:
    return _phase(replace(state, tries=0, next_s=now_s), "stopping", now_s, reason)


def _ended(state: State, now_s: float) -> State:
    """The run is over, and so is a person's command to run: after a stop nothing starts again by itself for it."""
    if state.run_since_s is None:
        return replace(state, tries=0)
    lease = None if state.lease is not None and state.lease.on else state.lease
    return replace(state, run_since_s=None, rest_since_s=now_s, tries=0, lease=lease)


def _phase(state: State, phase: Phase, now_s: float, reason: str) -> State:
    since_s = state.since_s if phase == state.phase else now_s
    return replace(state, phase=phase, since_s=since_s, reason=reason)


def _aged(state: State, now_s: float) -> State:
    """Forget what is older than an hour, and a command whose time is over."""
    if state.starts and now_s - state.starts[0] >= HOUR_S:
        state = replace(state, starts=tuple(at for at in state.starts if now_s - at < HOUR_S))
    if state.taken and now_s - state.taken[0] >= HOUR_S:
        state = replace(state, taken=tuple(at for at in state.taken if now_s - at < HOUR_S))
    if state.lease is not None and now_s >= state.lease.until_s:
        state = replace(state, lease=None, reason=state.reason if state.running else "lease_over")
    return state


# --- what is told of it -------------------------------------------------------------------------------------------


def _refused(state: State, demand: Demand, wanted: bool, reason: str) -> tuple[State, tuple[Note, ...]]:
    """Tell each refusal of a request once, until it changes. A person's request that is refused does not wait."""
    if state.running or state.phase == "stopping":
        return state, ()
    refused = "" if wanted or not demand.alarms else reason
    notes: tuple[Note, ...] = ()
    if refused and refused != state.refused:
        notes = (Note("refused", "on", refused, {"alarms": list(demand.alarms)}),)
    lease = None if state.lease is not None and state.lease.on and not wanted else state.lease
    return replace(state, refused=refused, lease=lease), notes


def _lease_note(before: State, after: State, now_s: float) -> tuple[Note, ...]:
    if before.lease is None or after.lease is not None:
        return ()
    reason = "lease_over" if now_s >= before.lease.until_s else after.reason
    return (Note("released", "", reason, {"by": before.lease.by}),)


def _told(command: str, outcome: Outcome, tries: int) -> tuple[Note, ...]:
    if not _worth_telling(tries):
        return ()
    details = {"try": tries} if tries > 1 else {}
    return (Note("written", command, "", details) if outcome == "done" else Note("failed", command, outcome, details),)


def _worth_telling(tries: int) -> bool:
    """Off is repeated all night if need be; the journal holds the first tries, then ever fewer with their number."""
    return tries <= TRIES_OFF or tries & (tries - 1) == 0


def _ran(state: State, now_s: float) -> dict[str, object]:
    return {} if state.run_since_s is None else {"ran_s": round(now_s - state.run_since_s, 1)}


def _wake_s(output: Output, state: State, demand: Demand, now_s: float) -> float:
    if state.phase == "off" and not demand.alarms and state.lease is None:
        return now_s + IDLE_LOOK_S
    moments = [now_s + BUSY_LOOK_S]
    if state.running or state.phase == "stopping":
        moments += [at for at in (state.next_s, state.told_s + output.confirm_s + 0.01) if at > now_s]
    return min(moments)
