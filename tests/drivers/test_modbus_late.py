"""Late answers on RTU, by whatever time: a wire that stalls like a mobile serial server, and not one wrong value."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import BadFrame, LinkDown, NoAnswer, Refused
from drivers.modbus.driver import Address, Limits, ModbusDevice, Point, open_device
from drivers.modbus.frames import rtu_read
from drivers.modbus.unanswered import Unanswered, fences
from drivers.transport.line import Line
from drivers.transport.loopback import Loopback, pair
from pymodbus.framer import FramerRTU

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
        if frame[1] == 5:
            return frame
        if frame[1] == 16:
            return rtu(frame[:6])
        start, count = int.from_bytes(frame[2:4], "big"), int.from_bytes(frame[4:6], "big")
        words = [bytes((start + n, self.requests & 0xFF)) for n in range(count)]
        return rtu(frame[:2] + bytes([2 * count]) + b"".join(words))


@asynccontextmanager
async def stalling(
    points: dict[str, Point], *, stall_s: float = 0.0, stalls: Callable[[], bool] = lambda: False, **limits: int
) -> AsyncIterator[tuple[ModbusDevice, StallingUnit]]:
    near, far = pair()
    line = Line(near, kind="tcp", framing="rtu")
    await line.open()
    unit = StallingUnit(far, stall_s, stalls)
    serving = asyncio.create_task(unit.serve())
    try:
        yield open_device(line, Address(1), points, Limits(**limits), TIMEOUT_S), unit
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
    with monkeypatch.context() as patch:
        patch.setattr(Unanswered, "clouds", lambda self, asked: False)
        yield


@pytest.mark.parametrize("points", [BLOCKS, SINGLES], ids=["blocks", "singles"])
async def test_no_late_answer_is_believed_however_late(points: dict[str, Point], monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 74, up to fifteen time-outs late. The control run shows that the rig sees the fault."""
    with unprotected(monkeypatch):
        _, seen = await wrong_values(points, stall_s=15 * TIMEOUT_S, asks=120)
    assert seen > 3, "the rig must show wrong values when nothing protects from them"
    believed, wrong = await wrong_values(points, stall_s=15 * TIMEOUT_S, asks=160)
    assert wrong == 0
    assert believed > 40, "and what is in time is believed"
