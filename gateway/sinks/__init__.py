"""Where records go. A sink neither buffers nor retries nor hides errors: the pump waits, the buffer keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gateway.model import Readings


@dataclass(frozen=True, slots=True)
class Written:
    """Outcome of one write by index into the batch; what is not rejected was accepted."""

    rejected: Mapping[int, str] = field(default_factory=dict)
    """Index -> reason that the server gave; these go to the quarantine and are never tried again by themselves."""


class Sink(Protocol):
    """One destination. ``name`` is the key of the site file."""

    name: str

    async def write(self, batch: Sequence[Readings]) -> Written:
        """Write all of it, or raise SinkUnavailable with nothing lost."""
        ...

    async def close(self) -> None:
        """Release connections. May be called twice."""
        ...
