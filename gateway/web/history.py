"""``/api/history``: what may be asked, and points in which a gap is a null and nothing is ever interpolated. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from gateway.ledger.bucket import Bucket
from gateway.ledger.minute import mean_of
from gateway.vocabulary import METRICS, Kind
from gateway.web.state import PageState

Point = tuple[int, float | None, float | None, float | None, float]
"""Time, mean, low, high, share of the expected readings that were good."""

DEFAULT_SPAN_MS = 900_000
"""What is answered without ``from`` and ``step``: every reading that the buffer keeps by default."""
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


def known_metric(state: PageState, device: str, metric: str) -> str:
    """Return the metric. Raises NotKnown when the device does not have it."""
    if metric not in METRICS or metric not in state.devices[device].every_s:
        raise NotKnown(f"Device {device} has no metric {metric[:80]!r}. /api/latest?device={device} lists its metrics.")
    return metric


def span(query: Mapping[str, str], now_ms: int, default_ms: int) -> tuple[int, int]:
    """Return ``from`` and ``to``; ``default_ms`` up to now when they are not given. Raises BadQuery."""
    to_ms = whole(query, "to", now_ms)
    from_ms = whole(query, "from", max(0, to_ms - default_ms))
    if from_ms >= to_ms:
        raise BadQuery("'from' must be before 'to'; both are Unix milliseconds.")
    return from_ms, to_ms


def parse(state: PageState, query: Mapping[str, str], now_ms: int) -> Query:
    """Check the parameters. Raises BadQuery or NotKnown with one sentence."""
    for needed in ("device", "metric"):
        if not query.get(needed):
            raise BadQuery(f"Say which {needed}: /api/history?device=NAME&metric=NAME")
    device = known_device(state, query["device"])
    metric = known_metric(state, device, query["metric"])
    from_ms, to_ms = span(query, now_ms, DEFAULT_SPAN_MS)
    step_s = whole(query, "step", _default_step(to_ms - from_ms))
    fine = step_s < 60 or "raw" in query
    if fine and metric in state.devices[device].thinned:
        fine, step_s = False, 60  # what was left out as unchanged must not look like a gap
    if fine:
        if to_ms - from_ms > MAX_RAW_MS:
            raise BadQuery("Single readings are given for at most 2 hours; ask for a shorter time or for step=60.")
        return Query(device, metric, from_ms, to_ms, 0)
    if step_s % 60:
        raise BadQuery("'step' must be a multiple of 60 seconds, or below 60 for single readings.")
    if (to_ms - from_ms) // (step_s * 1000) > MAX_POINTS:
        raise BadQuery(f"That is more than {MAX_POINTS} points; ask for a larger step or a shorter time.")
    return Query(device, metric, from_ms, to_ms, step_s)


def whole(query: Mapping[str, str], name: str, default: int) -> int:
    """Return a time or step of the question. Raises BadQuery."""
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


def answer(query: Query, points: Sequence[Point], summary: Mapping[str, float | None]) -> dict[str, Any]:
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
        "summary": summary,
        "points": points,
    }


def bucket_summary(buckets: Sequence[Bucket], query: Query, now_ms: int) -> dict[str, float | None]:
    """The whole range in a few numbers, whatever the step: means weighted by readings, share over all of the time."""
    step_ms = query.step_s * 1000
    covered_ms = math.fsum(b.valid_share * max(0, min(b.start_ms + step_ms, now_ms) - b.start_ms) for b in buckets)
    kind = METRICS[query.metric].kind
    weighted = [(b.mean, b.count) for b in buckets if b.mean is not None]
    rises = [b.delta for b in buckets if b.delta is not None]
    return _summary(
        kind,
        weighted,
        [b.low for b in buckets if b.low is not None],
        [b.high for b in buckets if b.high is not None],
        math.fsum(rises) if rises else None,
        covered_ms / _asked_ms(query, now_ms),
    )


def reading_summary(
    readings: Sequence[tuple[int, float | None]], query: Query, now_ms: int, every_s: float
) -> dict[str, float | None]:
    """The same of single readings, one due ``every_s``: a time without readings is a time without data."""
    good = [v for _, v in readings if v is not None]
    rises = math.fsum(max(0.0, after - before) for before, after in pairwise(good))
    kind = METRICS[query.metric].kind
    share = len(good) * every_s * 1000 / _asked_ms(query, now_ms)
    return _summary(kind, [(v, 1) for v in good], good, good, rises if good else None, share)


def _asked_ms(query: Query, now_ms: int) -> int:
    """The part of the range that is not in the future."""
    return max(1, min(query.to_ms, now_ms) - query.from_ms)


def _summary(
    kind: Kind,
    weighted: Sequence[tuple[float, int]],
    lows: Sequence[float],
    highs: Sequence[float],
    growth: float | None,
    share: float,
) -> dict[str, float | None]:
    """``mean`` by the metric's kind, null where a mean says nothing; ``growth`` is what a counter rose."""
    circular = kind is Kind.DIRECTION  # 359 degrees is not more than 1 degree
    mean, _ = mean_of(kind, [(mean, count, None) for mean, count in weighted])
    return {
        "low": None if circular else min(lows, default=None),
        "high": None if circular else max(highs, default=None),
        "mean": None if circular else mean,
        "growth": growth if kind is Kind.COUNTER else None,
        "share": min(1.0, share),
    }
