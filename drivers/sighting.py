"""What a scan of a wire brings: somebody answers here, and under which address. ``drivers/*/identity.py`` find them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Sighting:
    """One device that answered."""

    protocol: str
    """Name in ``drivers.registry``."""
    address: Mapping[str, Any]
    """As the site file writes it."""
    limits: Mapping[str, Any] = field(default_factory=dict)
    """What its answer says of its kind; a profile whose ``limits`` say otherwise is not this device's."""
    note: str = ""
    """What the person at the wire must know; one sentence."""
