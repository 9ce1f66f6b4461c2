"""Which blocks to read so that all points come in the least time on the wire. Pure.

Reading a few registers that nobody wants is often cheaper than another request, so blocks reach across gaps; but
devices bound the length of a block, and some refuse a whole block for one address in it that they do not know.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from drivers.modbus.points import BIT_TABLES, Point, Table


@dataclass(frozen=True, slots=True)
class Limits:
    """What a device tolerates in one read request."""

    max_count: int = 60
    """Registers; the protocol itself allows 125."""
    max_gap: int = 8
    """Across so many addresses in a row that no point names a block may reach, if that saves time; the device might
    not know more of them."""
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

    def longest(self, table: Table) -> int:
        """Return how many registers, or coils, one request may read."""
        return self.max_coils if table in BIT_TABLES else self.max_count


@dataclass(frozen=True, slots=True)
class Prices:
    """What reading costs on one wire."""

    request_s: float = 1.0
    """Each request: its frame, the reply's frame without the content, the silence, the device's turnaround."""
    byte_s: float = 0.0
    """Each byte of content."""


@dataclass(frozen=True, slots=True)
class Wall:
    """Addresses ``start`` to before ``end`` that the device does not give in one block."""

    table: Table
    start: int
    end: int

    def inside(self, start: int, end: int) -> bool:
        """Tell whether a block from ``start`` to before ``end`` (of the same table) has all of the wall in it."""
        return start <= self.start and self.end <= end


@dataclass(frozen=True, slots=True)
class Block:
    """One read request: ``count`` registers or coils from ``start``, and the points it brings, by address."""

    table: Table
    start: int
    count: int
    names: tuple[str, ...]


def payload_bytes(table: Table, count: int) -> int:
    """Return the content of a reply: registers take two bytes, coils are packed eight to a byte."""
    return (count + 7) // 8 if table in BIT_TABLES else 2 * count


def wire_s(blocks: Iterable[Block], prices: Prices) -> float:
    """Return the time that reading these blocks takes."""
    return sum(prices.request_s + prices.byte_s * payload_bytes(b.table, b.count) for b in blocks)


def plan(
    points: Mapping[str, Point],
    limits: Limits,
    prices: Prices = Prices(),
    named: Collection[Point] = (),
    walls: Collection[Wall] = (),
) -> list[Block]:
    """Return the blocks that bring every point once in the least time; of equal ones fewer requests, then registers.

    ``named``: other points of the device, which are known to exist when a block reaches across them. No block of
    several points has a wall inside. Raises ValueError when a point lies on a hole or is longer than a request may be.
    """
    blocks: list[Block] = []
    for table in dict.fromkeys(p.table for p in points.values()):
        spans = spans_of({name: p for name, p in points.items() if p.table == table})
        exist = {a for p in (*points.values(), *named) if p.table == table for a in range(p.address, p.end)}
        holes = [Wall(table, hole, hole + 1) for hole in limits.holes]
        _refuse_unreadable(table, spans, limits, holes)
        forbidden = [*holes, *(wall for wall in walls if wall.table == table)]
        blocks += _cheapest(table, spans, limits, prices, exist, forbidden)
    return blocks


@dataclass(frozen=True, slots=True)
class Span:
    """Addresses that can only be read together, and the points in them."""

    start: int
    end: int
    names: tuple[str, ...]


def spans_of(points: Mapping[str, Point]) -> list[Span]:
    """Join to each point of one table those that lie inside it; starts and ends rise strictly."""
    # The longer point first: what lies inside it then follows it and costs nothing.
    ordered = sorted(points.items(), key=lambda item: (item[1].address, -item[1].end, item[1].bit or 0))
    spans: list[Span] = []
    for name, point in ordered:
        if spans and point.end <= spans[-1].end:
            last = spans[-1]
            spans[-1] = Span(last.start, last.end, (*last.names, name))
        else:
            spans.append(Span(point.address, point.end, (name,)))
    return spans


def _refuse_unreadable(table: Table, spans: list[Span], limits: Limits, holes: list[Wall]) -> None:
    longest = limits.longest(table)
    for span in spans:
        if span.end - span.start > longest:
            raise ValueError(
                f"{span.names[0]} takes {span.end - span.start} registers, but a request may read {longest}"
            )
        for hole in holes:
            if hole.inside(span.start, span.end):
                raise ValueError(f"{span.names[0]} lies on {table} 0x{hole.start:04x}, which limits.holes forbids")


def _cheapest(
    table: Table, spans: list[Span], limits: Limits, prices: Prices, exist: set[int], walls: list[Wall]
) -> list[Block]:
    longest = limits.longest(table)
    # best[i]: (seconds, requests, registers, where the first block ends) for the spans from i on. Spans neither nest
    # nor repeat, so an optimal plan takes them in order: any span inside a block's reach joins it for nothing.
    best: list[tuple[float, int, int, int]] = [(0.0, 0, 0, 0)] * (len(spans) + 1)
    for i in reversed(range(len(spans))):
        start = spans[i].start
        choices = []
        for j in range(i, len(spans)):
            end = spans[j].end
            if j > i and (
                end - start > longest
                or _unknown_run(spans[j - 1].end, spans[j].start, exist) > limits.max_gap
                or any(wall.inside(start, end) for wall in walls)
            ):
                break
            rest_s, requests, registers, _ = best[j + 1]
            block_s = prices.request_s + prices.byte_s * payload_bytes(table, end - start)
            choices.append((rest_s + block_s, requests + 1, registers + end - start, j + 1))
        best[i] = min(choices)

    blocks = []
    i = 0
    while i < len(spans):
        j = best[i][3]
        names = tuple(name for span in spans[i:j] for name in span.names)
        blocks.append(Block(table, spans[i].start, spans[j - 1].end - spans[i].start, names))
        i = j
    return blocks


def _unknown_run(start: int, end: int, exist: set[int]) -> int:
    """Return the most addresses in a row, from ``start`` to before ``end``, that no point names."""
    run = longest = 0
    for address in range(start, end):
        run = 0 if address in exist else run + 1
        longest = max(longest, run)
    return longest
