"""What the gateway says of itself on the way to the sinks."""

from __future__ import annotations

import asyncio

from gateway import telemetry
from gateway.alerts.state import Event
from gateway.model import Alarm, BufferStats, DeviceHealth, LimitLine, LinkHealth, Mark, Readings, SinkStats
from gateway.pipeline.latest import Latest
from gateway.sinks.line_protocol import Encoder
from gateway.telemetry import Telemetry
from gateway.vocabulary import METRICS
from tests.support.clock import ManualClock


def stats(oldest_ms: int | None = None) -> BufferStats:
    sinks = (SinkStats("influx", 7, oldest_ms, 2),)
    return BufferStats(100, 900, 5_000_000, 10_000_000, 3, 0, None, sinks)


def alarm(**changes: object) -> Alarm:
    known: dict[str, object] = {
        "id": "pm10_live@dust@5", "rule": "pm10_live", "subject": "dust", "severity": "alarm", "cause": "raised",
        "state": "open", "active": True, "raised_ms": 5, "changed_ms": 9, "cleared_ms": None, "closed_ms": None,
        "details": {"value": 212.5, "limit": 200, "unit": "µg/m³"},
    }  # fmt: skip
    return Alarm(**(known | changes))  # type: ignore[arg-type]


def fields(readings: Readings) -> dict[str, float | None]:
    return dict(zip(readings.metrics, readings.values, strict=True))


async def test_tells_of_the_start_of_changes_at_once_and_of_everything_each_minute() -> None:
    clock, told = ManualClock(), list[Readings]()
    link, device = LinkHealth("meters", "serial", "/dev/x", state="up"), DeviceHealth("main", state="good")
    teller = Telemetry(
        told.append, clock, Latest(), {"meters": link}, {"main": device}, stats, {"link meters": 2, "minutes": 1}, None
    )
    task = asyncio.create_task(teller.run())
    await clock.advance(1.0)
    assert [each.device for each in told] == ["sitegate", "sitegate", "sink.influx", "link.meters", "main"]
    assert fields(told[0]) == {"gateway_started": 1.0}
    assert fields(told[1])["gateway_started"] == 0.0
    assert fields(told[1])["gateway_restarts"] == 3.0
    assert fields(told[1])["buffer_used_pct"] == 50.0
    told.clear()
    await clock.advance(10.0)
    assert told == []
    device.state = "silent"
    await clock.advance(1.0)
    assert [(each.device, fields(each)["device_state"]) for each in told] == [("main", 4.0)]
    told.clear()
    await clock.advance(60.0)
    assert {each.device for each in told} == {"sitegate", "sink.influx", "link.meters", "main"}
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_an_alarm_is_a_level_until_its_cause_is_gone() -> None:
    raised = telemetry.alarm_record("pm10_live", "dust", [alarm()], 12)
    assert (raised.device, raised.time_ms) == ("pm10_live@dust", 12)
    assert fields(raised) == {"alarm_level": 3.0, "alarm_answer": 0.0, "alarm_value": 212.5, "alarm_limit": 200.0}
    over = telemetry.alarm_record("pm10_live", "dust", [alarm(active=False, state="closed", details={})], 12)
    assert fields(over) == {"alarm_level": 0.0, "alarm_answer": 3.0}
    assert fields(telemetry.alarm_record("pm10_live", "other", [alarm()], 12)) == {"alarm_level": 0.0}


def test_the_worst_alarm_of_a_rule_is_its_level() -> None:
    alarms = [
        alarm(id="b", severity="info", raised_ms=9, details={}),
        alarm(id="a"),
        alarm(id="c", severity="critical", active=False, details={}),
    ]
    assert fields(telemetry.alarm_record("pm10_live", "dust", alarms, 12))["alarm_level"] == 3.0


def event(kind: str, **details: object) -> Event:
    return Event("", kind, 99, "pm10_hour", "gate", "info", details)  # type: ignore[arg-type]


def test_a_verdict_stands_at_the_end_of_its_window() -> None:
    judged = {"outcome": "exceeded", "device": "dust", "window_end_ms": 60_000, "value": 171.0}
    for kind in ("verdict", "corrected"):
        found = telemetry.verdict_record(event(kind, **judged))
        assert found is not None
        assert (found.device, found.time_ms) == ("pm10_hour@dust", 60_000)
        assert fields(found) == {"verdict": 2.0, "verdict_value": 171.0}
    missing = telemetry.verdict_record(event("verdict", **{**judged, "outcome": "not_enough_data"}))
    assert missing is not None
    assert fields(missing) == {"verdict": 1.0}
    assert telemetry.verdict_record(event("raised", **judged)) is None


def test_the_limit_in_force_is_the_limit_not_its_warning_and_only_while_it_holds() -> None:
    def line(rule: str, value: float, *, warning: bool, now: bool = True) -> LimitLine:
        return LimitLine("dust", "pm10_ug_m3", rule, "R", "R", value, warning, "day", now)

    lines = [line("a", 120, warning=True), line("a", 150, warning=False), line("b", 90, warning=True)]
    found = list(telemetry.limit_records([*lines, line("night", 55, warning=False, now=False)], 7))
    assert [(each.device, fields(each)) for each in found] == [
        ("a@dust", {"limit_in_force": 150.0}),
        ("b@dust", {"limit_in_force": 90.0}),
    ]


class Desk:
    """Fulfils telemetry.Desk."""

    def __init__(self) -> None:
        self.known: list[Alarm] = []

    def alarms(self) -> list[Alarm]:
        return self.known

    def limits(self) -> list[LimitLine]:
        return [LimitLine("dust", "pm10_ug_m3", "pm10_live", "R", "R", 150.0, False, "always", True)]

    def judged(self) -> list[tuple[str, str]]:
        return [("device_silent", "gate"), ("pm10_live", "dust")]


async def test_alarms_are_told_at_once_and_while_they_hold_each_minute_and_rules_that_are_fine_now_and_then() -> None:
    clock, told, desk = ManualClock(), list[Readings](), Desk()
    teller = Telemetry(told.append, clock, Latest(), {}, {}, stats, {}, desk)

    def levels() -> list[tuple[str, float | None]]:
        found = [(r.device, fields(r)["alarm_level"]) for r in told if "alarm_level" in r.metrics]
        told.clear()
        return found

    task = asyncio.create_task(teller.run())
    await clock.advance(1.0)
    assert sum(each.metrics == ("limit_in_force",) for each in told) == 1
    assert levels() == [("device_silent@gate", 0.0), ("pm10_live@dust", 0.0)]
    desk.known = [alarm()]
    teller.alarm_happened(event("raised"), alarm())
    assert levels() == [("pm10_live@dust", 3.0)]
    await clock.advance(60.0)
    assert levels() == [("pm10_live@dust", 3.0)]
    desk.known = []
    teller.alarm_happened(event("closed"), alarm(active=False, state="closed"))
    teller.window_judged(event("verdict", outcome="passed", device="dust", window_end_ms=5, value=3))
    assert [each.device for each in told if "verdict" in each.metrics] == ["pm10_hour@dust"]
    assert levels() == [("pm10_live@dust", 0.0)]
    await clock.advance(60.0)
    assert levels() == []
    await clock.advance(240.0)
    assert levels() == [("device_silent@gate", 0.0), ("pm10_live@dust", 0.0)]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_how_far_a_sink_is_behind() -> None:
    [record] = telemetry.buffer_records(stats(oldest_ms=1_000), 61_000)
    assert fields(record) == {"sink_pending": 7.0, "sink_behind_s": 60.0, "sink_refused": 2.0}
    [record] = telemetry.buffer_records(stats(), 61_000)
    assert fields(record)["sink_behind_s"] == 0.0


def test_what_is_not_known_is_no_field() -> None:
    record = telemetry.device_record(DeviceHealth("main"), 1000)
    assert fields(record) == {"device_state": 3.0}
    assert record.marks == Mark.GOOD


def test_the_sinks_can_write_every_record_of_ours() -> None:
    records = [
        telemetry.alarm_record("pm10_live", "dust", [alarm()], 9),
        telemetry.device_record(DeviceHealth("main", last_answer_ms=1), 1000),
        telemetry.link_record(LinkHealth("meters", "serial", "/dev/x"), 1000),
        *telemetry.buffer_records(stats(), 1000),
    ]
    lines = b"\n".join(Encoder("pilot", {}, False).encode(each) for each in records).decode().splitlines()
    assert lines[0] == (
        "alerts,device=pm10_live@dust,site=pilot alarm_level=3.0,alarm_answer=0.0,alarm_value=212.5,alarm_limit=200.0 9"
    )
    assert {line.partition(",")[0] for line in lines[1:]} == {"gateway"}
    assert all(metric in METRICS for each in records for metric in each.metrics)
