"""Every shipped profile proves itself by its own example and says honestly how far to trust it."""

from __future__ import annotations

import dataclasses
import re
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import registry
from drivers.modbus.plan import plan
from gateway.commands.profiles import catalogue
from gateway.config import profiles
from gateway.config.profile import Profile
from gateway.config.profiles import engineering_value, find_profile, list_profiles, read_profile
from gateway.vocabulary import Kind

FILES = list_profiles()
MODBUS = [name for name in FILES if find_profile(name).driver == "modbus"]
CONFIDENCE = re.compile(r"confirmed|reported|from memory|conflict|our own")


def test_the_devices_of_a_site_are_there() -> None:
    assert {
        "eastron_sdm630", "eastron_sdm120", "chint_dtsu666", "schneider_iem3155", "acrel_dtsd1352",
        "carlo_gavazzi_em24", "dlt645_three_phase", "dlt645_single_phase", "renke_dust_station", "renke_noise",
        "xintai_water_meter", "yunzhu_tower_crane", "fog_cannon_mqtt", "yunzhu_hoist", "concrete_pump_mqtt",
        "vehicle_wash_mqtt", "excavator_mqtt", "electrical_safety_mqtt", "dse_gencomm", "cubic_opm6303",
    } <= FILES.keys()  # fmt: skip
    assert len(FILES) >= 30
    assert {find_profile(name).driver for name in FILES} == registry.PROTOCOLS.keys()


@pytest.mark.parametrize("file", FILES.values(), ids=FILES)
def test_a_profile_proves_itself(file: Path) -> None:
    assert profiles.test_profile(read_profile(file)) == []


@pytest.mark.parametrize("name", FILES)
def test_a_profile_is_honest(name: str) -> None:
    profile = find_profile(name)
    if profile.verified != "simulated":
        assert re.search(r"\b20\d\d-\d\d", profile.source), "bench or field: say in source who read a device, and when"
    assert CONFIDENCE.search(profile.source), "the source carries a confidence word (CONTRIBUTING.md, recipe 1)"
    assert profile.caveats, "every device has at least one; if none is known, say what was not tried"
    assert re.search("[\u4e00-\u9fff]", profile.title["zh"])
    text = Path(profile.file).read_text(encoding="utf-8")
    assert text.startswith("# "), "the first line says what it is"


PULSED = {"waveshare_relay_8", "lc_relay_8", "juying_dam0404", "relay_controller_8", "fog_cannon_mqtt"}
"""What may be written, by name: a profile that begins to switch things is looked at by somebody first."""


@pytest.mark.parametrize("name", FILES)
def test_only_what_lets_go_by_itself_is_written(name: str) -> None:
    profile = find_profile(name)
    assert bool(profile.writes) == (name in PULSED)
    switched = {metric: rule for metric, rule in profile.writes.items() if metric != profiles.TIMEOUT}
    assert all(rule.dead_man != "none" for rule in switched.values()), "a lost gateway would leave it on"


@pytest.mark.parametrize("name", FILES)
def test_who_drives_is_marked_as_personal(name: str) -> None:
    profile = find_profile(name)
    if "driver_card" in profile.points:
        assert any("driver_card" in caveat and "person" in caveat for caveat in profile.caveats)


@pytest.mark.parametrize("name", FILES)
def test_energies_are_read_rarely(name: str) -> None:
    for metric, rule in find_profile(name).rules.items():
        if rule.metric.kind is Kind.COUNTER and metric.startswith(("energy", "reactive_energy")):
            assert rule.every_s >= 30, "every: 30s or more (CONTRIBUTING.md, recipe 1)"


@pytest.mark.parametrize("name", FILES)
def test_a_wrong_example_is_noticed(name: str) -> None:
    profile = find_profile(name)
    first, value = next((k, v) for k, v in profile.example_gives.items() if v)
    off = {**profile.example_gives, first: value * 1.001}
    wrong = profiles.test_profile(dataclasses.replace(profile, example_gives=off))
    assert len(wrong) == 1
    assert wrong[0].startswith(f"{first}: raw ")
    short = {k: v for k, v in profile.example_gives.items() if k != first}
    assert profiles.test_profile(dataclasses.replace(profile, example_gives=short)) == [
        f"{first}: not in example.gives; every point needs a value there"
    ]
    assert profiles.test_profile(dataclasses.replace(profile, example_raw={}))[0].startswith("example.raw: ")


@pytest.mark.parametrize("name", MODBUS)
def test_a_modbus_profile_can_be_read_within_its_limits(name: str) -> None:
    profile = find_profile(name)
    blocks = plan(profile.points, profile.limits)
    assert sorted(n for block in blocks for n in block.names) == sorted(profile.points)
    most = {"coil": profile.limits.max_coils, "discrete": profile.limits.max_coils}
    assert all(block.count <= most.get(block.table, profile.limits.max_count) for block in blocks)


def test_the_list_of_profiles_is_up_to_date() -> None:
    shipped = (Path(__file__).parents[1] / "docs/profiles.md").read_text(encoding="utf-8")
    assert shipped == catalogue(), "docs/profiles.md is stale: make schemas writes it anew"


def test_one_read_covers_the_dust_station() -> None:
    profile = find_profile("renke_dust_station")
    (block,) = plan(profile.points, profile.limits)
    assert (block.start, block.count) == (0x01F4, 14), "01 03 01 F4 00 0E 84 00"


def test_unknown_profile_suggests_the_nearest() -> None:
    with pytest.raises(KeyError, match="did you mean 'eastron_sdm630'"):
        find_profile("eastron_sdm360")


def profile_with(tmp_path: Path, point: str, raw: str, gives: str) -> Profile:
    file = tmp_path / "example_em3.yaml"
    file.write_text(
        "profile: example_em3\nmaker: Example\nmodels: [EM-3]\ntitle: {en: Example, zh: 示例}\ndriver: modbus\n"
        "verified: simulated\nsource: from memory\n"
        f"points:\n  voltage_l1_v: {{table: holding, address: 0x0010, {point}}}\n"
        f"example:\n  raw: {{holding: {{0x0010: {raw}}}}}\n  gives: {{voltage_l1_v: {gives}}}\n",
        encoding="utf-8",
    )
    return read_profile(file)


@given(digits=st.integers(0, 6), raw=st.integers(-(2**31), 2**31))
def test_a_decimal_scale_is_exact(digits: int, raw: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    scale = f"{1 / 10**digits:.{digits}f}" if digits else "1"
    profile = profile_with(tmp_path_factory.mktemp("p"), f"type: s32, scale: {scale}", "[0, 0]", "0")
    got = engineering_value(profile.rules["voltage_l1_v"], raw)
    assert got == float(Fraction(raw, 10**digits)), "the float nearest to the true decimal"


def test_sentinels_are_raw_numbers_and_give_no_value(tmp_path: Path) -> None:
    profile = profile_with(tmp_path, "scale: 0.1, sentinel: 0x7FFF", "[0x7FFF]", "null")
    assert profile.rules["voltage_l1_v"].sentinels == {0x7FFF}
    assert profiles.test_profile(profile) == []
    several = profile_with(
        tmp_path, "type: u64, sentinel: [0xFFFFFFFFFFFFFFFF, 0x7FFFFFFFFFFFFFFF]", "[0, 0, 0, 5]", "5"
    )
    assert 0x7FFFFFFFFFFFFFFF in several.rules["voltage_l1_v"].sentinels, "64-bit sentinels stay exact"
    assert profiles.test_profile(several) == []


def test_an_example_outside_the_plausible_range_is_a_fault(tmp_path: Path) -> None:
    profile = profile_with(tmp_path, "range: [0, 400]", "[500]", "500")
    assert profiles.test_profile(profile) == ["voltage_l1_v: 500.0 lies outside 0 to 400"]
