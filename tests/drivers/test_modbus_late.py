"""Late answers on RTU, by whatever time: a wire that stalls like a mobile serial server, and not one wrong value."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.framer import FramerRTU

from drivers.errors import BadFrame, LinkDown, NoAnswer
from drivers.modbus.driver import Address, Limits, ModbusDevice, Point, open_device
from drivers.modbus.frames import rtu_read, rtu_write
from drivers.modbus.unanswered import Unanswered, fences
from drivers.modbus.writes import command
from drivers.transport.line import Line
from drivers.transport.loopback import Loopback, pair

TIMEOUT_S = 0.02

BLOCKS = {
    "voltage_l1_v": Point("holding", 0x00),
    "voltage_l2_v": Point("holding", 0x01),
    "voltage_l3_v": Point("holding", 0x10),
    "current_l1_a": Point("holding", 0x11),
}
"""Two blocks of the same length."""
SINGLES = {"voltage_l1_v": Point("holding", 0x00), "voltage_l2_v": Point("holding", 0x10)}
"""All answers have the same shape: nothing can serve as a fence."""


def rtu(body: bytes) -> bytes:
    return body + FramerRTU.compute_CRC(body).to_bytes(2, "big")


class StallingUnit:
    """A unit behind a wire that keeps the order and now and then holds everything back, for up to ``stall_s``.

    Each register reads ``address << 8 | number of the request``: every answer says what it answers.
    """

    def __init__(self, far: Loopback, stall_s: float, stalls: Callable[[], bool], refuses: bool = False) -> None:
        self.far = far
        self.stall_s = stall_s
        self.stalls = stalls
        self.refuses = refuses
        self.requests = 0
        self.heard: list[bytes] = []
        self.dark = False
        self._free_s = 0.0

    async def serve(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            frame = await self.far.read(5)
            if not frame or self.dark:
                continue
            self.requests += 1
            self.heard.append(frame)
            now_s = loop.time()
            held_s = random.uniform(0, self.stall_s) if self.stalls() else 0.001
            self._free_s = max(self._free_s, now_s + held_s)
            loop.call_at(self._free_s, self.say, self.answer(frame))

    def say(self, reply: bytes) -> None:
        with suppress(LinkDown):  # the test is over
            self.far.write(reply)

    def answer(self, frame: bytes) -> bytes:
        if frame[1] in (5, 8):
            return frame
        if frame[1] == 16:
            return rtu(frame[:6])
        start, count = int.from_bytes(frame[2:4], "big"), int.from_bytes(frame[4:6], "big")
        words = [bytes((start + n, self.requests & 0xFF)) for n in range(count)]
        return rtu(frame[:2] + bytes([2 * count]) + b"".join(words))


@asynccontextmanager
async def stalling(
    points: dict[str, Point], *, stall_s: float = 0.0, stalls: Callable[[], bool] = lambda: False
) -> AsyncIterator[tuple[ModbusDevice, StallingUnit]]:
    near, far = pair()
    line = Line(near, kind="tcp", framing="rtu")
    await line.open()
    unit = StallingUnit(far, stall_s, stalls)
    serving = asyncio.create_task(unit.serve())
    try:
        yield open_device(line, Address(1), points, Limits(), TIMEOUT_S), unit
    finally:
        await line.close()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def wrong_values(points: dict[str, Point], stall_s: float, asks: int) -> tuple[int, int]:
    """Ask in turns over a wire that stalls; return how many answers were believed and how many of them were wrong."""
    random.seed(7)
    believed = wrong = 0
    async with stalling(points, stall_s=stall_s, stalls=lambda: random.random() < 0.15) as (device, unit):
        requests = device.plan(list(points))
        for turn in range(asks):
            request = requests[turn % len(requests)]
            try:
                values = await device.ask(request)
            except (NoAnswer, BadFrame):
                continue
            believed += 1
            now = unit.requests & 0xFF
            wrong += values != tuple(points[name].address << 8 | now for name in request.points)
    return believed, wrong


@contextmanager
def unprotected(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A bus master that waits until the wire is quiet after a time-out, and no more."""

    async def believe(self: Line, like: bytes, timeout_s: float) -> None:
        return None

    with monkeypatch.context() as patch:
        patch.setattr(Unanswered, "clouds", lambda self, asked: False)
        patch.setattr(Line, "_expect_no_other", believe)
        yield


@pytest.mark.parametrize("points", [BLOCKS, SINGLES], ids=["blocks", "singles"])
async def test_no_late_answer_is_believed_however_late(
    points: dict[str, Point], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 74, up to fifteen time-outs late. The control run shows that the rig sees the fault."""
    with unprotected(monkeypatch):
        _, seen = await wrong_values(points, stall_s=15 * TIMEOUT_S, asks=100)
    assert seen, "the rig must show wrong values when nothing protects from them"
    believed, wrong = await wrong_values(points, stall_s=15 * TIMEOUT_S, asks=100)
    assert wrong == 0
    assert believed > 25, "and what is in time is believed"


async def test_after_a_time_out_one_short_read_clears_the_doubt() -> None:
    """Also long after it: the doubt does not grow old, and it costs an exchange and no waiting."""
    async with stalling(BLOCKS) as (device, unit):
        first, _ = device.plan(list(BLOCKS))
        unit.dark = True
        with pytest.raises(NoAnswer):
            await device.ask(first)
        unit.dark = False
        began_s = asyncio.get_running_loop().time()
        assert await device.ask(first) == (0x0002, 0x0102)
        assert asyncio.get_running_loop().time() - began_s < 3 * TIMEOUT_S
        assert [frame[2:6].hex() for frame in unit.heard] == ["00000001", "00000002"]
        await device.ask(first)
        assert len(unit.heard) == 3, "once is enough"


ONE_SHAPE = {"output_1_on": Point("coil", 0)}


@pytest.mark.parametrize(
    "loopback", [lambda frame: frame, lambda frame: rtu(b"\x01\x88\x01")], ids=["known", "refused"]
)
async def test_a_unit_with_one_shape_of_answer_is_believed_again(loopback: Callable[[bytes], bytes]) -> None:
    async with stalling(ONE_SHAPE) as (device, unit):
        (request,) = device.plan(["output_1_on"])
        unit.dark = True
        for _ in range(3):
            with pytest.raises(NoAnswer):
                await device.ask(request)
        unit.dark = False
        unit.answer = lambda frame: loopback(frame) if frame[1] == 8 else rtu(frame[:2] + b"\x01\x01")  # type: ignore[method-assign]
        assert await device.ask(request) == (1,)
        assert [frame[1] for frame in unit.heard] == [1, 8, 1], "it lives, it loops back, then for good"
        assert await device.ask(request) == (1,)
        assert len(unit.heard) == 4
        unit.dark = True
        with pytest.raises(NoAnswer):
            await device.ask(request)
        unit.dark = False
        assert await device.ask(request) == (1,)
        assert [frame[1] for frame in unit.heard[4:]] == [8, 1], "known to loop back: that is enough"


async def test_a_unit_that_ignores_loopbacks_is_believed_all_the_same() -> None:
    async with stalling(ONE_SHAPE) as (device, unit):
        (request,) = device.plan(["output_1_on"])
        unit.dark = True
        with pytest.raises(NoAnswer):
            await device.ask(request)
        unit.dark = False
        unit.answer = lambda frame: b"" if frame[1] == 8 else rtu(frame[:2] + b"\x01\x01")  # type: ignore[method-assign]
        assert await device.ask(request) == (1,)
        assert [frame[1] for frame in unit.heard] == [1, 8, 1, 8, 1, 8, 1, 1, 1]
        unit.dark = True
        with pytest.raises(NoAnswer):
            await device.ask(request)
        unit.dark = False
        assert await device.ask(request) == (1,)
        assert [frame[1] for frame in unit.heard[9:]] == [1, 1, 1], "twice in time and alone, then for good"


async def test_a_box_that_lags_behind_by_several_answers_is_not_believed() -> None:
    """However regularly its answers come: each is the one to an earlier request, of the same shape."""
    async with stalling(SINGLES) as (device, unit):
        first, second = device.plan(list(SINGLES))
        queue: list[bytes] = []
        answer = unit.answer

        def late(frame: bytes) -> bytes:
            queue.append(answer(frame))
            return queue.pop(0)

        unit.dark = True
        for _ in range(5):
            with pytest.raises(NoAnswer):
                await device.ask(first)
        queue += [answer(frame) for frame in [rtu(first.read.frame[:6])] * 5]  # type: ignore[attr-defined]
        unit.answer, unit.dark = late, False  # type: ignore[method-assign]
        for _ in range(3):
            with pytest.raises((NoAnswer, BadFrame)):
                await device.ask(second)


async def test_a_refusal_of_an_earlier_read_teaches_nothing() -> None:
    async with stalling(SINGLES) as (device, unit):
        first, second = device.plan(list(SINGLES))
        unit.dark = True
        with pytest.raises(NoAnswer):
            await device.ask(first)
        unit.dark = False
        answer, refusals = unit.answer, [rtu(b"\x01\x83\x02")]
        unit.answer = lambda frame: refusals.pop() if refusals else answer(frame)  # type: ignore[method-assign]
        (value,) = await device.ask(second)
        assert int(value or 0) >> 8 == 0x10
        assert device.revision == 0


async def test_a_refusal_that_may_be_that_of_an_earlier_command_says_nothing_of_this_one() -> None:
    points = {"output_1_on": Point("coil", 0), "voltage_l1_v": Point("holding", 8)}
    async with stalling(points) as (device, unit):
        unit.dark = True
        with pytest.raises(NoAnswer):
            await device.write("output_1_on", 1)
        unit.dark = False
        unit.answer = lambda frame: rtu(b"\x01\x85\x04")  # type: ignore[method-assign]
        with pytest.raises(BadFrame, match="may be the answer to an earlier command"):
            await device.write("output_1_on", 0)


async def test_a_command_after_a_time_out_waits_for_nothing() -> None:
    points = {"output_1_on": Point("coil", 0), "preset_1": Point("holding", 0, type="u32")}
    async with stalling(points) as (device, unit):
        unit.dark = True
        for point in points:
            with pytest.raises(NoAnswer):
                await device.write(point, 1)
        unit.dark = False
        began_s = asyncio.get_running_loop().time()
        await device.write("output_1_on", 1)
        assert asyncio.get_running_loop().time() - began_s < 3 * TIMEOUT_S, "its echo names the value: no doubt"
        assert [frame[1] for frame in unit.heard] == [5]


async def test_a_confirmation_that_names_no_value_is_not_believed_while_an_older_one_may_come() -> None:
    points = {"setpoint_c": Point("holding", 0, type="u32"), "voltage_l1_v": Point("holding", 8)}
    async with stalling(points) as (device, unit):
        unit.dark = True
        with pytest.raises(NoAnswer):
            await device.write("setpoint_c", 1)
        unit.dark = False
        with pytest.raises(BadFrame, match="may be that of an earlier command"):
            await device.write("setpoint_c", 0)
        await device.ask(device.plan(["voltage_l1_v"])[0])
        await device.write("setpoint_c", 0)


async def test_a_refusal_does_not_clear_a_doubt() -> None:
    """It names only the function, so it may be that of the earlier request: the next shape is tried."""
    async with stalling(BLOCKS) as (device, unit):
        first, _ = device.plan(list(BLOCKS))
        unit.dark = True
        with pytest.raises(NoAnswer):
            await device.ask(first)
        unit.dark = False
        answer = unit.answer
        unit.answer = lambda frame: rtu(b"\x01\x83\x04") if frame[1] == 3 and frame[5] == 1 else answer(frame)  # type: ignore[method-assign]
        assert await device.ask(first) == (0x0004, 0x0104)
        asked = [(frame[1], frame[5]) for frame in unit.heard]
        assert [function for function, _ in asked] == [3, 3, 8, 3], "refused, alive, the loopback, then for good"
        assert [count for function, count in asked if function == 3] == [1, 2, 2]


POINTS = st.lists(st.tuples(st.integers(0, 40), st.sampled_from(["u16", "u32"])), min_size=1, max_size=12)


@given(POINTS, st.integers(2, 20))
def test_fences_read_only_what_the_profile_reads(where: list[tuple[int, str]], max_count: int) -> None:
    points = {f"p{n}": Point("holding", address, type=kind) for n, (address, kind) in enumerate(where)}  # type: ignore[arg-type]
    known = {a for point in points.values() for a in range(point.address, point.end)}
    shapes = fences(1, points, max_count)
    assert shapes
    assert len({read.head for read in shapes}) == len(shapes)
    for read in shapes:
        start, count = int.from_bytes(read.frame[2:4], "big"), int.from_bytes(read.frame[4:6], "big")
        assert count <= max_count
        assert set(range(start, start + count)) <= known


def test_only_an_answer_that_nothing_earlier_can_have_brought_clears_the_doubt() -> None:
    short, long = rtu_read(1, "holding", 0, 1), rtu_read(1, "holding", 0, 2)
    unanswered = Unanswered([short, long])
    assert unanswered.fence() is short
    unanswered.lost(short)
    assert unanswered.fence() is long
    assert not unanswered.came(short)
    assert unanswered.clouds(long), "a refusal could be the earlier one's"
    assert not unanswered.clouds(rtu_read(1, "coil", 0, 1))
    assert unanswered.came(long)
    assert not unanswered.clouds(short)
    unanswered.lost(short)
    unanswered.lost(long)
    assert unanswered.fence() is None


def test_commands_of_many_values_that_nobody_answers_take_no_more_room() -> None:
    unanswered = Unanswered([])
    for value in range(100):
        unanswered.lost(rtu_write(1, command(Point("holding", 0), value)))
    assert len(unanswered._open) == 1
