"""What a Grafana reads at its start: valid, without secrets, and true to the site's rules and notices."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from gateway.alerts.presets import load_rules
from gateway.commands import dashboards
from gateway.commands.output import FINE, PROBLEM
from gateway.config.loader import LoadedSite, load_site
from gateway.grafana.alerting import Environment, secrets_of, uid
from tests.support.servers import Influx1, influxdb1
from tests.support.sitegate import sitegate

SCHEMA = json.loads((Path(__file__).parent / "data" / "grafana" / "alerting.jsonschema.json").read_text())
SITE = """
site: {id: pilot, name: {en: Pilot, zh: 试点}, timezone: Asia/Shanghai}
links: {line: {kind: tcp, host: 127.0.0.1, port: 15020}}
devices:
  dust: {link: line, profile: renke_dust_station, address: {unit: 1}, zone: gate}
sinks:
  main: {kind: influxdb, url: "http://influxdb:8086", api: v2, org: site, bucket: pilot, token: the-token-of-the-sink}
alerts: {use: [dust_hunan_default, device]}
notices:
  channels:
    office: {url: "wecombot://the-key-of-the-robot"}
    signed: {url: "dingtalk://secret@the-other-key"}
    chief: {url: "mailtos://user:password@mail.example.com?to=chief@example.com"}
"""
SECRETS = ("the-token-of-the-sink", "the-key-of-the-robot", "the-other-key", "password")


@pytest.fixture
def site(tmp_path: Path) -> LoadedSite:
    (tmp_path / "site.yaml").write_text(SITE)
    return load_site(tmp_path / "site.yaml")


@pytest.fixture
def out(site: LoadedSite, tmp_path: Path) -> Path:
    assert dashboards.provision(site.file, tmp_path / "out", "/etc/grafana/provisioning") == FINE
    return tmp_path / "out"


def read(out: Path, name: str) -> Any:
    """A file as Grafana understands it: $$ is a dollar, and nothing of ours stands in the environment."""
    text = (out / name).read_text()
    assert not re.search(r"(?<!\$)\$(?![\${])", text), "a single dollar would be replaced"
    return yaml.safe_load(text.replace("$$", "$"))


def rules_of(out: Path) -> list[dict[str, Any]]:
    return [rule for group in read(out, "alerting/sitegate-rules.yaml")["groups"] for rule in group["rules"]]


def test_no_file_holds_a_secret_and_the_command_says_which_are_needed(
    site: LoadedSite, capsys: pytest.CaptureFixture[str]
) -> None:
    out = site.file.parent / "out"
    assert dashboards.provision(site.file, out, None) == FINE
    text = "".join(file.read_text() for file in out.rglob("*.*"))
    assert [secret for secret in SECRETS if secret in text] == []
    said = capsys.readouterr().out
    assert f"GF_PATHS_PROVISIONING={out}" in said
    assert "SITEGATE_INFLUX_SECRET, SITEGATE_NOTICE_CHIEF, SITEGATE_NOTICE_OFFICE" in said
    assert "notices.channels.signed is no contact point" in said


def test_the_data_source_is_the_sinks(out: Path) -> None:
    [source] = read(out, "datasources/sitegate.yaml")["datasources"]
    assert (source["type"], source["url"], source["jsonData"]["dbName"]) == (
        "influxdb",
        "http://influxdb:8086",
        "pilot",
    )
    assert source["jsonData"]["httpHeaderName1"] == "Authorization"
    assert source["secureJsonData"] == {"httpHeaderValue1": "Token ${SITEGATE_INFLUX_SECRET}"}


def test_each_language_has_a_folder_of_dashboards_where_grafana_finds_it(out: Path) -> None:
    providers = read(out, "dashboards/sitegate.yaml")["providers"]
    assert [p["options"]["path"] for p in providers] == [
        f"/etc/grafana/provisioning/boards/{language}" for language in ("en", "zh")
    ]
    assert "$timeFilter" in (out / "boards" / "en" / "overview.json").read_text()
    assert len(list((out / "boards" / "zh").glob("*.json"))) == 8


def test_alert_rules_are_valid_for_grafana(out: Path) -> None:
    rules = rules_of(out)
    for rule in rules:
        whole = {**rule, "folderUID": "f", "orgID": 1, "ruleGroup": "g"}  # a file says these once for the group
        wanted = {"$ref": "#/definitions/Rule", "definitions": SCHEMA["definitions"]}
        jsonschema.Draft7Validator(wanted).validate(whole)
        assert rule["condition"] in [step["refId"] for step in rule["data"]]
    assert len({rule["uid"] for rule in rules}) == len(rules)
    assert len({rule["title"] for rule in rules}) == len(rules)


def test_every_rule_of_the_site_is_there_with_its_source(out: Path, site: LoadedSite) -> None:
    found = {rule["labels"].get("rule"): rule for rule in rules_of(out)}
    known = {rule.name: rule for rule in load_rules(site).rules}
    assert set(found) == {*known, None}
    for name, rule in known.items():
        assert rule.source in found[name]["annotations"]["description"]
        assert found[name]["labels"]["severity"] == rule.severity
        assert f"^({name})@" in found[name]["data"][0]["model"]["query"]


def test_contact_points_are_valid_and_the_first_is_told_of_a_silent_gateway(out: Path) -> None:
    points = read(out, "alerting/sitegate-contact-points.yaml")["contactPoints"]
    assert [(p["name"], p["receivers"][0]["type"]) for p in points] == [
        ("sitegate pilot office", "wecom"),
        ("sitegate pilot chief", "email"),
    ]
    for point in points:
        wanted = {"$ref": "#/definitions/ContactPoint", "definitions": SCHEMA["definitions"]}
        jsonschema.Draft7Validator(wanted).validate(point["receivers"][0])
    [silent] = [rule for rule in rules_of(out) if rule["labels"]["sitegate"] == "gateway"]
    assert silent["notification_settings"] == {"receiver": "sitegate pilot office"}
    assert silent["noDataState"] == "Alerting"


@pytest.fixture(scope="module")
def server() -> Any:
    with influxdb1() as running:
        yield running


def test_the_rules_queries_run_and_see_what_the_gateway_wrote(out: Path, server: Influx1) -> None:
    server.create_database("pilot")
    lines = (
        "alerts,site=pilot,device=pm10_hour@dust alarm_level=3 1000\n"
        "alerts,site=other,device=pm10_hour@dust alarm_level=4 1000\n"
        "alerts,site=pilot,device=pm10_hour_2@dust alarm_level=4 1000\n"
        "gateway,site=pilot,device=sitegate gateway_uptime_s=5 1000"
    )
    assert server.post("/write", lines.encode(), db="pilot", precision="ms")[0] == 204
    seen = {}
    for rule in rules_of(out):
        query = rule["data"][0]["model"]["query"].replace("$timeFilter", "time >= 0 AND time <= 2000ms")
        assert "$" not in query
        seen[rule["labels"].get("rule")] = [s["values"][0][1] for s in server.query("pilot", query)]
    assert seen["pm10_hour"] == [3]
    assert seen[None] == [1]
    assert {len(found) for rule, found in seen.items() if rule not in ("pm10_hour", None)} == {0}


def test_a_site_without_influxdb_is_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "site.yaml").write_text(re.sub(r"sinks:\n.*\n", "", SITE))
    assert dashboards.provision(tmp_path / "site.yaml", tmp_path / "out", None) == PROBLEM
    assert "writes to no InfluxDB" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_named(site: LoadedSite, capsys: pytest.CaptureFixture[str]) -> None:
    (site.file.parent / "file").write_text("")
    assert dashboards.provision(site.file, site.file.parent / "file", None) == PROBLEM
    assert "cannot be written" in capsys.readouterr().err


def test_ids_are_short_and_always_the_same() -> None:
    assert uid("rule", "pilot", "pm10") == "sitegate-rule-pilot-pm10"
    long = uid("rule", "a-site-with-a-very-long-name-indeed", "pm10_hour_warning")
    assert len(long) <= 40
    assert long == uid("rule", "a-site-with-a-very-long-name-indeed", "pm10_hour_warning")


def test_what_the_environment_must_hold() -> None:
    document = {"a": [Environment("Token ${ONE}"), "${NOT_MEANT}"], "b": {"c": Environment("${TWO_2}")}}
    assert secrets_of(document) == {"ONE", "TWO_2"}


def test_the_commands_of_the_guide_exist() -> None:
    guide = (Path(__file__).parents[1] / "docs" / "grafana.md").read_text()
    asked = {(command, option) for command, rest in re.findall(r"sitegate dashboards (\w+)(.*)", guide)
             for option in re.findall(r" (--[a-z-]+)", rest)}  # fmt: skip
    assert {command for command, _ in asked} == {"provision", "push"}
    for command, option in asked:
        assert option in sitegate("dashboards", command, "--help").stdout, (command, option)
