"""Closed minutes as records for the sinks: metric names carry the statistic, ``noise_la_db:mean``. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from gateway.ledger.minute import Minute, kind_of
from gateway.model import Mark, Readings
from gateway.vocabulary import Kind

_STATISTICS: dict[Kind, tuple[str, ...]] = {
    Kind.GAUGE: ("mean", "min", "max", "count", "share"),
    Kind.LEVEL_DB: ("mean", "min", "max", "count", "share"),
    Kind.DIRECTION: ("mean", "count", "share"),
    Kind.COUNTER: ("last", "delta", "count", "share"),
    Kind.STATE: ("last", "count", "share"),
}
_FIELDS = {
    "mean": "mean", "min": "low", "max": "high", "count": "count", "share": "valid_share", "last": "last",
    "delta": "delta",
}  # fmt: skip


@lru_cache(maxsize=4096)
def _shape(metrics: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Return the names of the record (the same object each minute), and the fields to take of each Minute."""
    chosen = [_STATISTICS[kind_of(metric)] for metric in metrics]
    names = tuple(f"{metric}:{stat}" for metric, stats in zip(metrics, chosen, strict=True) for stat in stats)
    return names, tuple(tuple(_FIELDS[stat] for stat in stats) for stats in chosen)


def as_readings(minutes: Iterable[Minute]) -> list[Readings]:
    """Return one record per device and minute, stamped with the start of the minute.

    What a minute without any good reading does not have is None with its mark; count and share are always there.
    """
    grouped: dict[tuple[str, int], list[Minute]] = {}
    for minute in minutes:
        grouped.setdefault((minute.device, minute.start_ms), []).append(minute)
    result = []
    for (device, start_ms), group in grouped.items():
        group.sort(key=lambda m: m.metric)  # equal shapes whatever the order of arrival
        names, fields = _shape(tuple(m.metric for m in group))
        found = [(getattr(m, name), m.mark) for m, of_one in zip(group, fields, strict=True) for name in of_one]
        values = tuple(None if value is None else float(value) for value, _ in found)
        marks = "".join(Mark.GOOD if value is not None else _why_missing(mark) for value, mark in found)
        result.append(Readings(device, start_ms, names, values, marks))
    return result


def _why_missing(mark: str) -> str:
    return Mark.FAULT if mark == Mark.GOOD else mark  # good readings without a mean: directions that cancel out
