"""``sitegate run``: the gateway, until it is told to stop."""

from __future__ import annotations

from pathlib import Path

from gateway.app import running
from gateway.commands.loop import leave_within, run_loop, set_up_logging, told_to_stop
from gateway.commands.output import FINE, PROBLEM, complain, complain_all
from gateway.config.loader import LoadedSite, load_site
from gateway.errors import AddressUnavailable, ConfigError, StoreBusy

LEAVE_S = 1.0


def run(file: Path, seconds: float | None) -> int:
    """Run until SIGINT or SIGTERM, or for ``seconds``."""
    set_up_logging()
    try:
        site = load_site(file)
    except ConfigError as error:
        return complain_all(error)
    try:
        return run_loop(_run(site, seconds))
    except ConfigError as error:
        return complain_all(error)
    except (StoreBusy, AddressUnavailable, OSError) as why:
        complain(why)
        return PROBLEM


async def _run(site: LoadedSite, seconds: float | None) -> int:
    async with running(site):
        await told_to_stop(seconds)
    leave_within(LEAVE_S, FINE)
    return FINE
