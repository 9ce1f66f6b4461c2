"""What a wire will carry, and the advice when that is too much: each piece of advice must be enough."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.links.forecast import FULL, Load, at_speed, share_of, slower, split


def load(device: str, period_s: float, wire_s: float, wire_bytes: int = 0) -> Load:
    return Load(device, period_s, points=1, requests=1, wire_bytes=wire_bytes, wire_s=wire_s)


loads = st.lists(
    st.builds(
        load, st.sampled_from("abcd"), st.sampled_from([0.5, 1.0, 5.0, 60.0]), st.floats(0.01, 3.0, allow_nan=False)
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda x: (x.device, x.period_s),
)


def test_a_wire_with_room_needs_no_advice() -> None:
    assert slower([load("a", 1.0, 0.5)]) == {}


def test_the_greedy_device_alone_is_read_less_often_when_that_is_enough() -> None:
    assert slower([load("a", 1.0, 1.4), load("b", 10.0, 0.7)]) == {"a": 2.0}


def test_all_are_slowed_when_one_is_not_enough() -> None:
    assert slower([load("a", 1.0, 0.6), load("b", 1.0, 0.6), load("c", 1.0, 0.6)]) == {"a": 2.0, "b": 2.0, "c": 2.0}


@given(loads)
def test_reading_as_rarely_as_advised_makes_room(asked: list[Load]) -> None:
    advice = slower(asked)
    changed = [
        Load(x.device, max(x.period_s, advice.get(x.device, 0.0)), x.points, x.requests, x.wire_bytes, x.wire_s)
        for x in asked
    ]
    assert share_of(changed) <= FULL + 1e-9
    assert (advice == {}) == (share_of(asked) <= FULL)


@given(loads)
def test_each_line_of_a_split_has_room_and_nobody_is_lost(asked: list[Load]) -> None:
    lines = split(asked)
    names = [name for line in lines for name in line]
    alone = [share_of([x for x in asked if x.device == name]) for name in {x.device for x in asked}]
    assert (lines == []) == (max(alone) > FULL)
    if lines:
        assert sorted(names) == sorted({x.device for x in asked})
        assert all(share_of([x for x in asked if x.device in line]) <= FULL + 1e-9 for line in lines)


def test_a_faster_line_carries_the_same_bytes_in_less_time() -> None:
    asked = [load("a", 1.0, 1.0, wire_bytes=100)]
    slow, fast = (at_speed(asked, char_s=10 / baud, silence_s=0.0) for baud in (1200, 9600))
    assert slow - fast == 100 * 10 / 1200 - 100 * 10 / 9600
