"""The worker of one polled wire: connects, asks what is due, steps back from the silent, and tells what it sees."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from drivers.api import Device, Request, Value
from drivers.errors import BadFrame, DriverError, LinkDown, NoAnswer, Refused
from gateway.backoff import delay_s
from gateway.clock import Clock
from gateway.links import Intake, Take
from gateway.links.link_state import LinkState
from gateway.links.schedule import Rhythm, Round, due, held, postponed, rhythms_of, wake_s
from gateway.model import DeviceHealth, LinkHealth, Mark

log = structlog.get_logger()

SILENT_FIRST_S, SILENT_CAP_S = 2.0, 120.0
REOPEN_AFTER_S = 30.0
SILENT_AFTER = 2  # rounds without any answer before a device is asked less often


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
                    await self._poll()
                except LinkDown as why:
                    await self._wire.close()
                    self._miss_all(first=self._state.went_down(why))
                await self._clock.sleep(self._state.wait_s())
        finally:
            await self._wire.close()

    def _miss_all(self, *, first: bool) -> None:
        """The wire is down: mark what is due on it; skip those rounds if it was down before."""
        now_s, now_ms = self._clock.monotonic_s(), self._clock.wall_ms()
        for turn in due(self._rhythms, now_s):
            self._intake.missed(turn.device, turn.points, Mark.NO_ANSWER, now_ms)
        if not first:
            self._rhythms = [held(r, now_s)[0] if r.due_s <= now_s else r for r in self._rhythms]

    async def _poll(self) -> None:
        while True:
            now_s = self._clock.monotonic_s()
            rounds = due(self._rhythms, now_s)
            if not rounds:
                await self._clock.sleep(wake_s(self._rhythms) - now_s)
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
        points = turn.points
        key = (turn.device, points)
        steps = self._plans.get(key)
        if steps is None:
            requests = self._devices[turn.device].device.plan(points)
            steps = [_Step(r, self._intake.prepare(turn.device, r.points)) for r in requests]
            self._plans[key] = steps
        postpone_until_s = await self._ask_all(turn.device, steps)
        now_s = self._clock.monotonic_s()
        for rhythm in turn.rhythms:
            after, skipped = held(rhythm, now_s)
            self._health.late_rounds += skipped
            if postpone_until_s:
                after = postponed(after, postpone_until_s)
            self._rhythms[self._rhythms.index(rhythm)] = after
        self._note_busy(now_s)

    async def _ask_all(self, name: str, steps: list[_Step]) -> float:
        """Ask each request once (a spoilt one twice). Return until when to leave the device alone, 0 for no."""
        device, health = self._devices[name].device, self._device_health[name]
        answered, refused, failed = 0, 0, 0
        for position, step in enumerate(steps):
            try:
                values = await self._ask(device, step.request, retry=health.failures_in_row == 0)
            except NoAnswer as why:
                health.last_error = str(why)
                failed += 1
                if answered == refused == 0:  # silent: do not wait for each of its requests
                    for rest in steps[position:]:
                        self._miss(name, rest.request, Mark.NO_ANSWER)
                    return self._silent(health)
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
        self._settle_state(health, answered, refused, failed)
        if answered + refused == 0:
            return self._silent(health)
        health.failures_in_row, health.next_try_in_s = 0, None
        return 0.0

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
        health = self._health
        health.requests += 1
        try:
            values = await device.ask(request)
        except DriverError as why:
            self._count(why)
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

    def _count(self, why: DriverError) -> None:
        cause = {NoAnswer: "no_answer", BadFrame: "bad_frame", Refused: "refused"}.get(type(why))
        if cause is not None:  # LinkDown is counted where it ends the poll
            self._health.count(cause)

    def _miss(self, name: str, request: Request, mark: Mark) -> None:
        self._intake.missed(name, request.points, mark, self._clock.wall_ms())

    def _settle_state(self, health: DeviceHealth, answered: int, refused: int, failed: int) -> None:
        before = health.state
        if answered and not refused and not failed:
            health.state, health.last_error = "good", None
        elif answered:
            health.state = "partly"
        elif refused:
            health.state = "refused"
        if answered or refused:
            health.last_answer_ms = self._clock.wall_ms()
        if health.state != before:
            if before in ("silent", "link_down") and answered:
                log.info("device answers again", device=health.name)
            elif health.state in ("partly", "refused"):
                log.warning("device refuses points", device=health.name, reason=health.last_error)

    def _silent(self, health: DeviceHealth) -> float:
        """Note a round without any answer; return until when the device is left alone (0: next round as usual)."""
        health.failures_in_row += 1
        if health.failures_in_row < SILENT_AFTER:
            return 0.0
        if health.state != "silent":
            health.state = "silent"
            log.warning("device is silent", device=health.name, reason=health.last_error)
        wait_s = delay_s(
            health.failures_in_row - SILENT_AFTER + 1,
            first_s=SILENT_FIRST_S,
            cap_s=SILENT_CAP_S,
            chance=self._chance(),
        )
        health.next_try_in_s = wait_s
        return self._clock.monotonic_s() + wait_s

    def _note_busy(self, now_s: float) -> None:
        """Refresh the share of time in which the wire was in use, over windows of ten seconds."""
        since_s, busy_s = self._busy_mark
        if now_s - since_s >= 10.0:
            self._health.busy_share = min(1.0, (self._wire.busy_s - busy_s) / (now_s - since_s))
            self._busy_mark = (now_s, self._wire.busy_s)
