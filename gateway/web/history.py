"""``/api/history``: what may be asked, and points in which a gap is a null and nothing is ever interpolated. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from gateway.vocabulary import METRICS, Kind
from gateway.web.state import Bucket, PageState

#: Time, mean, low, high, share of the expected readings that were good.
Point = tuple[int, float | None, float | None, float | None, float]

#: What is answered without ``from`` and ``step``: every reading that the buffer keeps by default.
DEFAULT_SPAN_MS = 900_000
MAX_POINTS = 5_000
MAX_RAW_MS = 2 * 3_600_000
MAX_MS = 4_102_444_800_000  # the year 2100
STEPS_S = (60, 300, 900, 3600, 86_400)
COMFORTABLE_POINTS = 400


class BadQuery(Exception):
    """The question makes no sense; the sentence says what to ask instead."""


class NotKnown(Exception):
    """The question is fine, but this site has no such thing."""


@dataclass(frozen=True, slots=True)
class Query:
    """A checked question. ``step_s`` 0 means single readings from the kept tail of the buffer."""

    device: str
    metric: str
    from_ms: int
    to_ms: int
    step_s: int


def known_device(state: PageState, name: str) -> str:
    """Return the name. Raises NotKnown when the site has no such device."""
    if name not in state.devices:
        raise NotKnown(f"There is no device {name[:80]!r} on this site. /api/devices lists them.")
    return name


def parse(state: PageState, query: Mapping[str, str], now_ms: int) -> Query:
    """Check the parameters. Raises BadQuery or NotKnown with one sentence."""
    for needed in ("device", "metric"):
        if not query.get(needed):
            raise BadQuery(f"Say which {needed}: /api/history?device=NAME&metric=NAME")
    device = known_device(state, query["device"])
    metric = query["metric"]
    if metric not in METRICS or metric not in state.devices[device].every_s:
        raise NotKnown(f"Device {device} has no metric {metric[:80]!r}. /api/latest?device={device} lists its metrics.")
    to_ms = _whole(query, "to", now_ms)
    from_ms = _whole(query, "from", to_ms - DEFAULT_SPAN_MS)
    if from_ms >= to_ms:
        raise BadQuery("'from' must be before 'to'; both are Unix milliseconds.")
    step_s = _whole(query, "step", _default_step(to_ms - from_ms))
    if step_s < 60 or "raw" in query:
        if to_ms - from_ms > MAX_RAW_MS:
            raise BadQuery("Single readings are given for at most 2 hours; ask for a shorter time or for step=60.")
        return Query(device, metric, from_ms, to_ms, 0)
    if step_s % 60:
        raise BadQuery("'step' must be a multiple of 60 seconds, or below 60 for single readings.")
    if (to_ms - from_ms) // (step_s * 1000) > MAX_POINTS:
        raise BadQuery(f"That is more than {MAX_POINTS} points; ask for a larger step or a shorter time.")
    return Query(device, metric, from_ms, to_ms, step_s)


def _whole(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 13 and int(text) <= MAX_MS):
        unit = "seconds" if name == "step" else "Unix milliseconds"
        raise BadQuery(f"'{name}' must be a whole number of {unit}, not {text[:40]!r}.")
    return int(text)


def _default_step(span_ms: int) -> int:
    """Single readings (0) for a quarter of an hour, else the finest step that keeps a chart readable."""
    if span_ms <= DEFAULT_SPAN_MS:
        return 0
    return next((s for s in STEPS_S if span_ms <= s * 1000 * COMFORTABLE_POINTS), STEPS_S[-1])


def single_points(readings: Sequence[tuple[int, float | None]]) -> list[Point]:
    """Points of single readings; a reading that was not good is a null."""
    return [(t, v, v, v, 0.0 if v is None else 1.0) for t, v in readings]


def bucket_points(buckets: Sequence[Bucket], query: Query, now_ms: int) -> list[Point]:
    """Points of buckets, with an explicit null for every past step that has none."""
    step_ms = query.step_s * 1000
    points: dict[int, Point] = {b.start_ms: (b.start_ms, b.mean, b.low, b.high, b.valid_share) for b in buckets}
    covered = {start // step_ms for start in points}
    end_ms = min(query.to_ms, now_ms - step_ms)  # the step that is still open may be empty without being a gap
    for start in range(query.from_ms // step_ms * step_ms, end_ms, step_ms):
        if start // step_ms not in covered:
            points[start] = (start, None, None, None, 0.0)
    return [points[start] for start in sorted(points)]


def answer(query: Query, points: Sequence[Point]) -> dict[str, Any]:
    """The body of ``/api/history``."""
    metric = METRICS[query.metric]
    return {
        "device": query.device,
        "metric": query.metric,
        "unit": metric.unit,
        "kind": str(metric.kind),
        "from_ms": query.from_ms,
        "to_ms": query.to_ms,
        "step_s": query.step_s,
        "summary": _summary(metric.kind, points),
        "points": points,
    }


def _summary(kind: Kind, points: Sequence[Point]) -> dict[str, float | None]:
    """The whole range in a few numbers; ``mean`` by the metric's kind, null where a mean says nothing.

    ``growth`` (counters only) adds up the rises between points: a meter that was replaced does not subtract.
    """
    means = [p[1] for p in points if p[1] is not None]
    lows = [p[2] for p in points if p[2] is not None]
    highs = [p[3] for p in points if p[3] is not None]
    mean = None
    if means and kind is Kind.GAUGE:
        mean = math.fsum(means) / len(means)
    elif means and kind is Kind.LEVEL_DB:
        mean = 10 * math.log10(math.fsum(10 ** (level / 10) for level in means) / len(means))
    growth = None
    if kind is Kind.COUNTER and means:
        growth = math.fsum(max(0.0, after - before) for before, after in pairwise(means))
    circular = kind is Kind.DIRECTION  # 359 degrees is not more than 1 degree
    return {
        "low": None if circular else min(lows, default=None),
        "high": None if circular else max(highs, default=None),
        "mean": mean,
        "growth": growth,
        "share": math.fsum(p[4] for p in points) / len(points) if points else 0.0,
    }
