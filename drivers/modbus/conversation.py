"""What is said to one unit: by number over TCP, in an order that leaves no doubt on RTU (see ``unanswered``)."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

from drivers.errors import BadFrame, LinkDown, NoAnswer, Refused
from drivers.modbus.frames import Exchange, rtu_loopback, rtu_reply, tcp_reply
from drivers.modbus.points import Point
from drivers.modbus.unanswered import Unanswered, fences
from drivers.transport.line import Line

Take = Callable[[bytearray], bytes | None]
"""Finds the reply on an RTU wire; over TCP the transaction number is needed as well."""

_CONFIRMATIONS = 2
_IGNORED = 3
"""A unit that answers reads but so many loopbacks never does not know that function, and keeps silent on it."""
_MOST_LOST = 8
"""The refusals of so many lost loopbacks are reckoned with."""

_numbers = itertools.count(1)
"""Shared by all devices, so that a late reply to one never fits the request to another on the same connection."""


class Conversation:
    """Exchanges with one unit. Never takes a late answer for the one to the next request."""

    def __init__(self, line: Line, unit: int, points: Mapping[str, Point], max_count: int, timeout_s: float) -> None:
        self._line = line
        self._timeout_s = timeout_s
        self._numbered = line.framing == "modbus_tcp"
        self._unit = unit
        self._loops_back = False  # it answered a loopback once, be it by a refusal
        self._lost_loopbacks = 0
        self._unanswered = Unanswered(() if self._numbered else fences(unit, points, max_count))

    async def read(self, asked: Exchange, take: Take) -> bytes:
        """Return the payload of the reply. Raises as ``drivers.api.Device.ask``."""
        # A reply names unit, function and length, but not the address it was asked for; a refusal only the first two.
        if self._unanswered.clouds(asked):
            await self._pass_a_fence(asked, take)
        return await self._exchange(asked, take)

    async def write(self, asked: Exchange, *, repeats_value: bool) -> None:
        """Send a command at once, also while an earlier answer is missing.

        ``repeats_value``: its confirmation names what was written (05, 06), so an old one says nothing wrong. One
        that does not (0F, 10) is not believed when it may be old.
        """
        doubtful = not repeats_value and self._unanswered.fits(asked)
        refusal_doubtful = self._unanswered.clouds(asked)
        try:
            await self._exchange(asked, rtu_reply(asked))
        except Refused as why:
            if not refusal_doubtful:
                raise
            self._unanswered.lost(asked)
            raise BadFrame(f"{why}: but that may be the answer to an earlier command") from None
        if doubtful:
            raise BadFrame(f"{asked.what}: the confirmation may be that of an earlier command that was not answered")

    async def _pass_a_fence(self, asked: Exchange, take: Take) -> None:
        """Make sure that no answer under way can be taken for the one to ``asked``. Raises as ``read``."""
        while (fence := self._unanswered.fence()) is not None:
            try:
                await self._exchange(fence, rtu_reply(fence))
                return
            except Refused:  # perhaps of an earlier request: the next shape tells
                self._unanswered.lost(fence)
        # No other shape is left, so it must loop back. One that ignores that must answer in time and alone instead.
        while self._loops_back or self._lost_loopbacks < _IGNORED:
            if not self._loops_back:
                await self._confirm(asked, take)
            if await self._loop_back():
                break
        else:
            for _ in range(_CONFIRMATIONS):
                await self._confirm(asked, take)
        self._unanswered.settle()
        self._line.settle(bytes([self._unit]))

    async def _confirm(self, asked: Exchange, take: Take) -> None:
        with suppress(Refused):  # perhaps of an earlier request
            await self._exchange(asked, take)
        self._line.distrust(self._timeout_s)

    async def _loop_back(self) -> bool:
        """Have the unit repeat a number: it does, or refuses to, after all that it was asked before.

        False: it kept silent, and may not know the function. Raises NoAnswer of one that does, and BadFrame.
        """
        for _ in range(1 + self._lost_loopbacks):  # a refusal carries no number: it may be that of an earlier loopback
            asked = rtu_loopback(self._unit, next(_numbers) & 0xFFFF)
            try:
                await self._exchange(asked, rtu_reply(asked))
            except Refused:
                self._loops_back = True
                continue
            except (NoAnswer, BadFrame) as why:
                self._lost_loopbacks = min(self._lost_loopbacks + 1, _MOST_LOST)
                if self._loops_back or isinstance(why, BadFrame):
                    raise
                return False
            self._loops_back, self._lost_loopbacks = True, 0
            break
        return True

    async def _exchange(self, asked: Exchange, take: Take) -> bytes:
        try:
            if not self._numbered:
                return await self._exchange_unnumbered(asked, take)
            number = next(_numbers) & 0xFFFF
            frame = number.to_bytes(2, "big") + asked.frame[2:]
            return await self._line.exchange(frame, partial(tcp_reply, asked, number), self._timeout_s, matched=True)
        except (NoAnswer, BadFrame) as why:
            raise type(why)(f"{asked.what}: {why}") from None

    async def _exchange_unnumbered(self, asked: Exchange, take: Take) -> bytes:
        try:
            # A write never waits for a doubt to pass.
            like = asked.head if asked.payload_bytes else None
            answer = await self._line.exchange(asked.frame, take, self._timeout_s, like=like)
        except (NoAnswer, BadFrame, LinkDown, asyncio.CancelledError):
            self._unanswered.lost(asked)  # a serial server may bring it even on the next connection
            raise
        if self._unanswered.came(asked):
            self._line.settle(bytes([self._unit]))
        return answer
