"""The 0.1 dB histogram of a level: how often each tenth of a decibel was read. Pure.

Only a histogram gives the percentiles of a longer time: they cannot be built from the percentiles of its minutes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import accumulate, pairwise
from typing import cast

import msgpack

BINS_PER_DB = 10


def binned(readings: Mapping[float, int]) -> Counter[int]:
    """Return how often each bin was read, from how often each level was."""
    bins: Counter[int] = Counter()
    for level, count in readings.items():
        bins[round(level * BINS_PER_DB)] += count
    return bins


def pack(bins: Mapping[int, int]) -> bytes:
    """Return a histogram as bytes for a ledger row: two per bin as a rule, none where nothing was read."""
    if not bins:
        return b""
    used = sorted(bins)
    steps = [used[0], *(b - a for a, b in pairwise(used))]
    return cast(
        bytes, msgpack.packb([number for pair in zip(steps, map(bins.get, used), strict=True) for number in pair])
    )


def unpack(packed: bytes) -> Counter[int]:
    """Return what ``pack`` was given."""
    if not packed:
        return Counter()
    numbers: list[int] = msgpack.unpackb(packed)
    return Counter(dict(zip(accumulate(numbers[::2]), numbers[1::2], strict=True)))


def merged(parts: Iterable[bytes]) -> bytes:
    """Return several packed histograms as one."""
    bins: Counter[int] = Counter()
    for part in parts:
        bins.update(unpack(part))
    return pack(bins)


def exceeded(bins: Mapping[int, int], percent: int) -> float | None:
    """Return the level exceeded so much of the time: L10 of 100 readings is the tenth from the top."""
    total, seen = sum(bins.values()), 0
    for level in sorted(bins, reverse=True):
        seen += bins[level]
        if seen > 0 and seen * 100 >= total * percent:
            return level / BINS_PER_DB
    return None
