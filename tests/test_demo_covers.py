"""The demo's site measures every quantity that a device can have: each generated panel shows data there."""

from __future__ import annotations

import configs
from gateway.config.loader import LoadedSite, load_site
from gateway.control.sprayed import SPRAYED
from gateway.vocabulary import METRICS, is_of_ourselves
from simulators.roles import ROLES
from simulators.scenarios import SCENARIOS
from simulators.world import World

DAY_MS = 1_790_000_000_000
SITE: LoadedSite = load_site(configs.path("site.demo.yaml"))


def measured() -> set[str]:
    """What the devices of the demo send, and the mark that the gateway adds to the dust beside a cannon."""
    of_devices = {metric for device in SITE.devices.values() for metric in device.points}
    return of_devices | ({SPRAYED} if any(output.near for output in SITE.config.outputs.values()) else set())


def test_every_quantity_of_the_vocabulary_is_measured_in_the_demo() -> None:
    asked = {name for name in METRICS if not is_of_ourselves(name)}
    assert asked - measured() == set(), "give the demo a device that has it (configs/site.demo.yaml)"


def test_no_number_of_the_demo_is_without_a_source() -> None:
    """A point that no simulator plays would read 0 for ever and look like a measurement."""
    play = SCENARIOS["normal"]
    world = World(1, play.start_ms(DAY_MS), play)
    for device in SITE.devices.values():
        role = device.config.role
        assert role is not None, device.name
        assert device.points.keys() - ROLES[role](world).keys() == set(), device.name


def test_the_demo_stays_light() -> None:
    """Values a second over all devices: what a small box must carry while somebody looks at the demo."""
    per_second = sum(1.0 / device.rules[metric].every_s for device in SITE.devices.values() for metric in device.points)
    assert per_second < 120
