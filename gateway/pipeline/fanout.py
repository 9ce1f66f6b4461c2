"""The pipeline proper: takes raw answers from the workers, normalises them, hands every record to every consumer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from drivers.api import Value
from gateway.config.profile import PointRule
from gateway.model import Mark, Readings
from gateway.pipeline.counter import CounterGuard
from gateway.pipeline.normalize import Normalizer

Consumer = Callable[[Readings], None]


class Pipeline:
    """Fulfils gateway.links.Intake. Consumers are plain functions that never wait: latest, buffer, ledger."""

    def __init__(self, rules: Mapping[str, Mapping[str, PointRule]], consumers: Sequence[Consumer]) -> None:
        """``rules`` is device -> point name -> rule."""
        self._rules = rules
        self._consumers = tuple(consumers)
        self._guards: dict[str, dict[str, CounterGuard]] = {device: {} for device in rules}
        self._normalizers: dict[tuple[str, tuple[str, ...]], Normalizer] = {}

    def prepare(self, device: str, points: tuple[str, ...]) -> Callable[[Sequence[Value], int], None]:
        """Return the function that takes one answer with exactly these points."""
        apply = self._normalizer(device, points).apply
        consumers = self._consumers

        def take(raw: Sequence[Value], time_ms: int) -> None:
            readings = apply(raw, time_ms)
            for consume in consumers:
                consume(readings)

        return take

    def missed(self, device: str, points: tuple[str, ...], mark: Mark, time_ms: int) -> None:
        """Pass on that these points were due and brought no value."""
        readings = self._normalizer(device, points).missed(mark, time_ms)
        for consume in self._consumers:
            consume(readings)

    def counters(self) -> dict[str, tuple[int, int]]:
        """Wraps and resets seen so far, by ``device/metric``, where there were any."""
        return {
            f"{device}/{metric}": (guard.wraps, guard.resets)
            for device, guards in self._guards.items()
            for metric, guard in guards.items()
            if guard.wraps or guard.resets
        }

    def _normalizer(self, device: str, points: tuple[str, ...]) -> Normalizer:
        key = (device, points)
        known = self._normalizers.get(key)
        if known is None:
            rules = self._rules[device]
            known = Normalizer(device, [rules[p] for p in points], self._guards[device])
            self._normalizers[key] = known
        return known
