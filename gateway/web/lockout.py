"""Who guesses passwords waits: wrong ones are counted per address, and too many lock it out for a while. Pure."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass

TRIES = 10
"""Wrong passwords in a row that lock an address out."""
LOCKED_S = 300.0
FORGET_S = 900.0
"""Wrong passwords count as a row while no more than this time lies between two of them."""
MOST_ADDRESSES = 1_000
"""More than that are not remembered: the one that was quiet for longest is forgotten first."""


@dataclass(slots=True)
class _Guesser:
    wrong: int
    last_s: float
    locked_until_s: float


class Lockout:
    """Wrong passwords by address. The right one from another address is never held up."""

    def __init__(self) -> None:
        self._guessers: OrderedDict[str, _Guesser] = OrderedDict()

    def __len__(self) -> int:
        return len(self._guessers)

    def remaining_s(self, address: str, now_s: float) -> float:
        """How long this address has to wait before its next try counts; 0: it may try now."""
        guesser = self._guessers.get(_network(address))
        return 0.0 if guesser is None else max(0.0, guesser.locked_until_s - now_s)

    def wrong(self, address: str, now_s: float) -> bool:
        """Note a wrong password; True when it was the one too many, which locks the address out."""
        key = _network(address)
        guesser = self._guessers.pop(key, None)
        if guesser is None or now_s - guesser.last_s > FORGET_S:
            guesser = _Guesser(0, now_s, 0.0)
        self._guessers[key] = guesser
        if len(self._guessers) > MOST_ADDRESSES:
            self._guessers.popitem(last=False)
        guesser.wrong, guesser.last_s = guesser.wrong + 1, now_s
        if guesser.wrong < TRIES:
            return False
        guesser.wrong, guesser.locked_until_s = 0, now_s + LOCKED_S
        return True

    def right(self, address: str) -> None:
        """Forget the mistakes of somebody who knows the password."""
        self._guessers.pop(_network(address), None)


def _network(address: str) -> str:
    """What is counted as one: a machine chooses freely within its IPv6 network of 64 bits."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if ip.version == 4:
        return str(ip)
    return str(ip.ipv4_mapped or ipaddress.ip_network((ip, 64), strict=False))
