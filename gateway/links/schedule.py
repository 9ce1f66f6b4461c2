"""What is due on a wire, and when to look again. Pure: monotonic seconds go in, nothing else.

Every device has one or more rhythms (its points grouped by period). All are due at once when the worker starts, so
the first values come within a second; after that each device keeps a grid of its own, shifted by a fixed share of its
period, so that thirty devices do not all ask at the full minute. Rhythms of one device share the shift: the slow points
ride along with the fast ones. A round that could not be held in time is skipped and counted, never piled up.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Points of one device that are read together every ``period_s``."""

    device: str
    points: tuple[str, ...]
    period_s: float
    grid_s: float
    """Monotonic time of one point of the grid; the others are whole periods away."""
    due_s: float


@dataclass(frozen=True, slots=True)
class Round:
    """One device's turn: every rhythm of it that is due now."""

    device: str
    rhythms: tuple[Rhythm, ...]

    @property
    def points(self) -> tuple[str, ...]:
        """All points that are due, in the order of the rhythms."""
        if len(self.rhythms) == 1:
            return self.rhythms[0].points
        return tuple(point for rhythm in self.rhythms for point in rhythm.points)


def by_period(every_s: Mapping[str, float]) -> dict[float, tuple[str, ...]]:
    """Return the points that share each period, the shortest period first."""
    groups: dict[float, list[str]] = {}
    for point, period_s in every_s.items():
        groups.setdefault(period_s, []).append(point)
    return {period_s: tuple(points) for period_s, points in sorted(groups.items())}


def rhythms_of(device: str, every_s: Mapping[str, float], start_s: float) -> list[Rhythm]:
    """Group a device's points by period. The first round is due at ``start_s``."""
    groups = by_period(every_s)
    shift = zlib.crc32(device.encode()) / 2**32
    fastest_s = min(groups, default=0.0)
    return [
        Rhythm(device, points, period_s, start_s + shift * fastest_s, start_s) for period_s, points in groups.items()
    ]


def due(rhythms: Sequence[Rhythm], now_s: float) -> list[Round]:
    """Return the rounds to hold now, the one that waited longest first."""
    waiting: dict[str, list[Rhythm]] = {}
    for rhythm in rhythms:
        if rhythm.due_s <= now_s:
            waiting.setdefault(rhythm.device, []).append(rhythm)
    rounds = [Round(device, tuple(group)) for device, group in waiting.items()]
    rounds.sort(key=lambda r: min(rhythm.due_s for rhythm in r.rhythms))
    return rounds


def riders(rhythms: Iterable[Rhythm], turn: Round, now_s: float) -> list[Rhythm]:
    """Return the slower rhythms of the same device that come due before this round comes again.

    They may ride along, since they would need a turn of their own otherwise.
    """
    fastest_s = min(r.period_s for r in turn.rhythms)
    again_s = min(held(r, now_s)[0].due_s for r in turn.rhythms)
    return [r for r in rhythms if r.device == turn.device and r.period_s > fastest_s and now_s < r.due_s < again_s]


def ridden(rhythm: Rhythm) -> Rhythm:
    """Return a rhythm that rode along before it was due, with the time after that on the grid."""
    return held(rhythm, rhythm.due_s)[0]


def wake_s(rhythms: Iterable[Rhythm]) -> float:
    """Return when the next rhythm is due; infinity when there is none."""
    return min((rhythm.due_s for rhythm in rhythms), default=math.inf)


def held(rhythm: Rhythm, now_s: float) -> tuple[Rhythm, int]:
    """Return the rhythm with its next time on the grid after ``now_s``, and how many rounds were skipped for that."""
    passed = math.floor((now_s - rhythm.grid_s) / rhythm.period_s) + 1
    next_s = rhythm.grid_s + passed * rhythm.period_s
    skipped = max(0, round((next_s - rhythm.due_s) / rhythm.period_s) - 1)
    return Rhythm(rhythm.device, rhythm.points, rhythm.period_s, rhythm.grid_s, next_s), skipped


def postponed(rhythm: Rhythm, until_s: float) -> Rhythm:
    """Return the rhythm with its next time not before ``until_s``: a silent device is asked less often."""
    return replace(rhythm, due_s=max(rhythm.due_s, until_s))


def recalled(rhythm: Rhythm, now_s: float) -> Rhythm:
    """Return a postponed rhythm with its next time on the grid; one that is due stays as it is."""
    return replace(rhythm, due_s=min(rhythm.due_s, held(rhythm, now_s)[0].due_s))


class Timetable:
    """The rhythms of all devices on one wire, as they come due and are held."""

    def __init__(self, rhythms: Iterable[Rhythm] = ()) -> None:
        self._rhythms = list(rhythms)

    def due(self, now_s: float) -> list[Round]:
        """As ``due``."""
        return due(self._rhythms, now_s)

    def riders(self, turn: Round, now_s: float) -> list[Rhythm]:
        """As ``riders``."""
        return riders(self._rhythms, turn, now_s)

    def wake_s(self) -> float:
        """As ``wake_s``."""
        return wake_s(self._rhythms)

    def hold(self, turn: Round, riding: Collection[Rhythm], began_s: float, now_s: float, leave_s: float) -> int:
        """Note a round that took from ``began_s`` to ``now_s``; return how many rounds were skipped.

        ``riding``: what was read along with it. ``leave_s``: leave the device alone for so long from now on.
        """
        late = 0
        for at, rhythm in enumerate(self._rhythms):
            if rhythm.device != turn.device:
                continue
            if rhythm in turn.rhythms:
                # What others made late is followed at once by what is due by now: no round is lost to their time-outs.
                after, skipped = held(rhythm, began_s if now_s - began_s < rhythm.period_s else now_s)
                self._rhythms[at] = postponed(after, now_s + leave_s) if leave_s else after
                late += skipped
            elif rhythm in riding:
                self._rhythms[at] = ridden(rhythm)
        return late

    def skip(self, now_s: float) -> None:
        """Leave out the rounds that are due."""
        self._rhythms = [held(r, now_s)[0] if r.due_s <= now_s else r for r in self._rhythms]

    def recall(self, devices: Container[str], now_s: float) -> None:
        """Ask these at their next time again, whatever their silence has earned them."""
        self._rhythms = [recalled(r, now_s) if r.device in devices else r for r in self._rhythms]
