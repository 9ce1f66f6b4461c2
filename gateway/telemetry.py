"""What the gateway says of itself, as records on the usual way to the sinks: Grafana sees what the page sees.

Once a minute, and at once when a device or a link changes its state. A record's ``device`` is the gateway's own name
(``sitegate``), ``link.<name>``, ``sink.<name>``, a device, ``<rule>@<subject>`` of an alarm, or ``<rule>@<device>`` of
a limit or verdict. Nothing of it enters the ledger: the page has the live objects.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from gateway.alerts.state import Event
from gateway.clock import Clock
from gateway.model import Alarm, BufferStats, DeviceHealth, LimitLine, LinkHealth, Mark, Readings
from gateway.pipeline.latest import Latest
from gateway.vocabulary import ALARM_ANSWERS, ALARM_LEVELS, DEVICE_STATES, VERDICTS

SELF = "sitegate"
EVERY_S = 60.0
FINE_EVERY_S = 300.0
"""How often a rule is told of that is fine. Of a hundred, a record each minute would be most of its writes."""
LOOK_S = 1.0
"""How often states are compared, and the lag of the event loop is measured."""
_DEVICE_STATE = {en: float(number) for number, (en, _) in DEVICE_STATES.items()}
_LEVEL = {en: float(number) for number, (en, _) in ALARM_LEVELS.items()}
_ANSWER = {en: float(number) for number, (en, _) in ALARM_ANSWERS.items()}
_VERDICT = {en.replace(" ", "_"): float(number) for number, (en, _) in VERDICTS.items()}


class Desk(Protocol):
    """What is asked of the alarms each minute; AlertRuntime fulfils it."""

    def alarms(self) -> Sequence[Alarm]:
        """Return every alarm that is not over."""
        ...

    def limits(self) -> Sequence[LimitLine]:
        """Return the levels of all rules, those first that are limits."""
        ...

    def judged(self) -> Sequence[tuple[str, str]]:
        """Return rule and subject of everything that is judged, fine or not."""
        ...


def record(device: str, time_ms: int, fields: Mapping[str, float | None]) -> Readings:
    """Return the fields that are known as one good record."""
    known = {metric: float(value) for metric, value in fields.items() if value is not None}
    return Readings(device, time_ms, tuple(known), tuple(known.values()), Mark.GOOD * len(known))


def alarm_record(rule: str, subject: str, alarms: Iterable[Alarm], time_ms: int) -> Readings:
    """Return how a rule stands for its subject: the worst of its alarms that hold, level 0 when none does."""
    own = [alarm for alarm in alarms if (alarm.rule, alarm.subject) == (rule, subject)]
    fields: dict[str, float | None] = {"alarm_level": max((_level(alarm) for alarm in own), default=0.0)}
    if own:
        shown = max(own, key=lambda alarm: (_level(alarm), alarm.raised_ms))
        value, limit = shown.details.get("value"), shown.details.get("limit")
        fields["alarm_answer"] = _ANSWER.get(shown.state)
        fields["alarm_value"] = value if isinstance(value, int | float) else None
        fields["alarm_limit"] = limit if isinstance(limit, int | float) else None
    return record(f"{rule}@{subject}", time_ms, fields)


def _level(alarm: Alarm) -> float:
    return _LEVEL.get(alarm.severity, _LEVEL["alarm"]) if alarm.active else 0.0


def verdict_record(event: Event) -> Readings | None:
    """Return what a closed window was, stamped with its end: a correction overwrites it. None for other events."""
    outcome = _VERDICT.get(str(event.details.get("outcome")))
    end_ms, value = event.details.get("window_end_ms"), event.details.get("value")
    if event.kind not in ("verdict", "corrected") or outcome is None or not isinstance(end_ms, int):
        return None
    judged = value if isinstance(value, int | float) and outcome != _VERDICT["not_enough_data"] else None
    device = str(event.details.get("device", event.subject))
    return record(f"{event.rule}@{device}", end_ms, {"verdict": outcome, "verdict_value": judged})


def limit_records(lines: Iterable[LimitLine], time_ms: int) -> Iterator[Readings]:
    """Yield the limit of each rule that holds now; its warning level only where the rule has nothing stricter."""
    in_force: dict[str, float] = {}
    for line in sorted((line for line in lines if line.now), key=lambda line: line.warning):
        in_force.setdefault(f"{line.rule}@{line.device}", line.value)
    for device, value in in_force.items():
        yield record(device, time_ms, {"limit_in_force": value})


def link_record(link: LinkHealth, time_ms: int) -> Readings:
    """Return how a wire stands."""
    return record(
        f"link.{link.name}",
        time_ms,
        {
            "link_up": link.state in ("up", "silent"),
            "link_busy_pct": 100 * link.busy_share,
            "link_requests": link.requests,
            "link_failures": sum(link.failures.values()),
        },
    )


def device_record(device: DeviceHealth, time_ms: int) -> Readings:
    """Return how a device stands."""
    heard_ms = device.last_answer_ms
    age_s = None if heard_ms is None else max(0, time_ms - heard_ms) / 1000
    return record(device.name, time_ms, {"device_state": _DEVICE_STATE.get(device.state), "device_age_s": age_s})


def buffer_records(stats: BufferStats, time_ms: int) -> Iterator[Readings]:
    """Yield how far each sink is behind."""
    for sink in stats.sinks:
        oldest_ms = sink.oldest_pending_ms
        behind_s = 0.0 if oldest_ms is None else max(0, time_ms - oldest_ms) / 1000
        fields = {"sink_pending": sink.pending_records, "sink_behind_s": behind_s, "sink_refused": sink.quarantined}
        yield record(f"sink.{sink.name}", time_ms, fields)


class Telemetry:
    """Puts records of the gateway itself where the readings go. Keep ``run`` running."""

    def __init__(
        self,
        put: Callable[[Readings], None],
        clock: Clock,
        latest: Latest,
        links: Mapping[str, LinkHealth],
        devices: Mapping[str, DeviceHealth],
        buffer: Callable[[], BufferStats],
        restarts: Mapping[str, int],
        alarms: Desk | None,
    ) -> None:
        """``alarms`` is None on a site without rules."""
        self._put = put
        self._clock = clock
        self._latest = latest
        self._links = links
        self._devices = devices
        self._buffer = buffer
        self._restarts = restarts
        self._alarms = alarms
        self._states: dict[str, str] = {}
        self._begun_s = clock.monotonic_s()
        self._fine_due_s = self._begun_s
        self._lag_s = 0.0

    def alarm_happened(self, event: Event, alarm: Alarm) -> None:
        """Tell at once how the rule of an alarm stands after ``event``."""
        if event.kind != "verdict" and self._alarms is not None:
            known = {each.id: each for each in (*self._alarms.alarms(), alarm)}  # what has ended is no longer listed
            self._put(alarm_record(alarm.rule, alarm.subject, known.values(), self._clock.wall_ms()))

    def window_judged(self, event: Event) -> None:
        """Tell of a verdict, or of its correction."""
        if judged := verdict_record(event):
            self._put(judged)

    async def run(self) -> None:
        """Tell of the start, then of changes at once and of everything each minute, until cancelled."""
        self._put(record(SELF, self._clock.wall_ms(), {"gateway_started": 1}))
        due_s = self._clock.monotonic_s()
        while True:
            asleep_s = self._clock.monotonic_s()
            await self._clock.sleep(LOOK_S)
            now_s = self._clock.monotonic_s()
            self._lag_s = max(self._lag_s, now_s - asleep_s - LOOK_S)
            everything = now_s >= due_s
            if everything:
                due_s = now_s + EVERY_S
                self._tell_of_all()
            self._tell_of_parts(everything=everything)

    def _tell_of_parts(self, *, everything: bool) -> None:
        now_ms = self._clock.wall_ms()
        for link in self._links.values():
            if self._changed(f"link.{link.name}", link.state) or everything:
                self._put(link_record(link, now_ms))
        for device in self._devices.values():
            if self._changed(device.name, device.state) or everything:
                self._put(device_record(device, now_ms))

    def _changed(self, name: str, state: str) -> bool:
        before = self._states.get(name)
        self._states[name] = state
        return before != state

    def _tell_of_all(self) -> None:
        now_ms, stats = self._clock.wall_ms(), self._buffer()
        fields = {
            "gateway_started": 0,
            "gateway_uptime_s": self._clock.monotonic_s() - self._begun_s,
            "gateway_restarts": sum(self._restarts.values()),
            "gateway_lag_ms": 1000 * self._lag_s,
            "gateway_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "values_good": self._latest.good_values,
            "values_bad": self._latest.bad_values,
            "buffer_records": stats.records,
            "buffer_used_pct": 100 * stats.bytes_on_disk / stats.max_bytes,
            "buffer_dropped": stats.dropped_records,
        }
        self._lag_s = 0.0
        self._put(record(SELF, now_ms, fields))
        for each in buffer_records(stats, now_ms):
            self._put(each)
        if self._alarms is not None:
            self._tell_of_rules(self._alarms, now_ms)

    def _tell_of_rules(self, desk: Desk, now_ms: int) -> None:
        """Now and then also of those that are fine: no record would look like a gateway that no longer judges."""
        alarms, now_s = desk.alarms(), self._clock.monotonic_s()
        hold = {(alarm.rule, alarm.subject) for alarm in alarms if alarm.active}
        if now_s >= self._fine_due_s:
            self._fine_due_s = now_s + FINE_EVERY_S
            hold |= set(desk.judged())
        for rule, subject in sorted(hold):
            self._put(alarm_record(rule, subject, alarms, now_ms))
        for limit in limit_records(desk.limits(), now_ms):
            self._put(limit)
