"""Control while the gateway runs: alarms and readings in, commands on the wire, every one of them in the journal.

Alerts ask, control decides: no alarm writes to a wire. Fulfils the page's OutputDesk.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import structlog

from gateway.clock import Clock
from gateway.control.executor import Acted, Executor, Scale, Tell
from gateway.control.facts import Watched
from gateway.control.journal import Journal
from gateway.control.output import MOST_MINUTES, Demand, Output, SeriesName
from gateway.control.sprayed import SprayedMark, any_runs
from gateway.errors import NotNow
from gateway.ledger.day import Calendar
from gateway.links import Writer
from gateway.model import Alarm, JournalEntry, OutputStatus, Readings

log = structlog.get_logger()

COMMANDS = ("on", "off", "auto")
LEAVE_S = 5.0
"""So long a stop waits for outputs to be seen off; then their own switch-off time has to do."""
_PRUNE_EVERY_S = 6 * 3600.0


class Control:
    """All outputs of a site. ``connect`` it to the wires, then keep ``run`` running."""

    def __init__(
        self,
        outputs: Sequence[Output],
        scales: Mapping[str, Mapping[str, Scale]],
        every_s: Mapping[SeriesName, float],
        journal: Journal,
        clock: Clock,
        calendar: Calendar,
        *,
        simulated: bool,
        played: Iterable[str] = (),
        keep_s: float,
    ) -> None:
        """``scales`` is device -> point -> its scale; ``every_s`` the expected time between readings of a series.

        ``simulated``: the whole site is. ``played``: devices that a simulator plays; on a real site they move nothing.
        """
        self._clock = clock
        self._journal = journal
        self._simulated = simulated
        self._played = frozenset(played)
        self._unbelieved = self._played - {output.device for output in outputs}
        """Weather or water that a simulator plays permits nothing on a real site."""
        self._keep_ms = int(keep_s * 1000)
        self._watched = Watched(outputs, every_s, clock.monotonic_s())
        self._executors = {
            output.name: Executor(
                output, scales[output.device], self._watched, journal, clock, calendar, self._note_change
            )
            for output in outputs
        }
        self._alarms: dict[str, Alarm] = {}
        """Those that hold, of rules that some output listens to."""
        self._rules = frozenset(rule for output in outputs for rule in output.when)
        self.revision = 0

    def connect(self, writers: Mapping[str, Writer], acted: Acted | None = None, tell: Tell | None = None) -> None:
        """Hand in the way to each device, and how the alarms are told what was done and what is wrong."""
        for executor in self._executors.values():
            executor.writer, executor.acted, executor.tell = writers[executor.output.device], acted, tell

    def marks(self) -> dict[str, SprayedMark]:
        """Return for each sensor near an output what marks its records."""
        near: dict[str, list[Output]] = {}
        for executor in self._executors.values():
            for device in executor.output.near:
                near.setdefault(device, []).append(executor.output)
        return {device: SprayedMark(partial(self._any_runs, these)) for device, these in near.items()}

    # --- in ----------------------------------------------------------------------------------------------------

    def see(self, readings: Readings) -> None:
        """Take a record. Never waits."""
        if readings.device in self._watched.devices and readings.device not in self._unbelieved:
            for name in self._watched.see(readings, self._clock.wall_ms(), self._clock.monotonic_s()):
                self._executors[name].wake()

    def alarm_changed(self, event: object, alarm: Alarm) -> None:
        """Take an alarm after one of its events. Never waits."""
        if alarm.rule not in self._rules:
            return
        if alarm.active and alarm.cause == "raised":
            self._alarms[alarm.id] = alarm
        elif self._alarms.pop(alarm.id, None) is None:
            return
        for executor in self._executors.values():
            if alarm.rule in executor.output.when:
                self._ask(executor)

    def _ask(self, executor: Executor) -> None:
        found = [(alarm, _asking(executor.output, alarm)) for alarm in self._alarms.values()]
        asks = [(alarm, series) for alarm, series in found if series and alarm.rule in executor.output.when]
        real = asks if self._simulated else [(alarm, series) for alarm, series in asks if not self._is_played(alarm)]
        counted = real or asks
        demand = Demand(tuple(alarm.id for alarm, _ in counted), simulated=bool(asks) and not real)
        if demand != executor.demand:
            executor.ask(demand, tuple(dict.fromkeys(each for _, series in counted for each in series)))

    def _is_played(self, alarm: Alarm) -> bool:
        return bool(alarm.details.get("simulated")) or _device(alarm) in self._played

    # --- the loop ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep every output as it should be, until ``leave`` or cancelled."""
        async with asyncio.TaskGroup() as group:
            tidying = group.create_task(self._tidy())
            executors = [group.create_task(e.run(), name=f"output {n}") for n, e in self._executors.items()]
            await asyncio.wait(executors)
            tidying.cancel()

    async def leave(self) -> None:
        """Switch off what we switched on, and wait until that is seen; then ``run`` returns."""
        for executor in self._executors.values():
            executor.leave()
        until_s = self._clock.monotonic_s() + LEAVE_S
        while left := [name for name, executor in self._executors.items() if not executor.at_rest]:
            if self._clock.monotonic_s() >= until_s:
                log.warning("outputs are not seen to be off", outputs=left)
                return
            await self._clock.sleep(0.05)

    async def close(self) -> None:
        """Release the journal."""
        await self._journal.close()

    async def _tidy(self) -> None:
        while True:
            try:
                await self._journal.prune(self._clock.wall_ms() - self._keep_ms)
            except (sqlite3.Error, OSError) as error:
                log.warning("old journal lines cannot be removed, trying again later", error=str(error))
            await self._clock.sleep(_PRUNE_EVERY_S)

    # --- out ---------------------------------------------------------------------------------------------------

    def outputs(self) -> list[OutputStatus]:
        """Every output as it stands now, in the order of the site file."""
        return [executor.status() for executor in self._executors.values()]

    async def journal(self, from_ms: int, to_ms: int, output: str | None = None) -> list[JournalEntry]:
        """Lines of that time, the newest first."""
        return await self._journal.find(from_ms, to_ms, output)

    async def command(self, output: str, want: str, by: str, minutes: float) -> OutputStatus | None:
        """Take a person's command: on, off or auto. None: no such output. Raises NotNow with a sentence."""
        executor = self._executors.get(output)
        if executor is None:
            return None
        if want not in COMMANDS:
            raise NotNow(f"An output takes {', '.join(COMMANDS)}, not {want!r}.")
        if want != "auto" and not 0 < minutes <= MOST_MINUTES:
            raise NotNow(f"Say for how many minutes, more than 0 and at most {MOST_MINUTES:.0f}.")
        await executor.command(want, by, minutes)
        return executor.status()

    def _any_runs(self, outputs: Iterable[Output]) -> bool | None:
        now_s = self._clock.monotonic_s()
        return any_runs(self._watched.runs(output, now_s) for output in outputs)

    def _note_change(self) -> None:
        self.revision += 1


def _device(alarm: Alarm) -> str:
    return str(alarm.details.get("device", alarm.subject))


def _asking(output: Output, alarm: Alarm) -> tuple[SeriesName, ...]:
    """The series for which this alarm asks this output; none: it is not meant."""
    device, metric = _device(alarm), alarm.details.get("metric")
    of_device = tuple(series for series in output.sensors if series[0] == device)
    return tuple(series for series in of_device if series[1] == metric) or of_device
