"""Several devices on one wire: bytes come in, whoever is addressed answers, everybody else stays silent."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Protocol

from simulators.errors import Silent
from simulators.faults import Chunk, WireFaults


class Ear(Protocol):
    """One protocol listening on a wire. Keeps half a request until the rest comes or the line falls silent."""

    def hear(self, data: bytes, refuses: Callable[[], bool]) -> list[bytes]:
        """Take bytes from the wire and return the frames that devices answer with, in order. May raise Silent."""
        ...

    def forget(self) -> None:
        """The line fell silent: half a request is worth nothing now."""
        ...


class Bus:
    """All protocols on one wire, and the wire's faults."""

    def __init__(self, ears: list[Ear], faults: WireFaults | None = None) -> None:
        self._ears = ears
        self._faults = faults

    def hear(self, data: bytes) -> list[Chunk]:
        """Take bytes from the wire and return what goes back."""
        faults = self._faults
        replies: list[bytes] = []
        answering: list[Ear] = []
        for ear in self._ears:
            with contextlib.suppress(Silent):  # whoever was asked has no power
                if heard := ear.hear(data, _never if faults is None else faults.refuses):
                    replies += heard
                    answering.append(ear)
        for ear in self._ears if answering else ():
            if ear not in answering:
                ear.forget()  # what another protocol has understood is not the beginning of anything
        if faults is None:
            return [Chunk(0.0, reply) for reply in replies]
        return [chunk for reply in replies for chunk in faults.spoil(reply)]

    def forget(self) -> None:
        """The line fell silent."""
        for ear in self._ears:
            ear.forget()


def _never() -> bool:
    return False
