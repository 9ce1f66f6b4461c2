"""Rule files and what a site makes of them: every mistake has a broken file, every shipped rule a source and a case."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

import configs
from gateway.alerts.figures import words
from gateway.alerts.presets import SHIPPED, bind, list_rule_files, load_rules
from gateway.alerts.rule import RuleSet
from gateway.alerts.rule_file import read_rules
from gateway.alerts.rule_keys import FIELDS
from gateway.alerts.scenario import Result
from gateway.alerts.scenario import test_rules as run_cases
from gateway.alerts.schedule import CHINA
from gateway.alerts.state import Event
from gateway.config.alerts import AlertsConfig
from gateway.config.loader import load_site
from gateway.errors import ConfigError

BAD = Path(__file__).parent.parent / "data" / "bad_rules"
RULE_FILES = list_rule_files()
SHIPPED_CASES = {stem: run_cases(file) for stem, file in RULE_FILES.items()}


@pytest.mark.parametrize("file", sorted(BAD.glob("*.yaml")), ids=lambda f: f.stem)
def test_the_first_line_is_the_message(file: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_rules(file)
    expected = file.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
    assert [str(p).removeprefix(f"{file}:") for p in caught.value.problems] == [expected]


def test_all_mistakes_of_a_file_are_named_at_once(tmp_path: Path) -> None:
    file = tmp_path / "many.yaml"
    texts = [
        path.read_text(encoding="utf-8")
        .replace("alert: dust", f"alert: dust_{i}")
        .replace("alert: loud", f"alert: loud_{i}")
        for i, path in enumerate(sorted(BAD.glob("*.yaml")))
        if path.stem not in ("not_a_list", "duplicate_name")
    ]
    file.write_text("\n".join(texts), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_rules(file)
    assert len(caught.value.problems) == len(texts)


@pytest.mark.parametrize(
    "result", [r for results in SHIPPED_CASES.values() for r in results], ids=lambda r: f"{r.rule}: {r.case}"
)
def test_shipped_rules_do_what_their_cases_say(result: Result) -> None:
    assert result.faults == ()


@pytest.mark.parametrize("file", RULE_FILES.values(), ids=lambda f: f.stem)
def test_shipped_rules_say_where_they_come_from(file: Path) -> None:
    rules = read_rules(file)
    assert {r.keys.alert for r in rules} == {r.rule for r in SHIPPED_CASES[file.stem]}, "a rule without a case"
    for rule in rules:
        assert rule.keys.source, rule.keys.alert
        assert rule.keys.confidence, rule.keys.alert
        assert rule.keys.title is not None, rule.keys.alert
        assert rule.keys.title.en != rule.keys.title.zh, rule.keys.alert
        if "from memory" in rule.keys.source:
            # what was only remembered somewhere in it is never sold as read
            assert rule.keys.confidence != "confirmed" or "Table 4" in rule.keys.source, rule.keys.alert


def test_a_policy_for_hunan_is_never_called_a_rule() -> None:
    for rule in read_rules(SHIPPED / "dust.yaml"):
        if rule.policy.startswith("dust_hunan"):
            assert rule.keys.confidence == "project choice"
            assert "not a rule" in rule.keys.source


# --- what a site chooses -----------------------------------------------------------------------------------------


def site_with(tmp_path: Path, alerts: str) -> Path:
    """The demo with another ``alerts`` section."""
    data = yaml.safe_load(configs.path("site.demo.yaml").read_text(encoding="utf-8"))
    del data["alerts"]
    file = tmp_path / "site.yaml"
    file.write_text(f"alerts: {alerts}\n{yaml.safe_dump(data, allow_unicode=True)}", encoding="utf-8")
    return file


def rules_of(tmp_path: Path, alerts: str) -> RuleSet:
    return load_rules(load_site(site_with(tmp_path, alerts)))


def problems_of(tmp_path: Path, alerts: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        rules_of(tmp_path, alerts)
    return [str(p).removeprefix(f"{tmp_path}/site.yaml:") for p in caught.value.problems]


def test_what_is_not_chosen_is_off(tmp_path: Path) -> None:
    assert rules_of(tmp_path, "{}").rules == ()
    assert {r.policy for r in rules_of(tmp_path, "{use: [noise]}").rules} == {"noise"}
    assert [r.name for r in rules_of(tmp_path, "{use: [pm10_live]}").rules] == ["pm10_live"]


def test_rules_find_their_series_and_subjects(tmp_path: Path) -> None:
    rules = rules_of(tmp_path, "{use: [noise, pm10_live, device]}")
    assert [r.name for r in rules.for_series("pm10_ug_m3", "dust-gate")] == ["pm10_live"]
    assert rules.for_series("pm10_ug_m3", "noise-gate") == ()
    silent = next(r for r in rules.rules if r.name == "device_silent")
    assert silent in rules.for_device("noise-gate")
    assert set(rules.subjects(silent)["gate"]) >= {"dust-gate", "noise-gate", "fog-cannon-1"}
    live = next(r for r in rules.rules if r.name == "noise_day_live")
    assert rules.subjects(live) == {"noise-gate": ("noise-gate",)}


def test_a_site_changes_a_figure_and_the_rule_says_so(tmp_path: Path) -> None:
    rules = rules_of(
        tmp_path, "{use: [dust_hunan_default, crane_wind], set: {wind_lifting: {below: 1, warn: 2, clear_below: null}}}"
    )
    rule = next(r for r in rules.rules if r.name == "wind_lifting")
    assert (rule.limit, rule.direction, rule.clear) == (1, "below", None)
    assert rule.source.endswith("; changed in the site file: below, clear_below, warn")
    assert rule.confidence == "project choice"


@pytest.mark.parametrize(
    ("alerts", "expected"),
    [
        ("{use: [noize]}", "1:16: alerts.use[0]: unknown policy or rule 'noize'; did you mean 'noise'?"),
        ("{use: [noise], set: {pm10_live: {above: 180}}}",
         "1:30: alerts.set.pm10_live: it is not in use here; name it or its policy under use"),
        ("{use: [pm10_live], set: {pm10_live: {clear_below: 300}}}",
         "1:59: alerts.set.pm10_live.clear_below: the clear level must not be above the warning 120, "
         "or the alarm clears while it is raised"),
        ("{use: [pm10_live], set: {pm10_live: {abov: 300}}}",
         "1:46: alerts.set.pm10_live.abov: unknown key 'abov'; did you mean 'above'?"),
        ("{use: [pm10_live], set: {pm10_live: {metric: tsp_ug_m3}}}",
         "1:54: alerts.set.pm10_live.metric: this makes it another rule; "
         "write your own in alerts/ beside the site file"),
        ("{use: [tsp_shaanxi_structure]}",
         "1:15: alerts.use: rule 'tsp_shaanxi_structure' depends on the stage (foundation, structure, fit-out); "
         "write alerts.stage"),
        ("{use: [pm10_hebei]}",
         "1:15: alerts.use: rule 'pm10_hebei' compares with pm10_ug_m3 of 'area', which no device here measures; "
         "change its reference under set, or do not use it"),
        ("{use: [pm10_live], set: {pm10_live: {where: {device: dust-gaet}}}}",
         "1:15: alerts.use: rule 'pm10_live' looks at unknown device 'dust-gaet'; did you mean 'dust-gate'?"),
        ("{use: [pm10_live], set: {pm10_live: {where: {zone: gaet}}}}",
         "1:15: alerts.use: rule 'pm10_live' looks at unknown zone 'gaet'; did you mean 'gate'?"),
    ],
    ids=["policy", "not-in-use", "clear-side", "key", "metric", "stage", "reference", "device", "zone"],
)  # fmt: skip
def test_mistakes_are_named_in_the_site_file(tmp_path: Path, alerts: str, expected: str) -> None:
    assert problems_of(tmp_path, alerts) == [expected]


@pytest.mark.parametrize(
    ("alerts", "expected"),
    [
        ("{night_permits: [{from: 2026-06-02 06:00, to: 2026-06-01 22:00, number: '1'}]}",
         "from must be earlier than to"),
        ("{night_permits: [{from: tomorrow, to: 2026-06-01 22:00, number: '1'}]}", "such as 2026-11-22 22:00"),
        ("{hours: {day: [22:00, 06:00]}}", "the day must begin before it ends"),
        ("{hours: {day: [6:00, 22:00]}}", "write a time of day such as 06:00"),
        ("{stage: strukture}", "did you mean 'structure'?"),
        ("{maintenance: [{form: 2026-06-01 06:00, to: 2026-06-01 22:00}]}", "unknown key 'form'; did you mean 'from'?"),
    ],
)  # fmt: skip
def test_mistakes_in_the_section_itself(tmp_path: Path, alerts: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_site(site_with(tmp_path, alerts))
    assert expected in str(caught.value)


def test_stage_chooses_the_limit(tmp_path: Path) -> None:
    rules = rules_of(tmp_path, "{use: [dust_shaanxi], stage: earthworks}").rules
    assert [(r.name, r.limit, r.stage) for r in rules] == [("tsp_shaanxi_earthworks", 800, "earthworks")]


def test_own_rules_beside_the_site_file_hide_the_shipped_ones(tmp_path: Path) -> None:
    (tmp_path / "alerts").mkdir()
    own = tmp_path / "alerts" / "noise.yaml"
    own.write_text("- {alert: quiet, metric: noise_la_db, above: 40}\n", encoding="utf-8")
    untried = r"alerts/noise.yaml:1:11: \[0\].alert: rule 'quiet' has no case: write noise_test"
    with pytest.raises(ConfigError, match=untried):
        rules_of(tmp_path, "{use: [noise]}")
    cases = "{rules: noise.yaml, cases: [{name: loud, feed: {noise_la_db: '45x2'}, expect: [0m raised]}]}\n"
    own.with_name("noise_test.yaml").write_text(cases, encoding="utf-8")
    assert [r.name for r in rules_of(tmp_path, "{use: [noise]}").rules] == ["quiet"]
    own.write_text("- {alert: quiet, metric: noise_la_dbb, above: 40}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"alerts/noise.yaml:1:26: \[0\].metric: unknown metric"):
        rules_of(tmp_path, "{use: [noise]}")


def test_the_area_station_is_not_judged_by_the_limits_of_the_site(tmp_path: Path) -> None:
    data = yaml.safe_load(configs.path("site.demo.yaml").read_text(encoding="utf-8"))
    data["devices"]["station"] = {
        "link": "environment", "profile": "renke_dust_station", "zone": "area", "address": {"unit": 9},
    }  # fmt: skip
    data["alerts"] = {"use": ["dust_hunan_default", "dust_hebei"]}
    file = tmp_path / "site.yaml"
    file.write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8")
    rules = load_rules(load_site(file))
    assert rules.for_series("pm10_ug_m3", "station") == ()
    assert {r.name for r in rules.for_series("pm10_ug_m3", "dust-gate")} == {"pm10_live", "pm10_hour", "pm10_hebei"}
    assert rules.references["pm10_hebei"] == (("pm10_ug_m3", "station"),)


def test_a_rule_without_a_case_fails(tmp_path: Path) -> None:
    shutil.copy(SHIPPED / "device.yaml", tmp_path)
    untried = r"device.yaml:\d+:\d+: \[0\].alert: rule 'device_silent' has no case: write device_test.yaml"
    with pytest.raises(ConfigError, match=untried):
        run_cases(tmp_path / "device.yaml")
    cases = yaml.safe_load((SHIPPED / "device_test.yaml").read_text(encoding="utf-8"))
    cases["cases"] = [c for c in cases["cases"] if c["rule"] != "device_clock"]
    (tmp_path / "device_test.yaml").write_text(yaml.safe_dump(cases), encoding="utf-8")
    with pytest.raises(ConfigError, match="rule 'device_clock' has no case; every rule needs one"):
        run_cases(tmp_path / "device.yaml")


def test_a_sentence_may_speak_of_all_that_the_check_lets_through(tmp_path: Path) -> None:
    """A field that is known to the check and not to the sentence would end the alarms when the rule first fires."""
    fields = " ".join("{" + name + "}" for name in FIELDS)
    (tmp_path / "dust.yaml").write_text(
        f"- {{alert: dusty, metric: pm10_ug_m3, above: 150, say: '{fields}'}}\n", encoding="utf-8"
    )
    (written,) = read_rules(tmp_path / "dust.yaml")
    rule = bind(written.keys, written, CHINA, AlertsConfig())
    details = {"value": 160.0, "valid_share": 1.0, "background": 80.0, "count_today": 2}
    said = words(rule, Event("a", "raised", 0, rule.name, "gate", "alarm", details), {})["text"]
    assert said == dict.fromkeys(("en", "zh"), "gate gate 160.0 150.0 µg/m³ 1min 1.0 2 80.0")
