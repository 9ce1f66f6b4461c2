"""``sitegate schema``: JSON Schemas for editors; vocabulary and profiles for people (docs/metrics.md, profiles.md)."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.commands import profiles
from gateway.commands.output import FINE, MISUSE, complain, say
from gateway.vocabulary import METRICS, Domain, Kind, Metric

SUFFIX = ".schema.json"

_HEAD = """\
# Metrics

Every quantity that the gateway speaks of, made from `gateway/vocabulary.py` by `make schemas`. The domain is the
InfluxDB measurement, the name is the field; the minutes go to `<domain>_1m`. A value outside its range is marked T
and not stored. *Regulated* quantities keep their minutes for 400 days, the others for 100.

| kind | a minute keeps |
|---|---|"""

_MINUTE_OF = {
    Kind.GAUGE: "arithmetic mean, lowest, highest",
    Kind.LEVEL_DB: "energy mean of decibels, lowest, highest",
    Kind.DIRECTION: "vector mean of degrees",
    Kind.COUNTER: "last value, and the increase",
    Kind.STATE: "last value",
}


def schema(kind: str) -> int:
    """Print the schema of site files or profiles, the table of metrics, or the list of profiles."""
    from gateway.config.schema import SCHEMAS, as_text

    tables = {"metrics": metrics_table, "profiles": profiles.catalogue}
    kinds = [*(name.removesuffix(SUFFIX) for name in SCHEMAS), *tables]
    if kind not in kinds:
        complain(f"there is no schema {kind!r}; choose {' or '.join(kinds)}")
        return MISUSE
    text = tables[kind]() if kind in tables else as_text(SCHEMAS[kind + SUFFIX]())
    say(text.rstrip())
    return FINE


def metrics_table() -> str:
    """Return the vocabulary as Markdown, one table per domain."""
    return "\n".join(_metrics_lines()) + "\n"


def _metrics_lines() -> Iterator[str]:
    yield _HEAD
    yield from (f"| {kind} | {kept} |" for kind, kept in _MINUTE_OF.items())
    for domain in Domain:
        yield f"\n## {domain}\n"
        yield "| name | unit | kind | range | HJ 212 | regulated | English | Chinese |"
        yield "|---|---|---|---|---|---|---|---|"
        yield from (_row(metric) for metric in METRICS.values() if metric.domain is domain)


def _row(metric: Metric) -> str:
    states = "".join(f"; {number} {en}" for number, (en, _) in (metric.states or {}).items())
    cells = (
        f"`{metric.name}`",
        metric.unit,
        str(metric.kind),
        f"{metric.low:,.12g} to {metric.high:,.12g}{states}",
        metric.hj212 or "",
        "yes" if metric.regulated else "",
        metric.en,
        metric.zh,
    )
    return f"| {' | '.join(cells)} |"
