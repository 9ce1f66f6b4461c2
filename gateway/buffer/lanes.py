"""What one sink still has to be sent, as numbers of blobs. Pure and immutable.

The live lane is everything from ``live`` on; it grows by itself with each commit. The back-fill lanes lie below it.
When the live lane has grown too long (the sink was away), it becomes back-fill and a new live lane begins, so that
fresh data goes first; every ``BACKFILL_TURN``-th turn goes to back-fill all the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

BACKFILL_TURN = 4
LIVE_BLOBS = 300
"""A live lane longer than this is split: five minutes of one commit per second."""
_MAX_LANES = 16

Interval = tuple[int, int]
"""Half open: the first number belongs to it, the second does not. Never empty."""


@dataclass(frozen=True, slots=True)
class Lanes:
    """A set of blob numbers without upper end: ``backfill`` (ascending, apart, below ``live``) and the live lane."""

    live: int
    backfill: tuple[Interval, ...] = ()

    def __contains__(self, number: int) -> bool:
        return number >= self.live or any(a <= number < b for a, b in self.backfill)

    @property
    def first(self) -> int:
        """The lowest number that is still to be sent."""
        return self.backfill[0][0] if self.backfill else self.live

    def without(self, first: int, end: int) -> Lanes:
        """Return what remains when ``first`` up to but not including ``end`` is settled or gone."""
        if first >= end:
            return self
        lanes = self.backfill
        live = self.live
        if end > live:
            if first > live:
                lanes = _joined(lanes, (live, first))
            live = end
        pieces = (piece for a, b in lanes for piece in ((a, min(b, first)), (max(a, end), b)))
        return Lanes(live, tuple((a, b) for a, b in pieces if a < b))

    def split(self, next_number: int, longest: int = LIVE_BLOBS) -> Lanes:
        """Return lanes in which a live lane longer than ``longest`` has become back-fill but for its newest blob."""
        if next_number - self.live <= max(1, longest) or len(self.backfill) >= _MAX_LANES:
            return self
        newest = next_number - 1
        return Lanes(newest, _joined(self.backfill, (self.live, newest)))

    def turn(self, next_number: int, number: int) -> Interval | None:
        """Return what the ``number``-th turn may take from, lowest first; None when all is sent.

        ``next_number`` is one above the newest blob.
        """
        has_live = self.live < next_number
        if self.backfill and (not has_live or number % BACKFILL_TURN == BACKFILL_TURN - 1):
            return self.backfill[0]
        return (self.live, next_number) if has_live else None

    def __str__(self) -> str:
        return " ".join([*(f"{a}-{b}" for a, b in self.backfill), f"{self.live}-"])


def _joined(lanes: tuple[Interval, ...], last: Interval) -> tuple[Interval, ...]:
    """Append an interval, making one of two that touch."""
    if lanes and lanes[-1][1] == last[0]:
        return (*lanes[:-1], (lanes[-1][0], last[1]))
    return (*lanes, last)


def parse(text: str) -> Lanes:
    """Return the lanes that ``str`` gave this text. Raises ValueError."""
    *closed, last = text.split(" ")
    bounds = [int(bound) for lane in closed for bound in lane.split("-")]
    live = int(last.removesuffix("-"))
    if (
        not last.endswith("-")
        or len(bounds) != 2 * len(closed)
        or any(a >= b for a, b in pairwise(bounds))
        or bounds[-1:] > [live]
    ):
        raise ValueError(f"not a list of lanes: {text!r}")
    return Lanes(live, tuple(zip(bounds[::2], bounds[1::2], strict=True)))


def settled_by_all(lanes: Iterable[Lanes], end: int) -> list[Interval]:
    """Return the intervals below ``end`` that nobody still waits for; everything when there is nobody."""
    free: list[Interval] = [(0, end)] if end > 0 else []
    for each in lanes:
        waiting = [*each.backfill, (each.live, max(end, each.live))]
        for a, b in waiting:
            free = [piece for x, y in free for piece in ((x, min(y, a)), (max(x, b), y)) if piece[0] < piece[1]]
    return free
