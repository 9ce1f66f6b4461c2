"""What a good site file becomes: addresses, rules, ratios, secrets, absolute paths."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import configs
from gateway.config.check import check_site
from gateway.config.loader import LoadedSite, load_site
from gateway.config.site import MqttLink, SerialLink, TcpLink
from gateway.errors import ConfigError

EXAMPLE = configs.path("site.example.yaml")

SITE = """\
site: {id: lot-2, name: Lot 2}
links:
  meters: {kind: serial, port: /dev/ttyUSB0, baudrate: 2400, parity: even}
  zones: {kind: tcp, host: localhost, port: 502}
devices:
  main: {link: meters, profile: dlt645_three_phase, address: {meter: "123456"}, ratio: {ct: 40, pt: 100}}
  hoist: {link: zones, profile: chint_dtsu666, address: {unit: 3}, ratio: {ct: 40}, every: 2s, zone: hoist}
  dust: {link: meters, profile: renke_dust_station, address: {unit: 9}, every: 2min, without: [rain_mm]}
"""


def load(tmp_path: Path, text: str = SITE) -> LoadedSite:
    file = tmp_path / "site.yaml"
    file.write_text(text, encoding="utf-8")
    return load_site(file)


def test_devices_are_resolved_against_their_profiles(tmp_path: Path) -> None:
    site = load(tmp_path)
    assert list(site.devices) == ["main", "hoist", "dust"]
    assert set(site.profiles) == {"dlt645_three_phase", "chint_dtsu666", "renke_dust_station"}
    assert site.devices["main"].address.meter == "000000123456", "the driver fills short meter numbers"
    assert site.devices["hoist"].address.unit == 3
    for device in site.devices.values():
        assert device.points.keys() == device.rules.keys()
    assert "rain_mm" not in site.devices["dust"].points
    assert site.config.site.name.zh == "Lot 2", "one text serves both languages"


def test_transformer_ratios_go_into_the_rules(tmp_path: Path) -> None:
    site = load(tmp_path)
    main, hoist = site.devices["main"].rules, site.devices["hoist"].rules
    assert [main[m].multiply for m in ("current_l1_a", "voltage_l1_v", "energy_import_kwh")] == [40, 100, 4000]
    assert main["active_power_w"].multiply == 1000 * 4000, "kW to W, times both ratios"
    assert main["energy_import_kwh"].wrap == 1_000_000 * 4000
    assert main["power_factor"].multiply == 1
    assert [hoist[m].multiply for m in ("current_l1_a", "voltage_l1_v", "active_power_w")] == [40, 1, 40]
    assert site.profiles["chint_dtsu666"].rules["current_l1_a"].multiply == 1, "the profile itself stays as it is"


def test_every_of_a_device_replaces_the_default_and_leaves_rare_points_rare(tmp_path: Path) -> None:
    site = load(tmp_path)
    assert site.devices["hoist"].rules["voltage_l1_v"].every_s == 2
    assert site.devices["hoist"].rules["energy_import_kwh"].every_s == 60
    assert site.devices["dust"].rules["pm10_ug_m3"].every_s == 120
    assert site.devices["dust"].rules["illuminance_lx"].every_s == 120, "never more often than the device is asked"
    assert site.devices["main"].rules["voltage_l1_v"].every_s == 5


def test_paths_are_relative_to_the_site_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ca.pem").touch()
    monkeypatch.chdir("/")
    mqtt = "  box: {kind: mqtt, host: localhost, tls: {ca_file: ca.pem}}\n"
    site = load(tmp_path, SITE.replace("devices:\n", mqtt + "devices:\n"))
    assert site.config.data_dir == tmp_path / "data"
    link = site.config.links["box"]
    assert isinstance(link, MqttLink)
    assert link.tls is not None
    assert link.tls.ca_file == tmp_path / "ca.pem"


def test_a_profile_beside_the_site_file_comes_first(tmp_path: Path) -> None:
    shipped = configs.path("profiles", "renke_dust_station.yaml").read_text(encoding="utf-8")
    (tmp_path / "profiles").mkdir()
    own = tmp_path / "profiles" / "renke_dust_station.yaml"
    own.write_text(shipped.replace("address: 0x01F4, type: u16, scale: 0.1", "address: 0x01F4, type: u16, scale: 0.01"))
    site = load(tmp_path)
    assert site.devices["dust"].rules["wind_speed_m_s"].divide == 100
    assert [p.text for p in check_site(tmp_path / "site.yaml")] == [
        "wind_speed_m_s: raw 36 gives 0.36, but the example says 3.6"
    ], "check also runs the profile's own example"
    own.write_text(shipped.replace("driver: modbus", "driver: modbux"))
    with pytest.raises(ConfigError, match=rf"{own}:\d+:\d+: driver: unknown driver 'modbux'; did you mean 'modbus'"):
        load(tmp_path)


SINK = """\
sinks:
  influx: {kind: influxdb, url: "${SITEGATE_URL}", bucket: site, token: "${SITEGATE_TOKEN}"}
"""


def test_secrets_come_from_the_environment_and_are_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SITEGATE_URL", "http://localhost:8086")
    monkeypatch.setenv("SITEGATE_TOKEN", "s3cr3t-t0ken")
    site = load(tmp_path, SITE + SINK)
    assert site.config.sinks["influx"].token == "s3cr3t-t0ken"
    assert "s3cr3t" not in repr(site)
    monkeypatch.setenv("SITEGATE_URL", "s3cr3t-t0ken")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, SITE.replace("{id: lot-2", "{timezone: '${SITEGATE_TOKEN}', id: lot-2") + SINK)
    assert len(caught.value.problems) == 2
    assert "s3cr3t" not in str(caught.value)
    assert "${SITEGATE_TOKEN}" in str(caught.value)


def test_a_secret_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cr3t-t0ken\n")
    text = SITE + SINK.replace("${SITEGATE_URL}", "http://localhost").replace("${SITEGATE_TOKEN}", "file:token")
    assert load(tmp_path, text).config.sinks["influx"].token == "s3cr3t-t0ken"
    (tmp_path / "token").write_text("\n")
    with pytest.raises(ConfigError, match="is empty"):
        load(tmp_path, text)


def test_the_example_loads_as_it_is() -> None:
    assert check_site(EXAMPLE) == []
    kinds = {type(link) for link in load_site(EXAMPLE).config.links.values()}
    assert kinds == {SerialLink, TcpLink, MqttLink}


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example with every ``#key`` opened."""
    secrets = ("MQTT_PASSWORD", "INFLUX_PASSWORD", "INFLUX_TOKEN", "STATION_PW", "WECOM_KEY", "CRANE_TOKEN")
    for name in (*secrets, "SITEGATE_PAGE_PASSWORD", "SITEGATE_PAGE_TOKEN"):
        monkeypatch.setenv(name, "a-real-secret-of-some-length")
    (tmp_path / "certs").mkdir()
    for name in ("ca.pem", "gateway.pem", "gateway.key"):
        (tmp_path / "certs" / name).touch()
    text = re.sub(r"(?m)^( *)#(?=[a-z ]+[a-z_]+:|[a-z_]+:)", r"\1", EXAMPLE.read_text(encoding="utf-8"))
    file = tmp_path / "site.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_the_example_shows_every_key(opened: Path) -> None:
    def hidden(model: BaseModel, path: str) -> list[str]:
        found = [f"{path}{name}" for name in type(model).model_fields if name not in model.model_fields_set]
        for name in type(model).model_fields:
            value = getattr(model, name)
            for key, inner in value.items() if isinstance(value, dict) else [("", value)]:
                if isinstance(inner, BaseModel):
                    found += hidden(inner, f"{path}{name}.{key}.")
        return found

    config = load_site(opened).config
    config = config.model_copy(update={"devices": {"main-meter": config.devices["main-meter"]}})
    # pt stands beside ct in the profile; one of the two is enough for an example
    assert [p for p in hidden(config, "") if not p.endswith("ratio..pt")] == []


def test_what_the_example_has_behind_a_hash_is_the_default(opened: Path) -> None:
    def differences(closed: Any, open_: Any, path: str = "") -> list[str]:
        if isinstance(closed, dict):
            return [d for key in closed for d in differences(closed[key], open_[key], f"{path}.{key}")]
        return [] if closed in (None, (), open_) else [f"{path}: default {closed!r}, shown {open_!r}"]

    closed = load_site(EXAMPLE).config.model_dump()
    shown = load_site(opened).config.model_dump()
    assert (
        differences(closed | {"data_dir": closed["data_dir"].name}, shown | {"data_dir": shown["data_dir"].name}) == []
    )
