"""The worker of one polled wire: connects, asks what is due, steps back from the silent, and tells what it sees.

What control asks for goes first: a write before the next request, whoever was to be asked and however silent the
device has been, and a reading that shows what came of it right after that.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from drivers.api import Device, Request, Value
from drivers.errors import BadFrame, DriverError, LinkDown, NoAnswer, Refused
from gateway.clock import Clock
from gateway.links import Intake, Take
from gateway.links.device_state import SILENT_AFTER, note_round, note_silence
from gateway.links.link_state import LinkState
from gateway.links.out_of_turn import Order, OutOfTurn
from gateway.links.schedule import Rhythm, Round, due, held, postponed, recalled, rhythms_of, wake_s
from gateway.model import DeviceHealth, LinkHealth, Mark

REOPEN_AFTER_S = 30.0


class Wire(Protocol):
    """What the worker needs of a drivers.transport.line.Line."""

    busy_s: float

    async def open(self) -> None: ...
    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Polled:
    """One device on the wire and how often each of its points is wanted."""

    name: str
    device: Device
    every_s: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class _Step:
    """A planned request with the pipeline's entry for its answer."""

    request: Request
    take: Take


class LinkWorker:
    """Owns one wire. ``run`` never returns by itself; cancelling it closes the wire."""

    def __init__(
        self,
        wire: Wire,
        devices: Sequence[Polled],
        intake: Intake,
        clock: Clock,
        health: LinkHealth,
        device_health: Mapping[str, DeviceHealth],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._wire = wire
        self._devices = {d.name: d for d in devices}
        self._intake = intake
        self._clock = clock
        self._health = health
        self._device_health = device_health
        self._state = LinkState(health, device_health, clock, chance)
        self._chance = chance
        self._plans: dict[tuple[str, tuple[str, ...]], list[_Step]] = {}
        self._rhythms: list[Rhythm] = []
        self._busy_mark = (clock.monotonic_s(), 0.0)
        self._opened_s = 0.0
        self._proven = False  # an answer came since the wire was opened
        self._orders = OutOfTurn()

    async def run(self) -> None:
        """Connect, poll until the wire is lost, connect again."""
        start_s = self._clock.monotonic_s()
        self._rhythms = [r for d in self._devices.values() for r in rhythms_of(d.name, d.every_s, start_s)]
        try:
            while True:
                try:
                    await self._wire.open()
                    self._state.came_up()
                    self._opened_s, self._proven = self._clock.monotonic_s(), False
                    self._orders.accept()
                    await self._poll()
                except LinkDown as why:
                    self._orders.refuse(why)
                    await self._wire.close()
                    self._miss_all(first=self._state.went_down(why))
                await self._clock.sleep(self._state.wait_s())
        finally:
            self._orders.refuse(LinkDown(f"link {self._health.name} stops"))
            await self._wire.close()

    async def write(self, device: str, point: str, raw: float, hold_s: float | None) -> None:
        """As ``gateway.links.Writer.write``. Raises KeyError for a device that is not on this wire.

        A caller who is cancelled leaves a write that is on the wire to end by itself.
        """
        try:
            await self._orders.write(self._devices[device].name, point, raw, hold_s)
        except DriverError as why:
            self._health.count_write(why.cause)
            self._device_health[device].last_error = str(why)
            raise
        self._health.count_write(None)

    def refresh(self, device: str, points: tuple[str, ...]) -> None:
        """As ``gateway.links.Writer.refresh``. Raises KeyError for what is not read on this wire."""
        for point in points:
            self._devices[device].every_s[point]
        self._orders.read(device, points)

    def _miss_all(self, *, first: bool) -> None:
        """The wire is down: mark what is due on it; skip those rounds if it was down before."""
        now_s, now_ms = self._clock.monotonic_s(), self._clock.wall_ms()
        for turn in due(self._rhythms, now_s):
            self._intake.missed(turn.device, turn.points, Mark.NO_ANSWER, now_ms)
        if not first:
            self._rhythms = [held(r, now_s)[0] if r.due_s <= now_s else r for r in self._rhythms]

    async def _poll(self) -> None:
        while True:
            await self._serve_orders()
            now_s = self._clock.monotonic_s()
            rounds = due(self._rhythms, now_s)
            if not rounds:
                await self._orders.nap(self._clock, wake_s(self._rhythms) - now_s)
                continue
            for turn in rounds:
                await self._hold(turn)
            await self._reopen_if_all_are_silent()

    async def _reopen_if_all_are_silent(self) -> None:
        """Nobody answers: the devices may be off, or the wire only looks alive (half-open TCP, stuck adapter)."""
        silent = all(self._device_health[name].failures_in_row >= SILENT_AFTER for name in self._devices)
        now_s = self._clock.monotonic_s()
        if silent and now_s - self._opened_s >= REOPEN_AFTER_S:
            await self._reopen()

    async def _hold(self, turn: Round) -> None:
        """Hold one round of one device and set its rhythms to their next time."""
        answered = await self._ask_all(turn.device, self._steps(turn.device, turn.points))
        leave_s = 0.0 if answered else note_silence(self._device_health[turn.device], self._chance())
        now_s = self._clock.monotonic_s()
        for rhythm in turn.rhythms:
            after, skipped = held(rhythm, now_s)
            self._health.late_rounds += skipped
            if leave_s:
                after = postponed(after, now_s + leave_s)
            self._rhythms[self._rhythms.index(rhythm)] = after
        self._note_busy(now_s)

    def _steps(self, name: str, points: tuple[str, ...]) -> list[_Step]:
        """Return the requests that read these points of a device; planned once."""
        key = (name, points)
        steps = self._plans.get(key)
        if steps is None:
            requests = self._devices[name].device.plan(points)
            steps = [_Step(r, self._intake.prepare(name, r.points)) for r in requests]
            self._plans[key] = steps
        return steps

    async def _ask_all(self, name: str, steps: list[_Step]) -> bool:
        """Ask each request once (a spoilt one twice). Return whether the device said anything."""
        device, health = self._devices[name].device, self._device_health[name]
        answered, refused, failed = 0, 0, 0
        for position, step in enumerate(steps):
            if self._orders:
                await self._serve_orders()
            try:
                values = await self._ask(device, step.request, retry=health.failures_in_row == 0)
            except NoAnswer as why:
                health.last_error = str(why)
                failed += 1
                if answered == refused == 0:  # silent: do not wait for each of its requests
                    for rest in steps[position:]:
                        self._miss(name, rest.request, Mark.NO_ANSWER)
                    return False
                self._miss(name, step.request, Mark.NO_ANSWER)
            except BadFrame as why:
                health.last_error = str(why)
                failed += 1
                self._miss(name, step.request, Mark.NO_ANSWER)
            except Refused as why:
                health.last_error = str(why)
                refused += 1
                self._miss(name, step.request, Mark.FAULT)
            else:
                answered += 1
                step.take(values, self._clock.wall_ms())
        note_round(health, answered=answered, refused=refused, failed=failed, now_ms=self._clock.wall_ms())
        if answered + refused == 0:
            return False
        self._heard_from(name)
        return True

    async def _ask(self, device: Device, request: Request, *, retry: bool) -> tuple[Value, ...]:
        """One exchange; a lost or spoilt answer of a device that is otherwise well is asked for once more.

        So is one that met a closed connection if there was an answer on it: many a device closes after each.
        """
        try:
            return await self._ask_once(device, request)
        except (NoAnswer, BadFrame):
            if not retry:
                raise
        except LinkDown:
            if not self._proven:
                raise
            await self._reopen()
        return await self._ask_once(device, request)

    async def _ask_once(self, device: Device, request: Request) -> tuple[Value, ...]:
        if self._orders:
            await self._write_waiting()
        health = self._health
        health.requests += 1
        try:
            values = await device.ask(request)
        except DriverError as why:
            if not isinstance(why, LinkDown):  # that is counted where it ends the poll
                health.count(why.cause)
            if isinstance(why, Refused):
                health.answers += 1
                self._proven = True
            raise
        health.answers += 1
        self._proven = True
        return values

    async def _reopen(self) -> None:
        self._health.reconnects += 1
        self._opened_s = self._clock.monotonic_s()
        self._proven = False
        await self._wire.open()

    async def _serve_orders(self) -> None:
        """Do what was asked for out of turn: all writes, then the readings."""
        await self._write_waiting()
        while (wish := self._orders.next_read()) is not None:
            name, points = wish
            await self._ask_all(name, self._steps(name, points))

    async def _write_waiting(self) -> None:
        while (order := self._orders.next_write()) is not None:
            try:
                await self._write(order)
            except LinkDown as why:
                order.settle(why)
                raise
            except (NoAnswer, BadFrame, ValueError) as why:
                order.settle(why)
            except Refused as why:
                order.settle(why)
                self._heard_from(order.device)
            else:
                order.settle(None)
                self._heard_from(order.device)
            finally:
                order.settle(LinkDown(f"link {self._health.name} stops: whether the write was done is not known"))

    async def _write(self, order: Order) -> None:
        """One write. It sets a state, so one that met a closed connection may be sent again on the next."""
        device = self._devices[order.device].device
        try:
            await device.write(order.point, order.raw, order.hold_s)
        except LinkDown:
            if not self._proven:
                raise
            await self._reopen()
            await device.write(order.point, order.raw, order.hold_s)

    def _heard_from(self, name: str) -> None:
        """The device answered: if it was left alone for its silence, it is asked again as usual."""
        self._proven = True
        health = self._device_health[name]
        if health.next_try_in_s is not None:
            now_s = self._clock.monotonic_s()
            self._rhythms = [recalled(r, now_s) if r.device == name else r for r in self._rhythms]
        health.failures_in_row, health.next_try_in_s = 0, None

    def _miss(self, name: str, request: Request, mark: Mark) -> None:
        self._intake.missed(name, request.points, mark, self._clock.wall_ms())

    def _note_busy(self, now_s: float) -> None:
        """Refresh the share of time in which the wire was in use, over windows of ten seconds."""
        since_s, busy_s = self._busy_mark
        if now_s - since_s >= 10.0:
            self._health.busy_share = min(1.0, (self._wire.busy_s - busy_s) / (now_s - since_s))
            self._busy_mark = (now_s, self._wire.busy_s)
