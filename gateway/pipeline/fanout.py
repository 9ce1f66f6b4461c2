"""The pipeline proper: takes raw answers from the workers, normalises them, hands every record to every consumer.

Only the way to buffer and sinks may be thinned (``report.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

from drivers.api import Value
from gateway.config.profile import PointRule
from gateway.model import Mark, Readings
from gateway.pipeline.counter import CounterGuard
from gateway.pipeline.normalize import Normalizer
from gateway.pipeline.report import Reporter

Consumer = Callable[[Readings], None]
Amend = Callable[[Readings], Readings]


class Taker(Protocol):
    """As ``gateway.links.Take``."""

    def __call__(self, raw: Sequence[Value], time_ms: int, marks: str | None = None, /) -> None: ...


class Pipeline:
    """Fulfils gateway.links.Intake. Consumers are plain functions that never wait: latest, buffer, ledger."""

    def __init__(
        self,
        rules: Mapping[str, Mapping[str, PointRule]],
        consumers: Sequence[Consumer],
        amend: Mapping[str, Amend] = MappingProxyType({}),
        reported: Consumer | None = None,
        wall_ms: Callable[[], int] = lambda: 2**53,
    ) -> None:
        """``rules`` is device -> point name -> rule; ``amend`` is device -> what adds to each of its records.

        ``consumers`` see every record; ``reported``, the buffer, sees what the points' ``report`` lets through.
        """
        self._rules = rules
        self._amend = amend
        self._consumers = tuple(consumers)
        self._reported = reported
        self._wall_ms = wall_ms
        self._reporters: dict[str, Reporter] = {}
        self._guards: dict[str, dict[str, CounterGuard]] = {device: {} for device in rules}
        self._normalizers: dict[tuple[str, tuple[str, ...]], Normalizer] = {}

    def prepare(self, device: str, points: tuple[str, ...]) -> Taker:
        """Return the function that takes one answer with exactly these points."""
        apply, amend = self._normalizer(device, points).apply, self._amend.get(device)
        consumers = self._consumers_of(device, points)

        def take(raw: Sequence[Value], time_ms: int, marks: str | None = None, /) -> None:
            readings = apply(raw, time_ms, marks)
            if amend is not None:
                readings = amend(readings)
            for consume in consumers:
                consume(readings)

        return take

    def missed(self, device: str, points: tuple[str, ...], mark: Mark, time_ms: int) -> None:
        """Pass on that these points were due and brought no value."""
        readings = self._normalizer(device, points).missed(mark, time_ms)
        if (amend := self._amend.get(device)) is not None:
            readings = amend(readings)
        for consume in self._consumers_of(device, points):
            consume(readings)

    def counters(self) -> dict[str, tuple[int, int]]:
        """Wraps and resets seen so far, by ``device/metric``, where there were any."""
        return {
            f"{device}/{metric}": (guard.wraps, guard.resets)
            for device, guards in self._guards.items()
            for metric, guard in guards.items()
            if guard.wraps or guard.resets
        }

    def _consumers_of(self, device: str, points: tuple[str, ...]) -> tuple[Consumer, ...]:
        """Where nothing is thinned, the reported records are all records and nothing stands in between."""
        if self._reported is None:
            return self._consumers
        rules = self._rules[device]
        if all(rules[point].report is None for point in points):
            return (*self._consumers, self._reported)
        reporter = self._reporters.get(device)
        if reporter is None:
            reporter = self._reporters[device] = Reporter(rules, self._reported, self._wall_ms)
        return (*self._consumers, reporter.put)

    def _normalizer(self, device: str, points: tuple[str, ...]) -> Normalizer:
        key = (device, points)
        known = self._normalizers.get(key)
        if known is None:
            rules = self._rules[device]
            known = Normalizer(device, [rules[p] for p in points], self._guards[device])
            self._normalizers[key] = known
        return known
