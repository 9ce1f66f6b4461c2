"""``python -m simulators SITE.yaml``: the devices of a site file, until Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys

from gateway.config.loader import LoadedSite, load_site
from gateway.errors import ConfigError
from simulators.errors import SimulatorError
from simulators.scenarios import SCENARIOS
from simulators.site import simulated_site


async def serve(site: LoadedSite, scenario: str, seed: int, speed: float) -> None:
    """Answer for the site's devices until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with simulated_site(site, scenario=scenario, seed=seed, speed=speed):
        sys.stdout.write(f"{len(site.devices)} simulated devices, scenario {scenario}; Ctrl-C ends them\n")
        sys.stdout.flush()
        await stop.wait()


def main(arguments: list[str] | None = None) -> int:
    """Return the exit code: 0 ended by the user, 1 the site does not start."""
    parser = argparse.ArgumentParser(prog="python -m simulators", description="Play the devices of a site file.")
    parser.add_argument("site", metavar="SITE.yaml")
    parser.add_argument("--scenario", choices=SCENARIOS, default="normal")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--speed", type=_speed, default=1.0, help="how many times as fast as the real world: 1 to 1000")
    chosen = parser.parse_args(arguments)
    try:
        asyncio.run(serve(load_site(chosen.site), chosen.scenario, chosen.seed, chosen.speed))
    except (ConfigError, SimulatorError) as why:
        sys.stderr.write(f"{why}\n")
        return 1
    return 0


def _speed(text: str) -> float:
    speed = float(text)
    if not 1.0 <= speed <= 1000.0:
        raise argparse.ArgumentTypeError("must be 1 to 1000")
    return speed


if __name__ == "__main__":
    sys.exit(main())
