"""The worker of one polled wire: connects, asks what is due, steps back from the silent, and tells what it sees.

What control asks for goes first: a write before the next request, whoever was to be asked and however silent the
device has been, and a reading that shows what came of it right after that.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Protocol

from drivers.api import Device, LearningDevice, Request, Value, Withheld
from drivers.errors import BadFrame, DriverError, LinkDown, NoAnswer, Refused
from gateway.clock import Clock
from gateway.links import Intake, Take
from gateway.links.device_state import SILENT_AFTER, note_round, note_silence
from gateway.links.link_state import LinkState
from gateway.links.out_of_turn import Order, OutOfTurn
from gateway.links.schedule import Rhythm, Round, due, held, postponed, recalled, rhythms_of, ridden, riders, wake_s
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
        self._learning = {d.name: d.device for d in devices if isinstance(d.device, LearningDevice)}
        self._revisions = {name: device.revision for name, device in self._learning.items()}
        self._rides: dict[tuple[str, tuple[str, ...], tuple[str, ...]], bool] = {}
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
                    self._recall(*self._devices)
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
            self._recall(*self._devices)
        now_s = self._clock.monotonic_s()
        if silent and now_s - self._opened_s >= REOPEN_AFTER_S:
            await self._reopen()

    async def _hold(self, turn: Round) -> None:
        """Hold one round of one device and set its rhythms to their next time."""
        points, riding = self._joined(turn)
        began_s = self._clock.monotonic_s()
        answered = await self._ask_all(turn.device, self._steps(turn.device, points))
        if answered:
            await self._learn(turn.device)
        now_s = self._clock.monotonic_s()
        leave_s = 0.0 if answered else self._leave_alone_s(turn.device, now_s - began_s)
        for rhythm in turn.rhythms:
            # What others made late is followed at once by what is due by now: no round is lost to their time-outs.
            after, skipped = held(rhythm, began_s if now_s - began_s < rhythm.period_s else now_s)
            self._health.late_rounds += skipped
            if leave_s:
                after = postponed(after, now_s + leave_s)
            self._rhythms[self._rhythms.index(rhythm)] = after
        if answered:
            self._rhythms = [ridden(r) if r in riding else r for r in self._rhythms]
        self._note_busy(now_s)

    def _leave_alone_s(self, name: str, spent_s: float) -> float:
        """Note a round that met silence for ``spent_s``; return how long to leave the device alone."""
        health, silent = self._device_health[name], self._silent() | {name}
        shared = silent != set(self._devices)
        return note_silence(health, self._chance(), PROBE_REST * len(silent) * spent_s if shared else 0.0)

    def _joined(self, turn: Round) -> tuple[tuple[str, ...], list[Rhythm]]:
        """Return what to read in this round: what is due, and what comes due soon where that is cheaper now."""
        points, riding = turn.points, []
        device = self._learning.get(turn.device)
        if device is not None:
            self._renew_plans(turn.device, device)
            for rhythm in riders(self._rhythms, turn, self._clock.monotonic_s()):
                key = (turn.device, points, rhythm.points)
                if key not in self._rides:
                    self._rides[key] = device.rides(points, rhythm.points)
                if self._rides[key]:
                    points += rhythm.points
                    riding.append(rhythm)
        return points, riding

    def _renew_plans(self, name: str, device: LearningDevice) -> None:
        """Forget what was planned before the device taught something new."""
        if device.revision != self._revisions[name]:
            self._revisions[name] = device.revision
            self._plans = {key: steps for key, steps in self._plans.items() if key[0] != name}
            self._rides = {key: joins for key, joins in self._rides.items() if key[0] != name}

    async def _learn(self, name: str) -> None:
        """Ask what the device's driver wants to know; never before a write."""
        device = self._learning.get(name)
        if device is None:
            return
        for _ in range(QUESTIONS):
            if (question := device.question()) is None:
                return
            try:
                await self._ask(device, question, retry=True)
            except (NoAnswer, BadFrame, Refused):
                return

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
        answered, refused, failed, withheld = 0, 0, 0, 0
        if health.failures_in_row >= SILENT_AFTER:
            steps = sorted(steps, key=lambda step: sum(astuple(device.cost(step.request))))  # one cheap probe
        usual = health.failures_in_row == 0 and health.last_answer_ms is not None
        for position, step in enumerate(steps):
            if self._orders:
                await self._serve_orders()
            if isinstance(step.request, Withheld):
                health.last_error = step.request.why
                withheld += 1
                self._miss(name, step.request, Mark.FAULT)
                continue
            try:
                values = await self._ask(device, step.request, retry=usual)
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
        if withheld and not answered + refused + failed:
            return True  # nothing was asked, so nothing was heard
        if answered:
            refused += withheld
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
            self._recall(name)
        health.failures_in_row, health.next_try_in_s = 0, None

    def _recall(self, *names: str) -> None:
        """Ask these at their next time again, whatever their silence has earned them."""
        now_s = self._clock.monotonic_s()
        self._rhythms = [recalled(r, now_s) if r.device in names else r for r in self._rhythms]

    def _miss(self, name: str, request: Request, mark: Mark) -> None:
        self._intake.missed(name, request.points, mark, self._clock.wall_ms())

    def _note_busy(self, now_s: float) -> None:
        """Refresh the share of time in which the wire was in use, over windows of ten seconds."""
        self._health.discarded_bytes = self._wire.bytes_discarded
        since_s, busy_s = self._busy_mark
        if now_s - since_s >= 10.0:
            self._health.busy_share = min(1.0, (self._wire.busy_s - busy_s) / (now_s - since_s))
            self._busy_mark = (now_s, self._wire.busy_s)
