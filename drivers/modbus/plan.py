"""Which blocks to read so that few requests bring all points. Pure.

Reading a few registers that nobody wants is cheaper than another request, so blocks reach across gaps; but devices
bound the length of a block, and some refuse a whole block for one address in it that they do not know (a hole).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from drivers.modbus.points import BIT_TABLES, Point, Table


@dataclass(frozen=True, slots=True)
class Limits:
    """What a device tolerates in one read request."""

    max_count: int = 60
    """Registers; the protocol itself allows 125."""
    max_gap: int = 8
    """So many unwanted addresses in a row are read along rather than asked around."""
    holes: tuple[int, ...] = ()
    """Addresses, in any table, that must never be inside a block."""
    max_coils: int = 2000
    """Coils or discrete inputs; the protocol itself allows 2000."""

    def __post_init__(self) -> None:
        if not 1 <= self.max_count <= 125:
            raise ValueError(f"max_count is {self.max_count}: Modbus allows 1 to 125 registers in a request")
        if not 1 <= self.max_coils <= 2000:
            raise ValueError(f"max_coils is {self.max_coils}: Modbus allows 1 to 2000 coils in a request")
        if self.max_gap < 0:
            raise ValueError(f"max_gap is {self.max_gap}: it cannot be below 0")


@dataclass(frozen=True, slots=True)
class Block:
    """One read request: ``count`` registers or coils from ``start``, and the points it brings, by address."""

    table: Table
    start: int
    count: int
    names: tuple[str, ...]


def plan(points: Mapping[str, Point], limits: Limits) -> list[Block]:
    """Return the fewest blocks that bring every point once, and among those the fewest registers.

    Raises ValueError when a point lies on a hole or is longer than a request may be.
    """
    blocks: list[Block] = []
    for table in dict.fromkeys(p.table for p in points.values()):
        of_table = [(name, p) for name, p in points.items() if p.table == table]
        # The longer point first: what lies inside it then follows it and costs nothing.
        of_table.sort(key=lambda item: (item[1].address, -item[1].end, item[1].bit or 0))
        blocks += _plan_table(table, of_table, limits)
    return blocks


def _plan_table(table: Table, points: list[tuple[str, Point]], limits: Limits) -> list[Block]:
    max_count = limits.max_coils if table in BIT_TABLES else limits.max_count
    spans = _spans(points)
    for start, end, group in spans:
        if end - start > max_count:
            raise ValueError(f"{group[0]} takes {end - start} registers, but a request may read {max_count}")
        if (hole := _hole_in(start, end, limits)) is not None:
            raise ValueError(f"{group[0]} lies on {table} 0x{hole:04x}, which limits.holes forbids")

    # best[i]: (requests, registers, where the first block ends) for the spans from i on. Spans neither nest nor
    # repeat, so an optimal plan takes them in order: any span inside a block's reach joins it for nothing.
    best: list[tuple[int, int, int]] = [(0, 0, 0)] * len(spans) + [(0, 0, 0)]
    for i in reversed(range(len(spans))):
        start = spans[i][0]
        choices = []
        for j in range(i, len(spans)):
            end = spans[j][1]
            gap = spans[j][0] - spans[j - 1][1] if j > i else 0
            if end - start > max_count or gap > limits.max_gap or _hole_in(start, end, limits) is not None:
                break
            requests, registers, _ = best[j + 1]
            choices.append((requests + 1, registers + end - start, j + 1))
        best[i] = min(choices)

    blocks = []
    i = 0
    while i < len(spans):
        j = best[i][2]
        names = tuple(name for _, _, group in spans[i:j] for name in group)
        blocks.append(Block(table, spans[i][0], spans[j - 1][1] - spans[i][0], names))
        i = j
    return blocks


def _spans(points: list[tuple[str, Point]]) -> list[tuple[int, int, list[str]]]:
    """Join to each point those that lie inside it: (start, end, names), starts and ends strictly rising."""
    spans: list[tuple[int, int, list[str]]] = []
    for name, point in points:
        if spans and point.end <= spans[-1][1]:
            spans[-1][2].append(name)
        else:
            spans.append((point.address, point.end, [name]))
    return spans


def _hole_in(start: int, end: int, limits: Limits) -> int | None:
    return next((hole for hole in limits.holes if start <= hole < end), None)
