"""InfluxQL for panels: the one query language that InfluxDB 1.x, 2.x and 3 Core all run. Pure.

Charts read the minutes (``<domain>_1m``), so that a month is quick; states and what the gateway says of itself are
read as they came. ``$site`` and ``$device`` are variables of the dashboard, ``$timeFilter`` and ``$__interval`` are
Grafana's own.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.vocabulary import Kind, Metric, is_of_ourselves

AT_SITE = '"site" =~ /^$site$/'
AT_DEVICE = '"device" =~ /^$device$/'
_MINUTE_FIELD = {
    Kind.GAUGE: "mean",
    Kind.LEVEL_DB: "mean",
    Kind.DIRECTION: "mean",
    Kind.COUNTER: "delta",
    Kind.STATE: "last",
}
_FUNCTION = {
    Kind.GAUGE: "mean",
    Kind.LEVEL_DB: "max",  # a mean of decibels would be wrong, and InfluxQL 1.6 has no powers
    Kind.DIRECTION: "last",  # … as would a mean of 359 and 1 degrees
    Kind.COUNTER: "sum",
    Kind.STATE: "last",
}


def table(metric: Metric) -> str:
    """Return the measurement that charts of a metric read."""
    return str(metric.domain) if is_of_ourselves(metric.name) else f"{metric.domain}_1m"


def field(metric: Metric, statistic: str | None = None) -> str:
    """Return the field of a metric there; ``statistic`` (min, max, count, share) instead of the kind's own."""
    if is_of_ourselves(metric.name):
        return metric.name
    return f"{metric.name}_{statistic or _MINUTE_FIELD[metric.kind]}"


def of_site(site: str) -> str:
    """Return the condition for one site, where there are no variables: in alert rules."""
    text = site.replace("\\", "\\\\").replace("'", "\\'")
    return f"\"site\" = '{text}'"


def of_rules(*names: str) -> str:
    """Return the condition for what rules tell, whatever its subject."""
    return f'"device" =~ /^({"|".join(names)})@/'


def over_time(
    metric: Metric,
    *,
    function: str | None = None,
    statistic: str | None = None,
    by: Iterable[str] = ("device",),
    where: Iterable[str] = (AT_SITE, AT_DEVICE),
    every: str = "$__interval",
) -> str:
    """Return one value per interval and tag; a gap stays a gap."""
    chosen = function or _FUNCTION[metric.kind]
    value = f'{chosen}("{field(metric, statistic)}")'
    if is_of_ourselves(metric.name) and metric.kind is Kind.COUNTER and function is None:
        value = f'non_negative_difference(last("{metric.name}"))'  # what has no minutes has no increase either
    return f"{_select(value, metric, where)} GROUP BY time({every}){_tags(by)} fill(null)"


def total(
    metric: Metric,
    *,
    function: str | None = None,
    statistic: str | None = None,
    by: Iterable[str] = ("device",),
    where: Iterable[str] = (AT_SITE, AT_DEVICE),
) -> str:
    """Return one value per tag for the whole time shown."""
    value = f'{function or _FUNCTION[metric.kind]}("{field(metric, statistic)}")'
    tags = _tags(by).removeprefix(", ")
    return _select(value, metric, where) + (f" GROUP BY {tags}" if tags else "")


def newest(metric: Metric, *, by: Iterable[str] = ("device",), where: Iterable[str] = (AT_SITE, AT_DEVICE)) -> str:
    """Return the newest reading of each tag; readings, not minutes: now means now."""
    tags = _tags(by).removeprefix(", ")
    conditions = " AND ".join([*where, "$timeFilter"])
    return f'SELECT last("{metric.name}") FROM "{metric.domain}" WHERE {conditions} GROUP BY {tags}'


def worst(metric: Metric) -> str:
    """Return the highest of the newest readings of all devices of a site."""
    inner = f'SELECT last("{metric.name}") AS "now" FROM "{metric.domain}" WHERE {AT_SITE} AND $timeFilter'
    return f'SELECT max("now") FROM ({inner} GROUP BY "site", "device") GROUP BY "site"'


def above_zero(metric: Metric) -> str:
    """Return the newest reading of each device where it is not zero: alarms that hold now."""
    inner = f'SELECT last("{metric.name}") AS "now" FROM "{metric.domain}" WHERE {AT_SITE} AND $timeFilter'
    return f'SELECT "now" FROM ({inner} GROUP BY "device") WHERE "now" > 0 GROUP BY "device"'


def percent_of(metric: Metric, variable: str) -> str:
    """Return what a counter grew by, as per cent of a number that people give."""
    return _select(f'100 * sum("{field(metric)}") / {variable}', metric, (AT_SITE, AT_DEVICE))


def changes(metric: Metric, *, to: str, where: Iterable[str] = (AT_SITE,)) -> str:
    """Return the moments at which a state became what ``to`` says (``> 0``), as annotations."""
    steps = (
        f'SELECT difference("{metric.name}") AS "step" FROM "{metric.domain}" '
        f'WHERE {" AND ".join([*where, "$timeFilter"])} GROUP BY "device"'
    )
    return f'SELECT "step", "device" FROM ({steps}) WHERE "step" {to}'


def moments(metric: Metric, *, where: Iterable[str]) -> str:
    """Return single records as annotations."""
    return (
        f'SELECT "{metric.name}", "device" FROM "{metric.domain}" '
        f"WHERE {' AND '.join([*where, AT_SITE, '$timeFilter'])}"
    )


def tag_values(measurements: Iterable[str], key: str, where: str = "") -> str:
    """Return the query of a variable: which devices, zones or sites there are."""
    tables = ", ".join(f'"{measurement}"' for measurement in measurements)
    return f'SHOW TAG VALUES FROM {tables} WITH KEY = "{key}"' + (f" WHERE {where}" if where else "")


def _select(value: str, metric: Metric, where: Iterable[str]) -> str:
    return f'SELECT {value} FROM "{table(metric)}" WHERE {" AND ".join([*where, "$timeFilter"])}'


def _tags(by: Iterable[str]) -> str:
    return "".join(f', "{tag}"' for tag in by)
