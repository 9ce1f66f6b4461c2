"""One output as control sees it: its settings, what is known of it, and what is remembered of it. Frozen and pure.

All moments here are monotonic seconds; the journal turns them into wall time and back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Mode = Literal["off", "dry_run", "armed"]
Phase = Literal["unknown", "off", "starting", "on", "stopping"]
SeriesName = tuple[str, str]
"""Device and metric."""
HOUR_S = 3600.0
MOST_MINUTES = 24 * 60.0
"""A person's command holds no longer."""
RUNNING: frozenset[Phase] = frozenset({"starting", "on"})


@dataclass(frozen=True, slots=True)
class Output:
    """Settings of one output, checked and bound to the devices of its site."""

    name: str
    en: str
    zh: str
    zone: str
    device: str
    metric: str
    """The point that is written; also where its state is read back."""
    mode: Mode
    allow: tuple[float, ...]
    confirm_s: float
    """So long after a write the read-back may take to agree."""
    dead_man: Literal["pulse", "module", "none"]
    dead_man_s: float | None
    """So long after our last word the device switches off by itself; None: never."""
    when: frozenset[str] = frozenset()
    """Rules whose alarms ask for it."""
    sensors: tuple[SeriesName, ...] = ()
    """What those rules judge near it; alarms of other devices do not ask."""
    near: tuple[str, ...] = ()
    min_on_s: float = 60.0
    min_rest_s: float = 120.0
    longest_run_s: float = 1800.0
    max_starts_per_hour: int = 6
    hold_s: float = 60.0
    wind: SeriesName | None = None
    wind_above: float = math.inf
    frost: SeriesName | None = None
    frost_below: float = -math.inf
    water: SeriesName | None = None
    water_below: float = -math.inf
    night_ban: tuple[int, int] | None = None
    """Minutes of the local day; half open, may run over midnight."""
    feedback: SeriesName | None = None
    feedback_within_s: float = 10.0

    @property
    def refresh_s(self) -> float | None:
        """How often a timed pulse is given again while it runs; None: once is enough."""
        return self.dead_man_s / 3 if self.dead_man == "pulse" and self.dead_man_s is not None else None


@dataclass(frozen=True, slots=True)
class Demand:
    """What asks for an output just now, persons aside."""

    alarms: tuple[str, ...] = ()
    """Ids, the oldest first."""
    simulated: bool = False
    """It rests on simulated data, and the site is a real one."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of an output and of what it depends on, at one moment."""

    is_on: bool | None = None
    """As read back; None: unknown."""
    read_s: float = -math.inf
    """When its state was last read back."""
    feedback: bool | None = None
    asking_age_s: float = 0.0
    """Since the last good value of the freshest sensor that asks; 0 while that counts as fresh."""
    guard_age_s: float = 0.0
    """The same of the stalest series that an interlock looks at."""
    wind_m_s: float | None = None
    temperature_c: float | None = None
    water: float | None = None
    minute_of_day: int = 0
    timeout_s: float | None = None
    """The device's own switch-off time as read back, where ``dead_man`` is ``module``."""
    journal_works: bool = True


@dataclass(frozen=True, slots=True)
class Lease:
    """A person's command and how long it holds."""

    on: bool
    by: str
    until_s: float


@dataclass(frozen=True, slots=True)
class State:
    """All that is remembered of one output."""

    phase: Phase = "unknown"
    reason: str = "idle"
    """Code of what was decided last."""
    since_s: float = 0.0
    """Of the phase."""
    run_since_s: float | None = None
    """When the present run was decided; None: no run."""
    rest_since_s: float = -math.inf
    """When the last run ended."""
    starts: tuple[float, ...] = ()
    """Of the last hour."""
    told_s: float = -math.inf
    """When the last command had been answered, or its answer given up."""
    next_s: float = -math.inf
    """Not before this: the next pulse, or the next try."""
    pulse_s: float = -math.inf
    """When the last timed pulse had been taken."""
    tries: int = 0
    """Writes of the present command."""
    fault: str = ""
    """Code, or empty."""
    lease: Lease | None = None
    alarm: str = ""
    """For which it runs or ran."""
    refused: str = ""
    """The refusal that was told last, so that each is told once."""
    odd_since_s: float | None = None
    """Since when the feedback contradicts."""
    taken: tuple[float, ...] = ()
    """When it was found switched on by somebody else, in the last hour."""
    set_s: float = -math.inf
    """Not before this: the next try to set the device's own switch-off time."""

    @property
    def running(self) -> bool:
        """True from the decision to start to the decision to stop."""
        return self.phase in RUNNING
