"""``sitegate run``: the gateway, until it is told to stop. SIGHUP to a service takes up changed rules."""

from __future__ import annotations

import asyncio
import gc
import sys
from pathlib import Path

from gateway.app import running
from gateway.commands.loop import leave_within, run_loop, set_up_logging, told_to_stop
from gateway.commands.output import FINE, PROBLEM, complain, complain_all
from gateway.config.loader import LoadedSite, load_site
from gateway.errors import AddressUnavailable, ConfigError, StoreBusy
from gateway.reload import reload
from gateway.systemd import told_to_systemd

LEAVE_S = 1.0


def run(file: Path, seconds: float | None) -> int:
    """Run until SIGINT or SIGTERM, or for ``seconds``."""
    set_up_logging()
    try:
        site = load_site(file)
    except ConfigError as error:
        return complain_all(error)
    try:
        return run_loop(_run(site, file, seconds))
    except ConfigError as error:
        return complain_all(error)
    except (StoreBusy, AddressUnavailable, OSError) as why:
        complain(why)
        return PROBLEM


async def _run(site: LoadedSite, file: Path, seconds: float | None) -> int:
    async with running(site) as gateway, told_to_systemd(gateway), asyncio.TaskGroup() as tasks:
        gc.collect()
        gc.freeze()  # what the start has built stays: full collections need not go through it each time

        def take_up() -> None:
            tasks.create_task(reload(gateway, file))

        await told_to_stop(seconds, None if sys.stderr.isatty() else take_up)
    leave_within(LEAVE_S, FINE)
    return FINE
