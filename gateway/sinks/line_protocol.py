"""Readings -> InfluxDB line protocol. Pure, and the hot path of every delivery.

One line per domain: ``energy,device=main,site=pilot,zone=gate voltage_l1_v=230.5,active_power_w=5000.0 1790000000000``.
Minute statistics (metric names ``noise_la_db:mean``) go to ``noise_1m`` as field ``noise_la_db_mean``. Fields are
always floats, so a field never changes its type; stamps are milliseconds (write with ``precision=ms``).

All work per shape of record (which device, which metrics, which of them good) is done once and kept as a %-template
of the whole record; one ``%`` then formats all values at C speed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import isfinite
from operator import itemgetter
from typing import Any

from gateway.model import Mark, Readings
from gateway.vocabulary import METRICS

_Prepared = tuple[str, Callable[[tuple[Any, ...]], Any]]
"""The whole record as a template, and what picks its arguments from ``(*values, time_ms)``."""
_NOTHING: _Prepared = ("", itemgetter(-1))
_MAX_PREPARED = 4096

_STATISTIC = re.compile(r"[a-z][a-z0-9_]*")
_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f\\]")
_ESCAPES = str.maketrans({",": r"\,", " ": r"\ ", "=": r"\="})


class Encoder:
    """Encodes for one site. ``zones`` gives the zone of each device; a device without one gets no such tag."""

    def __init__(self, site: str, zones: Mapping[str, str], simulated: bool) -> None:
        self._site = site
        self._zones = zones
        self._simulated = simulated
        self._prepared: dict[tuple[str, tuple[str, ...], str], _Prepared] = {}

    def encode(self, readings: Readings) -> bytes:
        r"""Return the lines of one record, joined by ``\n``; empty when no value is good.

        Raises ValueError for what can never be written: a metric that the vocabulary does not know (a record kept
        by another release), a name that cannot be a tag.
        """
        key = (readings.device, readings.metrics, readings.marks)
        prepared = self._prepared.get(key)
        if prepared is None:
            if len(self._prepared) >= _MAX_PREPARED:
                self._prepared.clear()
            prepared = self._prepared[key] = self._prepare(*key)
        template, pick = prepared
        if not template:
            return b""
        row = pick((*readings.values, readings.time_ms))
        if not isfinite(sum(row)):  # costs 5 ns per value; "nan" in one line would spoil the whole request
            finite = _only_finite(readings)
            if finite != readings.marks:
                return self.encode(replace(readings, marks=finite))
        lines: str = template % row
        return lines.encode()

    def _prepare(self, device: str, metrics: tuple[str, ...], marks: str) -> _Prepared:
        lines: dict[str, list[tuple[str, int]]] = {}
        for index, (metric, mark) in enumerate(zip(metrics, marks, strict=True)):
            if mark == Mark.GOOD:
                measurement, field = _place(metric)
                lines.setdefault(measurement, []).append((field, index))
        if not lines:
            return _NOTHING
        tags = self._tags(device).replace("%", "%%")
        texts: list[str] = []
        order: list[int] = []
        for measurement, fields in lines.items():
            texts.append(f"{measurement},{tags} {','.join(f'{field}=%r' for field, _ in fields)} %d")
            order += [index for _, index in fields]
            order.append(len(metrics))  # the time stamp stands behind the last value
        return "\n".join(texts), itemgetter(*order)

    def _tags(self, device: str) -> str:
        """Sorted by key, as InfluxDB likes it best."""
        tags = {"device": device, "site": self._site}
        if self._simulated:
            tags["simulated"] = "true"
        if device in self._zones:
            tags["zone"] = self._zones[device]
        return ",".join(f"{key}={_tag_value(key, tags[key])}" for key in sorted(tags))


def _place(metric: str) -> tuple[str, str]:
    """Return measurement and field: ``pm10_ug_m3`` -> air, pm10_ug_m3; ``pm10_ug_m3:max`` -> air_1m, pm10_ug_m3_max."""
    name, colon, statistic = metric.partition(":")
    known = METRICS.get(name)
    if known is None or (colon and not _STATISTIC.fullmatch(statistic)):
        raise ValueError(f"{metric!r} is not in the vocabulary of this release")
    if colon:
        return f"{known.domain}_1m", f"{name}_{statistic}"
    return known.domain.value, name


def _tag_value(key: str, value: str) -> str:
    """Escape. The format has no way to write a line break or a final backslash, so neither is let through."""
    if not value or _UNWRITABLE.search(value):
        raise ValueError(f"{key} {value!r} cannot be an InfluxDB tag: empty, or a backslash or control character in it")
    return value.translate(_ESCAPES)


def _only_finite(readings: Readings) -> str:
    """Marks with FAULT where a number is not finite."""
    return "".join(
        mark if value is None or isfinite(value) else Mark.FAULT
        for value, mark in zip(readings.values, readings.marks, strict=True)
    )
