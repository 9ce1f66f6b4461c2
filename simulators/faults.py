"""What goes wrong on wires, seeded: planned per reply as pure data, carried out by whoever serves the stream."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class FaultRates:
    """How often each fault strikes, as a share of replies, 0 to 1; several may strike one reply."""

    noise: float = 0.0
    """Stray bytes before the reply."""
    drop: float = 0.0
    """No reply at all."""
    delay: float = 0.0
    """The reply comes ``delay_s`` late."""
    garble: float = 0.0
    """One byte is not what was sent."""
    split: float = 0.0
    """The reply comes in pieces."""
    refuse: float = 0.0
    """The device says no (busy) instead of answering."""
    delay_s: float = 1.2
    """Longer than the usual time-out, so that the late reply meets the next request."""


NOISY_LINE = FaultRates(noise=0.03, drop=0.03, delay=0.01, garble=0.03, split=0.2, refuse=0.01)
"""The serial lines of scenario ``line-noise``: bad enough to see, good enough to live with."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes for the wire, ``after_s`` after the chunk before."""

    after_s: float
    data: bytes


class WireFaults:
    """The faults of one wire."""

    def __init__(self, rates: FaultRates, rng: Random) -> None:
        self._rates = rates
        self._rng = rng

    def refuses(self) -> bool:
        """Return whether the next request is refused."""
        return self._rng.random() < self._rates.refuse

    def spoil(self, reply: bytes) -> list[Chunk]:
        """Return what really goes over the wire instead of ``reply``; empty when it is lost."""
        rates, rng = self._rates, self._rng
        # Every fault draws its number on every reply: rates of one fault never change when another strikes.
        noise, drop, delay, garble, split = (rng.random() for _ in range(5))
        if drop < rates.drop:
            return []
        if garble < rates.garble:
            at = rng.randrange(len(reply))
            reply = reply[:at] + bytes([reply[at] ^ rng.randint(1, 255)]) + reply[at + 1 :]
        if noise < rates.noise:
            reply = rng.randbytes(rng.randint(1, 6)) + reply
        after_s = rates.delay_s if delay < rates.delay else 0.0
        if split < rates.split and len(reply) > 1:
            cut = rng.randrange(1, len(reply))
            return [Chunk(after_s, reply[:cut]), Chunk(rng.uniform(0.001, 0.02), reply[cut:])]
        return [Chunk(after_s, reply)]
