"""One worker per wire: what is due, who is asked next, what happens when nobody answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from drivers.api import Value
from gateway.model import Mark

Take = Callable[[Sequence[Value], int], None]
"""Takes the raw values of one answer (in the order it was prepared for) and their acquisition time."""


class Intake(Protocol):
    """Where workers hand over what devices said; the pipeline fulfils it."""

    def prepare(self, device: str, points: tuple[str, ...]) -> Take:
        """Return the function for answers that bring exactly these points. Called once per planned request."""
        ...

    def missed(self, device: str, points: tuple[str, ...], mark: Mark, time_ms: int) -> None:
        """Note that these points were due and brought no value."""
        ...
