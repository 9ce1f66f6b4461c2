"""The ``alerts:`` section of a site file: which rules hold here, and what this project changed about them."""

from __future__ import annotations

import re
from datetime import date, datetime, time
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from gateway.config.model import Model, Name

Stage = Literal["demolition", "earthworks", "foundation", "structure", "fit-out"]
WarningLevel = Literal["blue", "yellow", "orange", "red"]
_CLOCK = re.compile(r"([01]\d|2[0-3]):[0-5]\d")


def _time(value: Any) -> Any:
    if isinstance(value, time):
        return value
    if not isinstance(value, str) or not _CLOCK.fullmatch(value):
        raise ValueError("write a time of day such as 06:00")
    return time.fromisoformat(value)


def _moment(value: Any) -> Any:
    if isinstance(value, datetime):
        return value
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError("write date and time on the site such as 2026-11-22 22:00") from None
    if moment.tzinfo is not None or len(value) < len("2026-11-22 22:00"):
        raise ValueError("write date and time on the site such as 2026-11-22 22:00, without a zone")
    return moment


def _date(value: Any) -> Any:
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError("write a date such as 2026-01-01") from None


ClockTime = Annotated[
    time, BeforeValidator(_time), WithJsonSchema({"type": "string", "pattern": f"^({_CLOCK.pattern})$"})
]
Moment = Annotated[
    datetime, BeforeValidator(_moment), WithJsonSchema({"type": "string", "examples": ["2026-11-22 22:00"]})
]
Date = Annotated[date, BeforeValidator(_date), WithJsonSchema({"type": "string", "format": "date"})]
"""Local times of the site; in YAML ``06:00``, ``2026-11-22 22:00`` and ``2026-01-01``."""


class Hours(Model):
    """Local government may set other hours than 06:00 to 22:00."""

    day: tuple[ClockTime, ClockTime] = (time(6), time(22))
    """When the day begins and ends; the rest is night."""

    @model_validator(mode="after")
    def _in_order(self) -> Hours:
        if not self.day[0] < self.day[1]:
            raise ValueError("the day must begin before it ends, such as [06:00, 22:00]")
        return self


class Dated(Model):
    """From one moment to another, in the site's time; half open."""

    begin: Moment = Field(alias="from")
    end: Moment = Field(alias="to")

    @model_validator(mode="after")
    def _in_order(self) -> Dated:
        if not self.begin < self.end:
            raise ValueError("from must be earlier than to")
        return self


class NightPermit(Dated):
    """A night-work permit. It lifts the rule on working at night, never a level limit."""

    number: str = Field(min_length=1, max_length=120)


class Maintenance(Dated):
    """A device is worked on: what it says raises nothing, and that it would have is noted."""

    device: Name | None = None
    """Without it: the whole site."""
    note: str = ""


class AlertsConfig(Model):
    """What is judged on this site. Rules that are not chosen are off."""

    use: tuple[str, ...] = ()
    """Policies (noise, dust_hunan_default, electrical, …) or single rules by name: ``sitegate alerts rules``."""
    set: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Rule -> the keys that this project decides otherwise: ``{pm10_live: {above: 180}}``."""
    stage: Stage | None = None
    """Some limits depend on what is being built."""
    level: WarningLevel | None = None
    """Regional heavy-pollution warning in force."""
    hours: Hours = Hours()
    night_permits: tuple[NightPermit, ...] = ()
    maintenance: tuple[Maintenance, ...] = ()
