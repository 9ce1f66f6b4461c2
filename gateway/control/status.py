"""How an output stands, for people: page, HTTP and commands. Pure."""

from __future__ import annotations

from dataclasses import replace

from gateway.control.interlock import refusals
from gateway.control.moment import Now
from gateway.control.output import HOUR_S, Demand, Facts, Output, State
from gateway.model import OutputStatus

_SEEN = {True: "on", False: "off", None: "unknown"}


def status_of(
    output: Output, state: State, demand: Demand, facts: Facts, now: Now, is_on: bool | None, on_s_today: float
) -> OutputStatus:
    """Return the status. ``is_on`` is what was read back, also of an output that is not armed."""
    lease = state.lease
    # what would refuse a start, were it at rest now; a person's command to run asks for none of the sensors
    at_rest = replace(state, phase="off", lease=None if lease is None or lease.on else lease)
    return OutputStatus(
        name=output.name,
        en=output.en,
        zh=output.zh,
        zone=output.zone,
        device=output.device,
        metric=output.metric,
        mode=output.mode,
        state="fault" if state.fault else state.phase if output.mode == "armed" else _SEEN[is_on],
        wanted=state.running,
        is_on=is_on,
        since_ms=now.to_ms(state.since_s) or 0,
        reason=state.fault or state.refused or state.reason,
        blocked_by=refusals(output, at_rest, demand, facts, now.s),
        owner="automatic" if lease is None else "manual",
        by=None if lease is None else lease.by,
        lease_until_ms=None if lease is None else now.to_ms(lease.until_s),
        alarms=demand.alarms,
        starts_last_hour=sum(now.s - at < HOUR_S for at in state.starts),
        on_s_today=round(on_s_today, 1),
        dead_man_s=output.dead_man_s,
    )
