"""Dashboards: current, valid for Grafana, in the words of the vocabulary and the rules."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import configs
import dashboards
from gateway import vocabulary
from gateway.alerts.figures import limits
from gateway.alerts.presets import load_rules
from gateway.config.loader import load_site
from gateway.grafana.build import build, levels_of, stale, write
from gateway.grafana.units import grafana_unit
from gateway.model import LimitLine
from gateway.vocabulary import METRICS, Domain, Kind, Metric
from tests.support.grafana import annotation_queries, load, panel_queries, panels
from tests.support.sitegate import sitegate

SCHEMAS = Path(__file__).parent / "data" / "grafana"
BOARDS = load()
_FIELD = re.compile(r'"([a-z][a-z0-9_]*?)(?:_(?:mean|delta|last|share))?"')


def schema(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((SCHEMAS / f"{name}.jsonschema.json").read_text())
    return found


def made() -> dict[str, str]:
    rules = load_rules(load_site(configs.path("site.demo.yaml")))
    return build(rules, limits(rules, 0))


def test_what_is_committed_is_current() -> None:
    assert stale(made(), Path(dashboards.__file__).parent) == [], "run: sitegate dashboards build"


def test_eight_boards_in_two_languages() -> None:
    names = {"overview", "dust-noise", "energy", "water", "equipment", "electrical-safety", "gateway-health", "fleet"}
    assert set(BOARDS) == {f"{language}/{name}" for language in ("en", "zh") for name in names}


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_is_valid_for_grafana(name: str) -> None:
    board = BOARDS[name]
    jsonschema.Draft7Validator(schema("dashboard")).validate(board)
    assert board["schemaVersion"] == 42
    kinds = {kind: schema(kind) for kind in ("timeseries", "stat", "statetimeline")}
    for panel in panels(board):
        own = kinds[panel["type"].replace("-", "")]
        parts = {"Options": panel["options"], "FieldConfig": panel["fieldConfig"]["defaults"].get("custom", {})}
        for definition, content in parts.items():
            if definition in own["definitions"]:
                wanted = {"$ref": f"#/definitions/{definition}", "definitions": own["definitions"]}
                jsonschema.Draft7Validator(wanted).validate(content)


@pytest.mark.parametrize("name", BOARDS)
def test_panels_have_ids_and_places_of_their_own(name: str) -> None:
    board = BOARDS[name]
    everything = [*board["panels"], *(inner for row in board["panels"] for inner in row.get("panels") or ())]
    assert sorted(p["id"] for p in everything) == list(range(1, len(everything) + 1))
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


@pytest.mark.parametrize("name", BOARDS)
def test_the_data_source_is_a_variable(name: str) -> None:
    board = BOARDS[name]
    sources = re.findall(r'"uid": "([^"]*)"', json.dumps(board["panels"]) + json.dumps(board["annotations"]))
    assert set(sources) == {"${datasource}"}


def test_queries_ask_for_what_the_vocabulary_has() -> None:
    own_words = {"device", "site", "zone", "now", "step"}
    tables = {str(d) for d in Domain} | {f"{d}_1m" for d in Domain}
    for name, board in BOARDS.items():
        for query in (*panel_queries(name, board), *annotation_queries(name, board)):
            for word in set(_FIELD.findall(query.query)) - own_words:
                assert word in METRICS or word in tables or word.removesuffix("_1m") in tables, (query, word)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_quantity_is_on_a_panel(language: str) -> None:
    text = " ".join(q.query for n, b in BOARDS.items() if n.startswith(language) for q in panel_queries(n, b))
    shown = set(_FIELD.findall(text))
    assert set(METRICS) - shown == set()


@pytest.mark.parametrize("kind", Kind)
def test_a_new_quantity_is_on_a_panel_without_a_change_of_boards(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    new = Metric("test_slump_mm", Domain.EQUIPMENT, kind, "mm", 0, 300, 0, "Slump of the test", "测试坍落度")
    monkeypatch.setitem(vocabulary.METRICS, new.name, new)
    for language, label in (("en", new.en), ("zh", new.zh)):
        board = json.loads(made()[f"{language}/equipment.json"])
        [panel] = [p for p in panels(board) if "test_slump_mm" in json.dumps(p["targets"])]
        assert panel["title"] == label
        assert panel["fieldConfig"]["defaults"].get("unit", "lengthmm") == "lengthmm"


def test_units_are_the_vocabularys() -> None:
    known = {each["const"] for each in schema("units")["definitions"].values()}
    for metric in METRICS.values():
        unit = grafana_unit(metric.unit)
        assert unit in known or unit == f"suffix: {metric.unit}"
    for name, board in BOARDS.items():
        for panel in panels(board):
            asked = [METRICS[w] for t in panel["targets"] for w in _FIELD.findall(t["query"]) if w in METRICS]
            units = {grafana_unit(m.unit) for m in asked if m.domain is not Domain.ALERTS} or {"none"}
            said = panel["fieldConfig"]["defaults"].get("unit", "none")
            asks_share = any('_share"' in t["query"] or " / $quota" in t["query"] for t in panel["targets"])
            assert said in units or (asks_share and said in ("percent", "percentunit")), (name, panel["title"])


def test_levels_are_those_of_the_rules() -> None:
    rules = load_rules(load_site(configs.path("site.demo.yaml")))
    wanted = levels_of(limits(rules, 0))
    [panel] = [p for p in panels(BOARDS["zh/dust-noise"]) if p["type"] == "stat" and p["title"] == "PM2.5"]
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert [step["value"] for step in steps] == [None, *[level.value for level in wanted["pm2_5_ug_m3"]]]
    colours = ["yellow" if level.warning else "red" for level in wanted["pm2_5_ug_m3"]]
    assert [step["color"] for step in steps[:2]] == ["green", colours[0]]


def test_a_limit_that_changes_by_the_hour_has_no_fixed_colour() -> None:
    def line(metric: str, value: float, schedule: str, *, warning: bool) -> LimitLine:
        return LimitLine("d", metric, "r", "R", "R", value, warning, schedule, True)

    found = levels_of(
        [
            line("noise_la_db", 70, "day", warning=False),
            line("noise_la_db", 55, "night", warning=False),
            line("pm10_ug_m3", 200, "always", warning=False),
            line("pm10_ug_m3", 120, "always", warning=True),
            line("pm10_ug_m3", 250, "always", warning=True),
        ]
    )
    assert list(found) == ["pm10_ug_m3"]
    assert [(level.value, level.warning) for level in found["pm10_ug_m3"]] == [(120, True), (200, False)]


def test_the_rules_limits_in_force_are_drawn_with_their_quantity() -> None:
    rules = load_rules(load_site(configs.path("site.demo.yaml")))
    named = {r.name for r in rules.rules if r.metric == "noise_la_db" and r.reference is None}
    [query] = [
        q.query
        for q in panel_queries("en/dust-noise", BOARDS["en/dust-noise"])
        if "limit_in_force" in q.query and q.panel.startswith("Noise")
    ]
    assert set(re.search(r"\^\((.*?)\)@", query).group(1).split("|")) == named  # type: ignore[union-attr]


def test_a_changed_threshold_is_on_the_board(tmp_path: Path) -> None:
    text = configs.path("site.demo.yaml").read_text()
    changed, times = re.subn(r"(\n  set:[^\n]*\n)", r"\1    pm2_5_live: {above: 91}\n", text)
    assert times == 1
    (tmp_path / "site.yaml").write_text(changed)
    result = sitegate("dashboards", "build", str(tmp_path / "site.yaml"), "--out", str(tmp_path))
    assert result.returncode == 0, result.stderr
    board = json.loads((tmp_path / "en" / "dust-noise.json").read_text())
    [panel] = [p for p in panels(board) if p["type"] == "stat" and p["title"] == "PM2.5"]
    assert 91 in [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]]
    assert sitegate("dashboards", "build", "--check", "--out", str(tmp_path)).returncode == 1


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_panel_with_limits_says_where_they_come_from(language: str) -> None:
    rules = load_rules(load_site(configs.path("site.demo.yaml")))
    [panel] = [
        p
        for p in panels(BOARDS[f"{language}/dust-noise"])
        if p["type"] == "timeseries" and p["title"].startswith("PM10")
    ]
    judging = [rule for rule in rules.rules if rule.metric == "pm10_ug_m3" and rule.reference is None]
    assert judging
    for rule in judging:
        assert f"**{rule.title[language]}** > {rule.limit:g} µg/m³" in panel["description"]
        assert f"{rule.source} ({rule.confidence})" in panel["description"]


def test_the_words_of_each_language_are_its_own() -> None:
    for name, board in BOARDS.items():
        if name.startswith("zh/"):
            english = BOARDS[name.replace("zh/", "en/")]
            assert board["title"] != english["title"]
            titles = list(zip(panels(board), panels(english), strict=True))
            same = {zh["title"] for zh, en in titles if zh["title"] == en["title"]}
            assert all(re.fullmatch(r"[A-Z0-9.₂]+", title) for title in same), same


def test_old_files_go(tmp_path: Path) -> None:
    write(made(), tmp_path)
    (tmp_path / "en" / "gone.json").write_text("{}")
    assert stale(made(), tmp_path) == ["en/gone.json"]
    write(made(), tmp_path)
    assert stale(made(), tmp_path) == []
