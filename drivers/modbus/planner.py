"""Plans for one unit by what its line costs and by what it has taught us; keeps that in the gateway's notes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from statistics import median

from drivers.api import Notes
from drivers.modbus.learned import Learner
from drivers.modbus.plan import Block, Limits, Prices, Wall, plan, spans_of, wire_s
from drivers.modbus.points import Point
from drivers.transport.line import Line

TURNAROUND_S = 0.02
"""Before a device answers, until it has been measured."""
_MEASURED = 15
"""The turnaround is the median of so many answers."""
_NOTABLE = 1.25
"""Plans are made anew when the turnaround has changed by this factor."""
_BEHIND_TCP_CHAR_S = 11 / 9600
"""RTU over TCP ends in a serial line that we know nothing of: taken for the most usual one."""
_FRAME_BYTES = 8 + 5
"""A request, and a reply without its content (RTU)."""


class Planner:
    """What to read from one unit; ``revision`` changes when earlier plans are not the best any more."""

    def __init__(self, line: Line, points: Mapping[str, Point], limits: Limits, now_s: Callable[[], float]) -> None:
        self.revision = 0
        self._points = points
        self._limits = limits
        self._now_s = now_s
        self._line = line
        self._char_s = line.char_s or (0.0 if line.framing == "modbus_tcp" else _BEHIND_TCP_CHAR_S)
        self._turnaround_s = TURNAROUND_S
        self._measured: deque[float] = deque(maxlen=_MEASURED)
        self._answers = 0
        self._learner = Learner()
        self._notes: Notes | None = None
        self._noted = 0  # the learner's revision that plans and notes are of

    @property
    def prices(self) -> Prices:
        """What reading from this unit costs, by what is known of its line and its turnaround."""
        around_s = _FRAME_BYTES * self._char_s + self._line.silence_s
        return Prices(around_s + self._turnaround_s, self._char_s)

    def blocks(self, names: Sequence[str]) -> list[Block]:
        """Return what to read for these points, except for those withheld."""
        withheld = self._learner.withheld(self._points)
        asked = {name: self._points[name] for name in names if name not in withheld}
        named = [point for name, point in self._points.items() if name not in withheld]
        limits = self._learner.limits(self._limits, named)
        return plan(asked, limits, self.prices, named, self._learner.walls)

    def withheld(self, names: Sequence[str]) -> dict[str, Wall]:
        """Return those of the points that the unit does not give, with what it refused."""
        return self._learner.withheld({name: self._points[name] for name in names})

    def rides(self, due: Sequence[str], soon: Sequence[str]) -> bool:
        """As ``drivers.api.LearningDevice.rides``."""
        prices = self.prices
        apart_s = wire_s(self.blocks(due), prices) + wire_s(self.blocks(soon), prices)
        return wire_s(self.blocks((*due, *soon)), prices) < apart_s

    def given(self, block: Block, reply_bytes: int) -> None:
        """Note that the unit gave this block, in the exchange that the line did last."""
        self._learner.given(block.table, block.start, block.count)
        self._measured.append(max(0.0, self._line.last_reply_s - reply_bytes * self._char_s))
        self._answers += 1
        if self._answers % _MEASURED:
            return
        turnaround_s = median(self._measured)
        if not self._turnaround_s / _NOTABLE <= turnaround_s <= self._turnaround_s * _NOTABLE:
            self._turnaround_s = turnaround_s
            if self._char_s:  # where bytes cost nothing the fewest requests are best, whatever one costs
                self.revision += 1

    def refused(self, block: Block) -> None:
        """Note that the unit called something in this block illegal."""
        spans = spans_of({name: self._points[name] for name in block.names})
        self._learner.refused(block, spans, self._now_s())
        self._note()

    def question(self) -> Wall | None:
        """Return what should be read next to learn more, or None."""
        wall = self._learner.question(self._now_s())
        self._note()
        return wall

    def answered(self, wall: Wall, given: bool | None) -> None:
        """Take the answer to a question; None: there was none."""
        if given is None:
            self._learner.unanswered(wall, self._now_s())
        else:
            self._learner.answered(wall, given, self._now_s())
        self._note()

    def keep_notes(self, notes: Notes) -> None:
        """As ``drivers.api.LearningDevice.keep_notes``. Notes that are not ours count as empty."""
        self._notes = notes
        if (facts := notes.read()) is None:
            return
        try:
            self._learner.remember(facts, self._now_s())
        except ValueError as why:
            notes.write(self._learner.facts(), [f"is learned anew: {why}"])
        self._noted = self._learner.revision
        self.revision += 1

    def _note(self) -> None:
        if self._learner.revision == self._noted:
            return
        self._noted = self._learner.revision
        self.revision += 1
        if self._notes is not None:
            self._notes.write(self._learner.facts(), tuple(self._learner.news))
        self._learner.news.clear()
