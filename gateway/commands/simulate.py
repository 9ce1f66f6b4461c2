"""``sitegate simulate``: only the devices of a site file, on the addresses that it names."""

from __future__ import annotations

from pathlib import Path

from gateway.commands.loop import run_loop, told_to_stop
from gateway.commands.output import FINE, MISUSE, PROBLEM, complain, complain_all, say
from gateway.config.loader import LoadedSite, load_site
from gateway.errors import ConfigError
from simulators.errors import SimulatorError
from simulators.scenarios import SCENARIOS
from simulators.site import simulated_site


def is_scenario(name: str) -> bool:
    """Return whether there is such a scenario; complain if not."""
    if name not in SCENARIOS:
        complain(f"there is no scenario {name!r}; choose one of {', '.join(SCENARIOS)}")
    return name in SCENARIOS


def simulate(file: Path, *, scenario: str, seed: int, speed: float, seconds: float | None) -> int:
    """Run until Ctrl-C, or for ``seconds``."""
    if not is_scenario(scenario):
        return MISUSE
    try:
        site = load_site(file)
    except ConfigError as error:
        return complain_all(error)
    try:
        run_loop(_simulate(site, scenario, seed, speed, seconds))
    except (SimulatorError, OSError) as why:
        complain(why)
        return PROBLEM
    return FINE


async def _simulate(site: LoadedSite, scenario: str, seed: int, speed: float, seconds: float | None) -> None:
    async with simulated_site(site, scenario=scenario, seed=seed, speed=speed):
        say(f"{len(site.devices)} devices of {site.config.site.id} are simulated; stop with Ctrl-C")
        await told_to_stop(seconds)
