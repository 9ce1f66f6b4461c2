"""Lanes against a plain set of numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.buffer.lanes import BACKFILL_TURN, Lanes, parse, settled_by_all

END = 60
"""Above every number used below: the live lane is looked at up to here."""

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("settle"), st.integers(0, 40), st.integers(0, 40)),
        st.tuples(st.just("split"), st.integers(0, 40), st.integers(0, 5)),
    ),
    max_size=20,
)


def numbers(lanes: Lanes) -> set[int]:
    return {n for n in range(END) if n in lanes}


def after(steps: list[tuple[str, int, int]]) -> tuple[Lanes, set[int]]:
    lanes, model = Lanes(0), set(range(END))
    for what, a, b in steps:
        if what == "settle":
            lanes = lanes.without(a, b)
            model -= set(range(a, b))
        else:
            lanes = lanes.split(a, b)
    return lanes, model


@given(STEPS)
def test_what_is_left_is_what_was_not_settled(steps: list[tuple[str, int, int]]) -> None:
    lanes, model = after(steps)
    assert numbers(lanes) == model
    assert lanes.first == min(model)
    bounds = [bound for lane in lanes.backfill for bound in lane]
    assert bounds == sorted(set(bounds))
    assert all(bound <= lanes.live for bound in bounds)


@given(STEPS)
def test_text_round_trip(steps: list[tuple[str, int, int]]) -> None:
    lanes, _ = after(steps)
    assert parse(str(lanes)) == lanes


@pytest.mark.parametrize("text", ["", "5", "a-", "3-1 5-", "1-3 2-4 9-", "1-9 5-", "1-2-3 9-"])
def test_text_that_is_no_list_of_lanes(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text)


@given(st.lists(STEPS, max_size=3), st.integers(0, 40))
def test_settled_by_all(histories: list[list[tuple[str, int, int]]], end: int) -> None:
    all_lanes = [after(steps)[0] for steps in histories]
    free = {n for a, b in settled_by_all(all_lanes, end) for n in range(a, b)}
    assert free == {n for n in range(end) if not any(n in lanes for lanes in all_lanes)}


@given(STEPS, st.integers(1, 40))
def test_every_turn_moves_and_all_is_sent_in_the_end(steps: list[tuple[str, int, int]], next_number: int) -> None:
    lanes, model = after(steps)
    sent: list[int] = []
    turn = 0
    while (within := lanes.turn(next_number, turn)) is not None:
        sent.append(within[0])
        lanes = lanes.without(within[0], within[0] + 1)
        turn += 1
    expected = {n for n in model if n < next_number} | {n for a, b in after(steps)[0].backfill for n in range(a, b)}
    assert sorted(sent) == sorted(expected)


def test_fresh_data_first_and_back_fill_gets_its_turns() -> None:
    lanes = Lanes(0).split(1000, 300)
    assert lanes == Lanes(999, ((0, 999),))
    turns = [lanes.turn(2000, n) for n in range(2 * BACKFILL_TURN)]
    assert turns.count((0, 999)) == 2
    assert turns.count((999, 2000)) == 2 * BACKFILL_TURN - 2
    assert lanes.without(999, 2000).turn(2000, 0) == (0, 999)


def test_a_short_live_lane_stays_whole() -> None:
    assert Lanes(0).split(300, 300) == Lanes(0)
