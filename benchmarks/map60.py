"""The 60-point meter map that all contestants read: the places of an SDM630-class meter, ten devices of it.

60 float32 values lie in five islands; the gaps are what real maps have. Every contestant gets the same blocks for free
except Sitegate, which plans them itself from the points.
"""

from __future__ import annotations

import random
import struct

from gateway.vocabulary import METRICS, Domain, Kind

DEVICES = 10
MANY_DEVICES = 50
"""For the memory that each further device costs."""
ADDRESSES = (
    *range(0x0000, 0x0024, 2),  # 18: voltages, currents, powers, factors
    0x002A, 0x002C, 0x002E, 0x0030, 0x0034, 0x0038, 0x003C, 0x003E, 0x0042, 0x0046, 0x0048, 0x004A, 0x004C, 0x004E,
    *range(0x00C8, 0x00D4, 2),  # 6
    0x00E0, 0x00EA, 0x00EC, 0x00EE, 0x00F0, 0x00F2, 0x00F4, 0x00F6, 0x00F8, 0x00FA,
    *range(0x0156, 0x016E, 2),  # 12
)  # fmt: skip
"""Register addresses of the 60 points, two registers each."""
assert len(ADDRESSES) == 60

BLOCKS = ((0x0000, 0x50), (0x00C8, 0x34), (0x0156, 0x18))
"""(start, count) of the blocks that the two bare loops read: what a careful programmer would write by hand."""

IMAGES = 32

_STEADY = [m for m in METRICS.values() if m.kind is not Kind.COUNTER]
"""The vocabulary has no 60 different electrical quantities, nor has a meter; others fill the map. No counters: random
numbers would rightly be disbelieved."""
POINTS = sorted(_STEADY, key=lambda m: m.domain is not Domain.ENERGY)[: len(ADDRESSES)]
assert len(POINTS) == len(ADDRESSES), f"the vocabulary has only {len(POINTS)} of them"


def images() -> list[bytes]:
    """Register images 0x0000 to 0x016F with plausible floats, so that no value repeats from poll to poll."""
    chance = random.Random(60)
    made = []
    for _ in range(IMAGES):
        words = bytearray(0x170 * 2)
        for address, metric in zip(ADDRESSES, POINTS, strict=True):
            value = chance.uniform(max(metric.low, -500.0), min(metric.high, 500.0))
            struct.pack_into(">f", words, address * 2, round(value, 2))
        made.append(bytes(words))
    return made
