"""What goes into the engine, what it remembers and what comes out: frozen, and as JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from gateway.alerts.rule import Condition
from gateway.ledger.windows import WindowResult

EventKind = Literal[
    "raised", "escalated", "cleared", "verdict", "acknowledged", "acted", "closed", "no_data", "data_back",
    "corrected", "suppressed",
]  # fmt: skip
Outcome = Literal["exceeded", "passed", "not_enough_data"]
NORMAL, WARN, OVER = 0, 1, 2

Details = dict[str, object]
Judged = tuple[tuple[int, Outcome], ...]


@dataclass(frozen=True, slots=True)
class Event:
    """One step in an alarm's life, in order; stored as history."""

    alarm: str
    """``rule@subject@ms``; silence has alarms of its own, ``rule.no_data@subject@ms``. Empty: a verdict or a
    suppression that belongs to no alarm."""
    kind: EventKind
    at_ms: int
    rule: str
    subject: str
    severity: str
    details: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Observation:
    """One window of one device. ``window.value`` is what is compared: any background is subtracted already.

    A single reading is a window without length.
    """

    device: str
    window: WindowResult
    background: float | None = None
    """What was subtracted or divided by."""
    sprayed_minutes: int | None = None
    """Minutes of the window in which a cannon sprayed near the sensor; None where there is no cannon."""
    fresh_ms: int | None = None
    """Of a reading: so far from now its time may be; what is further away is late, replayed or from a wrong clock."""
    above_range: bool = False
    """Of a reading: more than can be measured (mark T), so that there is no value."""


@dataclass(frozen=True, slots=True)
class DeviceState:
    """Whether a condition holds for a device just now."""

    device: str
    condition: Condition
    holds: bool
    at_ms: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Member:
    """What a rule knows of one device of its subject."""

    level: int = NORMAL
    end_ms: int = 0
    """End of the newest window judged."""
    good_ms: int = 0
    """Until when good data came; at the start: the start."""
    good_minutes: int = 0
    """In the newest window."""
    over_since_ms: int | None = None
    warn_since_ms: int | None = None
    calm_since_ms: int | None = None
    over_row: int = 0
    """Readings over the limit in a row."""
    warn_row: int = 0
    value: float | None = None
    silent: bool = False
    judged: Judged = ()
    """Verdicts of the last two days that were not ``passed``: (window start, outcome)."""


@dataclass(frozen=True, slots=True)
class State:
    """All that a rule remembers of one subject; survives a restart as JSON."""

    rule: str
    subject: str
    members: Mapping[str, Member] = field(default_factory=dict)
    level: int = NORMAL
    """The alarm's: stays at the highest level reached until it clears."""
    alarm: str | None = None
    """The alarm that is raised and not cleared."""
    raised_ms: int = 0
    severity: str = ""
    peak: float | None = None
    acknowledged: bool = False
    pressed: bool = False
    """Escalated because nobody acknowledged."""
    silence: str | None = None
    """The alarm that says that data are missing."""
    suppressed_until_ms: int = 0
    """Said already that maintenance holds an exceedance back; not again before its end."""

    def to_json(self) -> str:
        """Return the state as text for a store. Not by ``asdict``, which copies deeply and takes ten times as long."""
        members = {name: {key: getattr(member, key) for key in _MEMBER} for name, member in self.members.items()}
        known = {key: getattr(self, key) for key in _STATE} | {"members": members}
        return json.dumps(known, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> State:
        """Return what ``to_json`` wrote. Raises ValueError, KeyError or TypeError when it is something else."""
        data: dict[str, Any] = json.loads(text)
        members = {
            name: Member(**{**m, "judged": tuple((start, outcome) for start, outcome in m["judged"])})
            for name, m in data.pop("members").items()
        }
        return cls(members=members, **data)


_MEMBER = tuple(each.name for each in fields(Member))
_STATE = tuple(each.name for each in fields(State))
