"""Keeps one output as it should be: looks, asks the machine, writes the journal, then the wire, and reads back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, Protocol

import structlog

from drivers.errors import BadFrame, LinkDown, NoAnswer, Refused
from gateway.clock import Clock
from gateway.config.profiles import TIMEOUT
from gateway.control import machine
from gateway.control.facts import Watched
from gateway.control.interlock import OFF, ON, refusals
from gateway.control.journal import Journal, recall, remember
from gateway.control.machine import Act, Note, Outcome
from gateway.control.moment import Now
from gateway.control.output import Demand, Facts, Lease, Output, SeriesName, State
from gateway.control.reasons import REASONS
from gateway.control.status import status_of
from gateway.errors import NotNow
from gateway.ledger.day import Calendar
from gateway.links import Writer
from gateway.model import JournalEntry, OutputStatus

log = structlog.get_logger()

US = "sitegate"
WRITE_S = 5.0
READ_AGAIN_S = 0.5
"""While a command waits to be confirmed, its read-back is asked for so often."""
_QUIET = frozenset({"written", "confirmed", "unconfirmed"})
"""Steps that a dry run does not have."""
Acted = Callable[[str, str, str, Mapping[str, object]], None]
"""Tells the alarms what was done: alarm, by, note, details."""
Tell = Callable[[str, Literal["output"], str, str | None], None]
"""Tells the alarms what is wrong with an output: its device, ``output``, its name, and why; None: all is well."""


class Scale(Protocol):
    """How a value of a point becomes the device's own number; a profile's PointRule."""

    def unscaled(self, value: float) -> float: ...


@dataclass(slots=True)
class Today:
    """How long it has run since local midnight, as read back."""

    date: str
    on_s: float
    seen_s: float
    was_on: bool = False

    def count(self, is_on: bool | None, date: str, now_s: float) -> None:
        """Note how it stands now."""
        if date != self.date:
            self.date, self.on_s = date, 0.0
        if self.was_on:
            self.on_s += now_s - self.seen_s
        self.seen_s, self.was_on = now_s, bool(is_on)


class Executor:
    """One output. ``run`` returns only after ``leave``, when it is off."""

    def __init__(
        self,
        output: Output,
        scales: Mapping[str, Scale],
        watched: Watched,
        journal: Journal,
        clock: Clock,
        calendar: Calendar,
        changed: Callable[[], None],
    ) -> None:
        """``scales``: of the points that are written. ``changed`` is called when its status has changed."""
        self.output = output
        self.demand = Demand()
        self.asking: Sequence[SeriesName] = ()
        """Series of the alarms that ask."""
        self.writer: Writer | None = None
        self.acted: Acted | None = None
        self.tell: Tell | None = None
        self._scales = scales
        self._watched = watched
        self._journal = journal
        self._clock = clock
        self._calendar = calendar
        self._changed = changed
        self._woken = asyncio.Event()
        self._leaving = False
        self._dry_on = False
        self._read_s = -READ_AGAIN_S
        self._unwritten: list[JournalEntry] = []
        self._writing: asyncio.Task[None] | None = None
        self.state, (date, on_s) = recall(journal.memory.get(output.name), self._now())
        self._today = Today(date, on_s, clock.monotonic_s())

    # --- in ----------------------------------------------------------------------------------------------------

    def ask(self, demand: Demand, asking: Sequence[SeriesName]) -> None:
        """Take what asks for it from now on."""
        now_ms, on = self._clock.wall_ms(), {"simulated": True} if demand.simulated else {}
        new = [alarm for alarm in demand.alarms if alarm not in self.demand.alarms]
        self.demand, self.asking = demand, asking
        if new and self.output.mode != "off":
            lines = [JournalEntry(0, now_ms, self.output.name, "asked", "on", "alarm", US, alarm, on) for alarm in new]
            self._unwritten += lines  # stored with what follows from it
        self._changed()
        self.wake()

    def wake(self) -> None:
        """Look at once."""
        self._woken.set()

    def leave(self) -> None:
        """Switch off what runs and let ``run`` return."""
        self._leaving = True
        self.state = machine.stop(self.state, "shutdown", self._clock.monotonic_s())
        self.wake()

    @property
    def at_rest(self) -> bool:
        """True when it neither runs nor is being switched off by us."""
        return not self.state.running and self.state.phase != "stopping"

    async def command(self, want: str, by: str, minutes: float) -> None:
        """Take a person's command: on, off or auto. Raises NotNow with a sentence when it cannot be carried out."""
        name, now_s = self.output.name, self._clock.monotonic_s()
        if self.output.mode == "off":
            raise NotNow(f"{name}: {REASONS['not_armed']}")
        held = self.state.lease
        state = self.state
        if want == "auto":  # a person has seen to it; "off" only keeps it off, and its end must start nothing broken
            note = Note("released", "", "released", {"by": held.by} if held else {})
            state = replace(state, fault="", odd_since_s=None, taken=())
            state = replace(state, lease=None, reason=state.reason if state.running else "released")
        else:
            note = Note("manual", want, "manual", {"minutes": minutes})
            state = replace(state, lease=Lease(want == "on", by, now_s + 60 * minutes))
        if want == "on":
            if held is not None and not held.on and held.by != by:
                left = f"{held.by} holds it off for another {(held.until_s - now_s) / 60:.0f} min"
                raise NotNow(f"{name}: {left}; ask them, or give it back with auto")
            if codes := refusals(self.output, state, self.demand, self.facts(now_s), now_s):
                self._later(self._lines([Note("refused", "on", codes[0])], by))
                raise NotNow(f"{name} cannot be switched on. " + " ".join(REASONS[code] for code in codes))
        self.state = state
        self._changed()
        await self._journal_now(self._lines([note], by))
        self.wake()

    # --- the loop ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look whenever something has changed, and when it is time."""
        try:
            while not (self._leaving and self.at_rest):
                self._woken.clear()
                wake_s = await self.turn()
                await self._nap(wake_s - self._clock.monotonic_s())
        finally:
            if self._writing is not None:
                await asyncio.wait([self._writing])

    async def turn(self) -> float:
        """Look once and do what follows; return when to look again."""
        now_s = self._clock.monotonic_s()
        before = self.state
        step = machine.step(self.output, before, self.demand, self.facts(now_s), now_s)
        self.state = step.state
        self._today.count(self._watched.runs(self.output, now_s), self._date(), now_s)
        if _shown(before) != _shown(self.state):
            self._changed()
        outcome: Outcome | None = None
        if step.act == "on" and not await self._journal_now(self._lines(step.notes)):
            outcome = "no_journal"  # nothing is switched on without a record
        elif step.act != "on" and (step.notes or self._unwritten or not self._journal.works):
            self._later(self._lines(step.notes))  # switching off never waits for a disk
        self._tell_alarms(step.notes)
        if step.act != "none":
            outcome = outcome or await self._write(step.act)
            now_s = self._clock.monotonic_s()
            self.state, notes = machine.settled(self.output, self.state, step.act, outcome, now_s)
            self._later(self._lines(notes))
            self._changed()
            return now_s  # something may follow at once
        if self.state.phase in ("starting", "stopping"):
            self._read_back()
        return step.wake_s

    async def _nap(self, seconds: float) -> None:
        """Sleep until something wakes us."""
        waits = [asyncio.ensure_future(self._woken.wait()), asyncio.ensure_future(self._clock.sleep(seconds))]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    # --- the wire ----------------------------------------------------------------------------------------------

    async def _write(self, act: Act) -> Outcome:
        output = self.output
        if output.mode == "dry_run":
            self._dry_on = act != "off"
            return "done"
        assert self.writer is not None, "run() begins after connect()"
        point, value, hold_s = output.metric, OFF if act == "off" else ON, None
        if act == "set_dead_man":
            assert output.dead_man_s is not None
            point, value = TIMEOUT, output.dead_man_s
        elif act != "off" and output.dead_man == "pulse":
            hold_s = output.dead_man_s
        try:
            await self._within_s(
                WRITE_S, self.writer.write(output.device, point, self._scales[point].unscaled(value), hold_s)
            )
        except (NoAnswer, BadFrame) as why:
            log.warning("output does not answer", output=output.name, act=act, reason=str(why))
            return "no_answer"
        except LinkDown as why:
            log.warning("output cannot be reached", output=output.name, act=act, reason=str(why))
            return "link_down"
        except Refused as why:
            log.error("output refuses a command", output=output.name, act=act, reason=str(why))
            return "refused"
        if act != "hold":
            self._read_back(points=(TIMEOUT,) if act == "set_dead_man" else (), at_once=True)
        return "done"

    async def _within_s(self, seconds: float, work: Coroutine[Any, Any, None]) -> None:
        """Await ``work``, but not for ever: a command that waits longer may not be the right one any more."""
        task, sleep = asyncio.ensure_future(work), asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait([task, sleep], return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise NoAnswer(f"the wire had no time for it within {seconds:g} s")
            task.result()
        finally:
            for each in (task, sleep):
                each.cancel()
            await asyncio.gather(task, sleep, return_exceptions=True)

    def _read_back(self, points: tuple[str, ...] = (), *, at_once: bool = False) -> None:
        """Have the state read on the wire; what comes takes the usual way and wakes us."""
        now_s = self._clock.monotonic_s()
        if self.output.mode != "armed" or (now_s - self._read_s < READ_AGAIN_S and not at_once):
            return
        assert self.writer is not None, "run() begins after connect()"
        self._read_s = now_s
        self.writer.refresh(self.output.device, points or (self.output.metric,))

    # --- what is known -----------------------------------------------------------------------------------------

    def facts(self, now_s: float) -> Facts:
        """Return what is known now. A dry run knows of itself what it would have done."""
        local = datetime.fromtimestamp(self._clock.wall_ms() / 1000, self._calendar.zone)
        facts = self._watched.facts(self.output, self.asking, now_s, local.hour * 60 + local.minute)
        if self.output.mode == "dry_run":
            facts = replace(facts, is_on=self._dry_on, read_s=now_s, feedback=None)
        return replace(facts, journal_works=self._journal.works)

    def status(self) -> OutputStatus:
        """Return how it stands now."""
        now = self._now()
        self._today.count(self._watched.runs(self.output, now.s), self._date(), now.s)
        is_on = self._watched.is_on(self.output, now.s)
        return status_of(self.output, self.state, self.demand, self.facts(now.s), now, is_on, self._today.on_s)

    def _now(self) -> Now:
        return Now(self._clock.wall_ms(), self._clock.monotonic_s())

    def _date(self) -> str:
        return self._calendar.date_of(self._clock.wall_ms()).isoformat()

    # --- what is told ------------------------------------------------------------------------------------------

    def _lines(self, notes: Sequence[Note], by: str = US) -> list[JournalEntry]:
        now_ms, state = self._clock.wall_ms(), self.state
        lines: list[JournalEntry] = []
        for note in notes:
            step = note.step
            if self.output.mode == "dry_run":
                if step in _QUIET:
                    continue
                step = "dry_run" if step == "intent" else step
            who = by if state.reason != "manual" or state.lease is None or by != US else state.lease.by
            alarm = state.alarm if state.reason != "manual" else ""
            if step == "refused" and self.demand.alarms:
                alarm = self.demand.alarms[0]
            lines.append(
                JournalEntry(0, now_ms, self.output.name, step, note.command, note.reason, who, alarm, note.details)
            )
        return lines

    def _tell_alarms(self, notes: Sequence[Note]) -> None:
        """Write the log, note in the alarm what was done for it, and say what is wrong."""
        if self.tell is not None and self.output.mode == "armed" and self.state.phase != "unknown":
            why = f"{self.output.name}: {REASONS[self.state.fault]}" if self.state.fault else None
            self.tell(self.output.device, "output", self.output.name, why)
        for note in notes:
            if note.step in ("refused", "fault", "failed", "confirmed"):
                log.info("output", output=self.output.name, step=note.step, command=note.command, reason=note.reason)
            done = note.step == "confirmed" or (note.step == "intent" and self.output.mode == "dry_run")
            if done and self.state.alarm and self.acted is not None:
                dry = " (dry run: nothing was switched)" if self.output.mode == "dry_run" else ""
                step = "dry_run" if self.output.mode == "dry_run" else note.step
                what = {"output": self.output.name, "step": step, "command": note.command, "reason": note.reason}
                details = {**what, **note.details}
                self.acted(self.state.alarm, US, f"{self.output.en}: {note.command}{dry}", details)

    async def _journal_now(self, lines: Sequence[JournalEntry]) -> bool:
        """Store lines, with those that wait; True when they are on disk."""
        due, self._unwritten = [*self._unwritten, *lines], []
        today = (self._today.date, self._today.on_s)
        return await self._journal.note(due, {self.output.name: remember(self.state, self._now(), today)})

    def _later(self, lines: Sequence[JournalEntry]) -> None:
        """Store lines without waiting for the disk."""
        self._unwritten += lines
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_journal(), name=f"journal {self.output.name}")

    async def _write_journal(self) -> None:
        while await self._journal_now(()) and self._unwritten:
            pass


def _shown(state: State) -> tuple[object, ...]:
    """What people see of a state."""
    return state.phase, state.reason, state.fault, state.refused, state.lease
