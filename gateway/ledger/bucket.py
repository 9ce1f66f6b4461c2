"""Minutes of one series as one step of a chart or table. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.ledger.minute import Minute, kind_of, mean_of, share, within
from gateway.vocabulary import Kind


@dataclass(frozen=True, slots=True)
class Bucket:
    """Statistics of one series over one step of time."""

    start_ms: int
    low: float | None
    high: float | None
    mean: float | None
    """By kind; of counters and states the last value."""
    count: int
    valid_share: float
    delta: float | None = None
    """Counters: the increase seen in this step."""


def bucket(start_ms: int, minutes: Sequence[Minute], expected: float) -> Bucket:
    """Return the minutes of one series as one step. ``expected``: good readings in the step. At least one minute."""
    kind = kind_of(minutes[0].metric)
    count, bad = sum(m.count for m in minutes), sum(m.bad for m in minutes)
    mean, _ = mean_of(kind, [(m.mean, m.count, m.resultant) for m in minutes])
    lows, highs = [m.low for m in minutes if m.low is not None], [m.high for m in minutes if m.high is not None]
    deltas = [m.delta for m in minutes if m.delta is not None]
    low, high = min(lows, default=None), max(highs, default=None)
    if kind in (Kind.COUNTER, Kind.STATE):
        latest = max(minutes, key=lambda m: m.last_ms or 0)
        mean = latest.last
    return Bucket(
        start_ms,
        low,
        high,
        mean if kind is Kind.DIRECTION else within(low, mean, high),
        count,
        share(count, bad, expected),
        sum(deltas) if deltas else None,
    )
