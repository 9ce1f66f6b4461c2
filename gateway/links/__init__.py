"""One worker per wire: what is due, who is asked next, what happens when nobody answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from drivers.api import Value
from gateway.model import Mark


class Take(Protocol):
    """Takes the raw values of one answer (in the order it was prepared for) and their acquisition time."""

    def __call__(self, raw: Sequence[Value], time_ms: int, marks: str | None = None, /) -> None:
        """``marks``: as ``drivers.api.Report.marks``."""
        ...


class Store(Protocol):
    """Where readings become durable; the buffer fulfils it."""

    async def durable(self) -> None:
        """Return when everything handed over so far is durable, with the group commit that comes anyway."""
        ...

    def hurry(self) -> None:
        """Let the next group commit come at once."""
        ...


class Intake(Protocol):
    """Where workers hand over what devices said; the pipeline fulfils it."""

    def prepare(self, device: str, points: tuple[str, ...]) -> Take:
        """Return the function for answers that bring exactly these points. Called once per planned request."""
        ...

    def missed(self, device: str, points: tuple[str, ...], mark: Mark, time_ms: int) -> None:
        """Note that these points were due and brought no value."""
        ...


class Writer(Protocol):
    """How control reaches a wire. Both workers fulfil it; a write goes before the next read."""

    async def write(self, device: str, point: str, raw: float, hold_s: float | None) -> None:
        """As ``drivers.api.Device.write``. Raises LinkDown at once while the wire is down: nothing is queued up."""
        ...

    def refresh(self, device: str, points: tuple[str, ...]) -> None:
        """Read these points next, before what is due; the answer takes the usual way through the pipeline.

        Does nothing on wires where devices speak first.
        """
        ...
