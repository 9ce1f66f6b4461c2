from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.backoff import delay_s


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_waits_grow_up_to_the_cap_and_never_vanish(failures: int, chance: float) -> None:
    wait = delay_s(failures, first_s=0.5, cap_s=30, chance=chance)
    assert 0.25 <= wait <= 30
    assert delay_s(failures + 1, first_s=0.5, cap_s=30, chance=chance) >= wait


def test_it_doubles() -> None:
    waits = [delay_s(n, first_s=1, cap_s=100, chance=0.999999) for n in range(1, 6)]
    assert [round(w) for w in waits] == [1, 2, 4, 8, 16]
