"""The schedule is pure: seconds in, rounds out."""

from __future__ import annotations

import math
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gateway.links.schedule import due, held, postponed, recalled, rhythms_of, wake_s

PERIODS = st.floats(0.1, 3600, allow_nan=False)


def test_everything_is_due_at_the_start() -> None:
    rhythms = rhythms_of("meter", {"power": 5.0, "energy": 60.0, "voltage": 5.0}, start_s=100.0)
    (turn,) = due(rhythms, 100.0)
    assert turn.device == "meter"
    assert turn.points == ("power", "voltage", "energy")


def test_slow_points_ride_with_the_fast_ones() -> None:
    rhythms = rhythms_of("meter", {"power": 5.0, "energy": 60.0}, start_s=0.0)
    rhythms = [held(r, 0.2)[0] for r in rhythms]
    fast, slow = rhythms
    cycles = (slow.due_s - fast.due_s) / 5.0
    assert math.isclose(cycles, round(cycles), abs_tol=1e-6)


def test_devices_do_not_all_ask_at_once() -> None:
    names = [f"meter-{n}" for n in range(30)]
    seconds = sorted(held(rhythms_of(n, {"power": 60.0}, 0.0)[0], 0.5)[0].due_s for n in names)
    assert seconds[-1] - seconds[0] > 40
    assert max(b - a for a, b in pairwise(seconds)) < 12


def test_longest_waiting_goes_first() -> None:
    early = rhythms_of("early", {"p": 10.0}, 1.0)
    late = rhythms_of("late", {"p": 10.0}, 2.0)
    assert [r.device for r in due([*late, *early], 3.0)] == ["early", "late"]


def test_nothing_to_do_means_no_wake() -> None:
    assert wake_s([]) == math.inf
    assert due([], 5.0) == []


@given(PERIODS, st.floats(0, 1e6), st.floats(0, 1e5))
def test_next_time_is_ahead_and_on_the_grid(period_s: float, start_s: float, later_s: float) -> None:
    (rhythm,) = rhythms_of("d", {"p": period_s}, start_s)
    now_s = start_s + later_s
    after, skipped = held(rhythm, now_s)
    assert now_s < after.due_s <= now_s + period_s * 1.001 + 1e-6
    cycles = (after.due_s - rhythm.grid_s) / period_s
    assert math.isclose(cycles, round(cycles), abs_tol=1e-3)
    assert skipped >= 0


@given(PERIODS, st.integers(1, 500))
def test_a_late_round_is_skipped_and_counted(period_s: float, missed: int) -> None:
    (rhythm,) = rhythms_of("d", {"p": period_s}, 0.0)
    on_grid, _ = held(rhythm, 0.0)
    after, skipped = held(on_grid, on_grid.due_s + missed * period_s + period_s / 2)
    assert skipped == missed
    assert after.due_s > on_grid.due_s + missed * period_s


def test_a_round_in_time_skips_nothing() -> None:
    (rhythm,) = rhythms_of("d", {"p": 5.0}, 0.0)
    on_grid, _ = held(rhythm, 0.0)
    for _ in range(100):
        on_grid, skipped = held(on_grid, on_grid.due_s + 0.3)
        assert skipped == 0


def test_a_silent_device_is_asked_later_never_earlier() -> None:
    (rhythm,) = rhythms_of("d", {"p": 5.0}, 0.0)
    assert postponed(rhythm, 60.0).due_s == 60.0
    assert postponed(postponed(rhythm, 60.0), 30.0).due_s == 60.0


@given(PERIODS, st.floats(0, 1e4), st.floats(0, 1e4))
def test_a_device_that_speaks_again_is_asked_at_its_next_time(period_s: float, until_s: float, now_s: float) -> None:
    (rhythm,) = rhythms_of("d", {"p": period_s}, 0.0)
    left_alone = postponed(held(rhythm, now_s)[0], now_s + until_s)
    again = recalled(left_alone, now_s)
    assert again.due_s == held(rhythm, now_s)[0].due_s
    assert recalled(again, again.due_s) == again, "one that is due keeps its turn"
