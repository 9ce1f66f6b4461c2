"""The ``outputs:`` section of a site file: what the gateway may switch, and under which conditions."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from gateway.config.alerts import ClockTime
from gateway.config.model import AnyLabel, Duration, Model, Name, parse_duration

ACCEPT_NONE = "accept_none"


def _dead_man(value: Any) -> Any:
    return value if value == ACCEPT_NONE else parse_duration(value)


DeadMan = Annotated[
    float | Literal["accept_none"],
    BeforeValidator(_dead_man),
    WithJsonSchema({"type": "string", "examples": ["30s", ACCEPT_NONE]}),
]
"""Seconds, or ``accept_none``."""


class Water(Model):
    """No start, and no further run, below this level, pressure or flow."""

    device: Name
    metric: str = Field(min_length=1)
    below: float


class Feedback(Model):
    """A second witness of what the output really does: a contact of the valve, a pressure switch, the cannon itself."""

    device: Name
    metric: str = Field(min_length=1)
    within: Duration = 10.0
    """So long it may lag behind the output."""


class OutputConfig(Model):
    """One valve, cannon or lamp behind a writable point of a device."""

    device: Name
    point: str = Field(min_length=1)
    """A point of its profile that may be written: 1 is on, 0 is off."""
    name: AnyLabel | None = None
    zone: Name | None = None
    """Default: the zone of its device."""
    mode: Literal["off", "dry_run", "armed"] = "dry_run"
    """``off``: never touched · ``dry_run``: decides and records, writes nothing · ``armed``: switches."""
    when: tuple[str, ...] = ()
    """Alarm rules that ask for it while their alarm holds. None: only by hand."""
    sensors: tuple[Name, ...] = ()
    """Only alarms of these devices ask; default: those of all devices in its zone."""
    near: tuple[Name, ...] = ()
    """Dust sensors that it sprays: their data carry the mark ``sprayed`` while it runs."""
    min_on: Duration = 60.0
    """It runs at least so long, unless an interlock or a person ends it."""
    min_rest: Duration = 120.0
    longest_run: Duration = 1800.0
    max_starts_per_hour: int = Field(default=6, ge=1, le=60)
    dead_man: DeadMan = 30.0
    """So long after our last word the device switches it off by itself. ``accept_none``: the device cannot."""
    hold: Duration = 60.0
    """So long a run goes on when a sensor that it depends on falls silent."""
    weather: Name | None = None
    """The station that wind and temperature are taken from."""
    wind_above: float | None = Field(default=None, ge=0)
    """m/s: not in more wind."""
    frost_below: float | None = None
    """°C: not when it is colder."""
    water_below: Water | None = None
    night_ban: tuple[ClockTime, ClockTime] | None = None
    """Not from one time of day to the other, in the site's time."""
    feedback: Feedback | None = None
