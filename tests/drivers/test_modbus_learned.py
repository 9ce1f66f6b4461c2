"""Learning a unit's map: halving finds exactly what is refused, and one bad register costs only itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymodbus.framer import FramerRTU
from structlog.testing import capture_logs

from drivers.api import LearningDevice, Withheld
from drivers.errors import Refused
from drivers.modbus.driver import ModbusDevice
from drivers.modbus.learned import RETRY_CAP_S, RETRY_FIRST_S, SILENCES, Learner
from drivers.modbus.plan import Block, Limits, plan, spans_of
from drivers.modbus.points import Point
from drivers.transport.line import Line
from drivers.transport.loopback import Loopback, pair
from gateway.links.notebook import Notebook
from gateway.links.worker import QUESTIONS, LinkWorker, Polled
from gateway.model import DeviceHealth, LinkHealth
from tests.support.clock import ManualClock
from tests.support.link_bench import Notebook as Intake

DAY = RETRY_CAP_S


class Unit:
    """What a device gives: all but its holes, and never more than ``longest`` at once."""

    def __init__(self, holes: set[int], longest: int = 125) -> None:
        self.holes, self.longest = holes, longest
        self.asked = self.refusals = 0

    def gives(self, start: int, count: int) -> bool:
        good = count <= self.longest and self.holes.isdisjoint(range(start, start + count))
        self.asked += 1
        self.refusals += not good
        return good


def blocks_of(learner: Learner, points: dict[str, Point], limits: Limits) -> list[Block]:
    withheld = learner.withheld(points)
    asked = {name: p for name, p in points.items() if name not in withheld}
    return plan(asked, learner.limits(limits, points.values()), walls=learner.walls)


def held_round(learner: Learner, unit: Unit, points: dict[str, Point], limits: Limits, now_s: float = 0.0) -> bool:
    """Read everything once and ask what the learner wants to know; return whether anything was refused."""
    refused = False
    for block in blocks_of(learner, points, limits):
        if unit.gives(block.start, block.count):
            learner.given(block.table, block.start, block.count)
        else:
            refused = True
            learner.refused(block, spans_of({name: points[name] for name in block.names}), now_s)
    while (wall := learner.question(now_s)) is not None:
        learner.answered(wall, unit.gives(wall.start, wall.end - wall.start), now_s)
    return refused


MAPS = st.lists(st.tuples(st.integers(0, 60), st.sampled_from(["u16", "f32", "u64"])), min_size=1, max_size=20)


@settings(deadline=None)
@given(MAPS, st.sets(st.integers(0, 64), max_size=4), st.integers(4, 60), st.integers(4, 60))
def test_after_a_few_rounds_nothing_is_refused_and_all_that_exists_is_read(
    layout: list[tuple[int, Any]], holes: set[int], longest: int, max_count: int
) -> None:
    points = {f"p{i}": Point("holding", address, kind) for i, (address, kind) in enumerate(layout)}
    unit, learner, limits = Unit(holes, longest), Learner(), Limits(max_count=max_count)
    rounds = 1
    while held_round(learner, unit, points, limits):
        rounds += 1
        assert rounds <= 12
    read = {name for block in blocks_of(learner, points, limits) for name in block.names}
    assert read == {name for name, p in points.items() if holes.isdisjoint(range(p.address, p.end))}
    again = Learner()
    again.remember(json.loads(json.dumps(learner.facts())), 0.0)
    assert blocks_of(again, points, limits) == blocks_of(learner, points, limits)


@given(st.integers(1, 58), st.integers(0, 1))
def test_one_bad_register_of_sixty_costs_few_questions_and_one_more_block(bad: int, word: int) -> None:
    points = {f"p{i}": Point("holding", 2 * i, "f32") for i in range(60)}
    unit, learner = Unit({2 * bad + word}), Learner()
    assert held_round(learner, unit, points, Limits(max_count=120))
    assert unit.asked <= 1 + 2 * 6, "halving sixty"
    assert [b.names for b in blocks_of(learner, points, Limits(max_count=120))] == [
        tuple(f"p{i}" for i in range(bad)),
        tuple(f"p{i}" for i in range(bad + 1, 60)),
    ]


@given(st.integers(10, 119))
def test_the_largest_block_is_found_and_used(longest: int) -> None:
    points = {f"p{i}": Point("holding", i) for i in range(120)}
    unit, learner = Unit(set(), longest), Learner()
    while held_round(learner, unit, points, Limits(max_count=120)):
        pass
    assert learner.facts()["longest"] == {"holding": longest}
    assert len(blocks_of(learner, points, Limits(max_count=120))) == -(-120 // longest)


def test_what_is_missing_between_two_points_keeps_them_apart_and_withholds_nothing() -> None:
    points = {"a": Point("holding", 0), "b": Point("holding", 5), "c": Point("holding", 6), "d": Point("holding", 7)}
    unit, learner = Unit({3}), Learner()
    assert held_round(learner, unit, points, Limits())
    assert not held_round(learner, unit, points, Limits())
    assert [(b.start, b.count) for b in blocks_of(learner, points, Limits())] == [(0, 1), (5, 3)]
    assert not learner.withheld(points)


def test_a_refused_register_is_tried_again_ever_more_rarely_and_comes_back() -> None:
    points = {"a": Point("holding", 0), "b": Point("holding", 1)}
    unit, learner = Unit({1}), Learner()
    held_round(learner, unit, points, Limits())
    assert list(learner.withheld(points)) == ["b"]
    tries, now_s = [], 0.0
    while now_s < 3 * DAY:
        before = unit.asked
        held_round(learner, unit, points, Limits(), now_s)
        if unit.asked > before + 1:
            tries.append(now_s)
        now_s += 60.0
    assert tries[0] == RETRY_FIRST_S
    assert len(tries) <= 11, "a day apart in the end"
    unit.holes.clear()
    held_round(learner, unit, points, Limits(), now_s + DAY)
    assert not learner.withheld(points)
    assert len(blocks_of(learner, points, Limits())) == 1
    assert learner.news == ["refuses holding 0x0001", "holding 0x0001 is given now"], "each is said once"


def test_longer_blocks_are_tried_again_a_day_later() -> None:
    points = {f"p{i}": Point("holding", i) for i in range(40)}
    unit, learner = Unit(set(), 20), Learner()
    held_round(learner, unit, points, Limits())
    unit.longest = 60
    held_round(learner, unit, points, Limits(), DAY - 1)
    assert len(blocks_of(learner, points, Limits())) == 2
    held_round(learner, unit, points, Limits(), DAY)
    assert len(blocks_of(learner, points, Limits())) == 1


def test_what_was_given_before_is_not_learned_to_be_missing() -> None:
    """A device that refuses for another reason (it is being set up, say) keeps its map."""
    points = {"a": Point("holding", 0), "b": Point("holding", 1)}
    unit, learner = Unit(set()), Learner()
    held_round(learner, unit, points, Limits())
    unit.holes = {0, 1}
    assert held_round(learner, unit, points, Limits(), 60.0)
    unit.holes = set()
    assert not held_round(learner, unit, points, Limits(), 120.0)
    assert learner.revision == 0


def test_silence_to_a_question_means_no_only_when_it_repeats() -> None:
    points = {"a": Point("holding", 0), "b": Point("holding", 1)}
    block = Block("holding", 0, 2, ("a", "b"))
    learner = Learner()
    learner.refused(block, spans_of(points), 0.0)
    asked = learner.question(0.0)
    assert asked is not None
    for _ in range(SILENCES):
        learner.unanswered(asked, 0.0)
        assert learner.question(0.0) == asked, "a lost question is asked again"
    while (wall := learner.question(0.0)) is not None:
        if wall.start == 0:
            learner.unanswered(wall, 0.0)
        else:
            learner.answered(wall, True, 0.0)
    assert list(learner.withheld(points)) == ["a"]


@pytest.mark.parametrize(
    "facts",
    [None, [], "x", {}, {"refused": [["holding", 2, 1]], "apart": [], "longest": {}},
     {"refused": [], "apart": [["bag", 1, 2]], "longest": {}}, {"refused": [], "apart": [], "longest": {"coil": 0}},
     {"refused": [[1]], "apart": [], "longest": {}}, {"refused": [], "apart": [], "longest": {"input": "9"}}],
)  # fmt: skip
def test_facts_of_another_kind_are_not_believed(facts: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        Learner().remember(facts, 0.0)


# --- the whole way: worker, driver, wire, file -----------------------------------------------------------------------

POINTS = {f"p{i}": Point("holding", 2 * i, "f32") for i in range(60)}


async def serve(far: Loopback, unit: Unit, frames: list[bytes]) -> None:
    while True:
        frame = await far.read(5)
        if not frame:
            continue
        frames.append(frame)
        start, count = int.from_bytes(frame[2:4], "big"), int.from_bytes(frame[4:6], "big")
        body = bytes((1, 3, 2 * count)) + bytes(2 * count) if unit.gives(start, count) else bytes((1, 0x83, 2))
        far.write(body + FramerRTU.compute_CRC(body).to_bytes(2, "big"))


class Rig:
    """A worker that reads a unit every second, until it is closed."""

    def __init__(self, unit: Unit, notes: Path) -> None:
        self.unit, self.frames, self.clock, self.intake = unit, list[bytes](), ManualClock(), Intake()
        self.near, self.far = pair()
        self.line = Line(self.near, kind="serial", framing="rtu")
        self.device = ModbusDevice(self.line, 1, POINTS, Limits(max_count=120), 0.5, self.clock.monotonic_s)
        self.device.keep_notes(Notebook(notes).page("meter", "bus unit 1"))
        self.health = {"meter": DeviceHealth("meter")}
        polled = Polled("meter", self.device, dict.fromkeys(POINTS, 1.0))
        self.worker = LinkWorker(
            self.line, [polled], self.intake, self.clock, LinkHealth("bus", "serial", "port"), self.health
        )

    async def cycle(self) -> tuple[int, int, int]:
        """Hold one round; return requests, points that came, points that did not."""
        self.frames.clear()
        self.intake.taken.clear()
        self.intake.missing.clear()
        await self.clock.advance(1.0)
        while sum(len(points) for _, points, _ in (*self.intake.taken, *self.intake.missing)) < len(POINTS):
            await asyncio.sleep(0)
        asked = -1
        while asked != len(self.frames):  # questions follow the round
            asked = len(self.frames)
            for _ in range(50):
                await asyncio.sleep(0)
        came = sum(len(points) for _, points, _ in self.intake.taken)
        return len(self.frames), came, sum(len(points) for _, points, _ in self.intake.missing)


@asynccontextmanager
async def rig(unit: Unit, notes: Path) -> AsyncIterator[Rig]:
    it = Rig(unit, notes)
    tasks = [asyncio.create_task(serve(it.far, unit, it.frames)), asyncio.create_task(it.worker.run())]
    try:
        yield it
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_fifty_nine_of_sixty_arrive_with_one_more_request_also_after_a_restart(tmp_path: Path) -> None:
    notes = tmp_path / "learned.json"
    with capture_logs() as logs:
        async with rig(Unit({41}), notes) as first:
            requests, came, missing = await first.cycle()
            assert (came, missing) == (0, 60), "the first answer is a refusal"
            assert requests <= 1 + QUESTIONS
            for _ in range(3):
                assert await first.cycle() == (2, 59, 1)
            assert first.health["meter"].state == "partly"
            assert "holding 0x0028" in (first.health["meter"].last_error or "")
        async with rig(Unit({41}), notes) as second:
            await second.cycle()
            for _ in range(3):
                assert await second.cycle() == (2, 59, 1)
            assert second.unit.refusals == 0, "the file told"
    assert [e["learned"] for e in logs if e["event"] == "learned about a device"] == ["refuses holding 0x0028..0x0029"]


async def test_a_register_that_comes_back_is_found_without_a_restart(tmp_path: Path) -> None:
    unit = Unit({41})
    async with rig(unit, tmp_path / "learned.json") as it:
        await it.cycle()
        unit.holes.clear()
        await it.clock.advance(RETRY_FIRST_S)
        await it.cycle()
        assert await it.cycle() == (1, 60, 0)


async def test_a_refusal_of_another_kind_teaches_nothing() -> None:
    near, far = pair()
    line = Line(near, kind="serial", framing="rtu")
    await line.open()
    device: LearningDevice = ModbusDevice(line, 1, {"a": Point("holding", 0), "b": Point("holding", 1)}, Limits(), 0.5)
    (request,) = device.plan(["a", "b"])
    for code in (1, 4, 6, 10):
        asking = asyncio.create_task(device.ask(request))
        await far.read(5)
        body = bytes((1, 0x83, code))
        far.write(body + FramerRTU.compute_CRC(body).to_bytes(2, "big"))
        with pytest.raises(Refused):
            await asking
        assert device.question() is None
    assert not any(isinstance(r, Withheld) for r in device.plan(["a", "b"]))
    await line.close()


# --- the notebook ----------------------------------------------------------------------------------------------------


def test_the_notebook_keeps_a_page_per_device_and_identity(tmp_path: Path) -> None:
    path = tmp_path / "learned.json"
    Notebook(path).page("m1", "bus unit 1").write({"x": 1}, [])
    assert Notebook(path).page("m1", "bus unit 1").read() == {"x": 1}
    assert Notebook(path).page("m1", "bus unit 2").read() is None
    assert Notebook(path).page("m2", "bus unit 1").read() is None
    assert [p.name for p in tmp_path.iterdir()] == ["learned.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"m1": 5}', b"[" * 100_000])
def test_a_spoilt_notebook_is_an_empty_one(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "learned.json"
    path.write_bytes(content)
    page = Notebook(path).page("m1", "bus unit 1")
    assert page.read() is None
    page.write([1], [])
    assert Notebook(path).page("m1", "bus unit 1").read() == [1]


def test_a_folder_that_cannot_be_written_leaves_the_memory(tmp_path: Path) -> None:
    page = Notebook(tmp_path / "missing" / "learned.json").page("m1", "bus unit 1")
    page.write([1], [])
    assert page.read() == [1]
