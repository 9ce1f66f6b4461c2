"""The read planner, against its promises and against brute force over all partitions."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from drivers.modbus.plan import Block, Limits, Prices, Wall, payload_bytes, plan, wire_s
from drivers.modbus.planner import Planner
from drivers.modbus.points import BIT_TABLES, Point
from drivers.transport.line import Line
from drivers.transport.loopback import pair


def holding(*spans: tuple[int, int]) -> dict[str, Point]:
    """Points by (address, registers)."""
    kinds = {1: "u16", 2: "f32", 4: "s64"}
    return {f"p{i}": Point("holding", a, kinds[n]) for i, (a, n) in enumerate(spans)}  # type: ignore[arg-type]


def blocks(points: dict[str, Point], **limits: object) -> list[tuple[int, int]]:
    return [(b.start, b.count) for b in plan(points, Limits(**limits))]  # type: ignore[arg-type]


def test_neighbours_and_small_gaps_become_one_request() -> None:
    assert blocks(holding((0, 2), (2, 2), (12, 1))) == [(0, 13)]
    assert blocks(holding((0, 2), (2, 2), (13, 1))) == [(0, 4), (13, 1)]


def test_the_eastron_map_takes_three_requests_or_four() -> None:
    """SDM630: 0x0000 to 0x004f, the line voltages, the neutral, and the energies; 80 registers at most."""
    low = [a for a in range(0, 0x50, 2) if a not in (0x2A, 0x2C, 0x36, 0x3A, 0x40, 0x44)]
    points = holding(*[(a, 2) for a in [*low, 0xC8, 0xCA, 0xCC, 0xE0, *range(0xEA, 0xF0, 2), *range(0x156, 0x166, 2)]])
    assert blocks(points, max_count=80, max_gap=20) == [(0, 80), (0xC8, 0x28), (0x156, 16)]
    assert blocks(points, max_count=80) == [(0, 80), (0xC8, 6), (0xE0, 16), (0x156, 16)]


def test_a_hole_is_never_touched() -> None:
    assert blocks(holding((0, 1), (3, 1)), holes=(2,)) == [(0, 1), (3, 1)]
    assert blocks(holding((0, 1), (3, 1)), holes=(4,)) == [(0, 4)]


def test_few_registers_among_equally_few_requests() -> None:
    """Three points, at most 10 registers, two requests: the large gap is the one to leave out."""
    assert blocks(holding((0, 1), (2, 1), (10, 1)), max_count=10) == [(0, 3), (10, 1)]
    assert blocks(holding((0, 1), (8, 1), (10, 1)), max_count=10) == [(0, 1), (8, 3)]


def test_tables_do_not_mix_and_coils_have_their_own_length() -> None:
    points = {"a": Point("holding", 0), "b": Point("input", 0), "c": Point("coil", 0), "d": Point("coil", 100)}
    planned = plan(points, Limits(max_count=10, max_gap=200))
    assert planned == [
        Block("holding", 0, 1, ("a",)),
        Block("input", 0, 1, ("b",)),
        Block("coil", 0, 101, ("c", "d")),
    ]


def test_bits_of_one_register_are_read_once() -> None:
    points = {f"bit{i}": Point("holding", 5, "bit", bit=i) for i in (3, 0)} | {"word": Point("holding", 5)}
    (block,) = plan(points, Limits())
    assert (block.start, block.count, set(block.names)) == (5, 1, {"bit0", "bit3", "word"})


def test_nothing_to_read_is_no_request() -> None:
    assert plan({}, Limits()) == []


def test_what_cannot_be_read_is_named() -> None:
    with pytest.raises(ValueError, match="p0 takes 4 registers, but a request may read 2"):
        blocks(holding((0, 4)), max_count=2)
    with pytest.raises(ValueError, match=r"p0 lies on holding 0x0011, which limits\.holes forbids"):
        blocks(holding((16, 2)), holes=(17,))


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"max_count": 126}, "max_count is 126"),
        ({"max_count": 0}, "max_count is 0"),
        ({"max_coils": 2001}, "max_coils is 2001"),
        ({"max_gap": -1}, "max_gap is -1"),
    ],
)
def test_limits_beyond_the_protocol_are_refused(limits: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Limits(**limits)


POINTS = st.lists(
    st.builds(
        lambda table, address, kind, bit: Point(table, address, kind, bit=bit if kind == "bit" else None),
        st.sampled_from(["holding", "holding", "input"]),
        st.integers(0, 60),
        st.sampled_from(["u16", "s32", "f64", "bit"]),
        st.integers(0, 15),
    )
    | st.builds(Point, st.sampled_from(["coil", "discrete"]), st.integers(0, 60)),
    max_size=25,
)
LIMITS = st.builds(
    Limits,
    max_count=st.integers(4, 40),
    max_gap=st.integers(0, 12),
    holes=st.lists(st.integers(0, 64), max_size=4).map(tuple),
    max_coils=st.integers(1, 50),
)


def allowed(
    points: list[Point], limits: Limits, named: list[Point] | None = None, walls: list[Wall] | None = None
) -> bool:
    """Tell whether one block may bring exactly these points: the promises, written down naively."""
    start, end = min(p.address for p in points), max(p.end for p in points)
    read = {a for p in [*points, *(named or [])] for a in range(p.address, p.end)}
    if any(not any(p.address <= start and end <= p.end for p in points) and w.inside(start, end) for w in walls or []):
        return False
    gap = longest = 0
    for address in range(start, end):
        gap = 0 if address in read else gap + 1
        longest = max(longest, gap)
    most = limits.max_coils if points[0].table in BIT_TABLES else limits.max_count
    return end - start <= most and longest <= limits.max_gap and not set(limits.holes) & set(range(start, end))


@given(POINTS, LIMITS)
def test_every_promise_holds(layout: list[Point], limits: Limits) -> None:
    points = {f"p{i}": p for i, p in enumerate(layout) if allowed([p], limits)}
    planned = plan(points, limits)
    assert sorted(name for block in planned for name in block.names) == sorted(points)
    for block in planned:
        members = [points[name] for name in block.names]
        assert {p.table for p in members} == {block.table}
        assert block.start == min(p.address for p in members)
        assert block.start + block.count == max(p.end for p in members)
        assert allowed(members, limits)
        assert all(a.address <= b.address for a, b in pairwise(members))


def partitions(items: list[Point]) -> list[list[list[Point]]]:
    if not items:
        return [[]]
    first, rest = items[0], items[1:]
    result = []
    for partition in partitions(rest):
        result.append([[first], *partition])
        result += [[*partition[:i], [first, *partition[i]], *partition[i + 1 :]] for i in range(len(partition))]
    return result


PRICES = st.builds(Prices, st.sampled_from([0.005, 0.02, 0.04, 0.3]), st.sampled_from([0.0, 0.0001, 0.001, 0.004]))
SMALL = st.integers(0, 24)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.builds(Point, st.just("holding"), SMALL, st.sampled_from(["u16", "s32", "f64"])), min_size=1, max_size=6
    )
    | st.lists(st.builds(Point, st.just("coil"), SMALL), min_size=1, max_size=6),
    st.builds(
        Limits,
        max_count=st.integers(4, 16),
        max_gap=st.integers(0, 6),
        holes=st.tuples(st.integers(0, 30)),
        max_coils=st.integers(1, 24),
    ),
    PRICES,
    st.lists(st.builds(Point, st.just("holding"), SMALL), max_size=4),
    st.lists(st.tuples(SMALL, st.integers(1, 5)), max_size=2),
)
def test_no_other_partition_takes_less_time(
    layout: list[Point], limits: Limits, prices: Prices, others: list[Point], barred: list[tuple[int, int]]
) -> None:
    table = layout[0].table
    named = [p for p in others if p.table == table]
    walls = [Wall(table, start, start + length) for start, length in barred]
    assume(all(allowed([p], limits) for p in layout))
    points = {f"p{i}": p for i, p in enumerate(layout)}
    planned = plan(points, limits, prices, named, walls)
    for block in planned:
        assert allowed([points[name] for name in block.names], limits, named, walls)

    def cost(groups: list[list[Point]]) -> tuple[float, int, int]:
        counts = [max(p.end for p in g) - min(p.address for p in g) for g in groups]
        seconds = sum(prices.request_s + prices.byte_s * payload_bytes(table, n) for n in counts)
        return round(seconds, 9), len(groups), sum(counts)

    fair = (groups for groups in partitions(layout) if all(allowed(g, limits, named, walls) for g in groups))
    best = min(cost(groups) for groups in fair)
    assert (round(wire_s(planned, prices), 9), len(planned), sum(b.count for b in planned)) == best


def test_a_slow_line_and_a_quick_device_ask_around_gaps_that_others_read_along() -> None:
    points = holding((0, 2), (8, 2))
    limits = Limits()
    slow_line, slow_device = Prices(0.005, 0.001), Prices(0.5, 0.001)
    assert [b.count for b in plan(points, limits, slow_line)] == [2, 2]
    assert [b.count for b in plan(points, limits, slow_device)] == [10]


def test_a_block_reaches_across_points_that_are_not_due() -> None:
    """They exist, since the profile names them."""
    everything = holding(*[(a, 2) for a in range(0, 40, 2)])
    due = {name: everything[name] for name in ("p0", "p19")}
    assert len(plan(due, Limits())) == 2
    assert [(b.start, b.count, b.names) for b in plan(due, Limits(), named=list(everything.values()))] == [
        (0, 40, ("p0", "p19"))
    ]


def test_the_turnaround_is_measured_and_changes_the_plan_rarely() -> None:
    near, _ = pair()
    line = Line(near, kind="serial", framing="rtu", char_s=0.001, silence_s=0.0035)
    points = holding((0, 2), (22, 2))
    planner = Planner(line, points, Limits(max_gap=20), lambda: 0.0)

    def answers(turnaround_s: float, count: int) -> None:
        for _ in range(count):
            line.last_reply_s = turnaround_s + 9 * 0.001
            planner.given(Block("holding", 0, 2, ("p0",)), 9)

    assert len(planner.blocks(list(points))) == 2, "the gap takes 40 ms, a request 13 + 3.5 + 20"
    answers(0.022, 30)
    assert planner.revision == 0, "about what was assumed"
    answers(5.0, 7)
    answers(0.022, 8)
    assert planner.revision == 0, "some slow answers are no habit"
    answers(0.06, 15)
    assert planner.revision == 1
    assert planner.prices.request_s == pytest.approx(0.0165 + 0.06)
    assert len(planner.blocks(list(points))) == 1


def test_where_bytes_cost_nothing_the_turnaround_changes_no_plan() -> None:
    """Over Modbus TCP it swings by itself, and each new plan costs more than many requests."""
    near, _ = pair()
    line = Line(near, kind="tcp", framing="modbus_tcp")
    points = holding((0, 2), (22, 2))
    planner = Planner(line, points, Limits(max_gap=20), lambda: 0.0)
    before = planner.blocks(list(points))
    for turnaround_s in (0.0002, 0.0004, 0.05, 0.0003):
        for _ in range(15):
            line.last_reply_s = turnaround_s
            planner.given(Block("holding", 0, 2, ("p0",)), 9)
        assert planner.prices.request_s == pytest.approx(turnaround_s)
        assert planner.blocks(list(points)) == before
    assert planner.revision == 0
