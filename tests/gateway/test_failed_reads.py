"""A failed read never repeats the old value as new: from the wire to buffer, page and line protocol (fault 107, I2)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers.api import Request, Value
from drivers.errors import BadFrame, DriverError, LinkDown, NoAnswer, Refused
from gateway.buffer.sqlite import SqliteBuffer
from gateway.config.profile import ReportRule
from gateway.links.worker import LinkWorker, Polled
from gateway.model import DeviceHealth, LinkHealth, Mark, Readings
from gateway.pipeline.fanout import Consumer, Pipeline
from gateway.pipeline.latest import Latest
from gateway.sinks.line_protocol import Encoder
from tests.gateway.test_buffer_contract import open_sqlite
from tests.gateway.test_line_protocol import parse
from tests.gateway.test_normalize import rule
from tests.support.clock import ManualClock
from tests.support.link_bench import ScriptedDevice, ScriptedWire

POINTS = ("pm10_ug_m3", "wind_speed_m_s")
FAILURES: dict[str, DriverError] = {
    "silence": NoAnswer("unit 1: no answer"),
    "noise": BadFrame("unit 1: checksum differs"),
    "refusal": Refused("unit 1: device failure", 4),
    "unplugged": LinkDown("unplugged"),
}
SCRIPT = st.lists(st.sampled_from(["good", "good", *FAILURES]), min_size=3, max_size=30)


class Station:
    """A dust station that never says the same number twice; its answers go the gateway's whole way."""

    def __init__(self, script: Sequence[str], pipeline: type[Pipeline], report: ReportRule | None) -> None:
        self.clock = ManualClock()
        self.script = list(script)
        self.sent: dict[tuple[str, float], int] = {}
        """Point and number -> when the station said it."""
        self.last: dict[str, float | None] = {}
        """What each point's last request brought."""
        self.latest = Latest(self.clock.wall_ms)
        self._make, self._report = pipeline, report

    def answer(self, request: Request) -> tuple[Value, ...]:
        (point,) = request.points
        what = self.script.pop(0) if self.script else "good"
        if what != "good":
            self.last[point] = None
            raise FAILURES[what]
        number = (len(self.sent) + 1) / 16  # below every range's end
        self.sent[point, number] = self.clock.wall_ms()
        self.last[point] = number
        return (number,)

    def pipeline(self, kept: Consumer) -> Pipeline:
        rules = {point: rule(point, report=self._report) for point in POINTS}
        return self._make({"dust": rules}, [self.latest.put], reported=kept, wall_ms=self.clock.wall_ms)

    async def run(self, buffer: SqliteBuffer) -> None:
        """Poll once a second until the script is over; look at the newest values after each second."""
        device = Polled("dust", ScriptedDevice(self.clock, self.answer), dict.fromkeys(POINTS, 1.0))
        health, devices = LinkHealth("bus", "serial", "port"), {"dust": DeviceHealth("dust")}
        worker = LinkWorker(
            ScriptedWire(), [device], self.pipeline(buffer.put), self.clock, health, devices, chance=lambda: 0.5
        )
        task = asyncio.create_task(worker.run())
        try:
            while self.script:
                await self.clock.advance(1)
                self.look()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def look(self) -> None:
        for shown in self.latest.values("dust"):
            if self.last[shown.metric] is None:
                assert shown.value is None, "an old value stands there as the newest"
                assert shown.mark != Mark.GOOD
            if shown.value is not None:
                assert shown.value == self.last[shown.metric]
                assert shown.time_ms == self.sent[shown.metric, shown.value]


async def delivered(buffer: SqliteBuffer) -> dict[tuple[str, float], int]:
    """What a sink would be sent: point and number -> stamp. No number comes twice."""
    encoder = Encoder("pilot", {}, False)
    await buffer.flush()
    lines = [line for r in (await buffer.lease("influx", 10**6)).records for line in encoder.encode(r).splitlines()]
    found: dict[tuple[str, float], int] = {}
    for _, _, fields, stamp in map(parse, map(bytes.decode, lines)):
        for item in fields.items():
            assert item not in found, "a number was sent twice"
            found[item] = stamp
    return found


async def day(path: Path, script: Sequence[str], report: ReportRule | None, make: type[Pipeline] = Pipeline) -> None:
    station, buffer = Station(["good", "good", *script], make, report), await open_sqlite(path)
    try:
        await station.run(buffer)
        found = await delivered(buffer)
    finally:
        await buffer.close()
    assert found.items() <= station.sent.items(), "a number has another stamp than the moment it was said"
    if report is None:
        assert found == station.sent, "and none of them is missing"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SCRIPT, st.sampled_from([None, ReportRule(deadband=0.2, max_s=5.0), ReportRule(on_change=False, min_s=3.0)]))
def test_every_number_comes_once_with_the_moment_it_was_said(
    tmp_path_factory: pytest.TempPathFactory, script: list[str], report: ReportRule | None
) -> None:
    asyncio.run(day(tmp_path_factory.mktemp("day") / "buffer.db", script, report))


class Repeating(Pipeline):
    """The fault itself: what was not read is handed on as it was last time."""

    def missed(self, device: str, points: tuple[str, ...], mark: Mark, time_ms: int) -> None:
        for consume in self._consumers_of(device, points):
            consume(replace(self._before[points], time_ms=time_ms))

    def _consumers_of(self, device: str, points: tuple[str, ...]) -> tuple[Consumer, ...]:
        return (*super()._consumers_of(device, points), self._remember)

    def _remember(self, readings: Readings) -> None:
        self._before = {**getattr(self, "_before", {}), readings.metrics: readings}


@pytest.mark.parametrize("failure", FAILURES)
async def test_the_rig_sees_a_repeated_value(tmp_path: Path, failure: str) -> None:
    script = ["good", "good", *[failure] * 4, "good", "good"]
    await day(tmp_path / "right.db", script, None)
    with pytest.raises(AssertionError, match="an old value stands there"):
        await day(tmp_path / "wrong.db", script, None, Repeating)


async def test_a_number_under_two_stamps_is_seen_in_the_lines(tmp_path: Path) -> None:
    """The second half of the rig by itself."""
    buffer = await open_sqlite(tmp_path / "buffer.db")
    for time_ms in (1_000, 2_000):
        buffer.put(Readings("dust", time_ms, POINTS[:1], (5.0,), "N"))
    with pytest.raises(AssertionError, match="sent twice"):
        await delivered(buffer)
    await buffer.close()
