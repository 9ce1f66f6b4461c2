"""The mark ``sprayed``: while a cannon runs near a dust sensor, that sensor's records say so. Pure.

A value that was sprayed is neither changed nor removed; rules and reports decide how to treat it, and can count it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gateway.model import Mark, Readings
from gateway.vocabulary import METRICS, Domain

SPRAYED = "sprayed"


class SprayedMark:
    """Adds a column to the records of one sensor. ``runs`` says whether an output near it runs; None: unknown."""

    def __init__(self, runs: Callable[[], bool | None]) -> None:
        self._runs = runs
        self._longer: dict[tuple[str, ...], tuple[str, ...] | None] = {}
        """Metrics -> the same with the column, one object for ever; None where no dust value is among them."""

    def __call__(self, readings: Readings) -> Readings:
        """Return the record with its column; records without a dust value as they are."""
        metrics = readings.metrics
        if metrics not in self._longer:
            self._longer[metrics] = (*metrics, SPRAYED) if any(is_air(m) for m in metrics) else None
        longer = self._longer[metrics]
        if longer is None:
            return readings
        runs = self._runs()
        value, mark = (None, Mark.NO_ANSWER) if runs is None else (float(runs), Mark.GOOD)
        if not readings.good_count:  # nothing was measured: there is nothing to mark
            value, mark = None, Mark.NO_ANSWER
        values, marks = (*readings.values, value), readings.marks + mark
        return Readings(readings.device, readings.time_ms, longer, values, marks, readings.above)


def is_air(metric: str) -> bool:
    """True for what a cannon washes out of the air."""
    known = METRICS.get(metric)
    return known is not None and known.domain is Domain.AIR and metric != SPRAYED


def any_runs(known: Iterable[bool | None]) -> bool | None:
    """True when one of them runs, False when all are known not to, else None."""
    found = set(known)
    return True if True in found else None if None in found else False
