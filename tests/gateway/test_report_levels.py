"""Where a report rule comes from, and who sees what: page, minutes, alarms and control see every reading."""

from __future__ import annotations

from pathlib import Path

from gateway.app import running
from gateway.config.loader import LoadedSite, load_site
from gateway.config.profile import PointRule, ReportRule
from gateway.model import Mark, Readings
from gateway.pipeline.fanout import Pipeline
from gateway.web import history
from tests.gateway.test_normalize import rule
from tests.support.clock import ManualClock

SITE = """\
site: {{id: lot-2, name: Lot 2}}
data_dir: data
links:
  zones: {{kind: tcp, host: 127.0.0.1, port: 9}}
devices:
  plain: {{link: zones, profile: own_meter, address: {{unit: 1}}}}
  special: {{link: zones, profile: own_meter, address: {{unit: 2}}, report: {{deadband_percent: 2, max_interval: 1m}}}}
  whole: {{link: zones, profile: own_meter, address: {{unit: 3}}, report: {{when: all}}}}
page: {{port: 0}}
{report}
"""
PROFILE = """\
profile: own_meter
maker: Example
models: [EM-3]
title: {en: Example meter, zh: 示例电表}
driver: modbus
verified: simulated
source: "from memory"
every: 5s
points:
  voltage_l1_v: {table: holding, address: 0x10, report: {deadband: 0.5, min_interval: 10s}}
  current_l1_a: {table: holding, address: 0x11}
  frequency_hz: {table: holding, address: 0x12, report: {when: all}}
example:
  raw: {holding: {0x10: [230, 5, 50]}}
  gives: {voltage_l1_v: 230, current_l1_a: 5, frequency_hz: 50}
"""
OF_THE_POINT = ReportRule(deadband=0.5, min_s=10.0, max_s=600.0)


def load(folder: Path, report: str = "") -> LoadedSite:
    (folder / "profiles").mkdir(exist_ok=True)
    (folder / "profiles" / "own_meter.yaml").write_text(PROFILE, encoding="utf-8")
    file = folder / "site.yaml"
    file.write_text(SITE.format(report=report), encoding="utf-8")
    return load_site(file)


def reports(site: LoadedSite, device: str) -> list[ReportRule | None]:
    return [site.devices[device].rules[m].report for m in ("voltage_l1_v", "current_l1_a", "frequency_hz")]


def test_the_nearest_block_counts_point_before_device_before_site(tmp_path: Path) -> None:
    own = ReportRule(deadband_percent=2.0, max_s=60.0)
    site = load(tmp_path)
    assert reports(site, "plain") == [OF_THE_POINT, None, None]
    assert reports(site, "special") == [OF_THE_POINT, own, None], "frequency_hz says itself: all"
    assert reports(site, "whole") == [OF_THE_POINT, None, None]
    site = load(tmp_path, "report: {max_interval: 5min, last_before: false}")
    assert reports(site, "plain") == [OF_THE_POINT, ReportRule(max_s=300.0, last_before=False), None]
    assert reports(site, "special") == [OF_THE_POINT, own, None]
    assert reports(site, "whole") == [OF_THE_POINT, None, None]
    site = load(tmp_path, "report: {when: all, min_interval: 1min}")
    assert reports(site, "plain")[1] == ReportRule(on_change=False, min_s=60.0)


def test_without_rules_nothing_stands_between_pipeline_and_buffer() -> None:
    seen: list[Readings] = []
    kept: list[Readings] = []
    points = {"voltage_l1_v": rule("voltage_l1_v"), "current_l1_a": rule("current_l1_a", report=ReportRule())}
    pipeline = Pipeline({"m": points}, [seen.append], reported=kept.append)
    take = pipeline.prepare("m", ("voltage_l1_v",))
    for n in range(5):
        take((230,), n)
    pipeline.missed("m", ("voltage_l1_v",), Mark.NO_ANSWER, 9)
    assert len(kept) == 6
    assert all(a is b for a, b in zip(seen, kept, strict=True))


def test_only_the_way_to_the_buffer_is_thinned() -> None:
    seen: list[Readings] = []
    kept: list[Readings] = []
    points: dict[str, PointRule] = {"voltage_l1_v": rule("voltage_l1_v", report=ReportRule(deadband=1.0))}
    pipeline = Pipeline({"m": points}, [seen.append], reported=kept.append)
    take = pipeline.prepare("m", ("voltage_l1_v",))
    for n in range(5):
        take((230,), n * 1000)
    pipeline.missed("m", ("voltage_l1_v",), Mark.NO_ANSWER, 5000)
    pipeline.missed("m", ("voltage_l1_v",), Mark.NO_ANSWER, 6000)
    take((230,), 7000)
    assert [r.time_ms for r in seen] == [0, 1000, 2000, 3000, 4000, 5000, 6000, 7000]
    assert [(r.time_ms, r.marks) for r in kept] == [(0, "N"), (4000, "N"), (5000, "B"), (7000, "N")]


async def test_minutes_and_page_know_every_reading_of_a_thinned_point(tmp_path: Path) -> None:
    clock = ManualClock()
    points = ("voltage_l1_v", "current_l1_a")
    async with running(load(tmp_path), clock) as gateway:
        begun_ms = clock.wall_ms() // 60_000 * 60_000 + 60_000
        take = gateway.pipeline.prepare("plain", points)
        for n in range(12):
            take((230 if n != 6 else 231, 5), begun_ms + n * 5000)
        end_ms = begun_ms + 60_000
        (minute,) = await gateway.ledger.minutes("plain", "voltage_l1_v", begun_ms, end_ms)
        assert (minute.count, minute.high) == (12, 231.0)
        assert gateway.latest.good_values == 24
        await gateway.buffer.flush()
        thinned = await gateway.buffer.recent("plain", "voltage_l1_v", begun_ms, end_ms)
        assert [((t - begun_ms) // 1000, v) for t, v in thinned] == [(0, 230.0), (25, 230.0), (30, 231.0), (40, 230.0)]
        assert len(await gateway.buffer.recent("plain", "current_l1_a", begun_ms, end_ms)) == 12
        state = gateway.page._state
        for metric, step_s in (("voltage_l1_v", 60), ("current_l1_a", 0)):
            asked = history.parse(state, {"device": "plain", "metric": metric}, end_ms)
            assert asked.step_s == step_s, "what was left out as unchanged must not look like a gap"
