"""A changed site file in a gateway that runs: the rules are taken up, and a file with mistakes changes nothing.

Rules are checked whole, together with what refers to them (outputs, notices), before the first of them is judged.
Everything else in the file waits for the next start, and is named: links, devices and stores are never half changed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from gateway.alerts.presets import calendar_of, load_rules
from gateway.config.loader import LoadedSite, load_site
from gateway.config.site import SiteConfig
from gateway.control.binding import load_outputs
from gateway.errors import ConfigError
from gateway.notices.outlets import check_channels

if TYPE_CHECKING:
    from gateway.app import Gateway

log = structlog.get_logger()

TAKEN_UP = frozenset({"alerts"})


async def reload(gateway: Gateway, file: Path) -> None:
    """Read ``file`` again and take up its rules; with any mistake in it everything stays as it is."""
    try:
        site = load_site(file)
        rules = load_rules(site)
        await check_channels(site, {rule.name: rule.policy for rule in rules.rules})
        load_outputs(site, {rule.name: rule.metric for rule in rules.rules})
    except ConfigError as mistakes:
        problems = tuple(str(problem) for problem in mistakes.problems)
        gateway.settings.refused, gateway.settings.since_ms = problems, gateway.clock.wall_ms()
        log.error("site file refused, the old settings stay", file=str(file), problems=list(problems))
        return
    waiting = changed(gateway.site, site)
    if gateway.alerts is not None:
        await gateway.alerts.reload(rules, calendar_of(site))
    elif rules.rules:
        waiting = (*waiting, "alerts")  # a gateway that began without rules keeps no minutes for them
    gateway.settings.refused, gateway.settings.since_ms = (), gateway.clock.wall_ms()
    gateway.settings.waiting = waiting
    log.info("rules taken up from the site file", rules=len(rules.rules), wait_for_next_start=list(waiting))


def changed(before: LoadedSite, after: LoadedSite) -> tuple[str, ...]:
    """Return the sections of a site file that differ and wait for the next start, profiles among them."""
    sections = [
        name
        for name in SiteConfig.model_fields
        if name not in TAKEN_UP and getattr(before.config, name) != getattr(after.config, name)
    ]
    return tuple(sections) if before.profiles == after.profiles else (*sections, "profiles")
