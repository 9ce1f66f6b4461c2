"""What a profile says of writing: the rule that control works by."""

from __future__ import annotations

from pathlib import Path

import pytest

from drivers import registry
from gateway.config.profile import WriteRule
from gateway.config.profiles import find_profile, list_profiles, read_profile

RELAY = """\
profile: relay
maker: Example
models: [R-2]
title: {en: Example relay, zh: 示例继电器}
driver: modbus
verified: simulated
source: "from memory"
points:
  output_timeout_s: {table: holding, address: 0, scale: 0.1, write: {allow: [5, 10.5]}}
  output_1_on: {table: coil, address: 0, write: {allow: [0, 1], confirm_within: 2s, dead_man: module}}
  output_2_on: {table: coil, address: 1, pulse_address: 0x0200, write: {allow: [0, 1], dead_man: pulse}}
  output_3_on: {table: coil, address: 2}
example:
  raw: {holding: {0: [300]}, coil: {0: [1, 0, 0]}}
  gives: {output_timeout_s: 30, output_1_on: 1, output_2_on: 0, output_3_on: 0}
"""


def test_only_what_says_so_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "relay.yaml").write_text(RELAY, encoding="utf-8")
    profile = read_profile(tmp_path / "relay.yaml")
    assert profile.writes == {
        "output_timeout_s": WriteRule((5.0, 10.5), 3.0, "none"),
        "output_1_on": WriteRule((0.0, 1.0), 2.0, "module"),
        "output_2_on": WriteRule((0.0, 1.0), 3.0, "pulse"),
    }
    assert profile.rules["output_timeout_s"].unscaled(10.5) == 105, "what goes on the wire"


def test_the_shipped_profiles_that_write_are_known_by_name() -> None:
    """A meter or a leakage breaker that suddenly can be written is a mistake: it cuts a site's supply."""
    writing = {name for name in list_profiles() if find_profile(name).writes}
    assert writing <= {
        "waveshare_relay_8", "lc_relay_8", "juying_dam0404", "relay_controller_8", "fog_cannon_mqtt",
    }  # fmt: skip


@pytest.mark.parametrize("protocol", registry.PROTOCOLS)
def test_every_protocol_says_what_it_can_write(protocol: str) -> None:
    driver = registry.load(protocol)
    for name in list_profiles():
        profile = find_profile(name)
        if profile.driver == protocol:
            found = driver.check_write("p", next(iter(profile.points.values())), profile.limits, timed=True)
            assert found is None or found.startswith("p: ")
