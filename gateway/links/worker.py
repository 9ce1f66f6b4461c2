"""The worker of one polled wire: connects, asks what is due, steps back from the silent, and tells what it sees.

What control asks for goes first: a write before the next request, whoever was to be asked and however silent the
device has been, and a reading that shows what came of it right after that.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Protocol

from drivers.api import Device, Request, Value, Withheld
from drivers.errors import BadFrame, DriverError, LinkDown, NoAnswer, Refused
from gateway.clock import Clock
from gateway.links import Intake
from gateway.links.device_state import SILENT_AFTER, note_round, note_silence
from gateway.links.link_state import LinkState
from gateway.links.out_of_turn import Order, OutOfTurn
from gateway.links.plans import Plans, Step
from gateway.links.schedule import Round, Timetable, rhythms_of
from gateway.model import DeviceHealth, LinkHealth, Mark

REOPEN_AFTER_S = 30.0
PROBE_REST = 9
"""A silent device rests so many times as long as asking all the silent ones takes: a tenth of the wire is theirs."""
QUESTIONS = 16
"""So many requests may follow a round to learn what its device refuses; the rest waits for the next one."""


class Wire(Protocol):
    """What the worker needs of a drivers.transport.line.Line."""

    busy_s: float
    bytes_discarded: int

    async def open(self) -> None: ...
    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Polled:
    """One device on the wire and how often each of its points is wanted."""

    name: str
    device: Device
    every_s: Mapping[str, float]


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
        self._plans = {d.name: Plans(d.name, d.device, intake) for d in devices}
        self._timetable = Timetable()
        self._opened_s = 0.0
        self._proven = False  # an answer came since the wire was opened
        self._orders = OutOfTurn(health.name)

    async def run(self) -> None:
        """Connect, poll until the wire is lost, connect again."""
        start_s = self._clock.monotonic_s()
        self._timetable = Timetable(r for d in self._devices.values() for r in rhythms_of(d.name, d.every_s, start_s))
        try:
            while True:
                try:
                    await self._wire.open()
                    self._state.came_up()
                    self._opened_s, self._proven = self._clock.monotonic_s(), False
                    self._timetable.recall(self._devices, self._clock.monotonic_s())
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
        for turn in self._timetable.due(now_s):
            self._intake.missed(turn.device, turn.points, Mark.NO_ANSWER, now_ms)
        if not first:
            self._timetable.skip(now_s)

    async def _poll(self) -> None:
        while True:
            await self._serve_orders()
            now_s = self._clock.monotonic_s()
            rounds = self._timetable.due(now_s)
            if not rounds:
                await self._orders.nap(self._clock, self._timetable.wake_s() - now_s)
                continue
            failing = [turn for turn in rounds if self._device_health[turn.device].failures_in_row]
            for turn in rounds:
                if turn not in failing:
                    await self._hold(turn)
            for turn in failing[:1]:  # one time-out, then the others again
                await self._hold(turn)
            await self._look_at_the_wire()

    def _silent(self) -> set[str]:
        """Return the devices that do not answer, as far as their rounds have told."""
        return {name for name in self._devices if self._device_health[name].failures_in_row >= SILENT_AFTER}

    async def _look_at_the_wire(self) -> None:
        """Nobody answers: the devices may be off, or the wire only looks alive (half-open TCP, stuck adapter)."""
        alone, silent = len(self._devices) == 1, self._silent() == set(self._devices)
        if not alone and self._state.heard(not silent):
            self._timetable.recall(self._devices, self._clock.monotonic_s())
        now_s = self._clock.monotonic_s()
        if silent and now_s - self._opened_s >= REOPEN_AFTER_S:
            await self._reopen()

    async def _hold(self, turn: Round) -> None:
        """Hold one round of one device and set its rhythms to their next time."""
        name, began_s = turn.device, self._clock.monotonic_s()
        points, riding = self._plans[name].joined(turn.points, self._timetable.riders(turn, began_s))
        answered = await self._ask_all(name, self._plans[name].steps(points))
        if answered and not self._device_health[name].failures_in_row:
            await self._learn(name)
        now_s = self._clock.monotonic_s()
        leave_s = 0.0 if answered else self._leave_alone_s(name, now_s - began_s)
        self._health.late_rounds += self._timetable.hold(turn, riding if answered else (), began_s, now_s, leave_s)
        self._health.discarded_bytes = self._wire.bytes_discarded
        self._state.note_use(self._wire.busy_s)

    def _leave_alone_s(self, name: str, spent_s: float) -> float:
        """Note a round that met silence for ``spent_s``; return how long to leave the device alone."""
        health, silent = self._device_health[name], self._silent() | {name}
        shared = silent != set(self._devices)
        return note_silence(health, self._chance(), PROBE_REST * len(silent) * spent_s if shared else 0.0)

    async def _learn(self, name: str) -> None:
        """Ask what the device's driver wants to know; never before a write."""
        for _ in range(QUESTIONS):
            if (question := self._plans[name].question()) is None:
                return
            try:
                await self._ask(self._devices[name].device, question, retry=True)
            except (NoAnswer, BadFrame, Refused):
                return

    async def _ask_all(self, name: str, steps: list[Step], *, out_of_turn: bool = False) -> bool:
        """Ask each request once (a spoilt one twice). Return whether the device said anything."""
        device, health = self._devices[name].device, self._device_health[name]
        answered, refused, failed, withheld = 0, 0, 0, 0
        if health.failures_in_row >= SILENT_AFTER:
            steps = sorted(steps, key=lambda step: sum(astuple(device.cost(step.request))))  # one cheap probe
        usual = health.failures_in_row == 0 and health.last_answer_ms is not None
        for position, step in enumerate(steps):
            if self._orders and not out_of_turn:
                await self._serve_orders()
            if isinstance(step.request, Withheld):
                withheld += 1
                self._miss(name, [step], Mark.FAULT, step.request.why)
                continue
            try:
                values = await self._ask(device, step.request, retry=usual)
            except Refused as why:
                refused += 1
                self._miss(name, [step], Mark.FAULT, str(why))
            except (NoAnswer, BadFrame) as why:
                failed += 1
                if isinstance(why, NoAnswer) and not answered + refused:
                    self._miss(name, steps[position:], Mark.NO_ANSWER, str(why))
                    return False  # silent: do not wait for each of its requests
                self._miss(name, [step], Mark.NO_ANSWER, str(why))
            else:
                answered += 1
                step.take(values, self._clock.wall_ms())
        if withheld and not answered + refused + failed:
            return True  # nothing was asked, so nothing was heard
        if answered:
            refused += withheld
        note_round(health, answered=answered, refused=refused, failed=failed, now_ms=self._clock.wall_ms())
        if answered + refused == 0:
            return False
        self._heard_from(name)
        return True

    def _miss(self, name: str, steps: Sequence[Step], mark: Mark, why: str) -> None:
        self._device_health[name].last_error = why
        for step in steps:
            self._intake.missed(name, step.request.points, mark, self._clock.wall_ms())

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
            await self._orders.do_writes(self._write)
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
        """Do what was asked for out of turn so far: all writes, then the readings."""
        await self._orders.do_writes(self._write)
        for name, points in self._orders.take_reads():
            await self._ask_all(name, self._plans[name].steps(points), out_of_turn=True)

    async def _write(self, order: Order) -> None:
        """One write. It sets a state, so one that met a closed connection may be sent again on the next."""
        try:
            await self._write_once(order)
        except LinkDown:
            if not self._proven:
                raise
            await self._reopen()
            await self._write_once(order)

    async def _write_once(self, order: Order) -> None:
        try:
            await self._devices[order.device].device.write(order.point, order.raw, order.hold_s)
        except Refused:
            self._heard_from(order.device)
            raise
        self._heard_from(order.device)

    def _heard_from(self, name: str) -> None:
        """The device answered: if it was left alone for its silence, it is asked again as usual."""
        self._proven = True
        health = self._device_health[name]
        if health.next_try_in_s is not None:
            self._timetable.recall((name,), self._clock.monotonic_s())
        health.failures_in_row, health.next_try_in_s = 0, None
