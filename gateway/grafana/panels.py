"""Panels of one metric, or of a family of them: which kind of chart, which query, unit, levels and words.

Defaults of the builders that are wrong for us are set here once (docs/decisions): legends are shown, single numbers
take the last one that is not null, and a gap stays a gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from grafana_foundation_sdk.builders import common, stat, statetimeline, timeseries
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    BigValueTextMode,
    DataSourceRef,
    GraphDrawStyle,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)

from gateway.grafana import influxql
from gateway.grafana.units import grafana_unit
from gateway.telemetry import FINE_EVERY_S
from gateway.vocabulary import METRICS, Kind, Metric

GREEN, YELLOW, ORANGE, RED, BLUE, GREY = "green", "yellow", "orange", "red", "blue", "#808080"
SOURCE = DataSourceRef(type_val="influxdb", uid="${datasource}")
_STATE_COLOURS = (GREEN, YELLOW, ORANGE, GREY, RED, "dark-red")

STEPS = 400
"""Of a row of states: what an eye can tell apart. Dozens of rows over a month would take InfluxDB seconds otherwise."""

Panel = timeseries.Panel | stat.Panel | statetimeline.Panel
AnyPanel = TypeVar("AnyPanel", timeseries.Panel, stat.Panel, statetimeline.Panel)


@dataclass(frozen=True, slots=True)
class Level:
    """One line of a rule: a colour begins here."""

    value: float
    warning: bool


Levels = dict[str, tuple[Level, ...]]
"""Metric -> the levels of its rules, rising."""
Sources = dict[str, str]
"""Metric -> its rules in words: limit, window, where they come from and how sure that is."""


class Query(Builder[Dataquery], Dataquery):
    """One InfluxQL target; the library knows none of its own."""

    def __init__(self, query: str, alias: str = "$tag_device") -> None:
        self._query = query
        self._alias = alias
        self.ref_id = "A"

    def to_json(self) -> dict[str, object]:
        """As Grafana keeps it."""
        return {
            "refId": self.ref_id,
            "datasource": {"type": "influxdb", "uid": "${datasource}"},
            "query": self._query,
            "rawQuery": True,
            "resultFormat": "time_series",
            "alias": self._alias,
        }

    def build(self) -> Query:
        """Be its own builder."""
        return self


class Marks(Query):
    """The query of an annotation: each row is a moment, and its ``device`` the text beside it."""

    def to_json(self) -> dict[str, object]:
        """As Grafana keeps it."""
        return {**super().to_json(), "resultFormat": "table", "fromAnnotations": True, "textColumn": "device"}


def metric(name: str) -> Metric:
    """Return a line of the vocabulary. Raises KeyError: a dashboard names nothing that is not there."""
    return METRICS[name]


def label(of: Metric, language: str) -> str:
    """Return what people call a quantity."""
    return of.zh if language == "zh" else of.en


class Shelf:
    """Makes the panels of one dashboard: its language and the site's levels."""

    def __init__(self, language: str, levels: Levels, sources: Sources) -> None:
        self.language = language
        self._levels = levels
        self._sources = sources

    def say(self, en: str, zh: str) -> str:
        """Choose the text in this dashboard's language."""
        return zh if self.language == "zh" else en

    # --- over time -------------------------------------------------------------------------------------------

    def chart(
        self,
        *names: str,
        title: str | None = None,
        queries: Sequence[Query] | None = None,
        height: int = 8,
        span: int = 12,
        interval: str = "1m",
        unit: str | None = None,
        levels: bool = True,
    ) -> Panel:
        """Show one quantity or several of one kind and unit over time, as their kind asks."""
        family = [metric(name) for name in names]
        first = family[0]
        if first.kind is Kind.STATE and first.states:
            return self.states(*names, title=title, queries=queries, height=height, span=span)
        chosen = queries or [Query(influxql.over_time(m), self._alias(m, family)) for m in family]
        panel = self._timeseries(title or self.title_of(family), first, chosen, height=height, span=span)
        panel.interval(interval)
        if unit is not None:
            panel.unit(unit)
        if first.kind is Kind.COUNTER:
            panel.draw_style(GraphDrawStyle.BARS).fill_opacity(70)
            panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL).group("A"))
        elif first.kind is Kind.DIRECTION:
            panel.draw_style(GraphDrawStyle.POINTS).point_size(4).min(0).max(360)
        if levels and len(family) == 1 and (known := self._levels.get(first.name)):
            panel.thresholds(_thresholds(known))
            panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED))
        if levels and len(family) == 1 and (source := self._sources.get(first.name)):
            panel.description(source)
        return panel

    def _timeseries(
        self, title: str, like: Metric, queries: Sequence[Query], *, height: int, span: int
    ) -> timeseries.Panel:
        panel = (
            timeseries.Panel()
            .title(title)
            .datasource(SOURCE)
            .unit(grafana_unit(like.unit))
            .decimals(like.decimals)
            .line_width(1)
            .fill_opacity(6)
            .span_nulls(False)
            .show_points(VisibilityMode.NEVER)
            .height(height)
            .span(span)
            .legend(_legend())
            .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
            .no_value(self.say("no data", "无数据"))
        )
        return _with(panel, queries)

    def states(
        self,
        *names: str,
        title: str | None = None,
        queries: Sequence[Query] | None = None,
        height: int = 6,
        span: int = 12,
    ) -> Panel:
        """Show states as coloured bars."""
        family = [metric(name) for name in names]
        chosen = queries or [Query(influxql.over_time(m), self._alias(m, family)) for m in family]
        panel = (
            statetimeline.Panel()
            .title(title or self.title_of(family))
            .datasource(SOURCE)
            .interval("1m")
            .max_data_points(STEPS)
            .mappings(self._mappings(family[0]))
            .color_scheme(builders.FieldColor().mode(FieldColorModeId.FIXED).fixed_color(BLUE))
            .merge_values(True)
            .show_value(VisibilityMode.AUTO)
            .height(height)
            .span(span)
            .legend(_legend())
            .no_value(self.say("no data", "无数据"))
        )
        if family[0].name == "alarm_level":
            panel.span_nulls(2 * int(FINE_EVERY_S * 1000))  # so rarely is told of what is fine
        return _with(panel, chosen)

    # --- one number --------------------------------------------------------------------------------------------

    def number(
        self,
        name: str,
        query: str | None = None,
        *more: Query,
        title: str | None = None,
        alias: str = "$tag_device",
        levels: Sequence[Level] = (),
        height: int = 4,
        span: int = 6,
        calc: str = "lastNotNull",
        unit: str | None = None,
        sparkline: bool = False,
    ) -> Panel:
        """Show the newest value of a quantity, one tile per series, in the colour of its level."""
        of = metric(name)
        chosen = levels or self._levels.get(name, ())
        panel = (
            stat.Panel()
            .title(title or label(of, self.language))
            .datasource(SOURCE)
            .unit(grafana_unit(of.unit if unit is None else unit))
            .decimals(of.decimals)
            .reduce_options(common.ReduceDataOptions().calcs([calc]).fields("").values(False))
            .color_mode(BigValueColorMode.BACKGROUND if chosen or of.states else BigValueColorMode.NONE)
            .graph_mode(BigValueGraphMode.AREA if sparkline else BigValueGraphMode.NONE)
            .text_mode(BigValueTextMode.AUTO)
            .height(height)
            .span(span)
            .no_value(self.say("no data", "无数据"))
        )
        if of.states:
            panel.mappings(self._mappings(of))
        if chosen:
            panel.thresholds(_thresholds(chosen))
        if not levels and (source := self._sources.get(name)):
            panel.description(source)
        return _with(panel, [Query(query or influxql.newest(of), alias), *more])

    # --- words -------------------------------------------------------------------------------------------------

    def title_of(self, family: Sequence[Metric]) -> str:
        """Return what several quantities have in common: "Voltage L1" and "Voltage L2" are "Voltage"."""
        labels = [label(m, self.language) for m in family]
        if len(labels) == 1:
            return labels[0]
        if self.language == "zh":
            shared = _shared_end(labels)
            return shared.strip() or labels[0]
        shared = _shared_end([text[::-1] for text in labels])[::-1]
        return shared.rstrip(" ,(L") or labels[0]

    def _alias(self, of: Metric, family: Sequence[Metric]) -> str:
        return "$tag_device" if len(family) == 1 else f"$tag_device · {label(of, self.language)}"

    def _mappings(self, of: Metric) -> list[Any]:
        words = {
            str(number): ValueMappingResult(
                text=zh if self.language == "zh" else en, color=_colour(of, number), index=index
            )
            for index, (number, (en, zh)) in enumerate((of.states or {}).items())
        }
        return [ValueMap(options=words)]


def _colour(of: Metric, number: int) -> str:
    if of.name in ("device_state", "alarm_level"):
        ranks = {"device_state": _STATE_COLOURS, "alarm_level": (GREEN, BLUE, YELLOW, RED, "dark-red")}[of.name]
        return ranks[number]
    if of.name == "link_up":
        return GREEN if number else RED
    return BLUE if number else GREY


def _shared_end(texts: Sequence[str]) -> str:
    shared = texts[0]
    for text in texts[1:]:
        while not text.endswith(shared):
            shared = shared[1:]
    return shared


def _thresholds(levels: Sequence[Level]) -> builders.ThresholdsConfig:
    """Green, yellow from the first warning, orange from the next, red from a limit that must not be broken."""
    colours = [(YELLOW if place == 0 else ORANGE) if level.warning else RED for place, level in enumerate(levels)]
    steps = [Threshold(value=None, color=GREEN)]
    steps += [Threshold(value=level.value, color=colour) for level, colour in zip(levels, colours, strict=True)]
    return builders.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def _legend() -> common.VizLegendOptions:
    return (
        common.VizLegendOptions()
        .show_legend(True)
        .display_mode(LegendDisplayMode.LIST)
        .placement(LegendPlacement.BOTTOM)
        .calcs([])
    )


def _with(panel: AnyPanel, queries: Sequence[Query]) -> AnyPanel:
    for position, query in enumerate(queries):
        query.ref_id = chr(ord("A") + position)
        panel.with_target(query)
    return panel
