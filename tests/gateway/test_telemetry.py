"""What the gateway says of itself on the way to the sinks."""

from __future__ import annotations

import asyncio

from gateway import telemetry
from gateway.model import Alarm, BufferStats, DeviceHealth, LinkHealth, Mark, Readings, SinkStats
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
        told.append, clock, Latest(), {"meters": link}, {"main": device}, stats, {"link meters": 2, "minutes": 1}
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
    raised = telemetry.alarm_record(alarm())
    assert (raised.device, raised.time_ms) == ("pm10_live@dust", 9)
    assert fields(raised) == {"alarm_level": 3.0, "alarm_answer": 0.0, "alarm_value": 212.5, "alarm_limit": 200.0}
    over = telemetry.alarm_record(alarm(active=False, state="closed", details={}))
    assert fields(over) == {"alarm_level": 0.0, "alarm_answer": 3.0}


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
        telemetry.alarm_record(alarm()),
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
