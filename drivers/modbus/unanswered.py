"""Which answers of one unit may still be on their way, and how to ask so that none of them is taken for another. Pure.

An RTU answer carries no number, so a late one looks like the answer to the next question of the same shape (function
and byte count), however late it is. But answers come in the order of the requests: from the unit, which does one thing
at a time, and through every box on the way. So once an answer has come that no earlier request could have brought,
nothing older can come any more. A request whose answer has such a shape is a *fence*.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from drivers.modbus.frames import Exchange, rtu_read
from drivers.modbus.plan import payload_bytes
from drivers.modbus.points import Point, Table


def fences(unit: int, points: Mapping[str, Point], max_count: int) -> list[Exchange]:
    """Return one read per shape of answer that the unit's own points allow, the shortest first.

    Reads whole points and what lies side by side, nothing between them: a unit that gives its points gives these.
    """
    shapes: dict[tuple[Table, int], Exchange] = {}
    for run in _side_by_side(points.values()):
        for first, point in enumerate(run):
            for last in run[first:]:
                count = last.end - point.address
                if count > max_count:
                    break
                shape = point.table, payload_bytes(point.table, count)
                if shape not in shapes:
                    shapes[shape] = rtu_read(unit, point.table, point.address, count)
    return sorted(shapes.values(), key=lambda read: read.payload_bytes)


def _side_by_side(points: Iterable[Point]) -> Iterator[list[Point]]:
    """Yield the points in runs without gaps, by address."""
    run: list[Point] = []
    for point in sorted(points, key=lambda p: (p.table, p.address, p.end)):
        if run and (point.table != run[-1].table or point.address != run[-1].end):
            yield run
            run = []
        run.append(point)
    if run:
        yield run


class Unanswered:
    """The requests to one unit whose answers may still come."""

    def __init__(self, fences: Iterable[Exchange]) -> None:
        self._fences = list(fences)
        self._open: set[bytes] = set()

    def lost(self, asked: Exchange) -> None:
        """Note that no answer was recognised; it may come at any time."""
        self._open.add(_shape(asked))

    def came(self, asked: Exchange) -> bool:
        """Note an answer. True: it was a fence, so what was under way is no more."""
        if not self._open or self.fits(asked):
            return False
        self._open.clear()
        return True

    def settle(self) -> None:
        """Nothing is under way any more."""
        self._open.clear()

    def fits(self, asked: Exchange) -> bool:
        """Tell whether an answer under way could be taken for the one to ``asked``."""
        return _shape(asked) in self._open

    def clouds(self, asked: Exchange) -> bool:
        """Tell the same with refusals counted, which show the function only."""
        return any(shape[:2] == asked.head[:2] for shape in self._open)

    def fence(self) -> Exchange | None:
        """Return a read whose answer cannot be one under way; None when each shape is, or there are no points."""
        return next((read for read in self._fences if not self.fits(read)), None)


def _shape(asked: Exchange) -> bytes:
    """Unit, function, byte count of a read; of a write the address, so that those of many values are one."""
    return asked.head[:4]
