"""``sitegate alerts test``: what a case file may say, and how a wrong rule is found out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import configs
from gateway.alerts.case_file import offset_ms, samples
from gateway.alerts.presets import SHIPPED
from gateway.alerts.scenario import test_rules as run_cases
from gateway.errors import ConfigError
from tests.support.sitegate import sitegate

RULES = """
- alert: pm10_high
  metric: pm10_ug_m3
  where: {zone: gate}
  above: 150
  clear_below: 120                        # two thresholds: no flapping
  for: 5m
  no_data_after: 10m                      # silence is an alarm too
  severity: warning
  say: "{device}: PM10 {value:.0f} µg/m³ for 5 minutes"
"""
CASES = """
rules: dust.yaml
step: 1m
cases:
  - {name: a short puff is no alarm, feed: {pm10_ug_m3: "160x4 90x2"}, expect: []}
  - {name: fires and clears below 120, feed: {pm10_ug_m3: "160x7 130x3 110"}, expect: [5m firing, 10m cleared]}
  - {name: silence is reported, feed: {pm10_ug_m3: "90 _x11"}, expect: [10m silent]}
"""


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    (tmp_path / "dust.yaml").write_text(RULES, encoding="utf-8")
    (tmp_path / "dust_test.yaml").write_text(CASES, encoding="utf-8")
    return tmp_path / "dust.yaml"


def faults_of(rules: Path) -> list[str]:
    return [fault for result in run_cases(rules) for fault in result.faults]


def test_cases_pass_named_by_rules_or_by_cases(rules: Path) -> None:
    assert faults_of(rules) == []
    assert run_cases(rules) == run_cases(rules.with_name("dust_test.yaml"))


def test_a_wrong_rule_is_found_out(rules: Path) -> None:
    rules.write_text(RULES.replace("for: 5m", "for: 4m").replace("clear_below: 120", "clear_below: 140"), "utf-8")
    assert faults_of(rules) == [
        "expected 5m firing, got 4m raised warning",
        "expected 10m cleared, got 7m cleared warning",
    ]
    rules.write_text(RULES.replace("above: 150", "above: 170"), "utf-8")
    assert faults_of(rules) == ["did not happen: 5m firing", "did not happen: 10m cleared"]
    rules.write_text(RULES.replace("for: 5m", "for: 2m"), "utf-8")
    assert faults_of(rules)[0] == "not expected: 2m raised warning"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("160x4 90x2", "160x4 9Ox2", r"5:\d+: cases\[0\].feed.pm10_ug_m3: '9Ox2' is no sample"),
        ("160x4 90x2", "", r"5:\d+: cases\[0\].feed.pm10_ug_m3: no sample is written"),
        ("160x4 90x2", "1x999999", r"5:\d+: cases\[0\].feed.pm10_ug_m3: that is more than two months"),
        ("{pm10_ug_m3: \"160x4 90x2\"}", "{pm10_ug: \"1\"}", "unknown feed 'pm10_ug'; did you mean 'pm10_ug_m3'"),
        ("10m silent", "silent", r"7:\d+: cases\[2\].expect\[0\]: write when and what, such as 5m raised"),
        ("step: 1m", "step: 90s", r"3:7: step: a step is one or more whole minutes"),
        ("name: silence is reported,", "name: silence, rule: pm10_hi,", "unknown rule 'pm10_hi'; did you mean"),
        ("rules: dust.yaml", "rules: rust.yaml", "2:8: rules: dust_test.yaml holds the cases of the rules beside it"),
        ("rules: dust.yaml", "rules: ../dust.yaml", "2:8: rules: dust_test.yaml holds the cases"),
        ("step: 1m", "timezone: Mars/One", "3:11: timezone: 'Mars/One' is not a time zone"),
        ("160x4 90x2", "160x0", r"5:\d+: cases\[0\].feed.pm10_ug_m3: no sample is written"),
        ("160x4 90x2", "9" * 400, r"5:\d+: cases\[0\].feed.pm10_ug_m3: '9+' is no sample"),
        ("10m silent", "9" * 5000 + "m silent", r"7:\d+: cases\[2\].expect\[0\]: write when and what"),
        ("name: silence is reported,", "name: silence, start: 9999-12-31 23:59,",
         r"cases\[2\].start: write a year from"),
    ],
)  # fmt: skip
def test_mistakes_in_cases_are_named(rules: Path, old: str, new: str, expected: str) -> None:
    rules.with_name("dust_test.yaml").write_text(CASES.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigError, match=expected):
        run_cases(rules)


def test_samples_and_offsets() -> None:
    assert samples("160x2 _ -3.5x1") == [160, 160, None, -3.5]
    assert [offset_ms(t) for t in ("0m", "5m", "5min", "1h30m", "2d", "90s")] == [
        0, 300_000, 300_000, 5_400_000, 172_800_000, 90_000
    ]  # fmt: skip
    assert [offset_ms(t) for t in ("", "5", "m", "-5m", "5 m")] == [None] * 5


def test_the_command(rules: Path) -> None:
    good = sitegate("alerts", "test", str(rules), str(rules.with_name("dust_test.yaml")), "--json")
    assert (good.returncode, json.loads(good.stdout)) == (0, {"cases": 3, "failed": 0, "faults": [], "problems": []})
    rules.write_text(RULES.replace("for: 5m", "for: 4m"), "utf-8")
    wrong = sitegate("alerts", "test", str(rules), "--json")
    assert (wrong.returncode, json.loads(wrong.stdout)["failed"]) == (1, 1)
    rules.with_name("dust_test.yaml").unlink()
    bare = sitegate("alerts", "test", str(rules))
    assert bare.returncode == 1
    assert "rule 'pm10_high' has no case" in bare.stderr
    assert sitegate("alerts", "test", "--jason").returncode == 2


def test_the_shipped_rules_pass_by_the_command_with_a_glob() -> None:
    files = sorted(str(file) for file in SHIPPED.glob("*.yaml"))
    done = sitegate("alerts", "test", *files)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sum(line.startswith("ok") for line in done.stdout.splitlines()) > 60


def test_rules_are_listed_with_their_sources() -> None:
    shown = sitegate("alerts", "rules", "--json")
    rows = {row["rule"]: row for row in json.loads(shown.stdout)}
    assert rows["noise_night"]["limit"] == "above 55 dB(A)"
    assert rows["noise_night"]["confidence"] == "reported"
    assert rows["device_silent"]["limit"] is None
    chosen = sitegate("alerts", "rules", str(configs.path("site.demo.yaml")), "--json")
    assert {row["policy"] for row in json.loads(chosen.stdout)} >= {"noise", "device"}


def test_check_names_the_mistakes_of_rules_too(tmp_path: Path) -> None:
    text = configs.path("site.demo.yaml").read_text(encoding="utf-8")
    file = tmp_path / "site.yaml"
    file.write_text(text.replace("use: [noise,", "use: [noize,"), encoding="utf-8")
    done = sitegate("check", str(file))
    assert done.returncode == 1
    assert "alerts.use[0]: unknown policy or rule 'noize'; did you mean 'noise'?" in done.stdout
