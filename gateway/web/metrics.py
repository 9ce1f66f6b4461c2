"""``/metrics``: the gateway in Prometheus's words, read from the live state at the moment of the scrape.

Labels are bounded by the site file: names of devices, links, sinks and metrics, and closed sets of causes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from gateway.model import Mark
from gateway.web.events import EventHub
from gateway.web.state import PageState, age_s, is_stale

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SEVERITIES = ("info", "warning", "alarm", "critical")
OUTPUT_STATES = ("off", "starting", "on", "stopping", "unknown", "fault")


class StateCollector(Collector):
    """Turns the page's state into metric families; keeps nothing."""

    def __init__(self, state: PageState, hub: EventHub) -> None:
        self._state = state
        self._hub = hub

    def describe(self) -> Iterable[Family]:
        """Nothing: registering must not read the state."""
        return []

    def collect(self) -> Iterator[Family]:
        """Read everything once."""
        now_ms = self._state.clock.wall_ms()
        yield from self._totals()
        yield from self._devices(now_ms)
        yield from self._readings(now_ms)
        yield from self._links()
        yield from self._buffer()
        yield from self._sinks(now_ms)
        yield from self._alarms()
        yield from self._outputs()
        yield from self._notices()

    def _totals(self) -> Iterator[Family]:
        state, info = self._state, self._state.site.site
        about = {"site": info.id, "version": state.version, "simulated": str(info.simulated).lower()}
        yield InfoMetricFamily("sitegate", "Which gateway this is", about)
        yield _gauge("start_time_seconds", "Unix time of the start", state.started_ms / 1000)
        yield _counter("records", "Answers of devices taken", state.latest.records)
        values = _counters("values", "Values taken, by quality", ["quality"])
        values.add_metric(["good"], state.latest.good_values)
        values.add_metric(["bad"], state.latest.bad_values)
        yield values
        yield _gauge("minutes", "Rows in the minute ledger", state.ledger.minutes_total())
        yield _gauge("page_clients", "Live views open", self._hub.clients)
        yield _counter("page_clients_dropped", "Live views dropped because they were slow", self._hub.dropped_clients)

    def _devices(self, now_ms: int) -> Iterator[Family]:
        up = _gauges("device_up", "1 while the device answers as expected", ["device", "link"])
        age = _gauges("device_last_answer_age_seconds", "Time since the last answer", ["device"])
        failures = _gauges("device_failures_in_row", "Polls failed since the last answer", ["device"])
        states = _gauges("device_state", "1 for the state that holds: good, refused, silent, …", ["device", "state"])
        for view in self._state.devices.values():
            health = self._state.device_health.get(view.name)
            if health is None:
                continue
            stale = is_stale(health.last_answer_ms, view.fastest_s, now_ms)
            up.add_metric([view.name, view.link], float(health.state in ("good", "partly") and not stale))
            failures.add_metric([view.name], health.failures_in_row)
            states.add_metric([view.name, health.state], 1.0)
            seconds = age_s(health.last_answer_ms, now_ms)
            if seconds is not None:
                age.add_metric([view.name], seconds)
        yield from (up, age, failures, states)

    def _readings(self, now_ms: int) -> Iterator[Family]:
        """Only what is good and fresh: a scrape never repeats an old value."""
        reading = _gauges("reading", "Newest good value, in the unit of the metric", ["device", "zone", "metric"])
        for value in self._state.latest.values():
            view = self._state.devices.get(value.device)
            every_s = view.every_s.get(value.metric) if view else None
            if view is None or every_s is None or value.value is None or value.mark != Mark.GOOD:
                continue
            if not is_stale(value.time_ms, every_s, now_ms):
                reading.add_metric([value.device, view.zone, value.metric], value.value)
        yield reading

    def _links(self) -> Iterator[Family]:
        up = _gauges("link_up", "1 while the wire is up", ["link", "kind"])
        states = _gauges("link_state", "1 for the state that holds; silent: open, nobody answers", ["link", "state"])
        requests = _counters("link_requests", "Requests sent", ["link"])
        answers = _counters("link_answers", "Answers understood", ["link"])
        failures = _counters("link_failures", "Failures by cause", ["link", "cause"])
        writes = _counters("link_writes", "Commands that came to an end, good or bad", ["link"])
        unwritten = _counters("link_write_failures", "Commands that failed, by cause", ["link", "cause"])
        late = _counters("link_late_rounds", "Rounds skipped because the one before had not ended", ["link"])
        reconnects = _counters("link_reconnects", "Connections made again", ["link"])
        stray = _counters("link_discarded_bytes", "Bytes that nobody had asked for", ["link"])
        busy = _gauges("link_busy_ratio", "Share of the last ten seconds in which the wire was in use", ["link"])
        for link in self._state.links.values():
            up.add_metric([link.name, link.kind], float(link.state in ("up", "silent")))
            states.add_metric([link.name, link.state], 1.0)
            requests.add_metric([link.name], link.requests)
            answers.add_metric([link.name], link.answers)
            for cause, count in link.failures.items():
                failures.add_metric([link.name, cause], count)
            writes.add_metric([link.name], link.writes)
            for cause, count in link.write_failures.items():
                unwritten.add_metric([link.name, cause], count)
            late.add_metric([link.name], link.late_rounds)
            reconnects.add_metric([link.name], link.reconnects)
            stray.add_metric([link.name], link.discarded_bytes)
            busy.add_metric([link.name], link.busy_share)
        yield from (up, states, requests, answers, failures, writes, unwritten, late, reconnects, stray, busy)

    def _buffer(self) -> Iterator[Family]:
        stats = self._state.buffer.stats()
        yield _gauge("buffer_records", "Records kept", stats.records)
        yield _gauge("buffer_bytes", "Size on disk", stats.bytes_on_disk)
        yield _gauge("buffer_max_bytes", "Size at which the oldest is dropped", stats.max_bytes)
        yield _counter("buffer_dropped_records", "Records dropped unsent", stats.dropped_records)
        yield _counter("buffer_damaged_records", "Records damaged on disk and skipped", stats.damaged_records)
        if stats.hours_left is not None:
            yield _gauge("buffer_hours_left", "Hours until the oldest unsent is dropped", stats.hours_left)

    def _sinks(self, now_ms: int) -> Iterator[Family]:
        pending = _gauges("sink_pending_records", "Records not yet settled", ["sink"])
        oldest = _gauges("sink_oldest_pending_age_seconds", "Age of the oldest unsettled record", ["sink"])
        refused = _gauges("sink_quarantined_records", "Records the sink refused", ["sink"])
        for sink in self._state.buffer.stats().sinks:
            pending.add_metric([sink.name], sink.pending_records)
            refused.add_metric([sink.name], sink.quarantined)
            seconds = age_s(sink.oldest_pending_ms, now_ms)
            if seconds is not None:
                oldest.add_metric([sink.name], seconds)
        up = _gauges("sink_up", "0 while the sink takes nothing", ["sink"])
        sent = _counters("sink_sent_values", "Values the sink took", ["sink"])
        retries = _counters("sink_retries", "Writes tried again", ["sink"])
        for pump in self._state.pumps.values():
            up.add_metric([pump.name], float(pump.state != "down"))
            sent.add_metric([pump.name], pump.sent_values)
            retries.add_metric([pump.name], pump.retries)
        yield from (pending, oldest, refused, up, sent, retries)

    def _alarms(self) -> Iterator[Family]:
        if self._state.alarms is None:
            return
        known = self._state.alarms.alarms()
        open_ = _gauges("alarms_open", "Alarms that are not over", ["severity"])
        active = _gauges("alarms_active", "Alarms whose cause still holds", ["severity"])
        for severity in SEVERITIES:
            open_.add_metric([severity], sum(a.severity == severity for a in known))
            active.add_metric([severity], sum(a.severity == severity and a.active for a in known))
        yield from (open_, active)

    def _outputs(self) -> Iterator[Family]:
        if self._state.outputs is None:
            return
        state = _gauges("output_state", "1 for the state that an output is in", ["output", "state"])
        on = _gauges("output_on", "As read back; missing while unknown", ["output"])
        starts = _gauges("output_starts_last_hour", "Starts in the last hour", ["output"])
        seconds = _gauges("output_on_seconds_today", "Time on since midnight of the site", ["output"])
        for output in self._state.outputs.outputs():
            for each in OUTPUT_STATES:
                state.add_metric([output.name, each], float(output.state == each))
            if output.is_on is not None:
                on.add_metric([output.name], float(output.is_on))
            starts.add_metric([output.name], output.starts_last_hour)
            seconds.add_metric([output.name], output.on_s_today)
        yield from (state, on, starts, seconds)

    def _notices(self) -> Iterator[Family]:
        if self._state.notices is None:
            return
        up = _gauges("notice_channel_up", "0 while the channel takes no message", ["channel"])
        waiting = _gauges("notices_waiting", "Alarms of which there is something to tell", ["channel"])
        sent = _counters("notices_sent", "Messages taken", ["channel"])
        failed = _counters("notices_failed", "Messages not taken, to be tried again", ["channel"])
        expired = _counters("notices_expired", "Alarms that could not be told in time", ["channel"])
        for name, health in self._state.notices.health().items():
            up.add_metric([name], float(health.state != "down"))
            waiting.add_metric([name], health.waiting)
            sent.add_metric([name], health.sent)
            failed.add_metric([name], health.failed)
            expired.add_metric([name], health.expired)
        yield from (up, waiting, sent, failed, expired)


def _gauge(name: str, text: str, value: float) -> Family:
    return GaugeMetricFamily(f"sitegate_{name}", text, value)


def _counter(name: str, text: str, value: float) -> Family:
    return CounterMetricFamily(f"sitegate_{name}", text, value)


def _gauges(name: str, text: str, labels: list[str]) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"sitegate_{name}", text, labels=labels)


def _counters(name: str, text: str, labels: list[str]) -> CounterMetricFamily:
    return CounterMetricFamily(f"sitegate_{name}", text, labels=labels)


def make_registry(state: PageState, hub: EventHub) -> CollectorRegistry:
    """A registry of our own: nothing global, so that two gateways in one process do not mix."""
    registry = CollectorRegistry()
    registry.register(StateCollector(state, hub))
    ProcessCollector(registry=registry)
    return registry


def exposition(registry: CollectorRegistry) -> bytes:
    """The body of ``/metrics``."""
    return generate_latest(registry)
