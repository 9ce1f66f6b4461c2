"""Interlocks: each a function that returns the code of its refusal, or None. Pure.

What is not known counts as refused. While an output runs, those that protect people, plant and water still hold and end
the run; those that only space out the starts do not. A silent sensor ends a run when ``hold`` is over.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.control.output import HOUR_S, Demand, Facts, Output, State

OFF, ON = 0.0, 1.0


def not_armed(output: Output, state: State, demand: Demand, facts: Facts, now_s: float) -> str | None:
    """The site file leaves it alone. A dry run decides like an armed one."""
    return "not_armed" if output.mode == "off" else None


def not_allowed(output: Output, state: State, demand: Demand, facts: Facts, now_s: float) -> str | None:
    """On and off must both be values that the profile allows."""
    return None if {OFF, ON} <= set(output.allow) else "not_allowed"


def manual_lease(output: Output, state: State, demand: Demand, facts: Facts, now_s: float) -> str | None:
    """A person who holds it off wins over every alarm."""
    return "manual_lease" if state.lease is not None and not state.lease.on and now_s < state.lease.until_s else None


def not_simulated(output: Output, state: State, demand: Demand, facts: Facts, now_s: float) -> str | None:
    """Simulated data never move a relay of a real site; a person's command rests on no data."""
    return "not_simulated" if demand.simulated and not _by_hand(state) else None


def fault(output: Output, state: State, demand: Demand, facts: Facts, now_s: float) -> str | None:
    """What does not do as it is told is not tried again and again."""
    return "fault" if state.fault else None


def unknown_state(output: Output, state: State, demand: Demand, facts: Facts, now_s: float) -> str | None:
    """No start, and no long run, without knowing what the device does."""
    if facts.is_on is not None:
        return None
    return "unknown_state" if not state.running or now_s - facts.read_s > output.hold_s else None


def no_dead_man(output: Output, state: State, demand: Demand, facts: Facts, now_s: float) -> str | None:
    """The device must know when to switch off without us, before it is switched on."""
    if output.mode != "armed" or output.dead_man != "module" or facts.timeout_s == output.dead_man_s:
        return None
    return None if state.running and facts.timeout_s is None else "no_dead_man"


def no_journal(output: Output, state: State, demand: Demand, facts: Facts, now_s: float) -> str | None:
    """Nothing is switched on without a record; switching off never waits for one."""
    return None if facts.journal_works or state.running else "no_journal"


def wind(output: Output, state: State, demand: Demand, facts: Facts, now_s: float) -> str | None:
    """Too much wind carries the water away."""
    return "wind" if facts.wind_m_s is not None and facts.wind_m_s > output.wind_above else None


def frost(output: Output, state: State, demand: Demand, facts: Facts, now_s: float) -> str | None:
    """Water would freeze, in the pipe and on the road."""
    return "frost" if facts.temperature_c is not None and facts.temperature_c < output.frost_below else None


def no_water(output: Output, state: State, demand: Demand, facts: Facts, now_s: float) -> str | None:
    """A pump that runs dry breaks."""
    return "no_water" if facts.water is not None and facts.water < output.water_below else None


def night_ban(output: Output, state: State, demand: Demand, facts: Facts, now_s: float) -> str | None:
    """Not in the hours that the site file names."""
    if output.night_ban is None:
        return None
    begin, end = output.night_ban
    at = facts.minute_of_day
    banned = begin <= at < end if begin <= end else at >= begin or at < end
    return "night_ban" if banned else None


def sensor_stale(output: Output, state: State, demand: Demand, facts: Facts, now_s: float) -> str | None:
    """The sensor that asks, or one that an interlock looks at, is too old to be believed."""
    asking_s = 0.0 if _by_hand(state) else facts.asking_age_s
    age_s = max(asking_s, facts.guard_age_s)
    return "sensor_stale" if age_s > (output.hold_s if state.running else 0.0) else None


def longest_run(output: Output, state: State, demand: Demand, facts: Facts, now_s: float) -> str | None:
    """Every run ends, whatever asks for it."""
    if not state.running or state.run_since_s is None:
        return None
    return "longest_run" if now_s - state.run_since_s >= output.longest_run_s else None


def min_rest(output: Output, state: State, demand: Demand, facts: Facts, now_s: float) -> str | None:
    """Pumps and valves want a rest between two runs."""
    return "min_rest" if not state.running and now_s - state.rest_since_s < output.min_rest_s else None


def max_starts_per_hour(output: Output, state: State, demand: Demand, facts: Facts, now_s: float) -> str | None:
    """So are motors, which mind starts more than running."""
    if state.running:
        return None
    recent = sum(now_s - start_s < HOUR_S for start_s in state.starts)
    return "max_starts_per_hour" if recent >= output.max_starts_per_hour else None


Interlock = Callable[[Output, State, Demand, Facts, float], str | None]
INTERLOCKS: tuple[Interlock, ...] = (
    not_armed, not_allowed, not_simulated, manual_lease, fault, unknown_state, no_dead_man, no_journal,
    wind, frost, no_water, night_ban, sensor_stale, longest_run, min_rest, max_starts_per_hour,
)  # fmt: skip
"""In the order in which a person should hear of them."""


def refusals(output: Output, state: State, demand: Demand, facts: Facts, now_s: float) -> tuple[str, ...]:
    """Return the codes of all that refuse: a start when it does not run, its going on when it does."""
    found = (interlock(output, state, demand, facts, now_s) for interlock in INTERLOCKS)
    return tuple(code for code in found if code)


def _by_hand(state: State) -> bool:
    return state.lease is not None and state.lease.on
