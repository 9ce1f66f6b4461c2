"""Asks all meters of a line at once and listens to all of them, for scans: several may answer on top of each other."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from drivers.errors import BadFrame, NoAnswer
from drivers.meters.frames import PREAMBLE
from drivers.transport.line import Line

F = TypeVar("F")


@dataclass(frozen=True, slots=True)
class Heard(Generic[F]):
    """What came back to one call."""

    frames: list[F]
    """Sound ones, in order; an adapter's echo of the call is among them."""
    garbled: bool
    """There were bytes that belong to no sound frame: several spoke at once, or at another speed."""


async def roll_call(
    line: Line, request: bytes, take_frame: Callable[[bytearray], tuple[F | None, int]], timeout_s: float
) -> Heard[F]:
    """Send ``request`` and listen until the time is over. Raises LinkDown."""
    frames: list[F] = []
    lost = unfinished = 0

    def take(buffer: bytearray) -> None:
        nonlocal lost, unfinished
        frame: F | None
        while True:
            before = bytes(buffer)
            frame, skipped = take_frame(buffer)
            lost += _telling(before[:skipped])
            if frame is None:
                break
            frames.append(frame)
        unfinished = _telling(buffer)

    with contextlib.suppress(NoAnswer, BadFrame):  # one of them is the end: ``take`` never has enough
        await line.exchange(request, take, timeout_s)
    return Heard(frames, garbled=lost + unfinished > 0)


def _telling(data: bytes | bytearray) -> int:
    """How many bytes are not preambles."""
    return len(data) - data.count(PREAMBLE)
