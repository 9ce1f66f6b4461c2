"""Every query of every dashboard runs on a real InfluxDB that the demo has filled, and finds something."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

import configs
from gateway.alerts.figures import limits
from gateway.alerts.presets import load_rules
from gateway.config.loader import LoadedSite, load_site
from gateway.grafana.influxql import field, table
from gateway.telemetry import FINE_EVERY_S
from gateway.vocabulary import METRICS
from tests.support.dashboard_demo import DATABASE, fill
from tests.support.grafana import PanelQuery, annotation_queries, expand, load, panel_queries, variables
from tests.support.servers import Influx1, influxdb1

MARGIN_MS = 3_600_000
"""Before the begin: what the first minutes close is stamped earlier."""


@dataclass(frozen=True)
class Filled:
    """A database with the demo in it."""

    server: Influx1
    site: LoadedSite
    from_ms: int
    to_ms: int

    def rows(self, query: PanelQuery, chosen: dict[str, str]) -> int:
        """Run a query; return how many of its rows hold a value. A query that fails, fails the test."""
        found = self.server.query(DATABASE, expand(query, chosen, self.from_ms, self.to_ms))
        return sum(any(value is not None for value in row[1:]) for series in found for row in series["values"])


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    with influxdb1() as server:
        site, begun_ms, ended_ms = fill(server, tmp_path_factory.mktemp("demo"))
        yield Filled(server, site, begun_ms - MARGIN_MS, ended_ms + MARGIN_MS)


def test_every_panel_and_annotation_shows_something(filled: Filled) -> None:
    listed: list[str] = []
    empty: list[str] = []
    for name, board in load().items():
        chosen = variables(board, filled.server, DATABASE)
        for query in (*panel_queries(name, board), *annotation_queries(name, board)):
            rows = filled.rows(query, chosen)
            listed.append(f"{rows:7d}  {name}  {query.panel}")
            if not rows:
                empty.append(f"{name} · {query.panel}: {query.query}")
    print("\n".join(listed))
    assert not empty, "\n".join(empty)


# --- a month ------------------------------------------------------------------------------------------------------

DAYS = 30
MINUTES = DAYS * 24 * 60
SLOWEST_S = 1.0


def month_of_minutes(site: LoadedSite, end_ms: int) -> Iterator[bytes]:
    """Yield line protocol: every minute field that a dashboard reads, and what the gateway says of itself."""
    fields: dict[tuple[str, str], list[str]] = {}
    for device in site.devices.values():
        for metric in (METRICS[name] for name in device.rules):
            fields.setdefault((table(metric), device.name), []).append(field(metric))
        fields["gateway", device.name] = ["device_state", "device_age_s"]
    for link in site.config.links:
        fields["gateway", f"link.{link}"] = ["link_up", "link_busy_pct", "link_requests", "link_failures"]
    rules = load_rules(site)
    for line in limits(rules, end_ms):
        fields["alerts", f"{line.rule}@{line.device}"] = ["limit_in_force"]
    for (measurement, device_name), names in fields.items():
        yield _lines(measurement, device_name, names, end_ms)
    for rule in rules.rules:
        for subject in rules.subjects(rule):
            yield _lines("alerts", f"{rule.name}@{subject}", ["alarm_level"], end_ms, int(FINE_EVERY_S // 60))


def _lines(measurement: str, device: str, names: list[str], end_ms: int, every: int = 1) -> bytes:
    variants = [
        f"{measurement},device={device},site=demo,zone=gate "
        + ",".join(f"{name}={(17 * index + 7 * variant) % 101 / 100}" for index, name in enumerate(names))
        for variant in range(16)
    ]
    return "\n".join(f"{variants[m % 16]} {end_ms - 60_000 * m}" for m in range(0, MINUTES, every)).encode()


def seconds_of(server: Influx1, text: str) -> float:
    """How long a query takes; what is slow is tried again, for this machine has other things to do."""
    found: list[float] = []
    while not found or (len(found) < 3 and min(found) > SLOWEST_S):
        begun_s = time.perf_counter()
        server.query(DATABASE, text)
        found.append(time.perf_counter() - begun_s)
    return min(found)


@pytest.mark.skipif(not os.environ.get("CI"), reason="writes some million lines: CI runs it")
@pytest.mark.timeout(240)
def test_a_month_is_drawn_within_a_second() -> None:
    site, end_ms = load_site(configs.path("site.demo.yaml")), 1_790_000_000_000
    with influxdb1(max_body_bytes=0) as server:
        server.create_database(DATABASE)
        for lines in month_of_minutes(site, end_ms):
            status, answer = server.post("/write", lines, db=DATABASE, precision="ms")
            assert status == 204, answer
        slow: list[str] = []
        slowest_s = 0.0
        for name, board in load().items():
            chosen = variables(board, server, DATABASE)
            for query in panel_queries(name, board):
                text = expand(query, chosen, end_ms - MINUTES * 60_000, end_ms)
                took_s = seconds_of(server, text)
                slowest_s = max(slowest_s, took_s)
                if took_s > SLOWEST_S:
                    slow.append(f"{took_s:.2f} s  {name} · {query.panel}: {query.query}")
    print(f"slowest of all: {slowest_s:.2f} s")
    assert not slow, "\n".join(slow)
