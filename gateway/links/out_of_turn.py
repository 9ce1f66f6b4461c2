"""What others ask of a polled wire out of its turn: writes, one at a time, and points to be read again at once.

The worker stays the only one who touches the wire. It looks here before each of its own requests, and its sleep ends
when something comes in. Nothing waits here while the wire is down.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from drivers.errors import DriverError, LinkDown
from gateway.clock import Clock


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """One write; whoever asked for it awaits ``done``, and may have given up meanwhile."""

    device: str
    point: str
    raw: float
    hold_s: float | None
    done: asyncio.Future[None]

    def settle(self, failure: Exception | None) -> None:
        """Say how it went; the first word counts."""
        if self.done.done():
            return
        if failure is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(failure)


class OutOfTurn:
    """The orders of one wire, in the order in which they came."""

    def __init__(self, link: str) -> None:
        self._link = link
        self._writes: deque[Order] = deque()
        self._reads: dict[tuple[str, tuple[str, ...]], None] = {}
        self._refused: str | None = "the link is not connected yet"
        self._nap: asyncio.Timeout | None = None

    def __bool__(self) -> bool:
        return bool(self._writes or self._reads)

    def accept(self) -> None:
        """The wire is up: take orders."""
        self._refused = None

    def refuse(self, why: LinkDown) -> None:
        """The wire is down: what waits has failed, and so has what comes."""
        self._refused = str(why)
        self._reads.clear()
        while self._writes:
            self._writes.popleft().settle(LinkDown(str(why)))

    async def write(self, device: str, point: str, raw: float, hold_s: float | None) -> None:
        """Wait for the worker to do it. A caller who is cancelled takes back what is not on the wire yet."""
        if self._refused is not None:
            raise LinkDown(self._refused)
        order = Order(device, point, raw, hold_s, asyncio.get_running_loop().create_future())
        self._writes.append(order)
        self._wake()
        await order.done

    def read(self, device: str, points: tuple[str, ...]) -> None:
        """Have these points read; asked for twice before it is done, they are read once."""
        if self._refused is None:
            self._reads[device, points] = None
            self._wake()

    async def do_writes(self, put: Callable[[Order], Awaitable[None]]) -> None:
        """``put`` all writes that wait on the wire, the oldest first. Raises LinkDown."""
        while self._writes:
            order = self._writes.popleft()
            if order.done.done():
                continue  # whoever asked for it has given up
            try:
                await put(order)
            except (DriverError, ValueError) as why:
                order.settle(why)
                if isinstance(why, LinkDown):
                    raise
            else:
                order.settle(None)
            finally:
                order.settle(LinkDown(f"link {self._link} stops: whether the write was done is not known"))

    def take_reads(self) -> list[tuple[str, tuple[str, ...]]]:
        """Take the wishes for readings so far, the oldest first: device and points."""
        wishes = list(self._reads)
        self._reads.clear()
        return wishes

    async def nap(self, clock: Clock, seconds: float) -> None:
        """Sleep, but only until an order comes."""
        if self:
            return
        try:
            async with asyncio.timeout(None) as self._nap:
                await clock.sleep(seconds)
        except TimeoutError:
            pass
        finally:
            self._nap = None

    def _wake(self) -> None:
        if self._nap is not None:
            self._nap.reschedule(asyncio.get_running_loop().time())
            self._nap = None
