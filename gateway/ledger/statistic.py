"""What rules ask of a series, and what they are told. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gateway.ledger.day import BLOCK_MINUTES, LENGTHS
from gateway.ledger.minute import kind_of
from gateway.vocabulary import Kind


class Statistic(StrEnum):
    """A figure from the good minutes of one series in one window."""

    MEAN = "mean"  # by kind: arithmetic, energy (decibels) or vector (directions)
    MAX = "max"
    MIN = "min"
    LAST = "last"
    DELTA = "delta"  # of counters, over all minutes: what was used in a disturbed minute was used
    L5 = "l5"  # the level exceeded 5 % of the time, from the 0.1 dB histogram; so on
    L10 = "l10"
    L50 = "l50"
    L90 = "l90"
    L95 = "l95"
    LD = "ld"  # energy mean of the hours of the day
    LN = "ln"  # … of the night
    LDN = "ldn"  # … of both, the night counted 10 dB higher


PERCENTILES = {Statistic.L5: 5, Statistic.L10: 10, Statistic.L50: 50, Statistic.L90: 90, Statistic.L95: 95}
_COMMON = {Statistic.MEAN, Statistic.MAX, Statistic.MIN, Statistic.LAST}
_OF_KIND = {
    Kind.GAUGE: _COMMON,
    Kind.LEVEL_DB: {*_COMMON, *PERCENTILES, Statistic.LD, Statistic.LN, Statistic.LDN},
    Kind.DIRECTION: {Statistic.MEAN, Statistic.LAST},
    Kind.COUNTER: {Statistic.LAST, Statistic.DELTA},
    Kind.STATE: {Statistic.MAX, Statistic.MIN, Statistic.LAST},
}
_WINDOWS_OF = {
    Statistic.LD: ("day", "24h", "month"),
    Statistic.LN: ("night", "24h", "month"),
    Statistic.LDN: ("24h", "month"),
}


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """How long a window is and whether it follows the clock."""

    length: str
    """1min, 5min, 15min, 20min, 60min, day, night, 24h (the calendar day; sliding: the last 24 hours), month."""
    sliding: bool
    """True: ends with the newest minute and moves with it. False: fixed to the clock."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a rule asks of one series; rules that ask the same share one."""

    window: WindowSpec
    statistic: Statistic
    valid_share: float = 0.75
    """So many of the window's minutes must be good."""
    minute_share: float = 0.75
    """A minute is good when its own valid share reaches this."""


@dataclass(frozen=True, slots=True)
class WindowResult:
    """One statistic of one window."""

    start_ms: int
    end_ms: int
    """Half open."""
    value: float | None
    """None: not enough data, or nothing."""
    valid_share: float
    """Good minutes by those expected, 0 to 1."""
    good_minutes: int
    expected_minutes: int
    """Of an open fixed window: those up to now. Otherwise those of the whole window."""
    enough: bool
    """The share reaches the rule's; never "passed" without it."""
    closed: bool
    """The window has ended: only then there is a verdict. A sliding window never closes."""
    corrected: bool
    """Late data changed a window that was closed already."""


def impossible(metric: str, window: WindowSpec, statistic: Statistic) -> str | None:
    """Return why there can be no such window, as a sentence for the author of a rule; None when there can."""
    if window.length not in LENGTHS:
        return f"{window.length!r} is not a window; use one of {', '.join(LENGTHS)}"
    if window.sliding and window.length not in (*BLOCK_MINUTES, "24h"):
        return f"a {window.length} is fixed to the clock; write sliding: false"
    possible = _OF_KIND[kind_of(metric)]
    if statistic not in possible:
        return f"{metric} has no {statistic}; it has {', '.join(s for s in Statistic if s in possible)}"
    windows = _WINDOWS_OF.get(statistic, LENGTHS)
    if window.length not in windows:
        return f"{statistic} needs a window of {' or '.join(windows)}, not {window.length}"
    return None
