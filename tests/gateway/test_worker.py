"""The link worker, on devices that are scripted and a clock that only we move."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from drivers.api import Heard, Rejected, Report, Request, Subscribed, Value
from drivers.errors import BadFrame, DriverError, LinkDown, NoAnswer, Refused
from gateway.links.listener import ListenerWorker
from gateway.links.worker import Polled
from gateway.model import DeviceHealth, LinkHealth
from tests.support.clock import ManualClock
from tests.support.link_bench import Bench, Notebook, ScriptedDevice, ScriptedWire, failing, running


async def test_first_values_come_at_once_then_on_the_grid() -> None:
    clock = ManualClock()
    device = ScriptedDevice(clock)
    async with running(clock, [Polled("m", device, {"p": 5.0})]) as bench:
        assert bench.book.taken == [("m", ("p",), (1.0,))]
        await clock.advance(50)
        assert len(bench.book.taken) == 11
        assert bench.devices["m"].state == "good"
        assert (bench.health.requests, bench.health.answers, bench.health.late_rounds) == (11, 11, 0)


async def test_a_silent_device_is_asked_less_and_less_and_its_neighbour_keeps_its_rate() -> None:
    clock = ManualClock()
    dead, live = ScriptedDevice(clock, failing(NoAnswer("unit 2: no answer"))), ScriptedDevice(clock)
    async with running(clock, [Polled("dead", dead, {"p": 1.0, "q": 1.0}), Polled("live", live, {"p": 1.0})]) as bench:
        await clock.advance(600)
        assert len(live.asked) >= 600
        assert len(dead.asked) < 30
        assert bench.devices["dead"].state == "silent"
        assert {mark for _, _, mark in bench.book.missing} == {"B"}
        assert not [t for t in bench.book.taken if t[0] == "dead"]
        dead.answer = lambda request: (2.0,)
        await clock.advance(121)
        assert bench.devices["dead"].state == "good"
        before = len(dead.asked)
        await clock.advance(10)
        assert len(dead.asked) == before + 20  # two points, every second again


async def test_one_lost_answer_of_a_good_device_is_asked_for_once_more() -> None:
    clock = ManualClock()
    answers = iter([(1.0,), NoAnswer("lost"), (2.0,), BadFrame("noise"), (3.0,)])

    def answer(request: Request) -> tuple[Value, ...]:
        item = next(answers)
        if isinstance(item, DriverError):
            raise item
        return item

    async with running(clock, [Polled("m", ScriptedDevice(clock, answer), {"p": 1.0})]) as bench:
        await clock.advance(2)
        assert [values for _, _, values in bench.book.taken] == [(1.0,), (2.0,), (3.0,)]
        assert bench.book.missing == []
        assert bench.health.failures == {"no_answer": 1, "bad_frame": 1}


async def test_a_refused_request_spoils_only_its_own_points() -> None:
    clock = ManualClock()

    def answer(request: Request) -> tuple[Value, ...]:
        if request.points == ("q",):
            raise Refused("unit 1: illegal data address", 2)
        return (1.0,)

    async with running(clock, [Polled("m", ScriptedDevice(clock, answer), {"p": 1.0, "q": 1.0, "r": 1.0})]) as bench:
        assert [points for _, points, _ in bench.book.taken] == [("p",), ("r",)]
        assert bench.book.missing == [("m", ("q",), "D")]
        assert bench.devices["m"].state == "partly"
        assert "illegal data address" in (bench.devices["m"].last_error or "")
        await clock.advance(3)
        assert len(bench.book.taken) == 8, "a refusal is no reason to ask the others less often"


async def test_a_wire_that_comes_late_is_found() -> None:
    clock = ManualClock()
    async with running(clock, [Polled("m", ScriptedDevice(clock), {"p": 5.0})], ScriptedWire(refuse_opens=4)) as bench:
        assert bench.health.state == "down"
        assert bench.devices["m"].state == "link_down"
        assert "no such port" in (bench.health.last_error or "")
        assert bench.book.missing[0] == ("m", ("p",), "B")
        await clock.advance(30)
        assert bench.health.state == "up"
        assert bench.devices["m"].state == "good"
        assert bench.health.reconnects == 1


async def test_a_lost_wire_marks_every_device_and_returns() -> None:
    clock = ManualClock()
    unplugged = False

    def answer(request: Request) -> tuple[Value, ...]:
        nonlocal unplugged
        if unplugged:
            unplugged = False
            wire.refuse_opens = wire.opens + 1
            raise LinkDown("unplugged")
        return (1.0,)

    wire = ScriptedWire()
    pair = [Polled("a", ScriptedDevice(clock, answer), {"p": 1.0}), Polled("b", ScriptedDevice(clock), {"p": 1.0})]
    async with running(clock, pair, wire) as bench:
        await clock.advance(5)
        unplugged = True
        await clock.advance(1)
        assert bench.health.failures == {"link_down": 1}
        await clock.advance(2)
        assert {d.state for d in bench.devices.values()} == {"good"}
        assert bench.wire.opens == 3


async def test_a_device_that_closes_after_each_answer_is_read_like_any_other() -> None:
    clock = ManualClock()
    wire = ScriptedWire()
    spent = 0

    def answer(request: Request) -> tuple[Value, ...]:
        nonlocal spent
        if spent == wire.opens:
            raise LinkDown("closed by the other side")
        spent = wire.opens
        return (1.0,)

    async with running(clock, [Polled("m", ScriptedDevice(clock, answer), {"p": 1.0, "q": 1.0})], wire) as bench:
        await clock.advance(3)
        assert [points for _, points, _ in bench.book.taken] == [("p",), ("q",)] * 4
        assert bench.book.missing == []
        assert (bench.devices["m"].state, bench.health.state) == ("good", "up")


async def test_a_device_that_closes_without_an_answer_is_not_asked_in_a_circle() -> None:
    clock = ManualClock()
    device = ScriptedDevice(clock, failing(LinkDown("closed by the other side")))
    async with running(clock, [Polled("m", device, {"p": 1.0})]) as bench:
        await clock.advance(60)
        assert bench.wire.opens == len(device.asked) < 15


async def test_a_wire_on_which_nobody_answers_is_opened_again() -> None:
    clock = ManualClock()
    device = ScriptedDevice(clock, failing(NoAnswer("half-open")))
    async with running(clock, [Polled("m", device, {"p": 1.0})]) as bench:
        await clock.advance(300)
        assert 3 <= bench.wire.opens <= 10
        assert bench.health.state == "up", "the wire itself is not known to be broken"


async def test_rounds_that_come_too_late_are_counted_not_piled_up() -> None:
    clock = ManualClock()

    def slow(request: Request) -> tuple[Value, ...]:
        clock._move_to(clock.monotonic_s() + 3.5)  # the exchange itself takes this long
        return (1.0,)

    async with running(clock, [Polled("m", ScriptedDevice(clock, slow), {"p": 1.0})]) as bench:
        await clock.advance(20)
        assert 3 <= len(bench.book.taken) <= 8
        assert bench.health.late_rounds >= 2 * (len(bench.book.taken) - 2)


# --- devices that speak first ----------------------------------------------------------------------------------------


class ScriptedListener:
    def __init__(self) -> None:
        self.queue: asyncio.Queue[Heard | LinkDown] = asyncio.Queue()
        self.acknowledged = 0

    window = 100

    def acknowledge(self, count: int) -> None:
        self.acknowledged = count

    async def reports(self) -> AsyncGenerator[Heard, None]:
        while True:
            item = await self.queue.get()
            if isinstance(item, LinkDown):
                raise item
            yield item


@asynccontextmanager
async def listening(clock: ManualClock) -> AsyncIterator[tuple[ScriptedListener, Bench]]:
    listener, book, health = ScriptedListener(), Notebook(), LinkHealth("mq", "mqtt", "broker")
    devices = {"crane": DeviceHealth("crane")}
    worker = ListenerWorker(listener, {"crane": 2.0}, book, clock, health, devices, {"crane": ("load_t",)}, lambda: 0.5)
    task = asyncio.create_task(worker.run())
    try:
        listener.queue.put_nowait(Subscribed())
        await clock.advance(0)
        yield listener, Bench(clock, ScriptedWire(), book, health, devices, worker)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def report(load: float, *, sent_at_ms: int | None = None, retained: bool = False) -> Report:
    return Report("crane", ("load_t",), (load,), sent_at_ms, retained)


async def test_reports_are_taken_and_rubbish_is_counted_by_cause() -> None:
    clock = ManualClock()
    async with listening(clock) as (listener, bench):
        assert bench.health.state == "up", "connected, though nobody has spoken yet"
        listener.queue.put_nowait(report(3.2))
        listener.queue.put_nowait(Rejected("crane", "not_json", "the payload is not JSON"))
        await clock.advance(0)
        assert bench.book.taken == [("crane", ("load_t",), (3.2,))]
        assert bench.health.failures == {"not_json": 1}
        assert bench.devices["crane"].state == "good"


async def test_a_retained_message_of_unknown_age_is_no_reading() -> None:
    clock = ManualClock()
    async with listening(clock) as (listener, bench):
        listener.queue.put_nowait(report(9.9, retained=True))
        await clock.advance(0)
        assert bench.book.taken == []
        assert bench.health.failures == {"stale_retained": 1}


async def test_a_retained_message_is_never_a_fresh_reading_whatever_its_stamp_says() -> None:
    """Fault 58: what the broker repeats may fill the past, but never raise an alarm or move a relay."""
    clock = ManualClock()
    async with listening(clock) as (listener, bench):
        listener.queue.put_nowait(report(9.9, retained=True, sent_at_ms=clock.wall_ms()))
        listener.queue.put_nowait(report(8.8, retained=True, sent_at_ms=clock.wall_ms() - 30_000))
        listener.queue.put_nowait(report(7.7, retained=True, sent_at_ms=clock.wall_ms() - 31_000))
        await clock.advance(0)
        assert [values for _, _, values in bench.book.taken] == [(7.7,)]
        assert bench.health.failures == {"retained": 2}
        assert bench.devices["crane"].state == "waiting"
        listener.queue.put_nowait(report(9.9, sent_at_ms=clock.wall_ms()))
        await clock.advance(0)
        assert bench.book.taken[-1][2] == (9.9,), "the same in a report is taken: the retained one was not it"


async def test_a_retained_message_counts_once_however_often_it_is_repeated() -> None:
    clock = ManualClock()
    async with listening(clock) as (listener, bench):
        sent_at_ms = clock.wall_ms()
        listener.queue.put_nowait(report(1.0, sent_at_ms=sent_at_ms))
        for _ in range(3):
            listener.queue.put_nowait(LinkDown("connection reset"))
            await clock.advance(60)
            listener.queue.put_nowait(Subscribed())
            listener.queue.put_nowait(report(1.0, retained=True, sent_at_ms=sent_at_ms))
            await clock.advance(0)
        assert len(bench.book.taken) == 1
        assert bench.devices["crane"].state != "good", "its last word is no sign of life"
        assert bench.health.failures["repeated"] == 3


async def test_a_retained_message_from_long_ago_is_no_sign_of_life() -> None:
    clock = ManualClock()
    async with listening(clock) as (listener, bench):
        listener.queue.put_nowait(report(1.0, retained=True, sent_at_ms=clock.wall_ms() - 86_400_000))
        await clock.advance(0)
        assert len(bench.book.taken) == 1
        assert bench.devices["crane"].state == "waiting"
        assert bench.devices["crane"].last_answer_ms is None


async def test_a_device_that_stays_away_when_the_broker_is_back_is_silent() -> None:
    clock = ManualClock()
    async with listening(clock) as (listener, bench):
        listener.queue.put_nowait(report(1.0))
        listener.queue.put_nowait(LinkDown("connection reset"))
        await clock.advance(30)
        assert bench.devices["crane"].state == "link_down"
        listener.queue.put_nowait(Subscribed())
        await clock.advance(30)
        assert (bench.health.state, bench.devices["crane"].state) == ("up", "silent")


async def test_a_message_that_is_delivered_twice_is_one_reading() -> None:
    clock = ManualClock()
    async with listening(clock) as (listener, bench):
        for load in (1.0, 1.0, 2.0):
            listener.queue.put_nowait(report(load, sent_at_ms=clock.wall_ms()))
        await clock.advance(0)
        assert [values for _, _, values in bench.book.taken] == [(1.0,), (2.0,)]


async def test_a_device_that_stops_reporting_is_marked_once() -> None:
    clock = ManualClock()
    async with listening(clock) as (listener, bench):
        listener.queue.put_nowait(report(1.0))
        await clock.advance(60)
        assert bench.devices["crane"].state == "silent"
        assert bench.book.missing == [("crane", ("load_t",), "B")]
        listener.queue.put_nowait(report(1.0))
        await clock.advance(0)
        assert bench.devices["crane"].state == "good"


async def test_a_lost_broker_is_found_again() -> None:
    clock = ManualClock()
    async with listening(clock) as (listener, bench):
        listener.queue.put_nowait(LinkDown("connection reset"))
        await clock.advance(0)
        assert bench.health.state == "down"
        assert bench.devices["crane"].state == "link_down"
        await clock.advance(1)
        listener.queue.put_nowait(Subscribed())
        await clock.advance(0)
        assert bench.health.state == "up"
        assert bench.health.reconnects == 1
