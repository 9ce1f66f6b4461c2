"""What outputs depend on, as it comes in: read-back, feedback, sensors, weather, water. Costs one look-up per record.

Only fresh data count: what was replayed, retained or stamped long ago never moves anything.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gateway.config.profiles import TIMEOUT
from gateway.control.output import Facts, Output, SeriesName
from gateway.control.sprayed import any_runs
from gateway.model import Readings

FRESH_ROUNDS, FRESH_S = 3, 30.0
STALE_ROUNDS, STALE_SLACK_S = 3, 5.0


@dataclass(slots=True)
class _Seen:
    """The last good value of one series. A single lost answer makes nothing unknown; three do."""

    every_s: float
    begin_s: float
    """Silence counts from here: our own standstill is not theirs."""
    time_ms: int = 0
    """Stamp of the newest reading, good or not."""
    value: float | None = None
    at_s: float = -math.inf
    """When the value was measured."""
    heard_s: float = -math.inf
    """When it arrived."""

    def age_s(self, now_s: float) -> float:
        """Seconds since it was measured; 0 while it counts as fresh."""
        if self.value is None:
            return max(now_s - self.begin_s, 0.001)  # never heard: not fresh, however short that is
        age_s = now_s - self.at_s
        return age_s if age_s > STALE_ROUNDS * self.every_s + STALE_SLACK_S else 0.0


class Watched:
    """The newest value of every series that some output depends on."""

    def __init__(self, outputs: Iterable[Output], every_s: Mapping[SeriesName, float], begin_s: float) -> None:
        """``every_s``: expected time between the readings of each series."""
        self._outputs: dict[SeriesName, tuple[str, ...]] = {}
        for output in outputs:
            for series in series_of(output):
                self._outputs[series] = (*self._outputs.get(series, ()), output.name)
        self._seen = {series: _Seen(every_s.get(series, 60.0), begin_s) for series in self._outputs}
        self.devices = frozenset(device for device, _ in self._outputs)
        self._places: dict[tuple[str, tuple[str, ...]], tuple[tuple[int, SeriesName], ...]] = {}

    def see(self, readings: Readings, now_ms: int, now_s: float) -> Sequence[str]:
        """Take a record; return the outputs that it matters to."""
        if readings.device not in self.devices:
            return ()
        key = (readings.device, readings.metrics)
        places = self._places.get(key)
        if places is None:
            named = enumerate((readings.device, metric) for metric in readings.metrics)
            places = self._places[key] = tuple((i, series) for i, series in named if series in self._seen)
        age_ms = now_ms - readings.time_ms
        touched: dict[str, None] = {}
        for i, series in places:
            seen = self._seen[series]
            late = readings.time_ms < seen.time_ms <= now_ms
            if late or abs(age_ms) > 1000 * max(FRESH_ROUNDS * seen.every_s, FRESH_S):
                continue
            value = readings.values[i]
            seen.time_ms = readings.time_ms
            if value is not None:
                seen.value, seen.at_s, seen.heard_s = value, now_s - max(0, age_ms) / 1000, now_s
            touched |= dict.fromkeys(self._outputs[series])
        return tuple(touched)

    def facts(self, output: Output, asking: Iterable[SeriesName], now_s: float, minute_of_day: int) -> Facts:
        """Return what is known of an output; ``asking`` are the series of the alarms that ask for it."""
        back = self._seen[output.device, output.metric]
        guards = [series for series in (output.wind, output.frost, output.water) if series is not None]
        return Facts(
            is_on=self.is_on(output, now_s),
            read_s=back.heard_s,
            feedback=_on(self._fresh(output.feedback, now_s)),
            asking_age_s=min((self._seen[each].age_s(now_s) for each in asking), default=0.0),
            guard_age_s=max((self._seen[each].age_s(now_s) for each in guards), default=0.0),
            wind_m_s=self._last(output.wind),
            temperature_c=self._last(output.frost),
            water=self._last(output.water),
            minute_of_day=minute_of_day,
            timeout_s=self._fresh((output.device, TIMEOUT), now_s) if output.dead_man == "module" else None,
        )

    def is_on(self, output: Output, now_s: float) -> bool | None:
        """Return what was read back; None: unknown."""
        return _on(self._fresh((output.device, output.metric), now_s))

    def runs(self, output: Output, now_s: float) -> bool | None:
        """Return whether water flows: one witness that says so is enough, and all must agree that it does not."""
        known = [self.is_on(output, now_s)]
        if output.feedback is not None:
            known.append(_on(self._fresh(output.feedback, now_s)))
        return any_runs(known)

    def _fresh(self, series: SeriesName | None, now_s: float) -> float | None:
        if series is None:
            return None
        seen = self._seen[series]
        return None if seen.age_s(now_s) else seen.value

    def _last(self, series: SeriesName | None) -> float | None:
        return None if series is None else self._seen[series].value


def series_of(output: Output) -> list[SeriesName]:
    """Everything that an output depends on, its own read-back first."""
    found = [(output.device, output.metric), *output.sensors]
    if output.dead_man == "module":
        found.append((output.device, TIMEOUT))
    found += [each for each in (output.feedback, output.wind, output.frost, output.water) if each is not None]
    return list(dict.fromkeys(found))


def _on(value: float | None) -> bool | None:
    return None if value is None else value >= 0.5
