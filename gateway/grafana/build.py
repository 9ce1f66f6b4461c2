"""From boards to the JSON that Grafana reads: ids, places, variables, annotations, links. Pure but for the files.

The levels drawn are those of a site's rules, read from the same files as the alarm engine reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    VariableHide,
    VariableRefresh,
    VariableSort,
)

from gateway.alerts.rule import RuleSet
from gateway.grafana import influxql
from gateway.grafana.boards import Board, boards
from gateway.grafana.panels import SOURCE, Level, Levels, Marks, Shelf, Sources, metric
from gateway.model import LimitLine

LANGUAGES = ("en", "zh")
TAG = "sitegate"
COLUMNS = 24
_QUOTAS = {"energy": ("quota_kwh", "Quota, kWh a month", "月定额 kWh", "20000"),
           "water": ("quota_m3", "Quota, m³ a month", "月定额 m³", "2000")}  # fmt: skip


def levels_of(limits: list[LimitLine]) -> Levels:
    """Return the levels of each quantity, rising. A quantity whose limits change by the hour gets none: a colour
    cannot know the time of day, and the limit in force is drawn as a line of its own."""
    found: dict[str, set[Level]] = {}
    by_hour = {line.metric for line in limits if line.schedule not in ("", "always")}
    for line in limits:
        if line.metric not in by_hour:
            found.setdefault(line.metric, set()).add(Level(line.value, line.warning))
    return {name: _rising(levels) for name, levels in found.items()}


def _rising(levels: set[Level]) -> tuple[Level, ...]:
    """One level per value, and no warning above a limit."""
    strict: dict[float, bool] = {}
    for level in levels:
        strict[level.value] = strict.get(level.value, True) and level.warning
    first_limit = min((value for value, warning in strict.items() if not warning), default=float("inf"))
    return tuple(Level(v, w) for v, w in sorted(strict.items()) if v <= first_limit)


def rules_by_metric(rules: RuleSet) -> dict[str, tuple[str, ...]]:
    """Return which rules judge each quantity as it is: neither a difference nor a share of something."""
    found: dict[str, list[str]] = {}
    for rule in rules.rules:
        if rule.metric is not None and rule.reference is None and rule.rated is None:
            found.setdefault(rule.metric, []).append(rule.name)
    return {name: tuple(sorted(of_metric)) for name, of_metric in found.items()}


def sources_of(rules: RuleSet, language: str) -> Sources:
    """Return what stands behind the question mark of a panel: which rules judge its quantity, and who says so."""
    found: dict[str, list[str]] = {}
    for rule in sorted(rules.rules, key=lambda rule: rule.name):
        if rule.metric is None or rule.reference is not None or rule.rated is not None:
            continue
        sign = {("above", True): "≥", ("above", False): ">", ("below", True): "≤", ("below", False): "<"}
        limit = f"{sign[rule.direction, rule.inclusive]} {rule.limit:g} {metric(rule.metric).unit}".strip()
        source = f"{rule.edition} {rule.source}".strip() + (f" ({rule.confidence})" if rule.confidence else "")
        title = rule.title.get(language) or rule.name
        found.setdefault(rule.metric, []).append(f"**{title}** {limit} · {rule.window.length} · {source}")
    return {name: "\n\n".join(lines) for name, lines in found.items()}


def build(rules: RuleSet, limits: list[LimitLine]) -> dict[str, str]:
    """Return file name (``en/overview.json``) -> content, for every dashboard in every language."""
    files: dict[str, str] = {}
    for language in LANGUAGES:
        shelf = Shelf(language, levels_of(limits), sources_of(rules, language))
        for board in boards(shelf, rules_by_metric(rules)):
            files[f"{language}/{board.name}.json"] = _json(board, shelf)
    return files


def write(files: dict[str, str], folder: Path) -> None:
    """Write all dashboards and remove those that are none any more."""
    for language in LANGUAGES:
        (folder / language).mkdir(parents=True, exist_ok=True)
        for old in (folder / language).glob("*.json"):
            if f"{language}/{old.name}" not in files:
                old.unlink()
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


def stale(files: dict[str, str], folder: Path) -> list[str]:
    """Return the names of files that are missing, differ or should not be there."""
    there = {f"{lang}/{file.name}" for lang in LANGUAGES for file in (folder / lang).glob("*.json")}
    differs = {n for n, text in files.items() if n in there and (folder / n).read_text(encoding="utf-8") != text}
    return sorted(differs | (there ^ files.keys()))


def _json(board: Board, shelf: Shelf) -> str:
    made = (
        builders.Dashboard(board.title)
        .uid(f"sitegate-{board.name}-{shelf.language}")
        .tags([TAG, shelf.language])
        .editable()
        .refresh("1m")
        .time("now-6h" if not board.whole_fleet else "now-24h", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .variables(list(_variables(board, shelf)))
        .annotations(list(_annotations(shelf)))
        .link(_link(shelf))
    )
    for row in board.rows:
        heading = builders.Row(row.title)
        if row.closed:
            heading.collapsed(True)
            for panel in row.panels:
                heading.with_panel(panel)
        made.with_row(heading)
        for panel in () if row.closed else row.panels:
            made.with_panel(panel)
    body: dict[str, Any] = json.loads(JSONEncoder(sort_keys=True).encode(made.build()))
    _place(body["panels"])
    return json.dumps(body, ensure_ascii=False, sort_keys=True, indent=1) + "\n"


def _place(panels: list[dict[str, Any]]) -> None:
    """Number the panels and lay them out from left to right, row by row."""
    x = y = height = 0
    for number, panel in enumerate(_all(panels), 1):
        panel["id"] = number
        place = panel["gridPos"]
        w, h = (COLUMNS, 1) if panel["type"] == "row" else (place["w"], place["h"])
        if x + w > COLUMNS or panel["type"] == "row":
            x, y, height = 0, y + height, 0
        panel["gridPos"] = {"x": x, "y": y, "w": w, "h": h}
        x, height = x + w, max(height, h)


def _all(panels: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for panel in panels:
        yield panel
        yield from panel.get("panels") or ()


def _variables(board: Board, shelf: Shelf) -> Iterator[Any]:
    yield builders.DatasourceVariable("datasource").type("influxdb").label(shelf.say("Data source", "数据源"))
    sites = _choice("site", shelf.say("Site", "项目"), influxql.tag_values(("gateway",), "site"))
    yield sites.multi(True).include_all(True) if board.whole_fleet else sites
    if board.choose_from:
        query = influxql.tag_values(board.choose_from, "device", influxql.AT_SITE)
        yield _choice("device", shelf.say("Device", "设备"), query).multi(True).include_all(True)
    if board.name in _QUOTAS:
        name, en, zh, value = _QUOTAS[board.name]
        yield builders.TextBoxVariable(name).label(shelf.say(en, zh)).default_value(value)


def _choice(name: str, label: str, query: str) -> builders.QueryVariable:
    return (
        builders.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query(query)
        .definition(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .hide(VariableHide.DONT_HIDE)
    )


def _annotations(shelf: Shelf) -> Iterator[Any]:
    """Alarms, sprays, gaps and restarts, marked in every chart."""
    say = shelf.say
    at_site = (influxql.AT_SITE,)
    silent = influxql.moments(metric("device_state"), where=('"device_state" >= 4',))
    yield _annotation(say("Alarms", "报警"), "red", influxql.changes(metric("alarm_level"), to="> 0", where=at_site))
    yield _annotation(say("Spraying begins", "开始喷雾"), "blue", influxql.changes(metric("sprayed"), to="> 0"))
    yield _annotation(say("Device silent", "设备失联"), "orange", silent)
    restarts = influxql.moments(metric("gateway_started"), where=('"gateway_started" = 1',))
    yield _annotation(say("Gateway started", "网关启动"), "purple", restarts)


def _annotation(name: str, colour: str, query: str) -> builders.AnnotationQuery:
    return builders.AnnotationQuery().name(name).datasource(SOURCE).enable(True).icon_color(colour).target(Marks(query))


def _link(shelf: Shelf) -> builders.DashboardLink:
    """The other dashboards of this language."""
    return (
        builders.DashboardLink(shelf.say("Dashboards", "看板"))
        .type(DashboardLinkType.DASHBOARDS)
        .tags([TAG, shelf.language])
        .as_dropdown(False)
        .include_vars(True)
        .keep_time(True)
    )
