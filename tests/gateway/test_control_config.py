"""Outputs in the site file: bound to profiles and rules, and refused with file and line where they do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

import configs
from gateway.config.loader import LoadedSite, load_site
from gateway.control.binding import load_outputs, near_air
from gateway.errors import ConfigError
from tests.support.sitegate import sitegate

SITE = """\
site: {id: lot-2, name: Lot 2}
links:
  cabinet: {kind: tcp, host: 192.168.1.50, port: 502}
  broker: {kind: mqtt, host: 192.168.1.60}
devices:
  relay: {link: cabinet, profile: relay_controller_8, address: {unit: 1}, zone: gate}
  dust: {link: cabinet, profile: renke_dust_station, address: {unit: 2}, zone: gate, every: 2s}
  far: {link: cabinet, profile: renke_dust_station, address: {unit: 3}, zone: back}
  fog: {link: broker, profile: fog_cannon_mqtt, address: {id: fc-01}, zone: gate, every: 4s}
outputs:
  valve:
    device: relay
    point: output_1_on
    mode: armed
    when: [spray, loud]
    near: [dust]
    weather: dust
    wind_above: 8
    water_below: {device: fog, metric: tank_level_pct, below: 10}
    night_ban: [22:30, 06:00]
    feedback: {device: relay, metric: input_1_on}
  cannon: {device: fog, point: running, zone: back, when: [spray], dead_man: 60s, name: {en: Cannon, zh: 雾炮}}
"""
RULES = {"spray": "pm10_ug_m3", "loud": "noise_la_db", "device_silent": None, "cold": "cable_temperature_c"}


def load(folder: Path, text: str = SITE) -> LoadedSite:
    file = folder / "site.yaml"
    file.write_text(text, encoding="utf-8")
    return load_site(file)


def test_outputs_have_everything_bound_in(tmp_path: Path) -> None:
    site = load(tmp_path)
    valve, cannon = load_outputs(site, RULES)
    assert (valve.zone, valve.mode, valve.allow, valve.dead_man, valve.dead_man_s) == (
        "gate", "armed", (0.0, 1.0), "module", 30.0,
    )  # fmt: skip
    assert valve.sensors == (("dust", "pm10_ug_m3"), ("dust", "noise_la_db"))
    assert (valve.wind, valve.wind_above, valve.frost) == (("dust", "wind_speed_m_s"), 8.0, None)
    assert (valve.water, valve.feedback) == (("fog", "tank_level_pct"), ("relay", "input_1_on"))
    assert (valve.night_ban, valve.refresh_s, valve.confirm_s) == ((22 * 60 + 30, 6 * 60), None, 3.0)
    assert (cannon.mode, cannon.sensors, cannon.zh) == ("dry_run", (("far", "pm10_ug_m3"),), "雾炮")
    assert (cannon.dead_man, cannon.refresh_s) == ("pulse", 20.0)
    assert cannon.confirm_s == 12.0 + 2 * 4.0, "it reports when it likes"
    assert near_air(site) == {"dust": 2.0}


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("[spray, loud]", "[sprai]", r"15:12: outputs.valve.when\[0\]: unknown rule 'sprai'; did you mean 'spray'\?"),
        ("[spray, loud]", "[device_silent]", "this rule judges a device's state, not a value"),
        ("[spray, loud]", "[cold]", "judges cable_temperature_c, which none of the devices of zone 'gate' measures"),
        ("near: [dust]", "sensors: [relay]", "which none of the sensors named here measures"),
    ],
)
def test_rules_that_do_not_fit_are_named(tmp_path: Path, before: str, after: str, message: str) -> None:
    site = load(tmp_path, SITE.replace(before, after))
    with pytest.raises(ConfigError, match=message):
        load_outputs(site, RULES)


def test_a_site_that_uses_no_rule_is_told_where_to_write_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no rule is in use here: write 'spray' or its policy under alerts: use"):
        load_outputs(load(tmp_path), {})


def test_a_device_that_never_lets_go_must_be_accepted(tmp_path: Path) -> None:
    text = configs.path("profiles", "waveshare_relay_8.yaml").read_text(encoding="utf-8")
    text = text.replace("dead_man: pulse}", "dead_man: none}").replace("profile: waveshare_relay_8", "profile: holds")
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "holds.yaml").write_text(text, encoding="utf-8")
    site = SITE.replace("relay_controller_8", "holds").replace(
        "    feedback: {device: relay, metric: input_1_on}\n", ""
    )
    with pytest.raises(ConfigError, match="after a crash it stays on; write dead_man: accept_none if you accept that"):
        load(tmp_path, site)
    load(tmp_path, site.replace("mode: armed", "mode: dry_run"))
    accepted = load(tmp_path, site.replace("mode: armed", "mode: armed\n    dead_man: accept_none"))
    assert load_outputs(accepted, RULES)[0].dead_man_s is None


def test_check_and_run_name_the_rule_with_its_line(tmp_path: Path) -> None:
    load(tmp_path)
    for command in ("check", "run"):
        done = sitegate(command, str(tmp_path / "site.yaml"))
        assert done.returncode == 1
        assert "site.yaml:15:12: outputs.valve.when[0]: no rule is in use here" in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
