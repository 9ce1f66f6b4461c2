"""The dashboards: which panels stand on which, in which order. Every quantity of the vocabulary is on one of them.

A board names the panels that matter first; whatever else its domains hold follows in a closed row at the end, so that
a new line in the vocabulary is on a panel without a change here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from gateway.grafana import influxql
from gateway.grafana.panels import Level, Panel, Query, Shelf, metric
from gateway.vocabulary import METRICS, Domain, Kind, Metric

MEASURED = tuple(domain for domain in Domain if domain not in (Domain.GATEWAY, Domain.ALERTS))
"""Where devices stand; the other two are written by the gateway itself."""
NO_DEVICE = (influxql.AT_SITE,)
"""For what is told by rules, links and sinks, which are no devices of the variable."""


@dataclass(frozen=True, slots=True)
class Row:
    """A heading and what stands below it."""

    title: str
    panels: Sequence[Panel]
    closed: bool = False


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard before it is laid out."""

    name: str
    title: str
    rows: Sequence[Row]
    domains: tuple[Domain, ...]
    choose_from: tuple[Domain, ...]
    """Whose devices one may choose from; empty: no such choice."""
    whole_fleet: bool = False
    shown: set[str] = field(default_factory=set)


def boards(shelf: Shelf, rules: dict[str, tuple[str, ...]]) -> list[Board]:
    """Return all dashboards; ``rules`` is metric -> names of the rules on it."""
    made = [make(shelf, rules) for make in _BOARDS]
    return [_with_the_rest(board, shelf) for board in made]


Make = Callable[[Shelf, dict[str, tuple[str, ...]]], Board]


def _overview(shelf: Shelf, _rules: dict[str, tuple[str, ...]]) -> Board:
    say = shelf.say
    level = metric("alarm_level")
    alarms = shelf.number(
        "alarm_level",
        influxql.worst(level),
        Query(influxql.above_zero(level)),  # beside the site's light only what is wrong
        title=say("What is wrong now", "当前报警"),
        alias="$tag_site",
        height=6,
        span=24,
    )
    now = [
        shelf.number("pm10_ug_m3", span=6, sparkline=True),
        shelf.number("noise_la_db", span=6, sparkline=True),
        shelf.number("active_power_w", span=6, sparkline=True),
        shelf.number("wind_speed_m_s", span=6, sparkline=True),
    ]
    history = shelf.states(
        "alarm_level",
        title=say("Alarms over time", "报警历程"),
        queries=[Query(influxql.over_time(level, where=(influxql.AT_SITE, '"alarm_level" > 0')))],
        height=8,
    )
    devices = shelf.states("device_state", title=say("Devices", "设备状态"), queries=[_plain("device_state")], height=8)
    return Board(
        "overview",
        say("Site overview", "工地总览"),
        [
            Row(say("Now", "现在"), [alarms, *now]),
            Row(say("Over time", "历程"), [history, devices]),
            Row(say("Today", "今天"), [
                _since(shelf, "energy_import_kwh", "now/d", say("Energy today", "今日用电"), by=("zone",)),
                _since(shelf, "water_volume_m3", "now/d", say("Water today", "今日用水"), by=("device",)),
            ]),
        ],
        (),
        MEASURED,
    )  # fmt: skip


def _dust_and_noise(shelf: Shelf, rules: dict[str, tuple[str, ...]]) -> Board:
    say = shelf.say
    level = metric("noise_la_db")
    loudness = [
        Query(influxql.over_time(level), say("$tag_device · loudest minute", "$tag_device · 最响一分钟")),
        Query(
            influxql.over_time(level, function="median"), say("$tag_device · middle minute", "$tag_device · 中位分钟")
        ),
        *_limits(level.name, rules, shelf),
    ]
    dust = [
        shelf.chart(name, queries=[Query(influxql.over_time(metric(name))), *_limits(name, rules, shelf)])
        for name in ("pm10_ug_m3", "pm2_5_ug_m3", "tsp_ug_m3")
    ]
    spray = shelf.states("sprayed", title=say("Sprayed (a cannon runs nearby)", "喷雾时段"), height=8)
    return Board(
        "dust-noise",
        say("Dust and noise", "扬尘噪声"),
        [
            Row(say("Now", "现在"), [
                shelf.number("pm10_ug_m3"), shelf.number("pm2_5_ug_m3"), shelf.number("tsp_ug_m3"),
                shelf.number("noise_la_db"),
            ]),
            Row(say("Dust, with the limits in force", "扬尘与现行限值"), [*dust, spray]),
            Row(say("Noise, minute by minute (Leq)", "噪声分钟等效声级"), [
                shelf.chart("noise_la_db", queries=loudness, title=say("Noise (Leq of minutes)", "噪声(分钟 Leq)")),
                shelf.states(
                    "verdict", title=say("Verdicts on closed windows", "窗口判定"),
                    queries=[Query(influxql.over_time(metric("verdict"), where=NO_DEVICE))], height=8,
                ),
            ]),
            Row(say("Wind and weather", "气象"), [
                shelf.chart("wind_speed_m_s"), shelf.chart("wind_direction_deg"),
                shelf.chart("air_temperature_c"), shelf.chart("humidity_pct"),
            ]),
        ],
        (Domain.AIR, Domain.NOISE, Domain.WEATHER),
        (Domain.AIR, Domain.NOISE, Domain.WEATHER),
    )  # fmt: skip


def _energy(shelf: Shelf, _rules: dict[str, tuple[str, ...]]) -> Board:
    say = shelf.say
    power, energy = metric("active_power_w"), metric("energy_import_kwh")
    demand = Query(influxql.over_time(power, every="15m"))
    return Board(
        "energy",
        say("Energy", "用电"),
        [
            Row(say("Now and this month", "现在与本月"), [
                shelf.number("active_power_w", sparkline=True),
                _since(shelf, "energy_import_kwh", "now/M", say("This month", "本月用电"), by=("zone",)),
                _of_quota(
                    shelf, "energy_import_kwh", "$quota_kwh",
                    say("Of the month's quota (choose the main meter)", "本月定额使用率(选总表)"),
                ),
                shelf.number("power_factor"),
            ]),
            Row(say("Who uses it", "用电构成"), [
                shelf.chart(
                    "energy_import_kwh", title=say("Energy by zone", "分区用电"), interval="15m",
                    queries=[Query(influxql.over_time(energy, by=("zone",)), "$tag_zone")],
                ),
                shelf.chart("energy_import_kwh", title=say("Energy by device", "分设备用电"), interval="15m"),
                shelf.chart("active_power_w"),
                shelf.chart(
                    "active_power_w", title=say("Quarter-hour demand", "15 分钟需量"), queries=[demand], interval="15m"
                ),
            ]),
            Row(say("Power quality", "电能质量"), [
                shelf.chart("voltage_l1_v", "voltage_l2_v", "voltage_l3_v"),
                shelf.chart("current_l1_a", "current_l2_a", "current_l3_a"),
                shelf.chart("power_factor"), shelf.chart("frequency_hz"),
            ]),
        ],
        (Domain.ENERGY,),
        (Domain.ENERGY,),
    )  # fmt: skip


def _water(shelf: Shelf, _rules: dict[str, tuple[str, ...]]) -> Board:
    say = shelf.say
    return Board(
        "water",
        say("Water", "用水"),
        [
            Row(say("This month", "本月"), [
                _since(shelf, "water_volume_m3", "now/d", say("Today", "今日用水")),
                _since(shelf, "water_volume_m3", "now/M", say("This month", "本月用水")),
                _of_quota(
                    shelf, "water_volume_m3", "$quota_m3",
                    say("Of the month's quota (choose the main meter)", "本月定额使用率(选总表)"),
                ),
                shelf.number("water_flow_m3_h", sparkline=True),
            ]),
            Row(say("Over time", "历程"), [
                shelf.chart("water_volume_m3", interval="1h"), shelf.chart("water_flow_m3_h"),
                shelf.chart("water_pressure_mpa"),
            ]),
        ],
        (Domain.WATER,),
        (Domain.WATER,),
    )  # fmt: skip


def _equipment(shelf: Shelf, _rules: dict[str, tuple[str, ...]]) -> Board:
    say = shelf.say
    return Board(
        "equipment",
        say("Equipment", "机械设备"),
        [
            Row(say("States", "状态"), [
                shelf.states("running", span=12), shelf.states("spraying", span=12),
            ]),
            Row(say("Tower crane", "塔式起重机"), [
                shelf.chart("moment_pct"), shelf.chart("load_t", "rated_load_t", title=say("Load", "吊重")),
                shelf.chart("radius_m"), shelf.chart("hook_height_m"),
            ]),
            Row(say("Hours and water", "工时与水箱"), [
                shelf.number("operating_hours_h", span=12), shelf.chart("tank_level_pct"),
            ]),
        ],
        (Domain.EQUIPMENT,),
        (Domain.EQUIPMENT,),
    )  # fmt: skip


def _electrical(shelf: Shelf, _rules: dict[str, tuple[str, ...]]) -> Board:
    return Board(
        "electrical-safety",
        shelf.say("Electrical safety", "用电安全"),
        [
            Row(shelf.say("Now", "现在"), [
                shelf.number("residual_current_ma", span=12), shelf.number("cable_temperature_c", span=12),
            ]),
            Row(shelf.say("Over time", "历程"), [
                shelf.chart("residual_current_ma"), shelf.chart("cable_temperature_c"),
            ]),
        ],
        (Domain.ELECTRICAL,),
        (Domain.ELECTRICAL,),
    )  # fmt: skip


def _health(shelf: Shelf, _rules: dict[str, tuple[str, ...]]) -> Board:
    say = shelf.say

    def now(name: str, span: int) -> Panel:
        return shelf.number(name, influxql.newest(metric(name), where=NO_DEVICE), span=span, height=6)

    dust = influxql.over_time(metric("pm10_ug_m3"), function="mean", statistic="share", where=NO_DEVICE)
    share = Query(dust, "$tag_device · PM10")
    power = Query(
        influxql.over_time(metric("active_power_w"), function="mean", statistic="share", where=NO_DEVICE),
        "$tag_device · " + say("power", "功率"),
    )
    names = ("device_age_s", "link_busy_pct", "sink_pending", "sink_behind_s", "buffer_used_pct", "gateway_lag_ms",
             "gateway_memory_mb", "values_good", "values_bad", "link_failures")  # fmt: skip
    return Board(
        "gateway-health",
        say("Gateway health", "网关健康"),
        [
            Row(say("Now", "现在"), [
                now("device_state", 12), now("link_up", 6), now("sink_behind_s", 6),
            ]),
            Row(say("Over time", "历程"), [
                shelf.states("device_state", queries=[_plain("device_state")]),
                shelf.states("link_up", queries=[_plain("link_up")]),
                shelf.chart(
                    "pm10_ug_m3", title=say("Valid share of minutes", "分钟数据有效率"), queries=[share, power],
                    unit="percentunit", levels=False,
                ),
                *[shelf.chart(name, queries=[_plain(name)]) for name in names],
            ]),
        ],
        (Domain.GATEWAY, Domain.ALERTS),
        (),
    )  # fmt: skip


def _fleet(shelf: Shelf, _rules: dict[str, tuple[str, ...]]) -> Board:
    say = shelf.say
    by_site = ("site",)

    def worst(name: str, title: str) -> Panel:
        return shelf.number(name, influxql.worst(metric(name)), title=title, alias="$tag_site", span=12, height=6)

    def charts(name: str, title: str, function: str | None = None) -> Panel:
        query = influxql.over_time(metric(name), by=by_site, where=NO_DEVICE, function=function)
        return shelf.chart(name, title=title, queries=[Query(query, "$tag_site")])

    return Board(
        "fleet",
        say("All sites", "项目群总览"),
        [
            Row(say("Now", "现在"), [
                worst("alarm_level", say("Worst alarm", "最高报警级别")),
                worst("device_state", say("Worst device", "最差设备状态")),
            ]),
            Row(say("Compared", "对比"), [
                charts("pm10_ug_m3", say("PM10, mean of the site", "PM10 站点均值")),
                charts("noise_la_db", say("Noise, loudest minute", "噪声(最响一分钟)")),
                charts("energy_import_kwh", say("Energy (all meters)", "用电量(全部电表合计)")),
                charts("water_volume_m3", say("Water (all meters)", "用水量(全部水表合计)")),
            ]),
        ],
        (),
        (),
        whole_fleet=True,
    )  # fmt: skip


_BOARDS: tuple[Make, ...] = (
    _overview, _dust_and_noise, _energy, _water, _equipment, _electrical, _health, _fleet,
)  # fmt: skip


# --- parts that several boards use --------------------------------------------------------------------------------


def _plain(name: str) -> Query:
    """What rules, links and sinks tell is not filtered by the chosen device."""
    return Query(influxql.over_time(metric(name), where=NO_DEVICE))


def _since(shelf: Shelf, name: str, since: str, title: str, by: tuple[str, ...] = ("device",)) -> Panel:
    """The sum of a counter since the day or the month began, whatever time the dashboard shows."""
    panel = shelf.number(
        name, influxql.total(metric(name), by=by, where=(influxql.AT_SITE,)), title=title, alias=f"$tag_{by[0]}"
    )
    panel.time_from(since)
    return panel


def _of_quota(shelf: Shelf, name: str, quota: str, title: str) -> Panel:
    query = influxql.percent_of(metric(name), quota)
    levels = (Level(80.0, warning=True), Level(100.0, warning=False))
    panel = shelf.number(name, query, title=title, alias=shelf.say("used", "已用"), levels=levels, unit="%")
    panel.time_from("now/M")
    return panel


def _limits(name: str, rules: dict[str, tuple[str, ...]], shelf: Shelf) -> list[Query]:
    """The limits that were in force at each moment, as the alarm engine had them: night limits end in the morning."""
    if not (known := rules.get(name)):
        return []
    query = influxql.over_time(metric("limit_in_force"), where=(influxql.AT_SITE, influxql.of_rules(*known)))
    return [Query(query, shelf.say("limit $tag_device", "限值 $tag_device"))]


_PART = re.compile(r"_l[123](_l[123])?|(?<=tariff)\d|(?<=output_)\d|(?<=input_)\d")


def families(domain: Domain, without: set[str]) -> Iterator[tuple[Metric, ...]]:
    """Yield the quantities of a domain that belong on one panel: phases, tariffs, channels."""
    found: dict[tuple[Kind, str, str], list[Metric]] = {}
    for each in METRICS.values():
        if each.domain is domain and each.name not in without:
            found.setdefault((each.kind, each.unit, _PART.sub("", each.name)), []).append(each)
    yield from (tuple(family) for family in found.values())


def _with_the_rest(board: Board, shelf: Shelf) -> Board:
    shown = set(_FIELD.findall(" ".join(_queries(board))))
    of_ourselves = board.name == "gateway-health"
    rest = []
    for domain in board.domains:
        for family in families(domain, shown & set(METRICS)):
            names = [m.name for m in family]
            queries = [_plain(name) for name in names] if of_ourselves else None
            rest.append(shelf.chart(*names, queries=queries))
    rows = [*board.rows, Row(shelf.say("Everything else", "其他全部指标"), rest, closed=True)] if rest else board.rows
    return Board(board.name, board.title, rows, board.domains, board.choose_from, board.whole_fleet)


_FIELD = re.compile(r'\("([a-z][a-z0-9_]*?)(?:_(?:mean|delta|last|min|max|share|count))?"\)')


def _queries(board: Board) -> Iterator[str]:
    for row in board.rows:
        for panel in row.panels:
            yield from (str(target.to_json()["query"]) for target in panel.build().targets or ())  # type: ignore[attr-defined]
