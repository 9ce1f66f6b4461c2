"""How long to wait after failures: growing, capped, jittered so that many boxes do not come back at once. Pure."""

from __future__ import annotations


def delay_s(failures: int, *, first_s: float, cap_s: float, chance: float) -> float:
    """Return the wait before the next try.

    ``failures`` counts from 1 and doubles the wait each time up to ``cap_s``; ``chance``, drawn by the
    caller from 0 to 1, spreads the wait over its upper half (1: the whole wait).
    """
    doublings = min(max(failures - 1, 0), 32)
    full_s = min(cap_s, first_s * 2.0**doublings)
    return full_s * (0.5 + 0.5 * chance)
