"""The pump: nothing is settled that was not written, and every wait is the right one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.errors import SinkTimeout, SinkUnavailable
from gateway.model import Readings
from gateway.sinks import Written
from gateway.sinks.pump import BatchSize, Pump
from tests.support.clock import ManualClock, settle
from tests.support.lending import LendingBuffer

METRICS = tuple(f"voltage_l{n}_v" for n in (1, 2, 3))


def record(number: int, good: bool = True) -> Readings:
    values = (230.0, 231.0, 232.0) if good else (230.0, None, None)
    return Readings(f"d{number}", 1_790_000_000_000 + number, METRICS, values, "NNN" if good else "NBT")


class PatientClock(ManualClock):
    """Remembers how long it was asked to sleep."""

    def __init__(self) -> None:
        super().__init__()
        self.slept_s: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        await super().sleep(seconds)


class ScriptedSink:
    """Answers each write with the next step of the script, then takes everything."""

    def __init__(self, *script: Written | SinkUnavailable) -> None:
        self.name = "influx"
        self.script = list(script)
        self.batches: list[Sequence[Readings]] = []
        self.taken: list[Readings] = []

    async def write(self, batch: Sequence[Readings]) -> Written:
        self.batches.append(batch)
        step = self.script.pop(0) if self.script else Written()
        if isinstance(step, SinkUnavailable):
            raise step
        self.taken += [readings for index, readings in enumerate(batch) if index not in step.rejected]
        return step

    async def close(self) -> None: ...


@asynccontextmanager
async def pumping(
    sink: ScriptedSink, buffer: LendingBuffer, clock: ManualClock, max_values: int = 100, chance: float = 0.0
) -> AsyncIterator[Pump]:
    pump = Pump(sink, buffer, clock, max_values, chance=lambda: chance)  # type: ignore[arg-type]
    task = asyncio.create_task(pump.run())
    await settle()
    try:
        yield pump
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_lease_write_settle() -> None:
    sink, buffer, clock = ScriptedSink(), LendingBuffer("influx"), ManualClock()
    async with pumping(sink, buffer, clock) as pump:
        assert pump.health.state == "waiting"
        await buffer.put(record(1), record(2, good=False))
        await buffer.until_settled(2)
        assert buffer.leased_values[0] == 100
        assert sink.taken == buffer.settled
        assert (pump.health.state, pump.health.sent_records, pump.health.sent_values) == ("up", 2, 4)


async def test_an_outage_keeps_everything_and_is_logged_once_each_way() -> None:
    failures = [SinkUnavailable("refused")] * 4
    sink, buffer, clock = ScriptedSink(*failures), LendingBuffer("influx"), ManualClock()
    with capture_logs() as logs:
        async with pumping(sink, buffer, clock) as pump:
            await buffer.put(record(1))
            await settle()
            assert (pump.health.state, pump.health.last_error, buffer.settled) == ("down", "refused", [])
            await buffer.put(record(2), record(3))
            await clock.advance(60)
            await buffer.until_settled(3)
            assert pump.health.state == "up"
            assert pump.health.retries == 4
    assert [entry["event"] for entry in logs] == ["sink lost", "sink back"]
    assert logs[0]["error"] == "refused"
    # chance 0 takes the shorter half: 0.5 + 1 + 2 + 4 s
    assert (logs[1]["down_s"], logs[1]["backlog"]) == (7.5, 3)


async def test_a_retry_takes_newcomers_along() -> None:
    sink, buffer, clock = ScriptedSink(SinkUnavailable("HTTP 500")), LendingBuffer("influx"), ManualClock()
    async with pumping(sink, buffer, clock):
        await buffer.put(record(1))
        await settle()
        await buffer.put(record(2))
        await clock.advance(1)
        await buffer.until_settled(2)
    assert [[r.device for r in batch] for batch in sink.batches] == [["d1"], ["d1", "d2"]]


@pytest.mark.parametrize(
    ("chance", "waits_s"), [(0.0, [0.5, 1, 2, 4, 8, 16, 30, 30]), (1.0, [1, 2, 4, 8, 16, 32, 60, 60])]
)
async def test_waits_grow_are_capped_and_jittered(chance: float, waits_s: list[float]) -> None:
    sink = ScriptedSink(*[SinkUnavailable("no")] * 8, Written(), SinkUnavailable("no"))
    buffer, clock = LendingBuffer("influx"), PatientClock()
    async with pumping(sink, buffer, clock, chance=chance):
        await buffer.put(record(1))
        await clock.advance(300)
        assert clock.slept_s == waits_s
        await buffer.put(record(2))
        await clock.advance(300)
        assert clock.slept_s == [*waits_s, waits_s[0]]  # a success forgets the failures
        assert len(buffer.settled) == 2


@pytest.mark.parametrize(("chance", "wait_s"), [(0.0, 120.0), (1.0, 132.0)])
async def test_a_pause_that_the_server_asks_for_is_never_cut_short(chance: float, wait_s: float) -> None:
    sink = ScriptedSink(SinkUnavailable("429", retry_after_s=120))
    buffer, clock = LendingBuffer("influx"), ManualClock()
    async with pumping(sink, buffer, clock, chance=chance):
        await buffer.put(record(1))
        await clock.advance(wait_s - 0.01)
        assert len(sink.batches) == 1
        await clock.advance(0.02)
        assert len(sink.batches) == 2


async def test_rejected_records_go_to_the_quarantine_and_are_logged_once_per_reason() -> None:
    sink = ScriptedSink(Written({0: "type conflict"}), Written({0: "type conflict", 1: "too old"}))
    buffer, clock = LendingBuffer("influx"), ManualClock()
    with capture_logs() as logs:
        async with pumping(sink, buffer, clock) as pump:
            await buffer.put(record(1), record(2))
            await buffer.until_settled(2)
            await buffer.put(record(3), record(4), record(5))
            await buffer.until_settled(5)
            assert (pump.health.rejected, pump.health.sent_records) == (3, 2)
    assert buffer.refused == {"d1": "type conflict", "d3": "type conflict", "d4": "too old"}
    assert [entry["reason"] for entry in logs] == ["type conflict", "too old"]


async def test_endless_reasons_do_not_flood_the_log() -> None:
    sink = ScriptedSink(Written({n: f"unable to parse line {n}" for n in range(300)}))
    buffer, clock = LendingBuffer("influx"), ManualClock()
    with capture_logs() as logs:
        async with pumping(sink, buffer, clock, max_values=10_000):
            await buffer.put(*(record(n) for n in range(300)))
            await buffer.until_settled(300)
    assert len(logs) == 100
    assert len(buffer.refused) == 300


async def test_a_blob_larger_than_a_write_is_sent_in_slices_and_rejections_keep_their_place() -> None:
    sink = ScriptedSink(Written(), SinkUnavailable("gone"), Written({1: "no"}))
    buffer, clock = LendingBuffer("influx"), ManualClock()
    async with pumping(sink, buffer, clock, max_values=7):
        await buffer.put(*(record(n) for n in range(5)))
        await clock.advance(10)
        await buffer.until_settled(5)
    assert [[r.device for r in batch] for batch in sink.batches] == [
        ["d0", "d1"],
        ["d2", "d3"],
        ["d2", "d3"],
        ["d4"],
    ]
    assert buffer.refused == {"d3": "no"}


class NarrowSink(ScriptedSink):
    """A path on which requests above a size vanish."""

    def __init__(self, passes: Callable[[int], bool]) -> None:
        super().__init__()
        self.passes = passes

    async def write(self, batch: Sequence[Readings]) -> Written:
        if not self.passes(len(batch)):
            self.batches.append(batch)
            raise SinkTimeout("no answer within 10 s")
        return await super().write(batch)


async def test_a_path_that_swallows_large_requests_is_used_with_small_ones_and_tried_again() -> None:
    limit = 4
    sink, buffer, clock = NarrowSink(lambda size: size <= limit), LendingBuffer("influx"), ManualClock()
    async with pumping(sink, buffer, clock, max_values=300):
        await buffer.put(*(record(n) for n in range(1000)))
        for _ in range(200):
            await clock.advance(60)
        assert len(buffer.settled) == 1000
        assert [r.device for r in sink.taken] == [f"d{n}" for n in range(1000)]
        swallowed = sum(len(batch) > limit for batch in sink.batches)
        assert 3 <= swallowed <= 12  # the first descent, then ever rarer attempts to grow
        limit = 1000
        await buffer.put(*(record(n) for n in range(5000)))
        await clock.advance(60)
        assert max(len(batch) for batch in sink.batches[-50:]) == 100


async def test_a_lease_cut_short_by_a_stop_is_not_settled() -> None:
    sink, buffer, clock = ScriptedSink(Written(), SinkUnavailable("gone")), LendingBuffer("influx"), ManualClock()
    async with pumping(sink, buffer, clock, max_values=3):
        await buffer.put(record(1), record(2))
        await settle()
        assert len(sink.taken) == 1
    assert buffer.settled == []
    async with pumping(sink, buffer, clock, max_values=3):
        await buffer.until_settled(2)
    assert [r.device for r in sink.taken] == ["d1", "d1", "d2"]


@given(st.lists(st.booleans(), max_size=300), st.integers(1, 500_000))
def test_batch_size_stays_in_its_bounds(timeouts: list[bool], max_values: int) -> None:
    size = BatchSize(max_values)
    for timed_out in timeouts:
        before = size.values
        if timed_out:
            size.timed_out(before)
            assert size.values < before or before == 1
        else:
            size.succeeded()
            assert size.values >= before
        assert 1 <= size.values <= max_values
